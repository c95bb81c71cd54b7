// SPDX-License-Identifier: BSD-3-Clause
// Whom the short way's packets are for, and the order of its sweeps.
#include "dataplane/dpdk/short_way.hpp"

#include <rte_prefetch.h>

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
        to.pool = &state.pools()[vip.pool];
        to.way = way_of(vip);
        if (!weir_is_settled(&vip, to.pool))
            to.guide = Guide::client;
        else if (weir_has_slots_of_flows(to.pool))
            to.guide = Guide::slot;
    }
    return to;
}

// Fills the candidates. Most packets of a burst are for the same, or for what others shortly before
// them were for, which takes a glance.
class Finder {
public:
    Finder(Worker& worker, Burst& burst, Candidates& found)
        : worker_(worker), recent_(*worker.recent_destinations), burst_(burst), found_(found),
          plain_(found.plain) {}

    void find() {
        find_each(
            plain_.v4, [&](std::uint32_t i) -> const Destination& { return of_v4(i); },
            [&](PacketSet among, std::uint32_t i, const Destination& to) {
                return to.by_endpoint()  ? plain_.same_to_v4(among, i, kToEndpoint)
                       : to.by_address() ? plain_.same_to_v4(among, i, kToAddress)
                                         : set_of(i);
            });
        find_each(
            plain_.v6, [&](std::uint32_t i) -> const Destination& { return of_v6(i); },
            [&](PacketSet among, std::uint32_t i, const Destination& to) {
                return to.by_endpoint() ? plain_.same_to_v6(among, i) : set_of(i);
            });
        if (const PacketSet unread = set_of_first(burst_.count) & ~plain_.all(); unread != 0)
            stay_behind(~set_of_first(first_of(unread) + 1));
        if (resets_ != 0)
            stay_behind_resets();
        remember();
    }

private:
    // All packets for one in one go, as long as these are several. Where there are many
    // destinations, looking for more of the same would not pay.
    static constexpr int kSeveral = 4;

    template <class Of, class Same> void find_each(PacketSet left, Of of, Same same) {
        for (bool several = true; several && left != 0;) {
            const std::uint32_t i = first_of(left);
            const Destination& to = of(i);
            const PacketSet set = same(left, i, to);
            several = std::popcount(set) >= kSeveral;
            take(set, to);
            left &= ~set;
        }
        for_each(left, [&](std::uint32_t i) { take_one(i, of(i)); });
    }

    const Destination& of_v4(std::uint32_t i) {
        const Destination* to = recent_.find_v4(plain_, i);
        return to ? *to : look_up(i);
    }
    const Destination& of_v6(std::uint32_t i) {
        const Destination* to = recent_.find_v6(plain_, i);
        return to ? *to : look_up(i);
    }

    const Destination& look_up(std::uint32_t i) {
        looked_up_ |= set_of(i);
        new_[i] = with_packet(found_, i, [&](const weir_packet& packet) {
            return destination_of(*worker_.state, packet);
        });
        return new_[i];
    }

    void remember() {
        for_each(looked_up_ & plain_.v4,
                 [&](std::uint32_t i) { recent_.remember_v4(plain_, i, new_[i]); });
        for_each(looked_up_ & plain_.v6,
                 [&](std::uint32_t i) { recent_.remember_v6(plain_, i, new_[i]); });
    }

    void take(PacketSet set, const Destination& to) {
        set = admit(set, to);
        if (set == set_of_first(burst_.count)) { // the usual burst, a few vectors
            const weir_match match = to.match;
            std::fill_n(found_.pool, kBurstSize, to.pool);
            std::fill_n(burst_.match, kBurstSize, match);
        } else {
            for_each(set, [&](std::uint32_t i) { note(i, to); });
        }
        if (to.guide == Guide::backend)
            for_each(set, [&](std::uint32_t i) { look_closer(i, to); });
    }

    [[gnu::always_inline]] void take_one(std::uint32_t i, const Destination& to) {
        if (admit(set_of(i), to) == 0)
            return;
        note(i, to);
        if (to.guide == Guide::backend)
            look_closer(i, to);
    }

