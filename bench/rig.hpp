// SPDX-License-Identifier: BSD-3-Clause
// One worker on a Wire, with all that the engine gives it: its table in huge pages if there are
// any, counters, the published generation. What is timed is poll(), the worker's own loop body.
#pragma once

#include "bench/engine.hpp"
#include "bench/frames.hpp"
#include "bench/timing.hpp"
#include "bench/wire.hpp"
#include "bench/world.hpp"
#include "dataplane/dpdk/worker.hpp"

#include <random>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <string>
#include <vector>

namespace weir::bench {

// Few enough that packets and buffers are in the caches, as where a NIC writes into them.
inline constexpr std::uint32_t kBatchBursts = 8;
inline constexpr std::uint32_t kBatch = kBatchBursts * dpdk::kBurstSize; // packets

class Rig {
public:
    Rig(const Shape& shape, Engine& engine, std::uint32_t worker = 0);

    // Opens connections until flows [0, flows) are established. Only of flows this worker owns.
    void fill(std::uint64_t flows);
    std::uint64_t flows() const { return flows_; }

    // Prepare what the next batch receives (not timed). Every packet is another flow's.
    void prepare_hits();
    void prepare_replies();
    void prepare_new();
    void prepare_mixed(); // one packet in a hundred opens a connection
    template <class Write> void prepare(Write write) {
        collect();
        take_buffers();
        for (rte_mbuf* mbuf : wire_.in)
            write(mbuf);
    }

    // Run a batch; ticks of the whole.
    std::uint64_t time_polls();
    std::uint64_t time_macswap();
    std::uint64_t time_io() { // source and sink alone
        return time_bursts([](rte_mbuf**, std::uint32_t) {});
    }
    // each(mbufs, count) of every burst, between source and sink.
    template <class Each> std::uint64_t time_bursts(Each each) {
        rte_mbuf* mbufs[dpdk::kBurstSize];
        const auto queue = static_cast<std::uint16_t>(context_.id);
        const std::uint64_t begin = rte_rdtsc_precise();
        for (std::uint32_t round = 0; round < kBatchBursts; round++) {
            const std::uint16_t count =
                rte_eth_rx_burst(machine().port, queue, mbufs, dpdk::kBurstSize);
            each(mbufs, count);
            rte_eth_tx_burst(machine().port, queue, mbufs, count);
        }
        return rte_rdtsc_precise() - begin;
    }
    // Ticks of each burst.
    void time_each_poll(std::vector<std::uint64_t>& ticks);
    // Ticks of each stage over a batch, by the order of stage_names() (stages.cpp).
    std::vector<std::uint64_t> time_stages();

    // Packets of the last batch that were sent on.
    std::uint32_t sent() const { return static_cast<std::uint32_t>(wire_.out.size()); }
    void expect_all_sent() const;
    // The clients of flows [first, flows()) reset their connections; the others go on.
    void reset_from(std::uint64_t first);
    // Lets the connections go that prepare_new and prepare_mixed opened.
    void close_new();

    // Another port than the Wire, for loops of the caller's own around poll_once().
    void use_port(std::uint16_t port) { context_.ports[0].dpdk_port = port; }
    bool poll_once() { return dpdk::poll(worker_, burst_, monotonic_ns()); }

    dpdk::Worker& worker() { return worker_; }
    const Frames& frames() const { return frames_; }
    std::uint32_t random_flow() { return own_flow(static_cast<std::uint32_t>(random_() % flows_)); }

private:
    std::uint32_t own_flow(std::uint64_t number) const {
        return own_.empty() ? static_cast<std::uint32_t>(number) : own_[number];
    }
    bool owns(std::uint32_t flow) const;
    void take_buffers();
    void collect(); // frees what the last batch sent
    void open(std::uint64_t first, std::uint32_t count);
    void keep_open_few();

    Shape shape_;
    Frames frames_;
    Wire& wire_;
    dpdk::WorkerContext context_;
    dpdk::Worker worker_;
    dpdk::Burst burst_{};
    std::mt19937_64 random_{1};
    std::uint64_t flows_ = 0;
    std::uint32_t next_candidate_ = 0;
    std::vector<std::uint32_t> own_; // of several workers: the flows that are this one's
    std::vector<WayBack> back_;      // by flow number, NAT modes only
    std::uint32_t next_new_;
    std::vector<std::uint32_t> opened_;
};

std::vector<std::string> stage_names();

// The reference: a burst received, its MAC addresses swapped, sent. The number sent.
std::uint16_t macswap_burst(std::uint16_t port, std::uint16_t queue, rte_mbuf** mbufs);

} // namespace weir::bench
