// SPDX-License-Identifier: BSD-3-Clause
// Any bytes through parse, match and rewrite: no read or write outside them, and what was parsed
// lies within them. The first bytes pick the mode. Build with -Dfuzz=true and CXX=clang++.
#include <cstdlib>

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/parse_plain.h"
#include "dataplane/forwarding/rewrite.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

void require(bool holds) {
    if (!holds)
        abort();
}

const TestTable& table() {
    static const TestTable made = [] {
        TestTable fresh;
        for (const char* vip : {kVip4, kVip6}) {
            fresh.address(vip, WEIR_MATCH_VIP_ADDRESS);
            fresh.ranges(vip, 6, {TestTable::range(1, 1023, WEIR_MATCH_VIP, 1)}, WEIR_MATCH_VIP, 2);
            fresh.ranges(vip, 17, {}, WEIR_MATCH_VIP, 3);
        }
        fresh.backend("192.0.2.1", 6, 40000);
        return fresh;
    }();
    return made;
}

void check_bounds(const weir_packet& packet, size_t size) {
    require(packet.l3_offset + packet.l3_length <= size);
    if (packet.flags & WEIR_PACKET_PORTS)
        require(packet.l4_offset + 8u <= uint32_t{packet.l3_offset} + packet.l3_length);
    require((packet.flags & WEIR_PACKET_LATER_FRAGMENT) == 0 ||
            (packet.flags & (WEIR_PACKET_FRAGMENT | WEIR_PACKET_PORTS)) == WEIR_PACKET_FRAGMENT);
}

void rewrite(ExactCopy& copy, weir_packet packet, uint8_t mode) {
    weir_translation to;
    weir_translation_of(&packet, &to);
    if (mode & 1)
        to.destination = address_of(packet.family == 4 ? "203.0.113.7" : "2001:db8::7");
    if (mode & 2)
        to.source_port = be16(50000);
    const uint8_t old_ttl = packet.ttl;
    const weir_verdict verdict = weir_translate(copy.data(), copy.end(), &packet, &to);
    require(verdict == (old_ttl <= 1 ? WEIR_DROP_TTL_EXPIRED : WEIR_UNDECIDED));
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
    const weir_link link = {mac, mac, packet.vlan_tci};
    require(weir_write_ethernet(copy.data(), copy.end(), &packet, &link) == WEIR_UNDECIDED);
    // The header checksum was right and is right: what left parses as what was meant.
    weir_packet again{};
    require(weir_parse(copy.data(), copy.end(), &again) == WEIR_UNDECIDED);
    if (verdict == WEIR_UNDECIDED) {
        const weir_address destination = weir_packet_destination(&again);
        require(weir_address_equal(&destination, &to.destination));
        require(again.source_port == to.source_port && again.ttl == old_ttl - 1);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    if (size < 1)
        return 0;
    const uint8_t mode = bytes[0];
    Bytes frame(bytes + 1, bytes + size);
    if (mode & 0x80)
        repair_v4_checksum(frame);
    ExactCopy copy(frame);
    weir_packet packet{};
    const weir_verdict verdict = weir_parse(copy.data(), copy.end(), &packet);
    require(verdict < WEIR_VERDICT_COUNT && packet.defect < WEIR_VERDICT_COUNT);
    weir_packet plain{};
    if (weir_parse_plain(copy.data(), copy.end(), &plain))
        require(verdict == WEIR_UNDECIDED && same_packet(plain, packet));
    if (verdict != WEIR_UNDECIDED || packet.family == 0)
        return 0;
    check_bounds(packet, frame.size());
    const weir_match_view view = table().view();
    const weir_match match = weir_match_packet(&view, &packet);
    const weir_verdict admitted = weir_admit(&packet, &match);
    const weir_hash_key key = {1, 2};
    require(weir_maglev_slot(weir_flow_hash(&key, &packet.flow), 65537) < 65537);
    if (admitted == WEIR_UNDECIDED)
        rewrite(copy, packet, mode);
    return 0;
}
