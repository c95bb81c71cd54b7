// SPDX-License-Identifier: BSD-3-Clause
// Whom the short way's packets are for, and the order of its sweeps.
#include "dataplane/dpdk/short_way.hpp"

#include <array>
#include <bit>

namespace weir::dpdk {
namespace {

bool is_between(const Destination& to, weir_be16 port) {
    const std::uint16_t host_port = weir_swap16(port);
    return host_port >= to.first_port && host_port <= to.last_port;
}

void match(const weir_match_view& table, const weir_packet& packet, Destination& to) {
    const weir_match_row* ranges = ranges_alone(table, packet);
    if (ranges) {
        to.match = weir_match_ranges(&table, ranges, packet.destination_port);
        if (to.match.kind == WEIR_MATCH_SNAT) {
            const weir_range_row& first = table.ranges[ranges->range_first];
            to.ranges = ranges;
            to.first_port = first.first_port;
            to.last_port = first.last_port;
            if (ranges->range_count == 0 || !is_between(to, packet.destination_port))
                to.first_port = 1, to.last_port = 0;
            return;
        }
    }
    to.match = weir_match_packet(&table, &packet);
}

Way way_of(const weir_vip_row& vip) {
    if (vip.forward == WEIR_FORWARD_FULL_NAT)
        return Way::full_nat;
    if (vip.forward == WEIR_FORWARD_NAT)
        return Way::nat;
    return weir_forward_encapsulates(vip.forward) ? Way::in_tunnel : Way::as_they_are;
}

Destination destination_of(const lb::ForwardingState& state, const weir_packet& packet) {
    Destination to{};
    match(state.match(), packet, to);
    if (to.match.kind == WEIR_MATCH_SNAT || to.match.kind == WEIR_MATCH_BACKEND) {
        to.guide = Guide::backend;
        to.way = Way::to_client;
    } else if (to.match.kind == WEIR_MATCH_VIP) {
        const weir_vip_row& vip = state.vips()[to.match.index];
        const weir_pool_row& pool = state.pools()[vip.pool];
        to.way = way_of(vip);
        const bool has_slots = weir_has_slots_of_flows(&pool);
        if (!weir_is_settled(&vip, &pool))
            to.guide = Guide::client;
        else if (has_slots)
            to.guide = Guide::slot;
        if (has_slots) {
            to.slots = state.slots(pool).data();
            to.slot_count = pool.slot_count;
            to.members = state.members_of(pool).data();
        }
    }
    return to;
}

// A set of packets for each way and each guide, as many as a vector has lanes.
using Kinds [[gnu::vector_size(32)]] = PacketSet;

constexpr std::size_t lane_of(Way way) {
    return static_cast<std::size_t>(way);
}
// REQUIRES: it is one.
constexpr std::size_t lane_of(Guide guide) {
    return kWays + static_cast<std::size_t>(guide) - 1;
}
static_assert(lane_of(Guide::backend) + 1 == sizeof(Kinds) / sizeof(PacketSet));

// By guide and way: every packet in the lanes of both, none in the others.
using Lanes = std::array<PacketSet, sizeof(Kinds) / sizeof(PacketSet)>;
constexpr auto kKinds = [] {
    std::array<std::array<Lanes, kWays>, lane_of(Guide::backend) - kWays + 2> kinds{};
    for (std::size_t guide = 0; guide < kinds.size(); guide++)
        for (std::size_t way = 0; way < kWays; way++) {
            kinds[guide][way][way] = ~PacketSet{0};
            if (guide != static_cast<std::size_t>(Guide::none))
                kinds[guide][way][lane_of(static_cast<Guide>(guide))] = ~PacketSet{0};
        }
    return kinds;
}();

Kinds kind_of(const Destination& to) {
    return std::bit_cast<Kinds>(
        kKinds[static_cast<std::size_t>(to.guide)][static_cast<std::size_t>(to.way)]);
}

// Fills the candidates. Most packets of a burst are for the same, or for what others shortly before
// them were for, which takes a glance.
class Finder {
public:
    Finder(Worker& worker, Burst& burst, Candidates& found)
        : worker_(worker), recent_(*worker.recent_destinations), burst_(burst), found_(found),
          plain_(burst.columns) {}

