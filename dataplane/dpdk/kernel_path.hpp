// SPDX-License-Identifier: BSD-3-Clause
// The way between bypassed interfaces and the kernel: one thread that writes what the workers punt
// to the interfaces' TAPs and gives what the kernel sends there to worker 0. Control protocols have
// a ring of their own, which is emptied before each burst of anything else; every class of every
// interface has its own rate limit. docs/decisions/ says why this is not a DPDK port.
//
// Thread ownership: start(), stop() and attach() belong to the main thread; everything else to the
// thread itself. It is the only writer of its counters block.
#pragma once

#include "config/config.hpp"
#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/dpdk/token_bucket.hpp"
#include "dataplane/dpdk/worker_context.hpp"

#include <array>
#include <atomic>
#include <span>
#include <string>
#include <thread>
#include <vector>

struct rte_mbuf;

namespace weir::dpdk {

struct KernelPathSetup {
    rte_mempool* pool = nullptr;
    rte_ring* punt_control = nullptr;
    rte_ring* punt_data = nullptr;
    rte_ring* from_kernel = nullptr;
    const std::atomic<const lb::ForwardingState*>* state = nullptr;
    rte_rcu_qsbr* rcu = nullptr;
    std::uint32_t reader = 0; // QSBR thread id
    lb::WorkerCounters* counters = nullptr;
    std::vector<config::PuntLimits> limits; // by interface row; until a generation says otherwise
};

class KernelPath {
public:
    explicit KernelPath(KernelPathSetup setup);
    ~KernelPath() { stop(); }

    void start();
    void stop(); // empties the punt rings once more
    // From now on `tap` is the kernel side of the interface; an earlier one is closed.
    void attach(std::uint32_t interface_row, channel::Descriptor tap);

    // One round of the thread's loop: returns the packets moved. For tests, without start().
    std::uint32_t run_once();

private:
    // What a round did, brought into the counters in one short section.
    struct Tally {
        std::uint64_t handed_in = 0;
        std::uint64_t tx_packets = 0;
        std::uint64_t tx_bytes = 0;
        std::uint64_t rx_packets = 0;
        std::uint64_t rx_bytes = 0;
        std::array<std::uint64_t, WEIR_VERDICT_COUNT> verdicts{};
    };
    enum PuntClass { kControl, kEcho, kOther, kClasses };

    void run();
    void take_new_taps();
    std::uint32_t punt(rte_ring* ring, std::uint32_t most, Tally& tally);
    void punt_one(rte_mbuf* packet, Tally& tally);
    bool within_limit(std::uint32_t row, PuntClass punt_class);
    std::uint32_t read_tap(std::uint32_t row, Tally& tally);
    void book(const Tally& tally);
    void wait(std::uint64_t idle_ns);

    KernelPathSetup setup_;
    std::thread thread_;
    std::atomic<bool> stop_{false};
    std::array<std::atomic<int>, WEIR_MAX_INTERFACES> arriving_{}; // descriptors from attach()
    channel::Descriptor wake_;

    std::array<channel::Descriptor, WEIR_MAX_INTERFACES> taps_;
    std::array<std::array<TokenBucket, kClasses>, WEIR_MAX_INTERFACES> buckets_;
    std::uint64_t now_ns_ = 0;
};

} // namespace weir::dpdk
