// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/snat_ports.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

using Pair = std::pair<int, int>;

std::unique_ptr<SnatPorts> ports_of(std::vector<SnatRange> ranges, std::uint32_t worker = 0,
                                    std::uint32_t workers = 1, std::uint64_t secret = 1) {
    auto ports = std::make_unique<SnatPorts>();
    ports->configure(ranges, worker, workers, secret);
    return ports;
}

TEST(SnatPorts, AWalkMeetsEveryOwnedPairOnce) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 200; ++round) {
        std::vector<SnatRange> ranges;
        for (std::uint64_t i = 0, n = 1 + random() % 4; i < n; ++i) {
            const auto first = static_cast<std::uint16_t>(1024 + random() % 60000);
            const auto last = static_cast<std::uint16_t>(
                first + std::min<std::uint64_t>(random() % 300, 65535u - first));
            ranges.push_back({static_cast<std::uint8_t>(i), first, last});
        }
        const auto workers = static_cast<std::uint32_t>(1 + random() % 8);
        std::size_t all = 0;
        std::set<Pair> seen;
        for (std::uint32_t worker = 0; worker < workers; ++worker) {
            const auto ports = ports_of(ranges, worker, workers, random());
            for (std::uint32_t i = 0; i < ports->places(); ++i) {
                const SnatPort port = ports->next(7, 0);
                const SnatRange& range = ranges.at(port.address());
                ASSERT_GE(port.port(), range.first_port);
                ASSERT_LE(port.port(), range.last_port);
                ASSERT_EQ(weir_snat_port_owner(port.port(), range.first_port, workers), worker);
                ASSERT_TRUE(seen.insert({port.address(), port.port()}).second) << "proposed twice";
            }
        }
        for (const SnatRange& range : ranges)
            all += range.last_port - range.first_port + 1u;
        ASSERT_EQ(seen.size(), all) << "every port belongs to one worker";
    }
}

TEST(SnatPorts, TheWholeRangeOfPortsCanBeConfigured) {
    const auto ports = ports_of({{255, 1, 65535}}, 0, 1);
    EXPECT_EQ(ports->places(), 65535u);
    std::set<int> seen;
    for (std::uint32_t i = 0; i < 65535; ++i)
        seen.insert(ports->next(1, 0).port());
    EXPECT_EQ(seen.size(), 65535u);
}

TEST(SnatPorts, AWorkerWithoutPortsIsExhaustedAtOnce) {
    const auto ports = ports_of({{0, 50000, 50001}}, 2, 3);
    EXPECT_EQ(ports->places(), 0u);
    EXPECT_FALSE(ports->allocate(1, 0, [](SnatPort) { return true; }));
    EXPECT_FALSE(SnatPorts().allocate(1, 0, [](SnatPort) { return true; }));
}

TEST(SnatPorts, TriesAreBoundedAndGoOnWhereTheLastEnded) {
    const auto ports = ports_of({{0, 40000, 59999}});
    std::set<int> proposed;
    for (int round = 0; round < 10; ++round)
        EXPECT_FALSE(ports->allocate(3, 0, [&](SnatPort port) {
            EXPECT_TRUE(proposed.insert(port.port()).second);
            return false;
        }));
    EXPECT_EQ(proposed.size(), 10 * kSnatTries);
}

TEST(SnatPorts, ASmallRangeIsExhaustedExactlyWhenEveryPortIsInUse) {
    const auto ports = ports_of({{0, 40000, 40000 + kSnatTries - 1}});
    std::set<int> used;
    for (std::uint32_t i = 0; i < kSnatTries; ++i) {
        const auto port =
            ports->allocate(1, 0, [&](SnatPort p) { return !used.contains(p.port()); });
        ASSERT_TRUE(port);
        used.insert(port.port());
    }
    const auto is_free = [&](SnatPort p) { return !used.contains(p.port()); };
    EXPECT_FALSE(ports->allocate(1, 0, is_free));
    EXPECT_TRUE(ports->allocate(2, 0, [](SnatPort) { return true; })) << "other backends are not";
    used.erase(40007);
    ASSERT_EQ(ports->allocate(1, 0, is_free), (SnatPort{0, 40007}));
}

