// SPDX-License-Identifier: BSD-3-Clause
// ARP and neighbour discovery frames for tests, written field by field.
#pragma once

#include "dataplane/forwarding/test_packet.hpp"

namespace weir::forwarding_test {

// Behind the Ethernet header's addresses go `tags` (each 4 bytes: type, TCI), then the type.
inline Bytes ethernet(const Bytes& tags, unsigned type) {
    Bytes frame;
    put(frame, PacketPlan{}.destination_mac);
    put(frame, PacketPlan{}.source_mac);
    put(frame, tags);
    put16(frame, type);
    return frame;
}

// Operation 1 asks, 2 answers.
inline Bytes arp_frame(unsigned operation, std::string_view sender, std::string_view target,
                       const Bytes& tags = {}) {
    Bytes frame = ethernet(tags, 0x0806);
    put16(frame, 1);
    put16(frame, 0x0800);
    put8(frame, 6);
    put8(frame, 4);
    put16(frame, operation);
    put(frame, PacketPlan{}.source_mac);
    put(frame, address_bytes(sender));
    put(frame, Bytes(6));
    put(frame, address_bytes(target));
    return frame;
}

// Type 135 solicits, 136 advertises. With the link-layer address option of its type.
inline Bytes discovery_frame(uint8_t type, const std::string& source, const std::string& target,
                             const Bytes& tags = {}) {
    PacketPlan plan;
    plan.source = source;
    plan.destination = "ff02::1";
    plan.protocol = 58;
    plan.ttl = 255;
    plan.icmp_type = type;
    plan.icmp_word = 0;
    plan.payload = address_bytes(target);
    put8(plan.payload, type == 135 ? 1 : 2);
    put8(plan.payload, 1);
    put(plan.payload, plan.source_mac);
    Bytes frame = ethernet(tags, 0x86dd);
    put(frame, build_ip(plan));
    return frame;
}

} // namespace weir::forwarding_test
