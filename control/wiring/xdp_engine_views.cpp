// SPDX-License-Identifier: BSD-3-Clause
// What the balancer in the kernel counts and remembers, in the form that the views read.
#include <algorithm>
#include <ctime>

#include "control/kernel/link.hpp"
#include "control/wiring/xdp_engine.hpp"
#include "dataplane/forwarding/exceptions.h"

namespace weir::control {
namespace {

// A copy of counters is taken while packets pass. One that a packet crossed does not add up.
constexpr int kTries = 16;

} // namespace

// The one table of all CPUs.
class XdpEngine::Connections final : public ConnectionSource {
public:
    explicit Connections(const XdpEngine& engine) : engine_(engine) {}
    [[nodiscard]] std::uint32_t worker() const override { return 0; }

    [[nodiscard]] Expected<Place> walk(Place place, std::uint32_t entries,
                                       const See& see) const override {
        if (!engine_.live_)
            return Place{};
        const auto vips = engine_.live_->state().vips();
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        bool more = true;
        do {
            std::uint32_t looked = 0;
            auto next = engine_.balancer_->see_connections(
                place, [&](const weir_connection_key& key, const weir_connection& connection) {
                    looked++;
                    const auto age = static_cast<std::int32_t>(
                        static_cast<std::uint32_t>(now.tv_sec) - connection.last_seen_s);
                    // What is too old is no connection any more; the next sweep takes it.
                    if (key.vip < vips.size() &&
                        age < weir_entry_timeout_s(&vips[key.vip], connection.state))
                        more = see(row_of(key, connection)) && more;
                });
            if (!next)
                return next.error();
            place = *next;
            entries -= std::min(entries, std::max(looked, 1u));
        } while (place && more && entries > 0);
        return place;
    }

private:
    static lb::HotRow row_of(const weir_connection_key& key, const weir_connection& connection) {
        lb::HotRow row{};
        row.client = key.client;
        row.client_port = key.client_port;
        row.service_port = key.service_port;
        row.vip = static_cast<std::uint16_t>(key.vip);
        row.snat_port = connection.snat_port;
        row.backend = connection.backend & (lb::kBackendRowLimit - 1);
        row.last_hop = lb::kNoLastHop;
        row.snat_address = connection.snat_address;
        row.state = connection.state & 0xf;
        row.last_seen_s = static_cast<std::uint16_t>(connection.last_seen_s);
        return row;
    }

    const XdpEngine& engine_;
};

void XdpEngine::describe_interfaces() {
    channel::Hello& hello = engine_.hello;
    hello.workers = 1;
    hello.connections_per_worker = balancer_->sizes().connections;
    hello.started_ns = balancer_->began_ns();
    hello.interfaces = static_cast<std::uint32_t>(config_.interfaces.size());
    for (std::size_t i = 0; i < config_.interfaces.size(); i++) {
        channel::InterfaceInfo& info = hello.interface[i];
        info.kind = channel::InterfaceKind::kernel_visible;
        config_.interfaces[i].name.copy(info.name, sizeof(info.name) - 1);
        const auto link = find_link(*netlink_, config_.interfaces[i].kernel_interface);
        if (!link)
            continue;
        std::copy_n(link->mac.bytes().begin(), sizeof(info.mac), info.mac);
        info.mtu = static_cast<std::uint16_t>(std::min(link->mtu, 65535u));
    }
}

Expected<void> XdpEngine::make_counters() {
    std::string problem;
    auto memory = channel::SharedMemory::create("weir-counters", lb::CountersView::bytes_needed(1),
                                                false, problem);
    if (!memory)
        return Error{"no memory for counters: " + problem};
    engine_.counters = lb::CountersView::format(memory->bytes(), 1);
    engine_.memories.push_back(std::move(*memory));
    engine_.connections.push_back(std::make_shared<Connections>(*this));
    return {};
}

void XdpEngine::refresh() {
    const auto now = std::chrono::steady_clock::now();
    if (!ready_ || now - refreshed_ < kFresh)
        return;
    refreshed_ = now;
    auto counts = balancer_->counts();
    for (int tries = 1; counts && !xdp::adds_up(*counts) && tries < kTries; tries++)
        counts = balancer_->counts();
    if (!counts)
        return;
    lb::WorkerCounters& block = engine_.counters->worker(0);
    lb::begin_write(block);
    std::copy_n(counts->verdicts, WEIR_VERDICT_COUNT, block.verdicts);
    for (std::uint32_t port = 0; port < WEIR_MAX_INTERFACES; port++)
        block.ports[port] = {counts->ports[port].rx_packets, counts->ports[port].rx_bytes,
                             counts->ports[port].tx_packets, counts->ports[port].tx_bytes};
    block.connections_opened = counts->connections_opened;
    block.connections_expired = counts->connections_expired;
    block.generation = balancer_->generation();
    count_rows();
    lb::end_write(block);
}

// A call each.
void XdpEngine::count_rows() {
    if (!live_)
        return;
    std::uint64_t recorded = 0;
    for (std::uint32_t row = 0; row < live_->state().vips().size(); row++) {
        const auto counts = balancer_->vip_counts(row);
        if (!counts)
            continue;
        recorded += balancer_->vip_recorded(row);
        engine_.counters->vip(0, row) = {.packets = counts->packets,
                                         .bytes = counts->bytes,
                                         .connections_opened = counts->connections_opened,
                                         .connections_active = balancer_->vip_active(row),
                                         .drops = counts->drops,
                                         .reply_packets = counts->reply_packets,
                                         .reply_bytes = counts->reply_bytes,
                                         .reserved = 0};
    }
    engine_.counters->worker(0).connections_active = recorded;
    for (std::uint32_t row = 0; row < live_->state().backends().size(); row++)
        if (const auto counts = balancer_->backend_counts(row))
            engine_.counters->backend(0,
                                      row) = {.packets = counts->packets,
                                              .bytes = counts->bytes,
                                              .connections_opened = counts->connections_opened,
                                              .connections_active = balancer_->backend_active(row),
                                              .reply_packets = counts->reply_packets,
                                              .reply_bytes = counts->reply_bytes,
                                              .reserved = {}};
}

} // namespace weir::control
