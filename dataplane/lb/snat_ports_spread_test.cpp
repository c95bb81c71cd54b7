// SPDX-License-Identifier: BSD-3-Clause
// SNAT ports where NICs spread by a table we know: the reply comes to the worker that opened the
// connection. A simulated NIC hashes with the plain L0 function, bit by bit.
#include "dataplane/lb/snat_ports.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

weir_address address_of(bool v6, std::uint32_t number) {
    if (!v6)
        return weir_address_from_v4(weir_swap32(0x0a000000u + number));
    return {{0xb80d0120, std::uint64_t{weir_swap32(number)} << 32}};
}

// Backends on one side, a NIC of `entries` and its workers on the other.
struct Node {
    Node(bool six, std::uint32_t entries, std::uint32_t workers, std::vector<SnatRange> given,
         std::uint64_t seed = 1)
        : v6(six), key(rss_key_of({seed, 5})), spread(*Spread::make(key, entries, workers)),
          ranges(std::move(given)) {
        for (const SnatRange& range : ranges)
            addresses.push_back(address_of(v6, 0x100u + range.address));
        for (std::uint32_t worker = 0; worker < workers; worker++) {
            ports.push_back(std::make_unique<SnatPorts>());
            ports.back()->configure(ranges, addresses, worker, spread, seed * 100 + worker);
        }
    }

    std::uint32_t part(std::uint32_t backend, std::uint16_t port = 80) const {
        return spread.source_part(address_of(v6, backend), weir_swap16(port));
    }

    // The queue of the backend's reply.
    std::uint32_t queue(std::uint32_t backend, SnatPort to, std::uint16_t port = 80) const {
        const weir_address from = address_of(v6, backend);
        const weir_address back = address_of(v6, 0x100u + to.address());
        weir_flow flow;
        weir_flow_set(&flow, &from, &back, weir_swap16(port), weir_swap16(to.port()), 6);
        return weir_toeplitz(&key, &flow) % spread.entries() % spread.workers();
    }

    bool v6;
    weir_rss_key key;
    Spread spread;
    std::vector<SnatRange> ranges;
    std::vector<weir_address> addresses;
    std::vector<std::unique_ptr<SnatPorts>> ports;
};

const auto kAny = [](SnatPort) { return true; };

TEST(SnatPortsBySpread, EveryReplyComesToTheWorkerThatAsked) {
    for (bool v6 : {false, true})
        for (std::uint32_t entries : {64u, 128u, 512u})
            for (std::uint32_t workers = 1; workers <= 32; workers++) {
                Node node(v6, entries, workers, {{0, 1024, 65535}, {7, 40000, 41999}}, workers);
                for (std::uint32_t backend = 0; backend < 40; backend++)
                    for (std::uint32_t worker = 0; worker < workers; worker++) {
                        const auto port =
                            node.ports[worker]->allocate(backend, node.part(backend), kAny);
                        ASSERT_TRUE(port);
                        ASSERT_EQ(node.queue(backend, port), worker);
                    }
            }
}

// The negative control: dealt out round, replies come to the right queue by chance only.
TEST(SnatPortsBySpread, PortsDealtOutRoundDoNotDoIt) {
    const Node node(false, 128, 4, {{0, 40000, 59999}});
    SnatPorts plain;
    plain.configure(node.ranges, 2, 4, 7);
    int right = 0;
    for (std::uint32_t backend = 0; backend < 1000; backend++)
        right += node.queue(backend, plain.allocate(backend, 0, kAny)) == 2;
    EXPECT_GT(right, 170);
    EXPECT_LT(right, 330);
}

TEST(SnatPortsBySpread, TheWorkersShareEveryPairTowardsEachBackend) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 60; round++) {
        std::vector<SnatRange> ranges;
        std::size_t all = 0;
        for (std::uint64_t i = 0, n = 1 + random() % 3; i < n; i++) {
            const auto first = static_cast<std::uint16_t>(1 + random() % 65000);
            const auto last =
                static_cast<std::uint16_t>(std::min<std::uint64_t>(65535, first + random() % 3000));
            ranges.push_back({static_cast<std::uint8_t>(i), first, last});
            all += last - first + 1u;
        }
        const auto workers = static_cast<std::uint32_t>(1 + random() % 8);
        const std::uint32_t entries = 64u << random() % 4;
        Node node(round % 2 == 0, entries, workers, ranges, random());
        const auto backend = static_cast<std::uint32_t>(random() % 1000);
        std::set<std::pair<int, int>> seen;
        for (std::uint32_t worker = 0; worker < workers; worker++)
            for (std::uint32_t i = 0; i < node.ports[worker]->places(); i++) {
                const auto port = node.ports[worker]->next(backend, node.part(backend));
                if (!port)
                    continue;
                const SnatRange& range = ranges.at(port.address());
                ASSERT_GE(port.port(), range.first_port);
                ASSERT_LE(port.port(), range.last_port);
                ASSERT_EQ(node.queue(backend, port), worker);
                ASSERT_TRUE(seen.insert({port.address(), port.port()}).second) << "proposed twice";
            }
        ASSERT_EQ(seen.size(), all);
    }
}

