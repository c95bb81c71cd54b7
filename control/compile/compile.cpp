// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/compile.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <tuple>

#include "control/compile/identity.hpp"
#include "control/compile/match_rows.hpp"
#include "control/compile/row_ids.hpp"
#include "control/compile/windows.hpp"
#include "dataplane/forwarding/packet.h"

namespace weir::control {
namespace {

bool hashes(config::Scheduler scheduler) {
    return scheduler == config::Scheduler::kMaglev || scheduler == config::Scheduler::kSourceHash;
}

bool ignores_weights(config::Scheduler scheduler) {
    return scheduler == config::Scheduler::kRoundRobin ||
           scheduler == config::Scheduler::kLeastConnections;
}

std::uint8_t scheduler_row(config::Scheduler scheduler) {
    switch (scheduler) {
    case config::Scheduler::kSourceHash:
        return WEIR_SCHEDULE_SOURCE_HASH;
    case config::Scheduler::kRoundRobin:
    case config::Scheduler::kWeightedRoundRobin:
        return WEIR_SCHEDULE_ROUND_ROBIN;
    case config::Scheduler::kLeastConnections:
    case config::Scheduler::kWeightedLeastConnections:
        return WEIR_SCHEDULE_LEAST;
    case config::Scheduler::kMaglev:
        break;
    }
    return WEIR_SCHEDULE_MAGLEV;
}

// One compilation under way. The steps build on each other in the order of run().
class Compilation {
public:
    Compilation(const CompileInput& input, SlotTables& slot_tables)
        : in_(input), slot_tables_(slot_tables) {}

    Expected<CompiledState> run() {
        out_.tables.generation = in_.history.generation + 1;
        out_.tables.hash_key = in_.hash_key;
        auto vips = assign_vips(in_.config, in_.history, in_.forget);
        if (!vips)
            return vips.error();
        auto backends = assign_backends(in_.config, in_.history, in_.forget);
        if (!backends)
            return backends.error();
        vips_ = std::move(*vips);
        backends_ = std::move(*backends);
        out_.vip_ids = vips_.ids;
        out_.backend_ids = backends_.ids;
        out_.leaving = backends_.leaving;

        auto snat = assign_snat(in_.config, in_.history);
        if (!snat)
            return snat.error();
        out_.tables.snat = std::move(*snat);
        auto match = build_match_table(in_.config, vips_, backends_, out_.tables.snat,
                                       in_.adjacency.own_addresses);
        if (!match)
            return match.error();
        out_.tables.match = std::move(*match);

        fill_node();
        fill_interfaces();
        note_uses();
        note_members_before();
        fill_pools();
        fill_vips();
        fill_leaving();
        for (weir_backend_row& row : backends_.rows)
            row.next_hop =
                row.state == WEIR_BACKEND_FREE ? WEIR_NO_ROW : next_hop_to(to_net(row.address));
        if (out_.tables.next_hops.size() > WEIR_MAX_NEXT_HOPS)
            return Error{"the backends are reached by " +
                         std::to_string(out_.tables.next_hops.size()) + " next hops; at most " +
                         std::to_string(WEIR_MAX_NEXT_HOPS) + " are possible"};
        if (out_.tables.pools.size() > WEIR_MAX_POOLS)
            return Error{"too many pools; at most " + std::to_string(WEIR_MAX_POOLS) +
                         " are possible"};
        out_.tables.vips = std::move(vips_.rows);
        out_.tables.backends = std::move(backends_.rows);
        slot_tables_.keep_used();
        return std::move(out_);
    }

private:
    void fill_node() {
        weir_node_row& row = out_.tables.node;
        const auto count = [](const net::IpPrefix& range) {
            return 1U << ((range.address.is_v4() ? 32U : 128U) - range.length);
        };
        if (const auto range = config::tunnel_source(in_.config, true)) {
            row.tunnel_source_v4 = to_weir(range->address);
            row.tunnel_source_v4_count = count(*range);
        }
        if (const auto range = config::tunnel_source(in_.config, false)) {
            row.tunnel_source_v6 = to_weir(range->address);
            row.tunnel_source_v6_count = count(*range);
        }
        row.gue_port = weir_swap16(in_.config.tunnel.gue_port);
        row.reset_grace_s = static_cast<std::uint16_t>(in_.config.engine.reset_grace.count());
        row.answers_pps = in_.config.engine.answers_pps;
        row.icmp_pps = in_.config.engine.icmp_pps;
    }

