// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/kernel_balancer.hpp"

#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <ctime>

#include "control/kernel/link.hpp"
#include "control/wiring/connection_exchange.hpp"
#include "dataplane/forwarding/exceptions.h"

namespace weir::control {
namespace {

// A copy of counters is taken while packets pass. One that a packet crossed does not add up.
constexpr int kTries = 16;

constexpr std::uint32_t kSpareTables = 64; // slot tables of the largest size that always fit

} // namespace

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::uint64_t(now.tv_sec) * 1'000'000'000 + std::uint64_t(now.tv_nsec);
}

std::string maps_in(const std::string& directory) {
    return directory + "/maps_" + std::to_string(WEIR_BALANCER_LAYOUT);
}

weir_balancer_capacities balancer_rows_of(const config::Config& config) {
    weir_balancer_capacities rows{};
    rows.vips = static_cast<std::uint32_t>(config.vips.size());
    rows.pools = static_cast<std::uint32_t>(config.pools.size());
    for (const config::PoolConfig& pool : config.pools) {
        rows.backends += static_cast<std::uint32_t>(pool.backends.size());
        rows.slot_rows += xdp::slot_rows_of(WEIR_MAGLEV_MAX_SIZE);
    }
    rows.members = rows.backends;
    rows.next_hops = rows.backends;
    return rows;
}

weir_balancer_capacities balancer_rows_of(const lb::ForwardingState& state) {
    weir_balancer_capacities rows{};
    rows.vips = static_cast<std::uint32_t>(state.vips().size());
    rows.pools = static_cast<std::uint32_t>(state.pools().size());
    rows.backends = static_cast<std::uint32_t>(state.backends().size());
    rows.members = static_cast<std::uint32_t>(state.members().size());
    rows.next_hops = static_cast<std::uint32_t>(state.next_hops().size());
    rows.slot_rows = rows.pools * xdp::slot_rows_of(WEIR_MAGLEV_MAX_SIZE);
    return rows;
}

weir_balancer_capacities larger_of(const weir_balancer_capacities& a,
                                   const weir_balancer_capacities& b) {
    return {.vips = std::max(a.vips, b.vips),
            .pools = std::max(a.pools, b.pools),
            .members = std::max(a.members, b.members),
            .backends = std::max(a.backends, b.backends),
            .next_hops = std::max(a.next_hops, b.next_hops),
            .slot_rows = std::max(a.slot_rows, b.slot_rows)};
}

xdp::BalancerSizes balancer_sizes_for(const weir_balancer_capacities& need,
                                      std::uint32_t connections) {
    const auto roomy = [](std::uint32_t rows, std::uint32_t least, std::uint32_t most) {
        return std::min(std::max(std::bit_ceil(4 * rows), least), most);
    };
    return {.rows = {.vips = roomy(need.vips, 256, WEIR_MAX_VIPS),
                     .pools = roomy(need.pools, 256, WEIR_MAX_POOLS),
                     .members = roomy(need.members, 4096, 4 * WEIR_MAX_BACKENDS),
                     .backends = roomy(need.backends, 1024, WEIR_MAX_BACKENDS),
                     .next_hops = roomy(need.next_hops, 1024, WEIR_MAX_NEXT_HOPS),
                     // Two halves, of a table and its oldest backends each, and gaps between them.
                     .slot_rows = 4 * need.slot_rows +
                                  kSpareTables * xdp::slot_rows_of(WEIR_MAGLEV_MAX_SIZE)},
            .connections = connections};
}

Expected<std::vector<std::uint32_t>> interfaces_of(const config::Config& config) {
    std::vector<std::uint32_t> result;
    for (const config::InterfaceConfig& interface : config.interfaces) {
        result.push_back(::if_nametoindex(interface.kernel_interface.c_str()));
        if (result.back() == 0)
            return Error{"interface " + interface.name + ": there is no " +
                         interface.kernel_interface};
    }
    return result;
}

