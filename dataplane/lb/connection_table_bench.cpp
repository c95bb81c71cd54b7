// SPDX-License-Identifier: BSD-3-Clause
// What a lookup, an insertion and a SNAT proposal cost, without hashing and parsing: nanoseconds
// each, median of seven interleaved rounds. Flows are drawn at random from the whole population.
// Not a test: it asserts nothing about time.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "dataplane/lb/connection_table.hpp"
#include "dataplane/lb/maglev.hpp"
#include "dataplane/lb/snat_ports.hpp"

namespace weir::lb {
namespace {

constexpr std::uint32_t kBurst = 32;

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

NewConnection connection_of(std::uint32_t flow) {
    NewConnection connection;
    connection.key =
        forward_key(weir_address_from_v4(flow), static_cast<std::uint16_t>(flow * 7), 80, 0);
    connection.forward_hash = index_hash(mix(flow));
    connection.reply_hash = index_hash(mix(flow + (std::uint64_t{1} << 32)));
    connection.reply_indexed = true;
    connection.state = 6;
    connection.backend = flow % 1000;
    connection.snat_port = static_cast<std::uint16_t>(flow);
    connection.probation = false;
    return connection;
}

struct Bench {
    explicit Bench(std::uint32_t capacity) {
        const TableGeometry geometry{
            .capacity = capacity, .vips = 1, .probation_limit = capacity / 4};
        const std::size_t page = std::size_t{2} << 20;
        const std::size_t bytes =
            (ConnectionTable::bytes_needed(geometry) + page - 1) / page * page + page;
        auto* memory = static_cast<std::byte*>(
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        madvise(memory, bytes, MADV_HUGEPAGE);
        table = ConnectionTable::format({memory, bytes}, geometry);
    }
    InsertResult insert(std::uint32_t flow) {
        return table.insert(
            connection_of(flow), 0, 0xffffffff, [](const HotRow&) { return false; },
            [](EntryIndex, const HotRow&) {});
    }
    ConnectionTable table;
};

double time_ns(std::uint64_t operations, const std::function<void()>& work) {
    // The thread's own time, so that a busy machine does not count.
    const auto now_ns = [] {
        timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
    };
    const double begin_ns = now_ns();
    work();
    return (now_ns() - begin_ns) / static_cast<double>(operations);
}

// Packets of known connections: hash and key at hand, as after the parse stage.
double hits(Bench& bench, std::uint32_t flows, bool reply, std::mt19937_64& random) {
    constexpr std::uint32_t kPackets = kBurst * 1024;
    std::vector<NewConnection> packets(kPackets);
    for (auto& packet : packets)
        packet = connection_of(static_cast<std::uint32_t>(random() % flows));
    std::uint32_t missed = 0;
    const double ns = time_ns(kPackets, [&] {
        EntryIndex hint[kBurst];
        for (std::uint32_t first = 0; first < kPackets; first += kBurst) {
            const NewConnection* burst = &packets[first];
            const auto hash = [&](std::uint32_t i) {
                return reply ? burst[i].reply_hash : burst[i].forward_hash;
            };
            for (std::uint32_t i = 0; i < kBurst; ++i)
                bench.table.prefetch_index(hash(i));
            for (std::uint32_t i = 0; i < kBurst; ++i)
                hint[i] = bench.table.prefetch_row(hash(i));
            for (std::uint32_t i = 0; i < kBurst; ++i) {
                const auto is_reply = [&](const HotRow& row) {
                    return row.snat_port == burst[i].snat_port && row.backend == burst[i].backend;
                };
                const EntryIndex entry =
                    reply ? bench.table.find_reply(hash(i), is_reply, hint[i])
                          : bench.table.find_forward(hash(i), burst[i].key, hint[i]);
                if (entry == kNoEntry)
                    ++missed;
                else
                    bench.table.update(entry, 6, kNoLastHop, 0);
            }
        }
    });
    if (missed != 0)
        std::printf("missed %u\n", missed);
    return ns;
}

// New connections, the client's and the backend's buckets prefetched a burst ahead.
double insertions(Bench& bench, std::uint32_t first, std::uint32_t count) {
    std::vector<NewConnection> connections;
    for (std::uint32_t i = 0; i < count; ++i)
        connections.push_back(connection_of(first + i));
    return time_ns(count, [&] {
        for (std::uint32_t done = 0; done < count; done += kBurst) {
            for (std::uint32_t i = done; i < done + kBurst; ++i) {
                bench.table.prefetch_index(connections[i].forward_hash);
                bench.table.prefetch_index(connections[i].reply_hash);
            }
            for (std::uint32_t i = done; i < done + kBurst; ++i)
                bench.table.insert(
                    connections[i], 0, 0xffffffff, [](const HotRow&) { return false; },
                    [](EntryIndex, const HotRow&) {});
        }
    });
}

double erasures(Bench& bench, std::uint32_t first, std::uint32_t count) {
    std::vector<EntryIndex> entries;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto connection = connection_of(first + i);
        entries.push_back(bench.table.find_forward(connection.forward_hash, connection.key));
    }
    return time_ns(count, [&] {
        for (const EntryIndex entry : entries)
            bench.table.erase(entry);
    });
}

void run() {
    std::mt19937_64 random(1);
    std::map<std::string, std::vector<double>> rows;
    Bench small(1280);
    Bench large(1'250'000);
    std::uint32_t oldest = 0;
    std::uint32_t newest = 1'000'000;
    for (std::uint32_t flow = 0; flow < 1000; ++flow)
        small.insert(flow);
    for (std::uint32_t flow = 0; flow < newest; ++flow)
        large.insert(flow);
    SnatPorts ports;
    const SnatRange range{0, 40000, 59999};
    ports.configure({&range, 1}, 0, 1, 7);
    std::vector<MaglevBackend> pool(100);
    for (auto& backend : pool)
        backend = {random(), random(), 1};
    std::vector<std::uint16_t> slots(kDefaultMaglevSize);
    unsigned sink = 0;
    for (int round = 0; round < 7; ++round) {
        rows["hit, client's side, 1 k flows"].push_back(hits(small, 1000, false, random));
        rows["hit, backend's side, 1 k flows"].push_back(hits(small, 1000, true, random));
        rows["SNAT proposal"].push_back(time_ns(100'000, [&] {
            for (std::uint32_t i = 0; i < 100'000; ++i)
                sink += ports.next(i % 100, 0).port();
        }));
        rows["Maglev, 100 backends, 65537 slots"].push_back(
            time_ns(1, [&] { build_maglev(pool, slots); }));
    }
    for (int round = 0; round < 7; ++round) {
        rows["hit, client's side, 1 M flows"].push_back(hits(large, 1'000'000, false, random));
        rows["hit, backend's side, 1 M flows"].push_back(hits(large, 1'000'000, true, random));
    }
    for (int round = 0; round < 7; ++round) {
        constexpr std::uint32_t kCount = kBurst * 512;
        rows["insert (NAT), 1 M flows, 80 % full"].push_back(insertions(large, newest, kCount));
        rows["erase (NAT), 1 M flows, 80 % full"].push_back(erasures(large, oldest, kCount));
        newest += kCount;
        oldest += kCount;
    }
    rows["expire, per visited entry"].push_back(time_ns(large.table.capacity(), [&] {
        large.table.expire(
            1, large.table.capacity(), [](const HotRow&) { return std::uint16_t{3600}; },
            [](EntryIndex, const HotRow&, const ColdRow&) {});
    }));
    for (auto& [name, ns] : rows) {
        std::sort(ns.begin(), ns.end());
        std::printf("%-50s %12.1f ns   best %12.1f ns\n", name.c_str(), ns[ns.size() / 2],
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
