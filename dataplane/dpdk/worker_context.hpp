// SPDX-License-Identifier: BSD-3-Clause
// Everything one worker owns or reads, built by the engine before the worker's loop starts, and the
// worker's entry. Nothing here changes while the loop runs except what the pointers lead to.
//
// Packets in a ring: mbuf->port holds the interface row, not the DPDK port, and between workers
// mbuf->hash a HandOverNote; nothing else of the mbuf's metadata is promised, so whoever takes a
// packet out of a ring parses it again.
#pragma once

#include "dataplane/forwarding/limits.h"
#include "dataplane/lb/capture_ring.hpp"
#include "dataplane/lb/connection_table.hpp"
#include "dataplane/lb/counters.hpp"
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/last_hops.hpp"
#include "dataplane/lb/persistence_table.hpp"
#include "dataplane/lb/spread.hpp"
#include "dataplane/lb/stray_replies.hpp"

#include <array>
#include <atomic>
#include <cstdint>

struct rte_mempool;
struct rte_rcu_qsbr;
struct rte_ring;

namespace weir::dpdk {

// Receive queues one worker serves at most; a device with more queues than workers gives some of
// them several, so that no queue of it is without a worker.
inline constexpr std::uint32_t kMaxWorkerPorts = 4 * WEIR_MAX_INTERFACES;

struct WorkerPort {
    std::uint16_t dpdk_port = 0;
    std::uint16_t queue = 0;        // a queue pair that only this worker uses
    std::uint8_t interface_row = 0; // of ForwardingState and of the port counters
    bool bypassed = false;          // the kernel sees it only through a TAP: punt to the rings
    bool spread_controlled = false; // RSS puts a flow's packets on the worker that owns it
};

struct WorkerContext {
    std::uint32_t id = 0; // worker index; also its counters block and its QSBR thread id
    std::uint32_t workers = 1;
    std::uint32_t core = 0; // for the counters
    // Receive from ports[0 .. port_count). Transmit to an interface through ports[interface row];
    // entries from interface_count on are further queues to receive from.
    std::uint32_t interface_count = 0;
    std::uint32_t port_count = 0;
    std::array<WorkerPort, kMaxWorkerPorts> ports{};

    rte_mempool* pool = nullptr; // shared by all workers and the kernel path, with per-core caches

    // The published generation, null before the first. It may be used until the worker next reports
    // a quiescent state (rte_rcu_qsbr_quiescent(rcu, id)), which it does every poll. The engine
    // registers the worker and takes it online before run_worker, and offline after it.
    const std::atomic<const lb::ForwardingState*>* state = nullptr;
    rte_rcu_qsbr* rcu = nullptr;

    // Of this worker alone, formatted or adopted (lb/worker_memory.hpp). Until the first generation
    // connections of the dataplane before may still come in.
    lb::ConnectionTable* table = nullptr;
    lb::LastHops* last_hops = nullptr;
    lb::PersistenceTable* persistence = nullptr;
    lb::StrayReplies* strays = nullptr; // of all workers; filled before the first generation
    std::uint64_t secret = 0;           // random, differs between workers: for SNAT ports

    // How the devices spread packets over the workers, where we control it; null pointers where we
    // do not. Set before the first generation is published and not changed after.
    const std::atomic<const lb::Spread*>* spread = nullptr;

    lb::CountersView* counters = nullptr; // this worker writes block `id`
    std::uint32_t block = 0;

    // Copies of packets for `weirctl capture`; without an order never.
    std::span<std::byte> capture_ring;
    const lb::CaptureOrder* capture_order = nullptr;

    // Hand-over. Worker i takes from inbox i (multi-producer, single-consumer).
    rte_ring* inbox = nullptr;
    std::array<rte_ring*, WEIR_MAX_WORKERS> peer_inbox{}; // by worker; [id] is the own inbox

    // To the kernel-path thread (multi-producer, single-consumer): control protocols, and the rest.
    // A packet put there counts as punted; the kernel path counts it in again. Its class is found
    // again by parsing.
    rte_ring* punt_control = nullptr;
    rte_ring* punt_data = nullptr;

    // Packets the kernel sent through a TAP, to be transmitted on the interface mbuf->port names.
    // Worker 0 only, null for the others (single-producer, single-consumer).
    rte_ring* from_kernel = nullptr;

    bool adaptive_idle = true;
    const std::atomic<bool>* stop = nullptr; // set: empty the rings, 0.1 s at most, then return
};

// The worker's loop: returns 0 after stop. Runs on the worker's own core.
int run_worker(WorkerContext& context);

} // namespace weir::dpdk
