// SPDX-License-Identifier: BSD-3-Clause
// With I/O that another core is the other end of: a generator fills a ring port's receive ring and
// empties its transmit ring, the worker's loop runs on it, and by turns the macswap loop does.
#include "bench/bench.hpp"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::uint64_t kFlows = 1000;
constexpr std::uint32_t kRing = 1024;
constexpr std::uint32_t kCirculating = kRing - 1; // so that no ring is ever too small

struct Generator {
    const RingPort& rings;
    const Frames& frames;
    std::vector<rte_mbuf*> fresh;
    std::atomic<bool> done{false};
};

// Makes new packets of those that came back.
int run_generator(void* argument) {
    auto& generator = *static_cast<Generator*>(argument);
    std::mt19937_64 random(2);
    std::vector<rte_mbuf*> at_hand = std::move(generator.fresh);
    while (!generator.done.load(std::memory_order_relaxed)) {
        at_hand.resize(kRing);
        const unsigned came = rte_ring_sc_dequeue_burst(
            generator.rings.out, reinterpret_cast<void**>(at_hand.data()), kRing, nullptr);
        at_hand.resize(came);
        for (rte_mbuf* mbuf : at_hand)
            generator.frames.write(mbuf, static_cast<std::uint32_t>(random() % kFlows), kAck);
        rte_ring_sp_enqueue_bulk(generator.rings.in, reinterpret_cast<void**>(at_hand.data()), came,
                                 nullptr);
    }
    return 0;
}

void drain(rte_ring* ring) {
    void* mbuf = nullptr;
    while (rte_ring_dequeue(ring, &mbuf) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
}

struct Rate {
    double ns;   // a packet, waiting included
    double idle; // share of the polls that found nothing
};

// `step` handles what a poll brings and says how many packets it was.
template <class Step> Rate run_for(double seconds, Step step) {
    std::uint64_t packets = 0;
    std::uint64_t polls = 0;
    std::uint64_t empty = 0;
    const std::uint64_t begin = monotonic_ns();
    const std::uint64_t end = begin + static_cast<std::uint64_t>(seconds * 1e9);
    std::uint64_t now = begin;
    for (; now < end; now = monotonic_ns()) {
        const std::uint64_t came = step();
        packets += came;
        polls++;
        empty += came == 0;
    }
    if (packets == 0)
        throw std::runtime_error("no packet came back");
    return {static_cast<double>(now - begin) / static_cast<double>(packets),
            static_cast<double>(empty) / static_cast<double>(polls)};
}

void measure(Row& row, const Settings& settings, const Shape& shape) {
    if (machine().second_lcore >= RTE_MAX_LCORE)
        throw std::runtime_error("needs a second core");
    Rig& rig = rig_for(shape, kFlows);
    const RingPort rings = make_ring_port(kRing);
    rig.use_port(rings.port);
    Generator generator{rings, rig.frames(), std::vector<rte_mbuf*>(kCirculating)};
    if (rte_pktmbuf_alloc_bulk(machine().pool, generator.fresh.data(), kCirculating) != 0)
        throw std::runtime_error("no packet buffers");
    for (rte_mbuf* mbuf : generator.fresh)
        rig.frames().write(mbuf, 0, kAck);
    rte_ring_sp_enqueue_bulk(rings.in, reinterpret_cast<void**>(generator.fresh.data()),
                             kCirculating, nullptr);
    generator.fresh.clear();
    rte_eal_remote_launch(run_generator, &generator, machine().second_lcore);
    const auto& seen = rig.worker().context.counters->worker(0).ports[0].tx_packets;
    std::vector<double> ns, macswap, idle;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        const double share = settings.seconds / settings.repeats / 2;
        const Rate ours = run_for(share, [&] {
            const std::uint64_t before = seen;
            rig.poll_once();
            return seen - before;
        });
        ns.push_back(ours.ns);
        idle.push_back(ours.idle);
        rte_mbuf* mbufs[dpdk::kBurstSize];
        macswap.push_back(run_for(share, [&] { return macswap_burst(rings.port, 0, mbufs); }).ns);
    }
    generator.done.store(true);
    rte_eal_wait_lcore(machine().second_lcore);
    rig.use_port(machine().port);
    drain(rings.in);
    drain(rings.out);
    end_ring_port(rings);
    row.ns = median(ns);
    row.ns_macswap = median(macswap);
    row.ratio = row.ns / *row.ns_macswap;
    row.more = {{"idle_polls", median(idle)}};
}

} // namespace

void add_ring_rows(Rows& rows) {
    for (const config::ForwardMode mode : kModes) {
        Shape shape;
        shape.mode = mode;
        rows.push_back(
            {row_of(shape, kFlows, "io", "hit", "net_ring"),
             [shape](Row& row, const Settings& settings) { measure(row, settings, shape); }});
    }
}

} // namespace weir::bench
