// SPDX-License-Identifier: BSD-3-Clause
// Connections of one process, and one that takes them over.
#pragma once

#include "dataplane/lb/takeover.hpp"

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/state_sample.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>

namespace weir::lb {

inline constexpr std::uint32_t kCapacity = 2048;
inline constexpr std::uint32_t kConnections = 400;
inline constexpr std::uint64_t kNow_s = 200'000; // more than 65536 s after the boot
inline constexpr std::uint8_t kRouter[6] = {2, 0, 0, 0, 0, 1};
inline constexpr BootId kBoot{std::byte{7}};

inline TableGeometry geometry_of(std::uint32_t worker, std::uint32_t workers) {
    return {kCapacity, 4, worker, workers, kCapacity / 4};
}

// Two backends; VIP 0 in nat, 1 in full-nat, 2 in direct return.
struct Generation {
    Generation() {
        sample.tables.hash_key = {1, 2};
        sample.tables.vips.resize(3, sample.tables.vips[0]);
        const std::uint8_t modes[] = {WEIR_FORWARD_NAT, WEIR_FORWARD_FULL_NAT, WEIR_FORWARD_DSR_L2};
        for (std::uint32_t i = 0; i < 3; i++) {
            weir_vip_row& vip = sample.tables.vips[i];
            vip.address = weir_address_from_v4(0x0a7100cb + (i << 24));
            vip.protocol = 6;
            vip.forward = modes[i];
            vip.identity = 100 + i;
        }
        for (std::uint32_t i = 0; i < 2; i++) {
            sample.tables.backends[i].address = weir_address_from_v4(0x0b00000a + (i << 24));
            sample.tables.backends[i].port = weir_swap16(8080);
            sample.tables.backends[i].identity = 200 + i;
        }
        sample.tables.snat[0].address = weir_address_from_v4(0x6400000a);
        sample.tables.snat[0].family = 4;
        sample.tables.interfaces[0].identity = 300;
    }
    const ForwardingState& state() {
        if (!opened) {
            root.emplace(build_root(sample.tables));
            opened =
                ForwardingState::open(root->span(), std::span(&sample.segment, 1), sample.problem);
        }
        EXPECT_TRUE(opened) << sample.problem;
        return *opened;
    }
    Sample sample;
    std::optional<Root> root;
    std::optional<ForwardingState> opened;
};

struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
};

class Memory {
public:
    explicit Memory(std::size_t bytes)
        : size_((bytes + 63) / 64 * 64),
          at_(static_cast<std::byte*>(std::aligned_alloc(64, size_))) {
        std::memset(at_.get(), 0, size_);
    }
    [[nodiscard]] std::span<std::byte> span() const { return {at_.get(), size_}; }

private:
    std::size_t size_;
    std::unique_ptr<std::byte, Free> at_;
};

// What one process has of memory, and the next one finds.
struct Left {
    Left() : legend(sizeof(RowLegend)) { format_legend(legend.span(), kBoot); }
    RowLegend& rows() const { return *adopt_legend(legend.span(), kBoot); }
    Memory legend;
    std::deque<Memory> tables;
};

// The n-th client's connection in VIP n % 3, as its worker would have recorded it.
inline NewConnection connection_of(const ForwardingState& state, std::uint32_t n,
                                   std::uint16_t port) {
    NewConnection made;
    HotRow row{};
    row.client = weir_address_from_v4(0x01000000 + n);
    row.client_port = static_cast<weir_be16>(n * 7 + 1);
    row.service_port = weir_swap16(80);
    row.vip = static_cast<std::uint16_t>(n % 3);
    row.backend = n / 3 % 2;
    row.snat_port = n % 3 == 1 ? port : 0;
    made.key = forward_key(row.client, row.client_port, row.service_port, row.vip);
    const weir_flow flow = forward_flow(state, row);
    made.forward_hash = index_hash(weir_flow_hash(&state.hash_key(), &flow));
    made.reply_indexed = n % 3 != 2;
    const weir_flow reply = reply_flow(state, row);
    made.reply_hash =
        made.reply_indexed ? index_hash(weir_flow_hash(&state.hash_key(), &reply)) : 0;
    made.backend = row.backend;
    made.snat_port = row.snat_port;
    made.state = WEIR_STATE_ESTABLISHED;
    made.probation = false;
    return made;
}