TEST(SnatPortsBySpread, TriesAreBoundedAndGoOnWhereTheLastEnded) {
    Node node(false, 128, 4, {{0, 40000, 59999}});
    std::set<int> proposed;
    for (int round = 0; round < 10; round++)
        EXPECT_FALSE(node.ports[1]->allocate(3, node.part(3), [&](SnatPort port) {
            EXPECT_TRUE(proposed.insert(port.port()).second);
            return false;
        }));
    EXPECT_EQ(proposed.size(), 10 * kSnatTries);
}

TEST(SnatPortsBySpread, ASmallRangeIsExhaustedExactlyWhenEveryPortIsInUse) {
    for (std::uint16_t size : {1, 5, 64, 100}) { // against blocks of 128 ports
        Node node(false, 128, 2, {{0, 40000, static_cast<std::uint16_t>(40000 + size - 1)}});
        std::set<int> used;
        for (std::uint32_t worker = 0; worker < 2; worker++) {
            // One try each, so that more than kSnatTries ports in use are no end.
            std::uint32_t in_vain = 0;
            while (in_vain < 2 * size) {
                const auto port = node.ports[worker]->allocate(
                    9, node.part(9), [&](SnatPort p) { return !used.contains(p.port()); });
                if (port)
                    used.insert(port.port());
                in_vain = port ? 0 : in_vain + 1;
            }
        }
        EXPECT_EQ(used.size(), size);
        const auto free_again = static_cast<std::uint16_t>(40000 + size / 2);
        used.erase(free_again);
        const std::uint32_t owner = node.queue(9, {0, free_again});
        for (std::uint32_t worker = 0; worker < 2; worker++) {
            SnatPort port;
            for (int attempt = 0; attempt < 2 * size && !port; attempt++)
                port = node.ports[worker]->allocate(
                    9, node.part(9), [&](SnatPort p) { return !used.contains(p.port()); });
            EXPECT_EQ(static_cast<bool>(port), worker == owner);
        }
    }
}

TEST(SnatPortsBySpread, AReleasedPortIsTheLastToComeBack) {
    Node node(true, 128, 4, {{0, 40960, 40960 + 1023}}); // whole blocks: 256 ports of each worker
    const auto released = node.ports[3]->allocate(9, node.part(9), kAny);
    for (int i = 0; i < 255; i++)
        ASSERT_NE(node.ports[3]->allocate(9, node.part(9), kAny), released);
    EXPECT_EQ(node.ports[3]->allocate(9, node.part(9), kAny), released);
}

// Positions of a port in the walks of many secrets, and steps between neighbours (chi-square).
TEST(SnatPortsBySpread, ProposalsAreUniformAndNotForetold) {
    constexpr int kPorts = 256; // of this worker
    constexpr int kDraws = 51'200;
    Node node(false, 64, 2, {{0, 40960, 40960 + 2 * kPorts - 1}});
    std::vector<int> first(2 * kPorts);
    std::vector<int> step(2 * kPorts);
    std::mt19937_64 random(2);
    SnatPorts& ports = *node.ports[1];
    for (int draw = 0; draw < kDraws; draw++) {
        if (draw % 100 == 0)
            ports.configure(node.ranges, node.addresses, 1, node.spread, random());
        const auto backend = static_cast<std::uint32_t>(draw % 100);
        const int one = ports.next(backend, node.part(9)).port() - 40960;
        const int two = ports.next(backend, node.part(9)).port() - 40960;
        first[static_cast<std::size_t>(one)]++;
        step[static_cast<std::size_t>((two - one + 2 * kPorts) % (2 * kPorts))]++;
    }
    double sum = 0;
    for (int count : first) {
        if (count == 0)
            continue; // the other worker's
        const double expected = static_cast<double>(kDraws) / kPorts;
        sum += (count - expected) * (count - expected) / expected;
    }
    EXPECT_EQ(std::count(first.begin(), first.end(), 0), kPorts);
    EXPECT_LT(sum, 368); // 255 degrees of freedom: mean 255, standard deviation 22.6; five of them
    EXPECT_GT(sum, 142);
    EXPECT_EQ(step[0], 0);
    EXPECT_LT(*std::max_element(step.begin(), step.end()), kDraws / 50) << "no step stands out";
}

} // namespace
} // namespace weir::lb
