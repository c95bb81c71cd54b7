// SPDX-License-Identifier: BSD-3-Clause
// The short way's first sweep, and the order of all.
#include "dataplane/dpdk/short_way.hpp"
#include "dataplane/dpdk/known_connection.hpp"

#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// `ranges`: those of a SNAT address, else null.
weir_match match_of(const weir_match_view& table, const weir_packet& packet,
                    const weir_match_row*& ranges) {
    ranges = ranges_alone(table, packet);
    if (ranges) {
        const weir_match match = weir_match_ranges(&table, ranges, packet.destination_port);
        if (match.kind == WEIR_MATCH_SNAT)
            return match;
    }
    ranges = nullptr;
    return weir_match_packet(&table, &packet);
}

Destination find(const lb::ForwardingState& state, const weir_packet& packet) {
    Destination to;
    to.match = match_of(state.match(), packet, to.ranges);
    if (to.match.kind == WEIR_MATCH_SNAT || to.match.kind == WEIR_MATCH_BACKEND) {
        to.guide = Guide::backend;
        to.routed = true;
    } else if (to.match.kind == WEIR_MATCH_VIP) {
        const weir_vip_row& vip = state.vips()[to.match.index];
        to.pool = &state.pools()[vip.pool];
        to.routed = !weir_forward_is_dsr(vip.forward);
        to.in_tunnel = weir_forward_encapsulates(vip.forward);
        if (!weir_is_settled(&vip, to.pool))
            to.guide = Guide::client;
        else if (weir_has_slots_of_flows(to.pool))
            to.guide = Guide::slot;
    }
    return to;
}

// Most packets are for what others shortly before them were for, which takes a glance.
class Reader {
public:
    Reader(Worker& worker, Burst& burst, Candidates& found)
        : worker_(worker), recent_(*worker.recent_destinations), burst_(burst), found_(found) {}

    void read(std::uint32_t i) {
        const auto* data = rte_pktmbuf_mtod(burst_.mbuf[i], const std::uint8_t*);
        const std::uint32_t bytes = rte_pktmbuf_data_len(burst_.mbuf[i]);
        if (!glance(i, data, bytes))
            look(i, data, bytes);
    }

private:
    // False: it has to be looked at properly.
    bool glance(std::uint32_t i, const std::uint8_t* data, std::uint32_t bytes) {
        if (bytes < WEIR_PLAIN_LEAST_BYTES || !weir_is_plain_v4(data))
            return false;
        const Destination* to = recent_.find(data);
        if (!to || !weir_plain_v4_is_sound(data, bytes))
            return false;
        weir_packet packet; // of which the compiler leaves out what is not asked for
        weir_read_plain_v4(data, &packet);
        if (to->guide == Guide::slot) {
            if (!weir_says_nothing(&packet, &vip_of(*to)))
                return false;
            add_by_slot(i, *to);
        } else {
            weir_match match = to->match;
            if (!goes_on(packet, *to) || !is_for(packet, *to, match))
                return false;
            add_by_connection(i, match);
        }
        burst_.flows_v4.add(i, packet.flow);
        found_.whole[i] = false;
        return true;
    }

    void look(std::uint32_t i, const std::uint8_t* data, std::uint32_t bytes) {
        weir_packet& packet = burst_.packet[i];
        if (!weir_parse_plain(data, data + bytes, &packet)) {
            reset_ = ~std::uint64_t{0}; // it may be one
            return;
        }
        const bool by_destination =
            last_.match.kind == WEIR_MATCH_VIP || last_.match.kind == WEIR_MATCH_SNAT;
        if (!by_destination || !weir_same_endpoint(&packet.flow, &last_flow_)) {
            last_flow_ = packet.flow;
            last_ = find(*worker_.state, packet);
        }
        switch (last_.guide) {
        case Guide::none:
            return;
        case Guide::slot:
            if (last_.in_tunnel && !weir_says_nothing(&packet, &vip_of(last_)))
                return; // where it comes from is to be remembered
            add_by_slot(i, last_);
            break;
        default:
            if (!goes_on(packet, last_) && !watch(i, packet, last_))
                return;
            add_by_connection(i, last_.match);
        }
        found_.whole[i] = true;
        if (packet.family == 6)
            return burst_.flows_v6.add(i, packet.flow);
        burst_.flows_v4.add(i, packet.flow);
        if (last_.match.kind != WEIR_MATCH_SNAT || last_.ranges)
            recent_.remember(data, last_);
    }

