// SPDX-License-Identifier: BSD-3-Clause
// Any bytes through the parser and then, each on a copy that ends where its heap block ends,
// through every writer: no write outside the frame, and what was written parses as what was meant.
// The first four bytes pick numbers: modes, MTU, hash. Build with -Dfuzz=true and CXX=clang++.
#include <cstdlib>

#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/fragment_writer.h"
#include "dataplane/forwarding/icmp_answer.h"
#include "dataplane/forwarding/icmp_translate.h"
#include "dataplane/forwarding/mss.h"
#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"
#include "dataplane/forwarding/tunnel_error.h"

namespace {

using namespace weir::forwarding_test;

const weir_be16 kGuePort = be16(6080);

void require(bool holds) {
    if (!holds)
        abort();
}

// By family: IPv4, IPv6.
struct Pair {
    weir_address address[2];
    const weir_address& of(bool six) const { return address[six]; }
};

const Pair kOurs = {{address_of("10.9.0.240"), address_of("2001:db8:9::ff00")}};
const Pair kTheirs = {{address_of("203.0.113.7"), address_of("2001:db8::7")}};

struct Picks {
    uint8_t mode;
    uint32_t mtu;
    uint64_t hash;
};

weir_packet parsed(ExactCopy& copy) {
    weir_packet packet{};
    require(weir_parse(copy.data(), copy.end(), &packet) == WEIR_UNDECIDED);
    return packet;
}

// The frame with `grow` bytes before it, cut to `size`.
Bytes with_room(const Bytes& frame, size_t grow, size_t size) {
    Bytes room(grow);
    put(room, frame);
    room.resize(size);
    return room;
}

weir_translation translation_for(const weir_packet& packet) {
    weir_translation to;
    weir_translation_of(&packet, &to);
    to.source = kOurs.of(packet.family == 6);
    to.destination = kTheirs.of(packet.family == 6);
    to.source_port = be16(50000);
    return to;
}

void translate(const Bytes& frame, const weir_packet& packet) {
    if (!(packet.flags & WEIR_PACKET_PORTS))
        return;
    ExactCopy copy(frame);
    const weir_translation to = translation_for(packet);
    weir_verdict verdict;
    if (packet.flags & WEIR_PACKET_ICMP_ERROR)
        verdict = weir_translate_icmp_error(copy.data(), copy.end(), &packet, &to.destination,
                                            &to.source, &to);
    else
        verdict = weir_translate(copy.data(), copy.end(), &packet, &to);
    require(verdict == (packet.ttl <= 1 ? WEIR_DROP_TTL_EXPIRED : WEIR_UNDECIDED));
    if (verdict != WEIR_UNDECIDED)
        return;
    const weir_packet again = parsed(copy);
    const bool turned = packet.flags & WEIR_PACKET_ICMP_ERROR;
    const weir_address source =
        turned ? weir_packet_destination(&again) : weir_packet_source(&again);
    require(weir_address_equal(&source, &to.source) && again.ttl == packet.ttl - 1);
    require((turned ? again.destination_port : again.source_port) == to.source_port);
}

void cut_in_pieces(const Bytes& frame, const weir_packet& packet, uint32_t mtu) {
    if (packet.family != 4)
        return;
    const weir_fragments plan = weir_fragment_plan(&packet, mtu);
    const size_t headers = packet.l3_offset + plan.header_bytes;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < plan.count; i++) {
        const uint32_t bytes = weir_fragment_piece_bytes(&plan, i);
        require(plan.count == 1 || plan.header_bytes + bytes <= mtu);
        require(i + 1 == plan.count || (bytes & 7) == 0);
        sum += bytes;
        if (i > 3 && i + 1 < plan.count)
            continue;
        Bytes piece(frame.begin(), frame.begin() + static_cast<long>(headers));
        put(piece, std::span(frame).subspan(headers + weir_fragment_piece_at(&plan, i), bytes));
        ExactCopy copy(piece);
        require(weir_write_v4_fragment(copy.data(), copy.end(), &packet, &plan, i) ==
                WEIR_UNDECIDED);
        require(full_checksum(std::span<const uint8_t>(copy.data() + packet.l3_offset,
                                                       plan.header_bytes)) == 0);
    }
    require(plan.count == 0 || sum == plan.payload_bytes);
}

void encapsulate(const Bytes& frame, weir_packet packet, const Picks& picks) {
    weir_node_row node{};
    node.tunnel_source_v4 = kOurs.of(false);
    node.tunnel_source_v6 = kOurs.of(true);
    node.tunnel_source_v4_count = node.tunnel_source_v6_count = 16;
    node.gue_port = kGuePort;
    weir_vip_row vip{};
    vip.forward = picks.mode & 1 ? WEIR_FORWARD_DSR_GUE : WEIR_FORWARD_DSR_IPIP;
    weir_backend_row backend{};
    backend.address = kTheirs.of(picks.mode & 2);
    weir_outer outer{};
    require(weir_outer_for(&node, &vip, &backend, picks.hash, &outer));
    const size_t grow = weir_outer_bytes(&outer);
    const Bytes room = with_room(frame, grow, grow + frame.size());
    ExactCopy copy(room);
    const weir_verdict verdict = weir_write_outer(copy.data(), copy.end(), &packet, &outer);
    if (verdict == WEIR_DROP_TOO_BIG) {
        require(packet.l3_length + grow > 0xffff);
        return;
    }
    require(verdict == WEIR_UNDECIDED);
    weir_packet_encapsulated(&packet, &outer);
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
    const weir_link link = {mac, mac, packet.vlan_tci};
    require(weir_write_ethernet(copy.data(), copy.end(), &packet, &link) == WEIR_UNDECIDED);
    const weir_packet again = parsed(copy);
    require(again.defect == WEIR_UNDECIDED && again.l3_length == packet.l3_length &&
            again.l4_offset == packet.l4_offset && again.protocol == packet.protocol);
    cut_in_pieces(Bytes(static_cast<const uint8_t*>(copy.data()), copy.end()), packet, picks.mtu);
}

