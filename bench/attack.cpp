// SPDX-License-Identifier: BSD-3-Clause
// Bursts of known connections and bursts of an attacker by turns; what is timed is the former,
// against the same with no attacker. The attack has done its worst before: tables that it can fill
// are full.
#include "bench/bench.hpp"

#include <rte_mbuf.h>

#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::uint64_t kFlows = 1'000'000;
constexpr std::uint32_t kFirstOfAttack = 3u << 26;

using Write = std::function<void(Rig&, rte_mbuf*, std::uint32_t number)>;
struct Attack {
    std::string_view name;
    std::uint32_t warm_up; // packets until it has done its worst
    Write write;
};

void write_syn(Rig& rig, rte_mbuf* mbuf, std::uint32_t number) {
    rig.frames().write(mbuf, kFirstOfAttack + number % (1u << 26), kSyn);
}

void write_fragment(Rig& rig, rte_mbuf* mbuf, std::uint32_t number) {
    rig.frames().write_stray_fragment(mbuf, number);
}

// Flows that an attacker who knew the secret would send: all in one bucket of the index, and more
// than it and its neighbour hold.
std::vector<std::uint32_t> colliding_flows(Rig& rig, std::size_t count) {
    std::vector<std::uint32_t> found;
    const std::uint64_t buckets = rig.worker().table.capacity() / lb::kEntriesPerBucket;
    for (std::uint32_t flow = kFirstOfAttack; found.size() < count; flow++) {
        const weir_packet packet = rig.frames().parsed(flow);
        const std::uint32_t hash =
            lb::index_hash(weir_flow_hash(&rig.worker().state->hash_key(), &packet.flow));
        if (hash * buckets >> 32 == 7)
            found.push_back(flow);
    }
    return found;
}

// Good bursts at even places; what is at the odd ones is `write`'s.
void prepare_turns(Rig& rig, const Write& write, std::uint32_t& number) {
    std::uint32_t i = 0;
    rig.prepare([&](rte_mbuf* mbuf) {
        if (i++ / dpdk::kBurstSize % 2 == 0)
            rig.frames().write(mbuf, rig.random_flow(), kAck);
        else
            write(rig, mbuf, number++);
    });
}

struct Turns {
    double good; // ns a packet
    double odd;
};
Turns time_turns(Rig& rig, const Write& write, std::uint32_t& number) {
    prepare_turns(rig, write, number);
    std::vector<std::uint64_t> ticks;
    rig.time_each_poll(ticks);
    std::vector<double> good, odd;
    for (std::size_t i = 0; i < ticks.size(); i++)
        (i % 2 == 0 ? good : odd)
            .push_back(ns_of_ticks(static_cast<double>(ticks[i])) / dpdk::kBurstSize);
    return {median(good), median(odd)};
}

void measure(Row& row, const Settings& settings, const Shape& shape, const Attack& attack) {
    drop_rig(); // whatever the attack before has left
    Rig& rig = rig_for(shape, kFlows);
    const Write friendly = [](Rig& with, rte_mbuf* mbuf, std::uint32_t) {
        with.frames().write(mbuf, with.random_flow(), kAck);
    };
    std::uint32_t number = 0;
    std::vector<double> alone, under, of_attack;
    const auto share = static_cast<std::uint64_t>(settings.seconds / settings.repeats / 2 * 1e9);
    const auto repeat_for = [&](const Write& write, std::vector<double>& good_to) {
        for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
            std::vector<double> good, odd;
            const std::uint64_t end = monotonic_ns() + share;
            do {
                const Turns turns = time_turns(rig, write, number);
                good.push_back(turns.good);
                odd.push_back(turns.odd);
            } while (monotonic_ns() < end);
            good_to.push_back(median(good));
            of_attack.push_back(median(odd));
        }
    };
    repeat_for(friendly, alone);
    of_attack.clear();
    Write write = attack.write;
    if (!write) {
        write = [flows = colliding_flows(rig, 64)](Rig& with, rte_mbuf* mbuf, std::uint32_t at) {
            with.frames().write(mbuf, flows[at % flows.size()], kSyn);
        };
    }
    while (number < attack.warm_up) {
        rig.prepare([&](rte_mbuf* mbuf) { write(rig, mbuf, number++); });
        rig.time_polls();
    }
    repeat_for(write, under);
    row.ns = median(under);
    row.more = {{"ns_without_attack", median(alone)},
                {"ns_of_attack", median(of_attack)},
                {"rate_kept", median(alone) / median(under)}};
}

} // namespace

void add_attack_rows(Rows& rows) {
    static const Attack kAttacks[] = {
        {"syn-flood", 1u << 19, write_syn},
        {"collisions", 1u << 14, nullptr},
        {"fragments", 1u << 16, write_fragment},
    };
    for (const config::ForwardMode mode :
         {config::ForwardMode::kDsrL2, config::ForwardMode::kFullNat})
        for (const Attack& attack : kAttacks) {
            Shape shape;
            shape.mode = mode;
            rows.push_back({row_of(shape, kFlows, "attack", "hit", attack.name),
                            [shape, &attack](Row& row, const Settings& settings) {
                                measure(row, settings, shape, attack);
                            }});
        }
}

} // namespace weir::bench