    void find() {
        const RecentDestinations& recent = recent_;
        const PlainBurst& plain = plain_;
        find_each(
            plain.v4,
            [&](std::uint32_t i) -> const Destination& {
                const Destination* to = recent.find_v4(plain, i);
                return to ? *to : look_up(i);
            },
            [&](PacketSet among, std::uint32_t i, const Destination& to) {
                return to.by_endpoint()  ? plain.same_to_v4(among, i, kToEndpoint)
                       : to.by_address() ? plain.same_to_v4(among, i, kToAddress)
                                         : set_of(i);
            });
        find_each(
            plain.v6,
            [&](std::uint32_t i) -> const Destination& {
                const Destination* to = recent.find_v6(plain, i);
                return to ? *to : look_up(i);
            },
            [&](PacketSet among, std::uint32_t i, const Destination& to) {
                return to.by_endpoint() ? plain.same_to_v6(among, i) : set_of(i);
            });
        sort();
        if (const PacketSet unread = set_of_first(burst_.count) & ~plain_.all(); unread != 0)
            stay_behind(~set_of_first(first_of(unread) + 1));
        if (resets_ != 0)
            stay_behind_resets();
    }

    // What was looked up, for the bursts that follow. It may take the place of what candidates of
    // this one point to, so not before they have left.
    void remember() {
        for_each(looked_up_ & plain_.v4,
                 [&](std::uint32_t i) { recent_.remember_v4(plain_, i, new_[i]); });
        for_each(looked_up_ & plain_.v6,
                 [&](std::uint32_t i) { recent_.remember_v6(plain_, i, new_[i]); });
    }

private:
    // All packets for one in one go, as long as these are several. Where there are many
    // destinations, looking for more of the same would not pay.
    static constexpr int kSeveral = 4;

    template <class Of, class Same> void find_each(PacketSet left, Of of, Same same) {
        // For all that the compiler knows, what is written to these could be a part of this object.
        Candidates& found = found_;
        Burst& burst = burst_;
        Kinds kinds = kinds_;
        for (bool several = true; several && left != 0;) {
            const std::uint32_t i = first_of(left);
            const Destination& to = of(i);
            const PacketSet set = same(left, i, to);
            several = std::popcount(set) >= kSeveral;
            kinds |= kind_of(to) & set;
            take(set, to);
            left &= ~set;
        }
        for (; left != 0; left &= left - 1) {
            const std::uint32_t i = first_of(left);
            const Destination& to = of(i);
            kinds |= kind_of(to) & set_of(i);
            note(found, burst, i, to);
            if (to.guide == Guide::backend)
                look_closer(i, to);
        }
        kinds_ = kinds;
    }

    const Destination& look_up(std::uint32_t i) {
        looked_up_ |= set_of(i);
        new_[i] = with_packet(burst_, i, [&](const weir_packet& packet) {
            return destination_of(*worker_.state, packet);
        });
        return new_[i];
    }

    [[gnu::always_inline]] static void note(Candidates& found, Burst& burst, std::uint32_t i,
                                            const Destination& to) {
        found.to[i] = &to;
        burst.match[i] = to.match;
    }

    void take(PacketSet set, const Destination& to) {
        if (set == set_of_first(burst_.count)) { // the usual burst, a few vectors
            const weir_match match = to.match;
            std::fill_n(found_.to, kBurstSize, &to);
            std::fill_n(burst_.match, kBurstSize, match);
        } else {
            for_each(set, [&](std::uint32_t i) { note(found_, burst_, i, to); });
        }
        if (to.guide == Guide::backend)
            for_each(set, [&](std::uint32_t i) { look_closer(i, to); });
    }

    PacketSet set(Way way) const { return kinds_[lane_of(way)]; }
    PacketSet set(Guide guide) const { return kinds_[lane_of(guide)]; }

    // By what they are, the packets that may go on.
    void sort() {
        for (std::size_t way = 0; way < kWays; way++)
            found_.by_way[way] = kinds_[way];
        // What tells where a tunnel's clients are is to be remembered.
        const PacketSet remembered = set(Way::in_tunnel) & ~(plain_.tcp & plain_.quiet);
        found_.by_slot = set(Guide::slot) & ~remembered;
        // Those that change nothing. Only after a reset from its own side does such a packet. A
        // router takes one off the TTL.
        const PacketSet routed = set(Way::nat) | set(Way::full_nat) | set(Way::to_client);
        const PacketSet goes_on = plain_.quiet & (~routed | plain_.routable);
        resets_ = (set(Guide::client) | set(Guide::backend)) & plain_.reset;
        found_.of_clients = set(Guide::client);
        found_.watched = set(Guide::client) & ~goes_on;
        found_.of_backends = set(Guide::backend) & goes_on & ~for_others_;
    }