    void fill_interfaces() {
        for (std::size_t i = 0; i < in_.config.interfaces.size(); i++) {
            const config::InterfaceConfig& interface = in_.config.interfaces[i];
            const InterfaceFacts facts =
                i < in_.interfaces.size() ? in_.interfaces[i] : InterfaceFacts{};
            weir_interface_row row{};
            std::copy_n(facts.mac.bytes().begin(), sizeof(row.mac), row.mac);
            row.mtu = std::min(facts.mtu, interface.mtu);
            row.vlan_tci = interface.vlan.value_or(WEIR_NO_VLAN);
            row.flags = facts.bypassed ? WEIR_INTERFACE_BYPASSED : 0;
            row.punt_control_pps = interface.punt.control_pps;
            row.punt_echo_pps = interface.punt.echo_pps;
            row.punt_other_pps = interface.punt.other_pps;
            row.identity = name_identity(interface.name);
            out_.tables.interfaces.push_back(row);
        }
    }

    // A backend's row is of one pool, so one note for all pools will do.
    void note_members_before() {
        members_before_.resize(backends_.rows.size());
        for (const weir_pool_row& pool : in_.history.pools)
            for (std::uint32_t i = 0; i < pool.member_count; i++)
                members_before_[in_.history.members[pool.member_first + i]] = true;
    }

    // By index into the pool's backends: whether the generation before balanced over them.
    std::vector<bool> was_member(std::size_t pool) const {
        std::vector<bool> result(in_.config.pools[pool].backends.size());
        for (std::size_t i = 0; i < result.size(); i++)
            result[i] = members_before_[backends_.ids[pool][i]];
        return result;
    }

    void note_uses() {
        uses_.resize(in_.config.pools.size());
        for (const config::VipConfig& vip : in_.config.vips) {
            Uses& uses = uses_[vip.pool];
            uses.any = true;
            uses.open = uses.open || vip.on_all_down == config::OnAllDown::kOpen;
            uses.window_s = std::max(uses.window_s, window_length(vip));
        }
    }

    void fill_pools() {
        for (std::uint32_t pool = 0; pool < in_.config.pools.size(); pool++) {
            const config::PoolConfig& settings = in_.config.pools[pool];
            PoolDecision decision =
                decide_members(settings, in_.health, in_.admin, was_member(pool),
                               uses_[pool].open || !uses_[pool].any);
            weir_pool_row row{};
            row.identity = name_identity(settings.name);
            row.scheduler = scheduler_row(settings.scheduler);
            if (settings.persistence) {
                row.persistence_s =
                    static_cast<std::uint16_t>(settings.persistence->timeout.count());
                row.persistence_prefix_v4 = settings.persistence->prefix_v4;
                row.persistence_prefix_v6 = settings.persistence->prefix_v6;
            }
            const bool limits =
                std::any_of(settings.backends.begin(), settings.backends.end(),
                            [](const auto& backend) { return backend.max_connections != 0; });
            row.flags = limits ? WEIR_POOL_HAS_LIMITS : 0;
            if (ignores_weights(settings.scheduler))
                row.flags |= WEIR_POOL_IGNORES_WEIGHTS;
            fill_members(pool, decision, row);
            fill_windows(pool, row);
            out_.tables.pools.push_back(row);
            for (std::size_t i = 0; i < settings.backends.size(); i++) {
                weir_backend_row& backend = backends_.rows[backends_.ids[pool][i]];
                backend.state = static_cast<std::uint8_t>(decision.backends[i].state);
                backend.weight = decision.backends[i].weight;
                backend.max_connections = settings.backends[i].max_connections;
                backend.pool = pool;
            }
            out_.pools.push_back(std::move(decision));
        }
    }

    void fill_windows(std::uint32_t pool, weir_pool_row& row) {
        const auto members =
            std::span<const std::uint32_t>(out_.tables.members).last(row.member_count);
        const SlotTable* table = row.slot_count != 0 ? out_.segments[row.segment].get() : nullptr;
        const std::uint32_t length_s = uses_[pool].window_s;
        auto windows =
            next_windows(in_.history.windows, row.identity, table, members, in_.now_s, length_s);
        if (!windows)
            return;
        if (table && windows->slots->open())
            write_windows(row, length_s, *windows->slots);
        out_.windows.emplace(row.identity, std::move(*windows));
    }

    void write_windows(weir_pool_row& row, std::uint32_t length_s, const lb::SlotWindows& windows) {
        auto table = std::make_shared<SlotTable>();
        table->slots = windows.oldest();
        table->id = lb::segment_id(table->slots);
        row.oldest_segment = segment_of(std::move(table));
        row.elder_count = static_cast<std::uint32_t>(windows.elders().size());
        std::ranges::copy(windows.elders(), std::back_inserter(out_.tables.members));
        const auto close = windows.next_close_s(window_or_default(length_s));
        if (close && (!out_.next_close_s || *close < *out_.next_close_s))
            out_.next_close_s = close;
    }

