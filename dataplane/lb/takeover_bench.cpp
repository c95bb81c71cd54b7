// SPDX-License-Identifier: BSD-3-Clause
// How long the next process needs for a million connections: in place, and with another number of
// workers. Prints milliseconds of one core; asserts nothing.
#include "dataplane/forwarding/connection_state.h"
#include "dataplane/lb/state_sample.hpp"
#include "dataplane/lb/takeover.hpp"

#include <cstdio>
#include <ctime>
#include <sys/mman.h>

namespace weir::lb {
namespace {

constexpr std::uint32_t kConnections = 1 << 20;

TableGeometry geometry_of(std::uint32_t capacity, std::uint32_t worker, std::uint32_t workers) {
    return {capacity, WEIR_MAX_VIPS, worker, workers, capacity / 4};
}

std::span<std::byte> memory(std::size_t bytes) {
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return {static_cast<std::byte*>(at), bytes};
}

// Of this thread's CPU: what else the machine does is not in it.
double now_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

void fill(WorkerMemory& worker, const ForwardingState& state) {
    for (std::uint32_t n = 0; n < kConnections; n++) {
        HotRow row{};
        row.client = weir_address_from_v4(0x01000000 + n);
        row.client_port = static_cast<weir_be16>(n * 7 + 1);
        row.service_port = weir_swap16(80);
        row.backend = n % 2;
        NewConnection made;
        made.key = forward_key(row.client, row.client_port, row.service_port, row.vip);
        const weir_flow forward = forward_flow(state, row);
        const weir_flow reply = reply_flow(state, row);
        made.forward_hash = index_hash(weir_flow_hash(&state.hash_key(), &forward));
        made.reply_hash = index_hash(weir_flow_hash(&state.hash_key(), &reply));
        made.reply_indexed = true;
        made.backend = row.backend;
        made.state = WEIR_STATE_ESTABLISHED;
        made.probation = false;
        worker.table.insert(
            made, 0, UINT32_MAX, [](const HotRow&) { return false; },
            [](EntryIndex, const HotRow&) {});
    }
}

void run() {
    Sample sample;
    sample.tables.vips[0].identity = 1;
    sample.tables.vips[0].protocol = 6;
    const Root root(build_root(sample.tables));
    const auto state =
        ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    RowLegend& legend = format_legend(memory(sizeof(RowLegend)), {});
    write_legend(legend, *state);

    const TableGeometry one = geometry_of(kConnections, 0, 1);
    const auto left = memory(WorkerMemory::bytes_needed(one));
    WorkerMemory worker = WorkerMemory::format(left, one);
    fill(worker, *state);

    auto began = now_ms();
    const auto adopted = WorkerMemory::adopt(left, one);
    std::printf("%u connections, in place: %.0f ms before the first generation", kConnections,
                now_ms() - began);
    WorkerMemory parts[2] = {adopted->memory};
    const auto counters = CountersView::format(memory(CountersView::bytes_needed(2)), 2);
    StrayReplies strays;
    {
        began = now_ms();
        Takeover takeover(legend, 1);
        const Takeover::Now now{*state, nullptr, 1, std::span(parts, 1), counters};
        takeover.look_through(0, now);
        const auto numbers = takeover.settle(now, strays);
        std::printf(", %.0f ms with it (%llu go on)\n", now_ms() - began,
                    static_cast<unsigned long long>(numbers.adopted));
    }
    began = now_ms();
    Takeover takeover(legend, 2);
    takeover.salvage(left);
    std::printf("%u connections, 1 worker to 2: %.0f ms before the first generation", kConnections,
                now_ms() - began);
    for (std::uint32_t i = 0; i < 2; i++) {
        const TableGeometry two = geometry_of(kConnections, i, 2);
        parts[i] = WorkerMemory::format(memory(WorkerMemory::bytes_needed(two)), two);
    }
    began = now_ms();
    const Takeover::Now now{*state, nullptr, 1, parts, counters};
    for (std::uint32_t i = 0; i < 2; i++)
        takeover.look_through(i, now);
    const auto numbers = takeover.settle(now, strays);
    std::printf(", %.0f ms with it (%llu go on, %llu moved)\n", now_ms() - began,
                static_cast<unsigned long long>(numbers.adopted),
                static_cast<unsigned long long>(numbers.moved));
}

} // namespace
} // namespace weir::lb

int main() {
    weir::lb::run();
}