    // What a glance leaves open. SNAT: which port of the address. `nat`: whether the backend's
    // packet is for nobody here.
    [[gnu::always_inline]] void look_closer(std::uint32_t i, const Destination& to) {
        const auto port = static_cast<weir_be16>(ports(i) >> 16);
        if (to.by_address() ? is_between(to, port)
                            : !to.by_source() || !worker_.state->may_know(destination(i)))
            return;
        if (!is_for(i, port, to))
            for_others_ |= set_of(i);
    }

    bool is_v4(std::uint32_t i) const { return (plain_.v4 & set_of(i)) != 0; }
    weir_address destination(std::uint32_t i) const {
        return is_v4(i) ? plain_.destination_v4(i) : plain_.destination_v6(i);
    }
    std::uint32_t ports(std::uint32_t i) const {
        return is_v4(i) ? plain_.ports_v4(i) : plain_.ports_v6(i);
    }

    [[gnu::noinline]] bool is_for(std::uint32_t i, weir_be16 port, const Destination& to) {
        const weir_match_view& table = worker_.state->match();
        if (to.by_address()) {
            burst_.match[i] = weir_match_ranges(&table, to.ranges, port);
            return burst_.match[i].kind == WEIR_MATCH_SNAT;
        }
        return with_packet(burst_, i, [&](const weir_packet& packet) {
            return weir_match_destination(&table, &packet).kind == WEIR_MATCH_EMPTY;
        });
    }

    // What comes behind a reset of its own side, or behind what may be one, waits for the stages.
    void stay_behind(PacketSet set) {
        found_.watched |= found_.of_clients & set;
        found_.of_backends &= ~set;
    }

    void stay_behind_resets() {
        std::uint64_t reset = 0;
        for_each(resets_ | found_.of_clients | found_.of_backends, [&](std::uint32_t i) {
            if ((reset & bit_of(i)) != 0)
                stay_behind(set_of(i));
            if ((resets_ & set_of(i)) != 0)
                reset |= bit_of(i);
        });
    }

    // Few flows of a burst share one.
    std::uint64_t bit_of(std::uint32_t i) const {
        return std::uint64_t{1} << (ports(i) * 0x9e3779b97f4a7c15 >> 58);
    }

    const Worker& worker_;
    RecentDestinations& recent_;
    Burst& burst_;
    Candidates& found_;
    const PlainBurst& plain_;
    Kinds kinds_{};
    PacketSet for_others_ = 0; // of those a glance took for a backend's
    PacketSet resets_ = 0;     // of connections
    PacketSet looked_up_ = 0;
    Destination new_[kBurstSize]; // of what was looked up; candidates point there
};

void leave_to_stages(Burst& burst, PacketSet left) {
    burst.first = left == 0 ? burst.count : first_of(left);
    burst.end = forwarding::kPlainBurst - static_cast<std::uint32_t>(std::countl_zero(left));
}

} // namespace

bool forward_shortly(Worker& worker, Burst& burst) {
    leave_to_stages(burst, set_of_first(burst.count));
    if (!worker.state || !worker.short_way.worth() || burst.origin != Origin::port ||
        worker.capture.on())
        return false;
    Candidates found;
    const bool foreseen = worker.short_way.leads_by_connections();
    if (foreseen)
        foresee_connections(worker, burst, burst.columns.all());
    Finder finder(worker, burst, found);
    finder.find();
    const PacketSet by_connection = found.of_clients | found.of_backends;
    if (!foreseen)
        foresee_connections(worker, burst, by_connection);
    if ((by_connection | found.by_slot) != 0)
        worker.short_way.led_by_connections(by_connection != 0);
    PacketSet gone = 0;
    if (found.by_slot != 0)
        gone |= forward_by_slots(worker, burst, found);
    if (by_connection != 0)
        gone |= forward_by_connections(worker, burst, found);
    finder.remember();
    worker.short_way.tried(2 * static_cast<std::uint32_t>(std::popcount(gone)) >= burst.count);
    const PacketSet left = set_of_first(burst.count) & ~gone;
    leave_to_stages(burst, left);
    return left == 0;
}

} // namespace weir::dpdk
