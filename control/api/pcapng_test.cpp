// SPDX-License-Identifier: BSD-3-Clause
// Byte for byte against the draft's figures.
#include "control/api/pcapng.hpp"

#include <gtest/gtest.h>

#include <array>

namespace weir::control {
namespace {

using namespace std::string_literals;

TEST(Pcapng, Section) {
    std::string out;
    append_pcapng_section(out, "weir");
    EXPECT_EQ(out, "\x0a\x0d\x0d\x0a"
                   "\x28\0\0\0"
                   "\x4d\x3c\x2b\x1a"
                   "\x01\0\0\0"
                   "\xff\xff\xff\xff\xff\xff\xff\xff"
                   "\x04\0\x04\0weir"
                   "\0\0\0\0"
                   "\x28\0\0\0"s);
}

TEST(Pcapng, Interface) {
    std::string out;
    append_pcapng_interface(out, "uplink", 256);
    EXPECT_EQ(out, "\x01\0\0\0"
                   "\x2c\0\0\0"
                   "\x01\0\0\0"
                   "\0\x01\0\0"
                   "\x02\0\x06\0uplink\0\0"
                   "\x09\0\x01\0\x09\0\0\0"
                   "\0\0\0\0"
                   "\x2c\0\0\0"s);
}

TEST(Pcapng, PacketIsPaddedAndTimedInTwoHalves) {
    const std::array<std::uint8_t, 5> bytes = {0xde, 0xad, 0xbe, 0xef, 0x01};
    std::string out = "x"; // what was there before stays
    append_pcapng_packet(out, {.interface = 2,
                               .time_ns = 0x0102030405060708,
                               .original_length = 1500,
                               .bytes = bytes,
                               .outbound = true,
                               .comment = "a=b"});
    EXPECT_EQ(out, "x\x06\0\0\0"
                   "\x3c\0\0\0"
                   "\x02\0\0\0"
                   "\x04\x03\x02\x01\x08\x07\x06\x05"
                   "\x05\0\0\0"
                   "\xdc\x05\0\0"
                   "\xde\xad\xbe\xef\x01\0\0\0"
                   "\x01\0\x03\0a=b\0"
                   "\x02\0\x04\0\x02\0\0\0"
                   "\0\0\0\0"
                   "\x3c\0\0\0"s);
}

TEST(Pcapng, AnInboundPacketSaysSo) {
    std::string in;
    std::string out;
    append_pcapng_packet(in, {.outbound = false});
    append_pcapng_packet(out, {.outbound = true});
    ASSERT_EQ(in.size(), out.size());
    EXPECT_NE(in.find("\x02\0\x04\0\x01\0\0\0"s), std::string::npos);
    EXPECT_NE(out.find("\x02\0\x04\0\x02\0\0\0"s), std::string::npos);
}

TEST(Pcapng, Statistics) {
    std::string out;
    append_pcapng_statistics(out, 1, 7, 300, "c");
    EXPECT_EQ(out, "\x05\0\0\0"
                   "\x30\0\0\0"
                   "\x01\0\0\0"
                   "\0\0\0\0\x07\0\0\0"
                   "\x01\0\x01\0"
                   "c\0\0\0"
                   "\x08\0\x08\0\x2c\x01\0\0\0\0\0\0"
                   "\0\0\0\0"
                   "\x30\0\0\0"s);
}

TEST(Pcapng, ATextThatIsTooLongIsCut) {
    std::string out;
    append_pcapng_packet(out, {.comment = std::string(70'000, 'x')});
    EXPECT_EQ(out.size() % 4, 0u);
    EXPECT_LT(out.size(), 66'000u);
}

} // namespace
} // namespace weir::control
