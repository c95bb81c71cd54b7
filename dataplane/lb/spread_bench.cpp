// SPDX-License-Identifier: BSD-3-Clause
// What the spread costs where NICs are controlled: the owner of a packet, the choice of a SNAT
// port. Nanoseconds each, median of eleven rounds. Not a test: it asserts nothing about time.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "dataplane/lb/snat_ports.hpp"

namespace weir::lb {
namespace {

constexpr std::uint32_t kCount = 4096;

double time_ns(const std::function<void()>& work) {
    const auto now_ns = [] {
        timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
    };
    constexpr int kTimes = 20;
    const double begin_ns = now_ns();
    for (int i = 0; i < kTimes; i++)
        work();
    return (now_ns() - begin_ns) / kCount / kTimes;
}

void run() {
    std::mt19937_64 random(1);
    const auto spread = *Spread::make(rss_key_of({1, 2}), 512, 6);
    std::vector<weir_flow> v4(kCount), v6(kCount);
    std::vector<weir_address> from4(kCount), from6(kCount);
    for (std::uint32_t i = 0; i < kCount; i++) {
        from4[i] = weir_address_from_v4(static_cast<weir_be32>(random()));
        from6[i] = {{random(), random()}};
        const auto to4 = weir_address_from_v4(static_cast<weir_be32>(random()));
        const weir_address to6 = {{random(), random()}};
        const auto port = static_cast<weir_be16>(random());
        weir_flow_set(&v4[i], &from4[i], &to4, port, 80, 6);
        weir_flow_set(&v6[i], &from6[i], &to6, port, 80, 6);
    }
    const SnatRange range{0, 40000, 59999};
    const auto at = weir_address_from_v4(0x01020304);
    SnatPorts plain, chosen;
    plain.configure({&range, 1}, 0, 6, 7);
    chosen.configure({&range, 1}, {&at, 1}, 0, spread, 7);
    std::vector<std::uint32_t> plain_place(kCount), chosen_place(kCount), part(kCount);
    for (std::uint32_t i = 0; i < kCount; i++) {
        plain_place[i] = static_cast<std::uint32_t>(random() % plain.places());
        chosen_place[i] = static_cast<std::uint32_t>(random() % chosen.places());
        part[i] = spread.source_part(from4[i], 80);
    }

    unsigned sink = 0;
    const auto each = [&](auto what) {
        return time_ns([&] {
            for (std::uint32_t i = 0; i < kCount; i++)
                sink += what(i);
        });
    };
    std::map<std::string, std::vector<double>> rows;
    for (int round = 0; round < 11; round++) {
        rows["owner of a packet, IPv4"].push_back(
            each([&](std::uint32_t i) { return spread.worker_of(v4[i]); }));
        rows["owner of a packet, IPv6"].push_back(
            each([&](std::uint32_t i) { return spread.worker_of(v6[i]); }));
        rows["port: the backend's part of the hash, IPv4"].push_back(
            each([&](std::uint32_t i) { return spread.source_part(from4[i], 80); }));
        rows["port: the backend's part of the hash, IPv6"].push_back(
            each([&](std::uint32_t i) { return spread.source_part(from6[i], 80); }));
        rows["port: a walk's next"].push_back(each([&](std::uint32_t i) {
            const auto port = chosen.next(i, part[i]);
            return port ? port.port() : 0u;
        }));
        rows["port: 32 walks' next"].push_back(each([&](std::uint32_t i) {
            if (i % lb::SnatSteps::kMost != 0)
                return 0u;
            lb::SnatSteps steps;
            for (std::uint32_t k = 0; k < lb::SnatSteps::kMost; k++)
                chosen.step(i + k, steps);
            chosen.find(steps);
            unsigned sum = 0;
            for (std::uint32_t k = 0; k < lb::SnatSteps::kMost; k++) {
                const auto port = chosen.port(steps, k, part[i + k]);
                sum += port ? port.port() : 0u;
            }
            return sum;
        }));
        rows["port: the choice at a place"].push_back(each([&](std::uint32_t i) {
            const auto pair = chosen.pair_by_spread(chosen_place[i], part[i]);
            return pair ? pair.port() : 0u;
        }));
        rows["port: the same without a spread"].push_back(
            each([&](std::uint32_t i) { return plain.pair_at(plain_place[i]).port() + 0u; }));
    }
    for (auto& [name, ns] : rows) {
        std::sort(ns.begin(), ns.end());
        std::printf("%-45s %7.1f ns   best %7.1f ns\n", name.c_str(), ns[ns.size() / 2],
                    ns.front());
    }
    std::printf("%*s\n", static_cast<int>(sink & 1), "");
}

} // namespace
} // namespace weir::lb

int main() {
    weir::lb::run();
    return 0;
}