Expected<std::vector<InterfaceFacts>> interface_facts(NetlinkSocket& netlink,
                                                      const config::Config& config) {
    std::vector<InterfaceFacts> facts;
    for (const config::InterfaceConfig& interface : config.interfaces) {
        const auto link = find_link(netlink, interface.kernel_interface);
        if (!link)
            return link.error();
        facts.push_back(
            {link->mac, static_cast<std::uint16_t>(std::min(link->mtu, 65535u)), false});
    }
    return facts;
}

Expected<std::unique_ptr<KernelBalancer>> KernelBalancer::make(boost::asio::io_context& io,
                                                               xdp::Balancer balancer) {
    std::unique_ptr<KernelBalancer> made(new KernelBalancer(io, std::move(balancer)));
    if (auto counters = made->make_counters(); !counters)
        return counters.error();
    return made;
}

KernelBalancer::~KernelBalancer() = default;

// --- views ---------------------------------------------------------------------------------------

// The one table of all CPUs.
class KernelBalancer::Connections final : public ConnectionSource {
public:
    explicit Connections(const KernelBalancer& balancer) : balancer_(balancer) {}
    [[nodiscard]] std::uint32_t worker() const override { return 0; }

    [[nodiscard]] Expected<Place> walk(Place place, std::uint32_t entries,
                                       const See& see) const override {
        if (!balancer_.live())
            return Place{};
        const auto vips = balancer_.live()->state().vips();
        const auto now_s = static_cast<std::uint32_t>(monotonic_ns() / 1'000'000'000);
        bool more = true;
        do {
            std::uint32_t looked = 0;
            auto next = balancer_.maps().see_connections(
                place, [&](const weir_connection_key& key, const weir_connection& connection) {
                    looked++;
                    const auto age = static_cast<std::int32_t>(now_s - connection.last_seen_s);
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
    const KernelBalancer& balancer_;
};

void KernelBalancer::set_driver(std::size_t interface, const std::string& driver) {
    channel::InterfaceInfo& info = engine_.hello.interface[interface];
    std::fill(std::begin(info.driver), std::end(info.driver), '\0');
    driver.copy(info.driver, sizeof(info.driver) - 1);
}

void KernelBalancer::describe_interfaces(NetlinkSocket& netlink, const config::Config& config) {
    channel::Hello& hello = engine_.hello;
    hello.workers = 1;
    hello.connections_per_worker = balancer_.sizes().connections;
    hello.started_ns = balancer_.began_ns();
    hello.interfaces = static_cast<std::uint32_t>(config.interfaces.size());
    for (std::size_t i = 0; i < config.interfaces.size(); i++) {
        channel::InterfaceInfo& info = hello.interface[i];
        info.kind = channel::InterfaceKind::kernel_visible;
        config.interfaces[i].name.copy(info.name, sizeof(info.name) - 1);
        const auto link = find_link(netlink, config.interfaces[i].kernel_interface);
        if (!link)
            continue;
        std::copy_n(link->mac.bytes().begin(), sizeof(info.mac), info.mac);
        info.mtu = static_cast<std::uint16_t>(std::min(link->mtu, 65535u));
    }
}

Expected<void> KernelBalancer::publish(const Generation& generation,
                                       std::span<const std::uint32_t> interfaces) {
    auto published = balancer_.publish(generation.state(), interfaces, monotonic_ns());
    if (published)
        engine_.hello.started_ns = balancer_.began_ns();
    return published;
}

// --- what an earlier control has left ------------------------------------------------------------

Expected<std::shared_ptr<const Generation>> KernelBalancer::found_generation() const {
    const auto published = balancer_.published();
    if (!published)
        return published.error();
    if (!*published)
        return std::shared_ptr<const Generation>{};
    std::string problem;
    std::map<std::uint64_t, SegmentMemory> segments;
    for (const auto& [id, slots] : (*published)->slot_tables) {
        auto memory = channel::SharedMemory::create_sealed(
            "weir-slots", std::as_bytes(std::span(slots)), problem);
        if (!memory)
            return Error{"no memory for a slot table: " + problem};
        segments[id] = std::make_shared<const channel::SharedMemory>(std::move(*memory));
    }
    auto root = channel::SharedMemory::create_sealed("weir-root", (*published)->root, problem);
    if (!root)
        return Error{"no memory for the forwarding state: " + problem};
    return Generation::adopt(std::move(*root), segments);
}

std::string KernelBalancer::unfit(const config::Config& config) const {
    const xdp::BalancerSizes& have = balancer_.sizes();
    const weir_balancer_capacities need = balancer_rows_of(config);
    if (have.connections != config.engine.connections)
        return "engine.connections was " + std::to_string(have.connections);
    if (have.rows.vips < need.vips || have.rows.pools < need.pools ||
        have.rows.members < need.members || have.rows.backends < need.backends ||
        have.rows.next_hops < need.next_hops || have.rows.slot_rows < 2 * need.slot_rows)
        return "the configuration has outgrown its maps";
    // Connections name interfaces by row.
    const std::vector<std::uint32_t> before = balancer_.devices();
    for (std::size_t i = 0; i < std::min(before.size(), config.interfaces.size()); i++)
        if (before[i] != ::if_nametoindex(config.interfaces[i].kernel_interface.c_str()))
            return "its interfaces were others";
    return "";
}

// --- counters ------------------------------------------------------------------------------------

Expected<void> KernelBalancer::make_counters() {
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

void KernelBalancer::refresh() {
    const auto now = std::chrono::steady_clock::now();
    if (now - refreshed_ < kFresh)
        return;
    refreshed_ = now;
    auto counts = balancer_.counts();
    for (int tries = 1; counts && !xdp::adds_up(*counts) && tries < kTries; tries++)
        counts = balancer_.counts();
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
    block.generation = balancer_.generation();
    count_rows();
    lb::end_write(block);
}

// A call each.
void KernelBalancer::count_rows() {
    if (!live_)
        return;
    std::uint64_t recorded = 0;
    for (std::uint32_t row = 0; row < live_->state().vips().size(); row++) {
        const auto counts = balancer_.vip_counts(row);
        if (!counts)
            continue;
        recorded += balancer_.vip_recorded(row);
        engine_.counters->vip(0, row) = {.packets = counts->packets,
                                         .bytes = counts->bytes,
                                         .connections_opened = counts->connections_opened,
                                         .connections_active = balancer_.vip_active(row),
                                         .drops = counts->drops,
                                         .reply_packets = counts->reply_packets,
                                         .reply_bytes = counts->reply_bytes,
                                         .reserved = 0};
    }
    engine_.counters->worker(0).connections_active = recorded;
    for (std::uint32_t row = 0; row < live_->state().backends().size(); row++)
        if (const auto counts = balancer_.backend_counts(row))
            engine_.counters->backend(0,
                                      row) = {.packets = counts->packets,
                                              .bytes = counts->bytes,
                                              .connections_opened = counts->connections_opened,
                                              .connections_active = balancer_.backend_active(row),
                                              .reply_packets = counts->reply_packets,
                                              .reply_bytes = counts->reply_bytes,
                                              .reserved = {}};
}

// --- upkeep --------------------------------------------------------------------------------------

// In steps, between which everything else has its turn.
void KernelBalancer::sweep() {
    const auto began = std::chrono::steady_clock::now();
    const auto done =
        live_ ? balancer_.sweep_step(pass_, live_->state(), monotonic_ns()) : Expected<bool>(true);
    pass_took_ += std::chrono::steady_clock::now() - began;
    std::chrono::steady_clock::duration pause{};
    if (!done || *done) {
        if (!done)
            spdlog::error("{}", done.error().sentence);
        pause =
            std::max<std::chrono::steady_clock::duration>(kSweepPause, kSweepShare * pass_took_);
        pass_ = {};
        pass_took_ = {};
    }
    sweep_timer_.expires_after(pause);
    sweep_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            sweep();
    });
}

} // namespace weir::control
