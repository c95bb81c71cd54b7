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
        const uint32_t owner = weir_owner_of_vip_packet(&request, &vip, nullptr, &key, 99, 7);
        ASSERT_EQ(owner, weir_owner_of_nat_reply(&reply, nullptr, &key, 7));
        counts[owner]++;
    }
    EXPECT_LT(std::abs(unevenness(counts)), 5.0);
}

// The address with all bits from `bits` on cleared, byte by byte.
weir_address cut(weir_address address, unsigned bits) {
    auto* bytes = reinterpret_cast<uint8_t*>(&address);
    for (unsigned bit = bits; bit < 128; bit++)
        bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] & ~(0x80u >> (bit % 8)));
    return address;
}

TEST(Persistence, ANetworkIsTheAddressUpToThePrefix) {
    const weir_address v6 = {{0xfedcba9876543210, 0x0123456789abcdef}};
    const weir_address v4 = weir_address_from_v4(0xfffeefdf);
    for (unsigned bits = 0; bits <= 128; bits++) {
        weir_pool_row pool{};
        pool.persistence_prefix_v6 = static_cast<uint8_t>(bits);
        pool.persistence_prefix_v4 = static_cast<uint8_t>(bits % 33);
        const weir_address of_v6 = weir_client_network(&v6, &pool);
        const weir_address want_v6 = cut(v6, bits);
        EXPECT_TRUE(weir_address_equal(&of_v6, &want_v6)) << bits;
        const weir_address of_v4 = weir_client_network(&v4, &pool);
        const weir_address want_v4 = cut(v4, 96 + bits % 33);
        EXPECT_TRUE(weir_address_equal(&of_v4, &want_v4)) << bits % 33;
    }
}

TEST(Persistence, KeysTellNetworksAndPoolsApart) {
    const weir_hash_key key = {3, 4};
    weir_pool_row pool{}, other{};
    pool.persistence_prefix_v4 = other.persistence_prefix_v4 = 24;
    pool.identity = 1;
    other.identity = 2;
    const weir_address a = weir_address_from_v4(0x071133c6), b = weir_address_from_v4(0xff1133c6),
                       far = weir_address_from_v4(0x071233c6);
    EXPECT_EQ(weir_persistence_key(&key, &a, &pool), weir_persistence_key(&key, &b, &pool));
    EXPECT_NE(weir_persistence_key(&key, &a, &pool), weir_persistence_key(&key, &far, &pool));
    EXPECT_NE(weir_persistence_key(&key, &a, &pool), weir_persistence_key(&key, &a, &other));
}

TEST(Select, SourceHashSpreadsNeighboursEvenly) {
    const weir_hash_key key = {5, 6};
    weir_pool_row pool{};
    pool.scheduler = WEIR_SCHEDULE_SOURCE_HASH;
    std::vector<unsigned> counts(251);
    for (uint32_t i = 0; i < 200000; i++) {
        const weir_address client = weir_address_from_v4(weir_swap32(0x0a000000 + i));
        const uint64_t hash = weir_slot_hash(&pool, &key, &client, i);
        ASSERT_EQ(hash, weir_slot_hash(&pool, &key, &client, ~i)) << "the flow does not count";
        counts[weir_maglev_slot(hash, 251)]++;
    }
    EXPECT_LT(std::abs(unevenness(counts)), 5.0);
    pool.scheduler = WEIR_SCHEDULE_MAGLEV;
    const weir_address client = weir_address_from_v4(1);
    EXPECT_EQ(weir_slot_hash(&pool, &key, &client, 42), 42u);
}

TEST(Owner, AllOfAPersistentNetworkMeetsAtOneWorkerInBothDirections) {
    const weir_hash_key key = {1, 2};
    weir_pool_row pool{};
    pool.persistence_s = 60;
    pool.persistence_prefix_v4 = 24;
    std::vector<unsigned> counts(7);
    for (uint32_t network = 0; network < 7000; network++) {
        uint32_t first = 7;
        for (uint8_t mode : {WEIR_FORWARD_DSR_L2, WEIR_FORWARD_NAT, WEIR_FORWARD_FULL_NAT}) {
            const weir_be32 client = weir_swap32(0x0a000000 + (network << 8) + mode);
            weir_packet request{}, reply{};
            request.family = reply.family = 4;
            weir_flow_set_v4(&request.flow, client, 0x0a3364c6, be16(1000 + mode), be16(80), 6);
            weir_flow_set_v4(&reply.flow, 0x077100cb, client, be16(8080), be16(1000 + mode), 6);
            weir_vip_row vip{};
            vip.forward = mode;
            const uint32_t owner = weir_owner_of_vip_packet(
                &request, &vip, &pool, &key, uint64_t{network + mode} * 0x9e3779b97f4a7c15, 7);
            if (first == 7)
                first = owner;
            ASSERT_EQ(owner, first);
            ASSERT_EQ(weir_owner_of_nat_reply(&reply, &pool, &key, 7), first);
        }
        counts[first]++;
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