    // Members stand in the order of their identities, so that the table does not depend on the
    // order of the list.
    void fill_members(std::uint32_t pool, const PoolDecision& decision, weir_pool_row& row) {
        struct Member {
            lb::MaglevBackend maglev;
            std::uint32_t id;
        };
        const config::PoolConfig& settings = in_.config.pools[pool];
        std::vector<Member> members;
        for (std::size_t i = 0; i < settings.backends.size(); i++) {
            if (!decision.backends[i].member)
                continue;
            const MaglevIdentity identity = maglev_identity(settings.backends[i].address);
            members.push_back({{identity.a, identity.b,
                                scheduling_weight(settings.scheduler, decision.backends[i].weight)},
                               backends_.ids[pool][i]});
        }
        std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) {
            return std::tie(a.maglev.identity_hash_a, a.maglev.identity_hash_b) <
                   std::tie(b.maglev.identity_hash_a, b.maglev.identity_hash_b);
        });
        row.member_first = static_cast<std::uint32_t>(out_.tables.members.size());
        row.member_count = static_cast<std::uint32_t>(members.size());
        std::vector<lb::MaglevBackend> maglev;
        std::vector<std::uint32_t> weights;
        for (const Member& member : members) {
            out_.tables.members.push_back(member.id);
            maglev.push_back(member.maglev);
            weights.push_back(member.maglev.weight);
        }
        if (members.empty())
            return;
        const std::shared_ptr<const SlotTable> table =
            hashes(settings.scheduler) ? slot_tables_.table(maglev, settings.maglev_size)
                                       : slot_tables_.round(weights);
        row.slot_count = static_cast<std::uint32_t>(table->slots.size());
        row.segment = segment_of(table);
    }

    std::uint32_t segment_of(std::shared_ptr<const SlotTable> table) {
        const auto [entry, added] =
            segment_index_.emplace(table->id, static_cast<std::uint32_t>(out_.segments.size()));
        if (added) {
            out_.tables.segments.push_back(
                {table->id, table->slots.size() * sizeof(std::uint16_t)});
            out_.segments.push_back(std::move(table));
        }
        return entry->second;
    }

    void fill_vips() {
        for (std::size_t i = 0; i < in_.config.vips.size(); i++) {
            const config::VipConfig& vip = in_.config.vips[i];
            weir_vip_row& row = vips_.rows[vips_.ids[i]];
            const config::PortRange& ports = vip.ports;
            row.port = ports.is_all() ? 0 : weir_swap16(ports.first);
            row.last_port = ports.is_all() ? 0 : weir_swap16(ports.last);
            row.flags = flags_of(vip);
            row.pool = pool_row_for(vip);
            row.max_connections = vip.max_connections;
            const auto seconds = [](std::chrono::seconds value) {
                return static_cast<std::uint16_t>(value.count());
            };
            row.timeouts = {seconds(vip.timeouts.syn), seconds(vip.timeouts.established),
                            seconds(vip.timeouts.fin), seconds(vip.timeouts.rst),
                            seconds(vip.timeouts.udp)};
            row.on_backend_down = down_policy(vip.on_backend_down);
        }
    }

    std::uint8_t flags_of(const config::VipConfig& vip) const {
        unsigned flags = WEIR_VIP_SERVED;
        if (hashes(in_.config.pools[vip.pool].scheduler) &&
            vip.forward != config::ForwardMode::kFullNat)
            flags |= WEIR_VIP_HASH_RECOVERS;
        if (vip.on_all_down != config::OnAllDown::kOpen)
            flags |= WEIR_VIP_DROP_ALL_DOWN;
        if (vip.on_all_down == config::OnAllDown::kReject)
            flags |= WEIR_VIP_REJECT_ALL_DOWN;
        if (vip.on_limit == config::OnLimit::kReject)
            flags |= WEIR_VIP_REJECT_AT_LIMIT;
        if (vip.mss_clamp && vip.protocol == config::Protocol::kTcp &&
            config::encapsulates(vip.forward))
            flags |= WEIR_VIP_CLAMP_MSS;
        if (vip.packet_too_big)
            flags |= WEIR_VIP_ANSWER_TOO_BIG;
        if (vip.tracking == config::Tracking::kExceptions)
            flags |= WEIR_VIP_EXCEPTIONS;
        return static_cast<std::uint8_t>(flags);
    }

