// SPDX-License-Identifier: BSD-3-Clause
// Cut packets: each piece is what an independent builder makes, and together they are the packet.
#include "dataplane/forwarding/fragment_writer.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"

namespace {

using namespace weir::forwarding_test;

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

// What the plane does: the headers and a part of the payload, then the writer.
std::vector<Bytes> cut(const Bytes& frame, const weir_packet& packet, uint32_t mtu) {
    const weir_fragments plan = weir_fragment_plan(&packet, mtu);
    const size_t headers = packet.l3_offset + plan.header_bytes;
    std::vector<Bytes> pieces;
    for (uint32_t i = 0; i < plan.count; i++) {
        Bytes piece(frame.begin(), frame.begin() + static_cast<long>(headers));
        put(piece, std::span(frame).subspan(headers + weir_fragment_piece_at(&plan, i),
                                            weir_fragment_piece_bytes(&plan, i)));
        ExactCopy copy(piece);
        EXPECT_EQ(weir_write_v4_fragment(copy.data(), copy.end(), &packet, &plan, i),
                  WEIR_UNDECIDED);
        pieces.emplace_back(static_cast<const uint8_t*>(copy.data()), copy.end());
    }
    return pieces;
}

// The piece of `plan` that holds `bytes` of its payload from `at` on. All of the payload is `l4`.
Bytes expected(PacketPlan plan, const Bytes& l4, size_t at, size_t bytes, const Bytes& options) {
    const bool last = at + bytes == l4.size();
    const unsigned more = !last || (plan.v4_fragment & 0x2000) ? 0x2000 : 0;
    const size_t offset = (plan.v4_fragment & 0x1fff) + at / 8;
    plan.v4_fragment = static_cast<uint16_t>(more | offset);
    plan.v4_options = options;
    plan.padding = 0;
    const auto part = std::span(l4).subspan(at, bytes);
    return framed(plan, build_ip(plan, Bytes(part.begin(), part.end())));
}

Bytes l4_of(const PacketPlan& plan) {
    return build_l4(plan, address_bytes(plan.source), address_bytes(plan.destination));
}

PacketPlan large(size_t payload) {
    PacketPlan plan;
    plan.protocol = 17;
    std::mt19937 random(9);
    plan.payload.resize(payload);
    for (uint8_t& byte : plan.payload)
        byte = static_cast<uint8_t>(random());
    return plan;
}

TEST(Fragments, AreThePiecesThatWouldHaveBeenBuilt) {
    size_t compared = 0;
    for (const unsigned fragment : {0x0000, 0x2000, 0x20b9, 0x00b9}) {
        for (const size_t payload : {size_t{600}, size_t{1392}, size_t{2999}}) {
            for (const uint32_t mtu : {68u, 576u, 577u, 583u, 1400u}) {
                PacketPlan plan = large(payload);
                plan.v4_fragment = static_cast<uint16_t>(fragment);
                plan.vlan_tci = 3;
                plan.padding = 4;
                const Bytes frame = build(plan), l4 = l4_of(plan);
                const std::vector<Bytes> pieces = cut(frame, parsed(frame), mtu);
                const size_t step = size_t{mtu - 20} / 8 * 8;
                if (frame.size() - 18 - plan.padding <= mtu) {
                    EXPECT_EQ(pieces.size(), 1u);
                    continue;
                }
                ASSERT_EQ(pieces.size(), (l4.size() + step - 1) / step);
                for (size_t i = 0; i < pieces.size(); i++) {
                    const size_t at = i * step;
                    EXPECT_EQ(pieces[i],
                              expected(plan, l4, at, std::min(step, l4.size() - at), {}));
                    EXPECT_LE(pieces[i].size() - 18, mtu);
                    compared++;
                }
            }
        }
    }
    EXPECT_GT(compared, 200u);
}

TEST(Fragments, OptionsAreCopiedOnlyIfTheySaySo) {
    // Record route (7) is not copied, router alert (148) is; no-operations and the end stay.
    const std::pair<Bytes, Bytes> options[] = {
        {{7, 7, 4, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 0}},
        {{148, 4, 0, 0}, {148, 4, 0, 0}},
        {{1, 7, 3, 4, 148, 4, 0, 0, 68, 4, 5, 0}, {1, 1, 1, 1, 148, 4, 0, 0, 1, 1, 1, 1}},
        {Bytes(40, 1), Bytes(40, 1)},
    };
    for (const auto& [from, later] : options) {
        PacketPlan plan = large(700);
        plan.v4_options = from;
        const Bytes frame = build(plan), l4 = l4_of(plan);
        const std::vector<Bytes> pieces = cut(frame, parsed(frame), 400);
        const size_t step = (400 - 20 - from.size()) / 8 * 8;
        ASSERT_GE(pieces.size(), 2u);
        for (size_t i = 0; i < pieces.size(); i++)
            EXPECT_EQ(pieces[i], expected(plan, l4, i * step, std::min(step, l4.size() - i * step),
                                          i == 0 ? from : later));
    }
}

TEST(Fragments, OfAnEncapsulatedPacketHaveTheOuterHeader) {
    const PacketPlan inner = large(1472);
    Bytes frame(20);
    put(frame, build(inner));
    weir_packet packet = parsed(build(inner));
    weir_outer outer{};
    outer.source = weir_address_from_v4(0x0100090a);
    outer.destination = weir_address_from_v4(0x077100cb);
    outer.forward = WEIR_FORWARD_DSR_IPIP;
    outer.family = 4;
    ASSERT_EQ(weir_write_outer(frame.data(), frame.data() + frame.size(), &packet, &outer),
              WEIR_UNDECIDED);
    weir_packet_encapsulated(&packet, &outer);
    const std::vector<Bytes> pieces = cut(frame, packet, 1500);
    ASSERT_EQ(pieces.size(), 2u);
    EXPECT_EQ(get16(pieces[0], 16), 1500u);
    EXPECT_EQ(get16(pieces[0], 20), 0x2000u);
    EXPECT_EQ(get16(pieces[1], 16), 40u);
    EXPECT_EQ(get16(pieces[1], 20), 185u);
    for (const Bytes& piece : pieces) {
        EXPECT_EQ(full_checksum(std::span(piece).subspan(14, 20)), 0);
        EXPECT_EQ(get16(piece, 18), inner.v4_id) << "one id, that of the outer packet";
        EXPECT_EQ(piece[23], 4);
    }
}

TEST(FragmentPlan, KnowsWhatFitsAndWhatCannot) {
    const Bytes frame = build(large(1000));
    const weir_packet packet = parsed(frame);
    EXPECT_EQ(weir_fragment_plan(&packet, 1028).count, 1u);
    EXPECT_EQ(weir_fragment_plan(&packet, 1027).count, 2u);
    EXPECT_EQ(weir_fragment_plan(&packet, 28).count, 126u);
    EXPECT_EQ(weir_fragment_plan(&packet, 27).count, 0u);
    EXPECT_EQ(weir_fragment_plan(&packet, 0).count, 0u);
}

TEST(Fragments, NeverWritePastACutPacket) {
    PacketPlan plan = large(400);
    plan.v4_options = {7, 7, 4, 0, 0, 0, 0, 0};
    const Bytes whole = build(plan);
    const weir_packet packet = parsed(whole);
    const weir_fragments pieces = weir_fragment_plan(&packet, 200);
    for (size_t size = 0; size < 14 + 28; size++) {
        ExactCopy copy(std::span<const uint8_t>(whole).first(size));
        for (uint32_t i = 0; i < pieces.count; i++)
            EXPECT_EQ(weir_write_v4_fragment(copy.data(), copy.end(), &packet, &pieces, i),
                      WEIR_DROP_TRUNCATED);
    }
}

} // namespace
