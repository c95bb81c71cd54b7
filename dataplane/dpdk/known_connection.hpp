// SPDX-License-Identifier: BSD-3-Clause
// What nearly every packet is: plain, of a connection that is known and complete, from a
// backend or to one that is up. It changes nothing but the connection's age. The front of the stage
// that tracks; each function does what the rest of that stage would, or nothing and says so. The
// short way has the same for packets side by side (stage_by_connection.cpp).
#pragma once

#include "dataplane/dpdk/connection_steps.hpp"

namespace weir::dpdk {

[[gnu::always_inline]] inline lb::EntryIndex find_of_client(const Worker& worker,
                                                            std::uint64_t hash, lb::EntryIndex hint,
                                                            std::uint32_t vip,
                                                            const weir_packet& packet) {
    const lb::ForwardKey key =
        lb::forward_key(weir_packet_source(&packet), packet.source_port, packet.destination_port,
                        static_cast<std::uint16_t>(vip));
    return worker.table.find_forward(lb::index_hash(hash), key, hint);
}

// Whether a packet of the client finds things as they were: by this the connection neither moves
// nor ends.
[[gnu::always_inline]] inline bool stays_as_it_is(const Worker& worker, lb::EntryIndex entry,
                                                  rte_mbuf* mbuf, const weir_packet& packet) {
    const lb::HotRow& row = worker.table.row(entry);
    const auto backends = worker.state->backends();
    return row.backend < backends.size() && backends[row.backend].state == WEIR_BACKEND_UP &&
           worker.last_hops.is(static_cast<std::uint16_t>(row.last_hop), source_mac(mbuf),
                               packet.vlan_tci, static_cast<std::uint8_t>(mbuf->port));
}

// A quiet packet from the client of a connection that stays as it is. Its backend's row, with `to`
// as far as the connection says it; or WEIR_NO_ROW.
[[gnu::always_inline]] inline std::uint32_t go_on_to_backend(Worker& worker, lb::EntryIndex entry,
                                                             const weir_vip_row& vip,
                                                             weir_translation& to) {
    const lb::ForwardingState& state = *worker.state;
    const lb::HotRow& row = worker.table.row(entry);
    if (!weir_state_complete(row.state))
        return WEIR_NO_ROW;
    if (vip.forward == WEIR_FORWARD_FULL_NAT) {
        if (row.snat_address >= state.snat().size())
            return WEIR_NO_ROW;
        to.source = state.snat()[row.snat_address].address;
        to.source_port = row.snat_port;
    } else if (vip.forward == WEIR_FORWARD_NAT) {
        to.source = row.client;
        to.source_port = row.client_port;
    }
    worker.table.update(entry, static_cast<std::uint8_t>(row.state),
                        static_cast<std::uint16_t>(row.last_hop), worker.now_s);
    return row.backend;
}

// Whether the row's connection is the one whose backend sent this packet.
[[gnu::always_inline]] inline bool is_reply_of(const lb::ForwardingState& state,
                                               const lb::HotRow& row, const weir_packet& packet,
                                               const weir_match& match) {
    if (row.vip >= state.vips().size() || row.backend >= state.backends().size())
        return false;
    weir_address destination = weir_packet_destination(&packet);
    bool to_us = match.kind == WEIR_MATCH_SNAT
                     ? row.snat_address == match.index && row.snat_port == packet.destination_port
                     : row.snat_port == 0 && row.client_port == packet.destination_port &&
                           weir_address_equal(&row.client, &destination);
    const weir_backend_row& backend = state.backends()[row.backend];
    weir_address source = weir_packet_source(&packet);
    return to_us && state.vips()[row.vip].protocol == packet.protocol &&
           weir_backend_port(&backend, row.service_port) == packet.source_port &&
           weir_address_equal(&backend.address, &source);
}

[[gnu::always_inline]] inline lb::EntryIndex
find_of_backend(const Worker& worker, std::uint64_t hash, lb::EntryIndex hint,
                const weir_match& match, const weir_packet& packet) {
    return worker.table.find_reply(
        lb::index_hash(hash),
        [&](const lb::HotRow& row) { return is_reply_of(*worker.state, row, packet, match); },
        hint);
}

// As the client knows the connection.
[[gnu::always_inline]] inline weir_translation
translation_to_client(const lb::ForwardingState& state, const lb::HotRow& row) {
    return {state.vips()[row.vip].address, row.client, row.service_port, row.client_port};
}

// A quiet packet from the connection's backend. False: it may change more.
[[gnu::always_inline]] inline bool go_on_to_client(Worker& worker, lb::EntryIndex entry) {
    const lb::HotRow& row = worker.table.row(entry);
    if (!weir_state_complete(row.state))
        return false;
    worker.table.update(entry, static_cast<std::uint8_t>(row.state),
                        static_cast<std::uint16_t>(row.last_hop), worker.now_s);
    return true;
}

} // namespace weir::dpdk
