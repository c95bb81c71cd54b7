// SPDX-License-Identifier: BSD-3-Clause
// The short way and very many VIPs.
#include "dataplane/dpdk/worker_lab.hpp"

#include <random>

namespace weir::dpdk {
namespace {

// Of so many some drive others out within a burst; each packet goes to its own VIP's pool
// nevertheless.
TEST(ShortWayDestinations, MoreThanAreRememberedDoNotMixUp) {
    constexpr std::uint32_t kVips = 3000;
    const auto address_of = [](std::uint32_t vip) {
        return "10.1." + std::to_string(vip / 250) + "." + std::to_string(1 + vip % 250);
    };
    const Plan plan{WEIR_FORWARD_DSR_L2, false, 6, 80, {0, 0, 0}};
    Lab lab(plan);
    lab.change([&](lb::StateTables& tables) { // VIP i is on a pool with backend i % 2 alone
        tables.vips[0].flags |= WEIR_VIP_EXCEPTIONS;
        lb::MatchTableBuilder builder;
        const weir_vip_row vip = tables.vips[0];
        tables.vips.assign(kVips, vip);
        for (std::uint32_t i = 0; i < kVips; i++) {
            tables.vips[i].address = to_address(address_of(i));
            tables.vips[i].pool = i % 2;
            builder.add_port(tables.vips[i].address, 6, weir_swap16(80), WEIR_MATCH_VIP, i);
        }
        tables.match = *builder.build(*std::make_unique<std::string>());
        tables.pools.assign(2, tables.pools[0]);
        for (std::uint32_t i : {0, 1}) {
            tables.pools[i].member_first = i;
            tables.pools[i].member_count = 1;
        }
    });
    std::mt19937 random(7);
    std::uint32_t tried = 0;
    for (int round = 0; round < 400; round++) {
        std::vector<std::uint32_t> vips(32);
        for (std::uint32_t& vip : vips) {
            vip = random() % kVips;
            PacketPlan packet = from_client(plan, 0x10);
            packet.destination = address_of(vip);
            lab.put(build(packet));
        }
        tried += lab.worker(0).short_way.worth();
        const std::vector<Sent> sent = lab.run();
        ASSERT_EQ(sent.size(), vips.size());
        for (std::size_t i = 0; i < vips.size(); i++)
            ASSERT_EQ(backend_of(sent[i].bytes), vips[i] % 2) << "round " << round;
    }
    EXPECT_GT(tried, 300u);
}

} // namespace
} // namespace weir::dpdk