    // What a glance leaves open. SNAT: which port of the address, which sets `match`. `nat`:
    // whether the backend's packet is for nobody here.
    bool is_for(const weir_packet& packet, const Destination& to, weir_match& match) const {
        const weir_match_view& table = worker_.state->match();
        if (to.ranges)
            match = weir_match_ranges(&table, to.ranges, packet.destination_port);
        else if (match.kind == WEIR_MATCH_BACKEND)
            return weir_match_destination(&table, &packet).kind == WEIR_MATCH_EMPTY;
        return match.kind == to.match.kind;
    }

    const weir_vip_row& vip_of(const Destination& to) const {
        return worker_.state->vips()[to.match.index];
    }

    void add_by_slot(std::uint32_t i, const Destination& to) {
        burst_.vip[i] = to.match.index;
        found_.in_tunnel[found_.by_slot_count] = to.in_tunnel;
        found_.pool[found_.by_slot_count] = to.pool;
        found_.by_slot[found_.by_slot_count++] = static_cast<std::uint8_t>(i);
    }

    void add_by_connection(std::uint32_t i, const weir_match& match) {
        burst_.match[i] = match;
        found_.by_connection[found_.by_connection_count++] = static_cast<std::uint8_t>(i);
    }

    // It changes nothing. Only after a reset from its own side does it.
    bool goes_on(const weir_packet& packet, const Destination& to) const {
        return weir_is_quiet(&packet) && !(to.routed && packet.ttl <= 1) &&
               (reset_ == 0 || (reset_ & bit_of(packet)) == 0);
    }

    // Of those that do not go on, a client's are to be known to those behind them.
    bool watch(std::uint32_t i, const weir_packet& packet, const Destination& to) {
        if (packet.tcp_flags & WEIR_TCP_RST)
            reset_ |= bit_of(packet);
        found_.watched |= 1u << i;
        return to.guide == Guide::client;
    }

    // Few flows of a burst share one.
    static std::uint64_t bit_of(const weir_packet& packet) {
        const std::uint64_t ports =
            weir_flow_ports_word(packet.source_port, packet.destination_port, 0);
        return std::uint64_t{1} << (ports * 0x9e3779b97f4a7c15 >> 58);
    }

    const Worker& worker_;
    RecentDestinations& recent_;
    Burst& burst_;
    Candidates& found_;
    Destination last_; // of what was looked at
    weir_flow last_flow_{};
    std::uint64_t reset_ = 0; // flows of which a reset was left to the stages
};

void read(Worker& worker, Burst& burst, Candidates& found) {
    Reader reader(worker, burst, found);
    for (std::uint32_t i = 0; i < burst.count; i++)
        reader.read(i);
    burst.flows_v4.compute(worker.state->hash_key(), burst.hash, burst.count);
    burst.flows_v6.compute(worker.state->hash_key(), burst.hash, burst.count);
}

} // namespace

bool forward_shortly(Worker& worker, Burst& burst) {
    if (!worker.state || !worker.short_way.worth() || burst.origin != Origin::port ||
        worker.capture.on())
        return false;
    for (std::uint32_t i = 0; i < burst.count; i++)
        rte_prefetch0(rte_pktmbuf_mtod(burst.mbuf[i], const void*));
    Candidates found;
    read(worker, burst, found);
    VipRun run(worker, WEIR_NO_ROW);
    if (found.by_connection_count != 0)
        foresee_connections(worker, burst, found);
    std::uint32_t gone = 0;
    if (found.by_slot_count != 0)
        gone += forward_by_slots(worker, burst, found, run);
    if (found.by_connection_count != 0)
        gone += forward_by_connections(worker, burst, found, run);
    worker.short_way.tried(2 * gone >= burst.count);
    return gone == burst.count;
}

} // namespace weir::dpdk
