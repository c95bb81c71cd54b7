// SPDX-License-Identifier: BSD-3-Clause
// What nearly every packet is: plain, of a connection that is known and complete, from a
// backend or to one that is up. It changes nothing but the connection's age. What both the stage
// that tracks and the short way ask about such a packet.
#pragma once

#include "dataplane/dpdk/connection_steps.hpp"

namespace weir::dpdk {

// Whether a client's packet finds things as they were: by this the connection neither moves nor
// ends.
[[gnu::always_inline]] inline bool stays_as_it_is(const lb::LastHops& last_hops,
                                                  std::span<const weir_backend_row> backends,
                                                  const lb::RowTail& row, const rte_mbuf* mbuf,
                                                  const std::uint8_t* frame) {
    return row.backend() < backends.size() && backends[row.backend()].state == WEIR_BACKEND_UP &&
           last_hops.is(row.last_hop(), weir_ethernet_source_word(frame), WEIR_NO_VLAN,
                        static_cast<std::uint8_t>(mbuf->port));
}

// Where the connection's packets come from when they reach its backend, where the mode translates.
// False: the node has that address no more.
[[gnu::always_inline]] inline bool source_to_backend(std::span<const weir_snat_row> snat,
                                                     std::uint8_t forward, const lb::HotRow& row,
                                                     weir_translation& to) {
    if (forward == WEIR_FORWARD_FULL_NAT) {
        const lb::RowTail tail(row);
        if (tail.snat_address() >= snat.size())
            return false;
        to.source = snat[tail.snat_address()].address;
        to.source_port = row.snat_port;
    } else if (forward == WEIR_FORWARD_NAT) {
        to.source = row.client;
        to.source_port = row.client_port;
    }
    return true;
}

// What a packet shows.
struct Tuple {
    weir_address source;
    weir_address destination;
    weir_be16 source_port;
    weir_be16 destination_port;
    std::uint8_t protocol;
};

inline Tuple tuple_of(const weir_packet& packet) {
    return {weir_packet_source(&packet), weir_packet_destination(&packet), packet.source_port,
            packet.destination_port, packet.protocol};
}

// Whether the row's connection is the one whose backend sent this packet.
[[gnu::always_inline]] inline bool is_reply_of(std::span<const weir_vip_row> vips,
                                               std::span<const weir_backend_row> backends,
                                               const lb::HotRow& row, const Tuple& packet,
                                               const weir_match& match) {
    const lb::RowTail tail(row);
    if (row.vip >= vips.size() || tail.backend() >= backends.size())
        return false;
    const bool to_us =
        match.kind == WEIR_MATCH_SNAT
            ? tail.snat_address() == match.index && row.snat_port == packet.destination_port
            : row.snat_port == 0 && row.client_port == packet.destination_port &&
                  weir_address_equal(&row.client, &packet.destination);
    const weir_backend_row& backend = backends[tail.backend()];
    return to_us && vips[row.vip].protocol == packet.protocol &&
           weir_backend_port(&backend, row.service_port) == packet.source_port &&
           weir_address_equal(&backend.address, &packet.source);
}

// As the client knows the connection.
[[gnu::always_inline]] inline weir_translation
translation_to_client(std::span<const weir_vip_row> vips, const lb::HotRow& row) {
    return {vips[row.vip].address, row.client, row.service_port, row.client_port};
}

} // namespace weir::dpdk