inline HotRow row_of(const NewConnection& made) {
    HotRow row{};
    row.client = {{made.key.client_high, made.key.client_low}};
    row.client_port = static_cast<weir_be16>(made.key.ports_and_vip);
    row.service_port = static_cast<weir_be16>(made.key.ports_and_vip >> 16);
    row.vip = static_cast<std::uint16_t>(made.key.ports_and_vip >> 32);
    row.snat_port = made.snat_port;
    row.backend = made.backend & (kBackendRowLimit - 1);
    return row;
}

// A process of so many workers that took over what was left.
class Process {
public:
    explicit Process(std::uint32_t workers)
        : workers_(workers), counters_memory_(CountersView::bytes_needed(workers)),
          counters_(CountersView::format(counters_memory_.span(), workers)), parts_(workers) {}

    void start_anew(Left& left) {
        left.tables.clear();
        lay_out(left);
    }
    Takeover::Numbers take_over(Left& left, const ForwardingState& state,
                                std::uint64_t time_s = kNow_s,
                                std::span<const GivenConnection> given = {},
                                std::span<const GivenNetwork> networks = {}) {
        Takeover takeover(left.rows(), workers_);
        takeover.give(given, networks);
        if (left.tables.size() == workers_) {
            for (std::uint32_t i = 0; i < workers_; i++) {
                const auto found =
                    WorkerMemory::adopt(left.tables[i].span(), geometry_of(i, workers_));
                EXPECT_TRUE(found);
                parts_[i] = found->memory;
                takeover.note_adopted(i, *found);
            }
        } else {
            for (const Memory& table : left.tables)
                EXPECT_TRUE(takeover.salvage(table.span()));
            start_anew(left);
        }
        const Takeover::Now now{state, nullptr, time_s, parts_, counters_};
        for (std::uint32_t i = 0; i < workers_; i++)
            takeover.look_through(i, now);
        const Takeover::Numbers numbers = takeover.settle(now, strays);
        write_legend(left.rows(), state);
        left.rows().alive_s = time_s;
        for (WorkerMemory& part : parts_)
            EXPECT_TRUE(part.table.consistent());
        return numbers;
    }
    void open_connections(const ForwardingState& state) {
        const Workers workers{workers_, nullptr};
        std::vector<std::uint16_t> next(workers_);
        for (std::uint32_t n = 0; n < kConnections; n++) {
            const std::uint32_t owner =
                owner_of_row(state, workers, row_of(connection_of(state, n, 0)));
            // The ports that are dealt to this worker.
            const auto port = static_cast<std::uint16_t>(state.snat()[0].first_port + owner +
                                                         workers_ * next[owner]++);
            NewConnection made = connection_of(state, n, weir_swap16(port));
            made.last_hop = parts_[owner].last_hops->acquire(mac_word(kRouter), WEIR_NO_VLAN, 0);
            EXPECT_EQ(parts_[owner]
                          .table
                          .insert(
                              made, static_cast<std::uint16_t>(kNow_s - 5), UINT32_MAX,
                              [](const HotRow&) { return false; }, [](EntryIndex, const HotRow&) {})
                          .outcome,
                      InsertOutcome::kInserted);
        }
    }
    WorkerMemory& part(std::uint32_t worker) { return parts_[worker]; }
    CountersView& counters() { return counters_; }

    // The worker that has the n-th connection, with its row.
    std::optional<std::pair<std::uint32_t, HotRow>> find(const ForwardingState& state,
                                                         std::uint32_t n) {
        const NewConnection wanted = connection_of(state, n, 0);
        for (std::uint32_t i = 0; i < workers_; i++) {
            const EntryIndex entry = parts_[i].table.find_forward(wanted.forward_hash, wanted.key);
            if (entry != kNoEntry)
                return std::pair(i, parts_[i].table.row(entry));
        }
        return std::nullopt;
    }

    StrayReplies strays;

private:
    void lay_out(Left& left) {
        for (std::uint32_t i = 0; i < workers_; i++) {
            left.tables.emplace_back(WorkerMemory::bytes_needed(geometry_of(i, workers_)));
            parts_[i] = WorkerMemory::format(left.tables[i].span(), geometry_of(i, workers_));
        }
    }

    std::uint32_t workers_;
    Memory counters_memory_;
    CountersView counters_;
    std::vector<WorkerMemory> parts_;
};

class TakeoverTest : public ::testing::Test {
protected:
    // A first process that leaves its connections.
    void leave(std::uint32_t workers) {
        Process process(workers);
        process.start_anew(left);
        write_legend(left.rows(), before.state());
        left.rows().alive_s = kNow_s;
        process.open_connections(before.state());
    }
    Generation before, after;
    Left left;
};

} // namespace weir::lb