void clamp(const Bytes& frame, const weir_packet& packet, uint32_t limit) {
    ExactCopy copy(frame);
    const bool lowered = weir_clamp_mss(copy.data(), copy.end(), &packet, limit);
    size_t changed = 0; // the value and the checksum
    for (size_t i = 0; i < frame.size(); i++)
        changed += copy.data()[i] != frame[i];
    require(changed <= 4 && (lowered || changed == 0));
    require(!weir_clamp_mss(copy.data(), copy.end(), &packet, limit));
}

void reset(const Bytes& frame, const weir_packet& packet) {
    ExactCopy copy(frame);
    if (weir_write_reset(copy.data(), copy.end(), &packet) == WEIR_UNDECIDED) {
        const weir_packet again = parsed(copy);
        require(again.defect == WEIR_UNDECIDED && (again.tcp_flags & WEIR_TCP_RST));
        require(again.l3_offset + again.l3_length == weir_reset_frame_bytes(&packet));
        const weir_address source = weir_packet_source(&packet);
        const weir_address destination = weir_packet_destination(&again);
        require(weir_address_equal(&source, &destination));
        require(weir_write_reset(copy.data(), copy.end(), &again) == WEIR_DROP_NO_CONNECTION);
    }
    ExactCopy onward(frame);
    const weir_translation to = translation_for(packet);
    if (weir_write_reset_onward(onward.data(), onward.end(), &packet, &to) == WEIR_UNDECIDED)
        require(parsed(onward).source_port == to.source_port);
}

// The ICMP message that `copy` holds sums up, and quotes a packet.
void check_message(ExactCopy& copy, const weir_packet& said) {
    const uint8_t* ip = copy.data() + said.l3_offset;
    const std::span<const uint8_t> icmp(copy.data() + said.l4_offset, copy.end());
    if (said.ethertype == WEIR_ETHERTYPE_V4)
        require(full_checksum(icmp) == 0);
    else
        require(l4_checksum(Bytes(ip + 8, ip + 24), Bytes(ip + 24, ip + 40), 58, icmp) == 0);
    require(!weir_may_answer(&said));
}

void answer(const Bytes& frame, const weir_packet& packet, const Picks& picks) {
    const Bytes room =
        with_room(frame, weir_icmp_answer_bytes(&packet), weir_icmp_frame_bytes(&packet));
    ExactCopy copy(room);
    const uint8_t type = packet.family == 4 ? WEIR_ICMP_UNREACHABLE : WEIR_ICMP6_TOO_BIG;
    const weir_address vip = weir_packet_destination(&packet);
    if (weir_write_icmp_error(copy.data(), copy.end(), &packet, &vip, type,
                              packet.family == 4 ? 4 : 0, picks.mtu) != WEIR_UNDECIDED)
        return;
    check_message(copy, parsed(copy));
}

void relay(const Bytes& frame, weir_packet packet) {
    ExactCopy whole(frame);
    if (!weir_parse_tunnel_error(whole.data(), whole.end(), &packet, kGuePort))
        return;
    require(packet.quoted_l4_offset + 8u <= uint32_t{packet.l3_offset} + packet.l3_length);
    const uint32_t mtu = weir_relayed_mtu(whole.data(), whole.end(), &packet);
    const size_t cut = weir_relayed_head_cut(&packet);
    require(cut < frame.size());
    Bytes rest(frame.begin() + static_cast<long>(cut), frame.end());
    rest.resize(weir_relayed_frame_bytes(&packet));
    ExactCopy copy(rest);
    if (weir_write_relayed_too_big(copy.data(), copy.end(), &packet, mtu) != WEIR_UNDECIDED)
        return;
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
    const weir_link link = {mac, mac, packet.vlan_tci};
    require(weir_write_ethernet(copy.data(), copy.end(), &packet, &link) == WEIR_UNDECIDED);
    const weir_packet again = parsed(copy);
    require(again.quoted_offset == packet.quoted_offset && again.l3_length == packet.l3_length);
    check_message(copy, again);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    if (size < 4)
        return 0;
    const Picks picks = {bytes[0], static_cast<uint32_t>(bytes[1] << 8 | bytes[2]),
                         0x9e3779b97f4a7c15u * (bytes[3] + 1u)};
    Bytes frame(bytes + 4, bytes + size);
    if (picks.mode & 0x80)
        repair_v4_checksum(frame);
    ExactCopy copy(frame);
    weir_packet packet{};
    if (weir_parse(copy.data(), copy.end(), &packet) != WEIR_UNDECIDED || packet.family == 0)
        return 0;
    encapsulate(frame, packet, picks);
    cut_in_pieces(frame, packet, picks.mtu);
    answer(frame, packet, picks);
    relay(frame, packet);
    if (packet.defect != WEIR_UNDECIDED)
        return 0; // never gets as far as these
    translate(frame, packet);
    clamp(frame, packet, picks.mtu);
    reset(frame, packet);
    return 0;
}