    // VIPs of one pool may differ in what they do when all is down. In panic the pool's own row has
    // the members for those that stay open; the others get a row without any.
    std::uint32_t pool_row_for(const config::VipConfig& vip) {
        const auto pool = static_cast<std::uint32_t>(vip.pool);
        if (!out_.pools[pool].panic || vip.on_all_down == config::OnAllDown::kOpen ||
            out_.tables.pools[pool].member_count == 0)
            return pool;
        weir_pool_row row = out_.tables.pools[pool];
        row.segment = row.slot_count = row.member_first = row.member_count = row.elder_count = 0;
        out_.tables.pools.push_back(row);
        return static_cast<std::uint32_t>(out_.tables.pools.size() - 1);
    }

    static std::uint8_t down_policy(config::OnBackendDown policy) {
        switch (policy) {
        case config::OnBackendDown::kReset:
            return WEIR_BACKEND_DOWN_RESET;
        case config::OnBackendDown::kKeep:
            return WEIR_BACKEND_DOWN_KEEP;
        case config::OnBackendDown::kReselect:
            break;
        }
        return WEIR_BACKEND_DOWN_RESELECT;
    }

    // Removed backends finish what they have. One that was down stays down.
    void fill_leaving() {
        for (const std::uint32_t id : backends_.leaving) {
            weir_backend_row& row = backends_.rows[id];
            if (row.state != WEIR_BACKEND_DOWN)
                row.state = WEIR_BACKEND_DRAINING;
            row.weight = 0;
            row.pool = new_pool_row(row.pool);
        }
    }

    std::uint32_t new_pool_row(std::uint32_t old) const {
        if (old >= in_.history.pools.size())
            return WEIR_NO_ROW;
        const std::uint64_t identity = in_.history.pools[old].identity;
        const auto& pools = out_.tables.pools;
        const auto found =
            std::find_if(pools.begin(), pools.end(),
                         [identity](const weir_pool_row& row) { return row.identity == identity; });
        return found == pools.end() ? WEIR_NO_ROW
                                    : static_cast<std::uint32_t>(found - pools.begin());
    }

    std::uint32_t next_hop_to(const net::IpAddress& address) {
        const auto found = in_.adjacency.hops.find(address);
        if (found == in_.adjacency.hops.end() ||
            found->second.interface >= out_.tables.interfaces.size())
            return WEIR_NO_ROW;
        const Hop& hop = found->second;
        const auto [entry, added] =
            hop_rows_.emplace(std::tuple(hop.interface, hop.mac, hop.mtu),
                              static_cast<std::uint32_t>(out_.tables.next_hops.size()));
        if (!added)
            return entry->second;
        const weir_interface_row& interface = out_.tables.interfaces[hop.interface];
        weir_next_hop_row row{};
        std::copy_n(hop.mac.bytes().begin(), sizeof(row.destination_mac), row.destination_mac);
        std::copy_n(interface.mac, sizeof(row.source_mac), row.source_mac);
        row.vlan_tci = interface.vlan_tci;
        row.mtu = std::min(hop.mtu, interface.mtu);
        row.interface = static_cast<std::uint8_t>(hop.interface);
        row.resolved = 1;
        out_.tables.next_hops.push_back(row);
        return entry->second;
    }

    // What a pool's VIPs ask of it.
    struct Uses {
        bool any = false;
        bool open = false;          // when all its backends are down
        std::uint32_t window_s = 0; // window_length() of the longest
    };

    const CompileInput& in_;
    SlotTables& slot_tables_;
    CompiledState out_;
    VipRows vips_;
    BackendRows backends_;
    std::vector<bool> members_before_; // by backend row
    std::vector<Uses> uses_;           // by pool
    std::map<std::uint64_t, std::uint32_t> segment_index_;
    std::map<std::tuple<std::uint32_t, net::MacAddress, std::uint16_t>, std::uint32_t> hop_rows_;
};

} // namespace

std::uint32_t scheduling_weight(config::Scheduler scheduler, std::uint16_t weight) {
    return ignores_weights(scheduler) && weight > 0 ? 1 : weight;
}

History history_of(const lb::ForwardingState& state) {
    return {.generation = state.generation(),
            .vips = {state.vips().begin(), state.vips().end()},
            .pools = {state.pools().begin(), state.pools().end()},
            .members = {state.members().begin(), state.members().end()},
            .backends = {state.backends().begin(), state.backends().end()},
            .snat = {state.snat().begin(), state.snat().end()},
            .windows = {}};
}

Expected<CompiledState> compile(const CompileInput& input, SlotTables& slot_tables) {
    return Compilation(input, slot_tables).run();
}

} // namespace weir::control
