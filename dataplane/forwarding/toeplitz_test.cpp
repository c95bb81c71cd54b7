// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/toeplitz.h"

#include <gtest/gtest.h>

#include <random>

#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

// The key and the answers of "Verifying the RSS Hash Calculation", Microsoft, Windows drivers
// documentation.
constexpr weir_rss_key kPublishedKey = {
    {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
     0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
     0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa}};

weir_flow flow_of(const char* source, unsigned source_port, const char* destination,
                  unsigned destination_port) {
    const weir_address from = address_of(source);
    const weir_address to = address_of(destination);
    weir_flow flow;
    weir_flow_set(&flow, &from, &to, be16(source_port), be16(destination_port), 6);
    return flow;
}

TEST(Toeplitz, GivesThePublishedAnswers) {
    struct Vector {
        const char* destination;
        unsigned destination_port;
        const char* source;
        unsigned source_port;
        uint32_t addresses;
        uint32_t with_ports;
    };
    const Vector vectors[] = {
        {"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
        {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
        {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
        {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
        {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
        {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
        {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
        {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
         0x4b61e985, 0x02d1feef},
    };
    for (const Vector& v : vectors) {
        const weir_flow flow = flow_of(v.source, v.source_port, v.destination, v.destination_port);
        EXPECT_EQ(weir_toeplitz_addresses(&kPublishedKey, &flow), v.addresses) << v.source;
        EXPECT_EQ(weir_toeplitz(&kPublishedKey, &flow), v.with_ports) << v.source;
    }
}

// What the choice of SNAT ports stands on.
TEST(Toeplitz, IsLinearInThePorts) {
    std::mt19937 random(1);
    for (const char* source : {"192.0.2.1", "2001:db8::1"}) {
        const char* destination = source[1] == '9' ? "198.51.100.7" : "2001:db8::7";
        const uint32_t last = source[1] == '9' ? WEIR_RSS_V4_BYTES : WEIR_RSS_V6_BYTES;
        for (int i = 0; i < 1000; i++) {
            const unsigned port = random() & 0xffff;
            const weir_flow with = flow_of(source, 443, destination, port);
            const weir_flow without = flow_of(source, 443, destination, 0);
            const uint32_t of_port =
                weir_toeplitz_byte(&kPublishedKey, last - 2, static_cast<uint8_t>(port >> 8)) ^
                weir_toeplitz_byte(&kPublishedKey, last - 1, static_cast<uint8_t>(port));
            ASSERT_EQ(weir_toeplitz(&kPublishedKey, &with),
                      weir_toeplitz(&kPublishedKey, &without) ^ of_port);
        }
    }
}

} // namespace