    // Those of the set that may go on.
    [[gnu::always_inline]] PacketSet admit(PacketSet set, const Destination& to) {
        found_.by_way[static_cast<std::size_t>(to.way)] |= set;
        switch (to.guide) {
        case Guide::none:
            return 0;
        case Guide::slot:
            if (to.way == Way::in_tunnel) // what tells where its clients are is to be remembered
                set &= plain_.tcp & plain_.quiet;
            found_.by_slot |= set;
            return set;
        case Guide::client:
            resets_ |= set & plain_.reset;
            found_.watched |= set & ~goes_on(to);
            found_.of_clients |= set;
            return set;
        case Guide::backend:
            resets_ |= set & plain_.reset;
            set &= goes_on(to);
            found_.of_backends |= set;
            return set;
        }
        return 0;
    }

    void note(std::uint32_t i, const Destination& to) {
        found_.pool[i] = to.pool;
        burst_.match[i] = to.match;
    }

    // What a glance leaves open. SNAT: which port of the address. `nat`: whether the backend's
    // packet is for nobody here.
    [[gnu::always_inline]] void look_closer(std::uint32_t i, const Destination& to) {
        const auto port = static_cast<weir_be16>(ports(i) >> 16);
        if (to.by_address() ? is_between(to, port)
                            : !to.by_source() || !worker_.state->may_know(destination(i)))
            return;
        if (!is_for(i, port, to))
            found_.of_backends &= ~set_of(i);
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
        return with_packet(found_, i, [&](const weir_packet& packet) {
            return weir_match_destination(&table, &packet).kind == WEIR_MATCH_EMPTY;
        });
    }

    // Those that change nothing. Only after a reset from its own side does such a packet.
    PacketSet goes_on(const Destination& to) const {
        return to.routed() ? plain_.quiet & plain_.routable : plain_.quiet;
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
    PacketSet resets_ = 0; // of connections
    PacketSet looked_up_ = 0;
    Destination new_[kBurstSize]; // of what was looked up
};

void hash_flows(const lb::ForwardingState& state, Burst& burst, const PlainBurst& plain) {
    const PacketSet all = set_of_first(burst.count);
    if (plain.v4 == all)
        return lb::flow_hashes_v4(state.hash_key(), plain.flow_v4, burst.hash, burst.count);
    if (plain.v6 == all)
        return lb::flow_hashes_v6(state.hash_key(), plain.flow_v6, burst.hash, burst.count);
    alignas(64) std::uint64_t hash[kBurstSize];
    const auto keep = [&](PacketSet set) {
        for_each(set, [&](std::uint32_t i) { burst.hash[i] = hash[i]; });
    };
    if (plain.v4 != 0) {
        lb::flow_hashes_v4(state.hash_key(), plain.flow_v4, hash, burst.count);
        keep(plain.v4);
    }
    if (plain.v6 != 0) {
        lb::flow_hashes_v6(state.hash_key(), plain.flow_v6, hash, burst.count);
        keep(plain.v6);
    }
}

void look_at(PlainFrames& frames, const Burst& burst) {
    const std::uint32_t count = burst.count;
    frames.count = count;
    for (std::uint32_t i = 0; i < count; i++) {
        const rte_mbuf* const mbuf = burst.mbuf[i];
        auto* const data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        rte_prefetch0(data);
        frames.data[i] = data;
        frames.bytes[i] = rte_pktmbuf_data_len(mbuf);
    }
    std::fill(frames.bytes + count, frames.bytes + kBurstSize, 0);
}

} // namespace

bool forward_shortly(Worker& worker, Burst& burst) {
    if (!worker.state || !worker.short_way.worth() || burst.origin != Origin::port ||
        worker.capture.on())
        return false;
    Candidates found;
    look_at(found.frames, burst);
    found.plain.read(found.frames);
    hash_flows(*worker.state, burst, found.plain);
    const bool foreseen = worker.short_way.leads_by_connections();
    if (foreseen)
        foresee_connections(worker, burst, found.plain.all());
    Finder(worker, burst, found).find();
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
    const auto count = static_cast<std::uint32_t>(std::popcount(gone));
    worker.short_way.tried(2 * count >= burst.count);
    return count == burst.count;
}

} // namespace weir::dpdk
