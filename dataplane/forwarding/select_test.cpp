// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/select.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "dataplane/forwarding/owner.h"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

// Chi-square of the counts against even spread, in standard deviations from its mean.
double unevenness(const std::vector<unsigned>& counts) {
    double total = 0, chi = 0;
    for (unsigned count : counts)
        total += count;
    const double expected = total / static_cast<double>(counts.size());
    for (unsigned count : counts)
        chi += (count - expected) * (count - expected) / expected;
    const double freedom = static_cast<double>(counts.size()) - 1;
    return (chi - freedom) / std::sqrt(2 * freedom);
}

// Flows as alike as real ones: neighbouring clients, consecutive ports, one VIP.
uint64_t hash_of(uint32_t i) {
    const weir_hash_key key = {0x243f6a8885a308d3, 0x13198a2e03707344};
    weir_flow flow;
    weir_flow_set_v4(&flow, 0x0a000000 + i / 50000, 0x0a3364c6, be16(10000 + i % 50000), be16(80),
                     6);
    return weir_flow_hash(&key, &flow);
}

constexpr uint32_t kFlows = 1000000;

TEST(Select, SpreadsFlowsEvenlyOverSlots) {
    for (uint32_t slots : {2u, 3u, 7u, 251u, 4099u, 65537u}) {
        std::vector<unsigned> counts(slots);
        for (uint32_t i = 0; i < kFlows; i++) {
            const uint32_t slot = weir_maglev_slot(hash_of(i), slots);
            ASSERT_LT(slot, slots);
            counts[slot]++;
        }
        EXPECT_LT(std::abs(unevenness(counts)), 5.0) << slots;
    }
}

TEST(Select, SpreadsFlowsEvenlyOverWorkers) {
    for (uint32_t workers : {1u, 2u, 3u, 5u, 16u, 64u}) {
        std::vector<unsigned> counts(workers);
        for (uint32_t i = 0; i < kFlows; i++)
            counts[weir_owner_of_flow(hash_of(i), workers)]++;
        if (workers > 1) {
            EXPECT_LT(std::abs(unevenness(counts)), 5.0) << workers;
        }
    }
}

TEST(Select, SlotAndWorkerAreIndependent) {
    // A worker's flows use the whole table: 8 workers x 31 slots fill evenly.
    std::vector<unsigned> counts(size_t{8} * 31);
    for (uint32_t i = 0; i < kFlows; i++) {
        const uint64_t hash = hash_of(i);
        counts[weir_owner_of_flow(hash, 8) * 31 + weir_maglev_slot(hash, 31)]++;
    }
    EXPECT_LT(std::abs(unevenness(counts)), 5.0);
}

TEST(Select, ScaleStaysBelowItsCountAtBothEnds) {
    for (uint32_t count : {1u, 2u, 65537u, 0xffffffffu}) {
        EXPECT_EQ(weir_scale(0, count), 0u);
        EXPECT_EQ(weir_scale(0xffffffff, count), count - 1);
    }
}

TEST(Owner, BothDirectionsOfANatConnectionBelongToOneWorker) {
    const weir_hash_key key = {1, 2};
    std::vector<unsigned> counts(7);
    for (unsigned port = 1; port < 60000; port++) {
        weir_packet request{}, reply{};
        request.family = reply.family = 4;
        request.protocol = reply.protocol = 6;
        weir_flow_set_v4(&request.flow, 0x010200c0, 0x0a3364c6, be16(port), be16(80), 6);
        request.source_port = be16(port);
        request.destination_port = be16(80);
        weir_flow_set_v4(&reply.flow, 0x077100cb, 0x010200c0, be16(8080), be16(port), 6);
        reply.source_port = be16(8080);
        reply.destination_port = be16(port);
        weir_vip_row vip{};
        vip.forward = WEIR_FORWARD_NAT;
        const uint32_t owner = weir_owner_of_vip_packet(&request, &vip, &key, 99, 7);
        ASSERT_EQ(owner, weir_owner_of_nat_reply(&reply, &key, 7));
        counts[owner]++;
    }
    EXPECT_LT(std::abs(unevenness(counts)), 5.0);
}

TEST(Owner, SnatPortsGoRound) {
    for (uint32_t workers : {1u, 3u, 64u})
        for (unsigned port = 40000; port < 40500; port++)
            EXPECT_EQ(weir_snat_port_owner(static_cast<uint16_t>(port), 40000, workers),
                      (port - 40000) % workers);
}

} // namespace