// First proposals of many secrets: the position of a port in the walk is uniform (chi-square).
TEST(SnatPorts, ProposalsAreUniform) {
    constexpr int kPorts = 500;
    constexpr int kDraws = 100'000;
    std::vector<int> count(kPorts);
    std::vector<int> step(kPorts);
    std::mt19937_64 random(2);
    auto ports = std::make_unique<SnatPorts>();
    const SnatRange range{0, 40000, 40000 + kPorts - 1};
    for (int draw = 0; draw < kDraws; draw += 100) {
        ports->configure({&range, 1}, 0, 1, random());
        for (std::uint32_t backend = 0; backend < 100; ++backend) {
            const int first = ports->next(backend, 0).port() - 40000;
            const int second = ports->next(backend, 0).port() - 40000;
            ++count[static_cast<std::size_t>(first)];
            ++step[static_cast<std::size_t>((second - first + kPorts) % kPorts)];
        }
    }
    const auto chi_square = [](const std::vector<int>& observed, std::size_t from) {
        const double expected = static_cast<double>(kDraws) / static_cast<double>(kPorts - from);
        double sum = 0;
        for (std::size_t i = from; i < observed.size(); ++i)
            sum += (observed[i] - expected) * (observed[i] - expected) / expected;
        return sum;
    };
    // 499 degrees of freedom: mean 499, standard deviation 31.6; five of them.
    EXPECT_LT(chi_square(count, 0), 657);
    EXPECT_GT(chi_square(count, 0), 341);
    EXPECT_EQ(step[0], 0);
    EXPECT_LT(chi_square(step, 1), 656) << "the next port is not foretold by the last";
}

TEST(SnatPorts, AReleasedPortIsTheLastToComeBack) {
    const auto ports = ports_of({{0, 40000, 40999}});
    const auto any = [](SnatPort) { return true; };
    const auto released = ports->allocate(9, 0, any);
    for (int i = 0; i < 999; ++i)
        ASSERT_NE(ports->allocate(9, 0, any), released);
    EXPECT_EQ(ports->allocate(9, 0, any), released);
}

// Against a model of what is in use: random opening and closing towards several backends.
TEST(SnatPorts, NoTwoLiveConnectionsShareAReply) {
    std::mt19937_64 random(3);
    const auto ports = ports_of({{0, 40000, 40199}, {1, 50000, 50199}});
    using Tuple = std::tuple<std::uint32_t, int, int>; // backend, SNAT address, port
    std::set<Tuple> live;
    std::vector<Tuple> order;
    std::map<std::uint32_t, int> per_backend;
    int exhausted = 0;
    for (int operation = 0; operation < 300'000; ++operation) {
        if (random() % 100 < 52 || order.empty()) {
            const auto backend = static_cast<std::uint32_t>(random() % 8);
            const auto port = ports->allocate(backend, 0, [&](SnatPort p) {
                return !live.contains({backend, p.address(), p.port()});
            });
            if (!port) {
                ++exhausted;
                ASSERT_GT(per_backend[backend], 240) << "exhausted with 40 % of the ports free";
                continue;
            }
            ++per_backend[backend];
            ASSERT_TRUE(live.insert({backend, port.address(), port.port()}).second);
            order.push_back({backend, port.address(), port.port()});
        } else {
            const auto victim = random() % order.size();
            --per_backend[std::get<0>(order[victim])];
            live.erase(order[victim]);
            order[victim] = order.back();
            order.pop_back();
        }
    }
    EXPECT_GT(exhausted, 0);
    EXPECT_GT(live.size(), 8 * 400 * 8 / 10u) << "ports are reused towards other backends";
}

} // namespace
} // namespace weir::lb
