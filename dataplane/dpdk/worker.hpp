// SPDX-License-Identifier: BSD-3-Clause
// One worker: what it keeps from burst to burst. The loop is in worker.cpp, the stages it calls on
// a burst in stages.hpp. Everything here is touched by the worker's thread alone; memory is taken
// before the loop starts, and the loop makes no allocation, takes no lock and writes no log.
#pragma once

#include "dataplane/dpdk/burst.hpp"
#include "dataplane/dpdk/token_bucket.hpp"
#include "dataplane/dpdk/worker_context.hpp"
#include "dataplane/lb/capture_ring.hpp"
#include "dataplane/lb/connection_lifetime.hpp"
#include "dataplane/lb/exception_filter.hpp"
#include "dataplane/lb/fragment_table.hpp"
#include "dataplane/lb/last_hops.hpp"
#include "dataplane/lb/persistence_table.hpp"
#include "dataplane/lb/scheduler.hpp"
#include "dataplane/lb/snat_ports.hpp"

#include <array>
#include <memory>

namespace weir::dpdk {

class RecentDestinations;

// What the last bursts lead one to expect of the short way: whether it is worth a try, as it costs
// a packet a few nanoseconds where it leads nowhere, and what there will be to send for.
class ShortWayTrust {
public:
    bool worth() const { return tries_ != 0; }
    // Some packet could have taken it.
    void worth_a_try() { tries_ = std::max(tries_, 1u); }
    // A burst has; `paid`: half of it or more have arrived. A flood of other packets between those
    // bursts does not end it at once.
    void tried(bool paid) { tries_ = paid ? kMostTries : tries_ - 1; }

    // Whether connections led packets of the last burst that took it.
    bool leads_by_connections() const { return by_connections_; }
    void led_by_connections(bool some) { by_connections_ = some; }

private:
    static constexpr std::uint32_t kMostTries = 8;
    std::uint32_t tries_ = 0;
    bool by_connections_ = false;
};

class Worker {
public:
    Worker(WorkerContext& given, std::uint64_t now_ns);
    ~Worker(); // frees the fragments that still wait
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    WorkerContext& context;
    const lb::ForwardingState* state = nullptr; // of this poll; null before the first generation
    const lb::Spread* spread = nullptr;         // null: uncontrolled
    lb::ConnectionTable& table;
    lb::LastHops& last_hops;
    std::uint64_t time_ns = 0; // monotonic
    std::uint64_t now_ms = 0;
    std::uint16_t now_s = 0; // monotonic seconds modulo 65536
    lb::FragmentTable fragments;
    lb::Scheduler scheduler;
    lb::PersistenceTable& persistence;
    lb::StrayReplies& strays;                        // replies that are another worker's
    std::unique_ptr<lb::ExceptionFilter> exceptions; // flows of VIPs that record only those
    ShortWayTrust short_way;
    std::unique_ptr<RecentDestinations> recent_destinations; // of the short way, this generation's
    // By VIP row: whence its clients' packets came of late, for what is to be sent to a client
    // whose connection is not recorded. Only of VIPs with a tunnel that record exceptions.
    std::unique_ptr<std::uint16_t[]> recent_hops;
    // Until reset_grace_s after the first generation, unknown TCP connections are not reset.
    std::uint64_t grace_began_ms = 0;
    TokenBucket answers;     // of this worker: its share of answers_pps
    TokenBucket icmp_errors; // without a recorded connection: its share of icmp_pps
    // A worker's share of a rate that holds for all workers together.
    std::uint32_t share_of(std::uint32_t pps) const {
        return weir_bucket_share(pps, context.workers);
    }

    // SNAT ports of this worker, by family. Follows the generation's SNAT rows.
    lb::SnatPorts snat_v4;
    lb::SnatPorts snat_v6;

    lb::CaptureProducer capture;

    lb::VipCounters& vip_counters(std::uint32_t row) { return vip_counters_[row]; }
    lb::BackendCounters& backend_counters(std::uint32_t row) { return backend_counters_[row]; }

    // What the shared block holds once the burst under way has ended: then it is copied there, in
    // one section.
    struct Tally {
        std::array<std::uint64_t, WEIR_VERDICT_COUNT> verdicts{};
        std::array<lb::PortCounters, WEIR_MAX_INTERFACES> ports{};
        std::uint64_t handed_in = 0;
        std::uint64_t generated = 0;
    } tally;
    std::uint64_t connections_opened = 0;
    std::uint64_t connections_expired = 0;

    // Takes the newest generation in use and reports that the previous one is not used any more.
    void follow_generation();
    // Removes idle connections, a bounded number a call.
    void expire(std::uint64_t now_ns);
    // Forgets clients that nothing can remember any more, a bounded number a call.
    void sweep_persistence();
    // Keeps the per-VIP and per-backend numbers and the last hops true when a row goes.
    void forget(const lb::HotRow& row);
    // One connection more, a new one.
    void count_opened(std::uint32_t vip, std::uint32_t backend);
    // One connection less. Never below zero: where only exceptions are recorded, the numbers are
    // estimates made of SYNs, FINs and RSTs.
    void count_closed(std::uint32_t vip, std::uint32_t backend);
    // Publishes the tally.
    void count(std::uint64_t now_ns, bool brought_packets);

private:
    void take_snat_rows();
    // Idle timeout of an entry, in seconds; 0 when it has become superfluous: the table says the
    // same.
    // Called for every entry that is visited.
    std::uint16_t timeout_of(const lb::HotRow& row, bool& superfluous);
    void end_stray(const lb::HotRow& row);
    bool starts_exceptions();

    std::uint64_t generation_ = 0;              // of `state`
    std::unique_ptr<std::uint8_t[]> vip_flags_; // of the generation before, by row
    std::size_t vip_count_ = 0;
    lb::VipCounters* vip_counters_; // this worker's rows
    lb::BackendCounters* backend_counters_;
    std::array<weir_snat_row, WEIR_MAX_SNAT_ADDRESSES> snat_rows_{}; // those the ports follow
    std::uint32_t snat_row_count_ = 0;
    std::uint64_t expire_due_ = 0; // entry-nanoseconds not yet swept
    std::uint64_t expired_at_ns_;
    std::uint64_t rounds_ = 0;     // of expiry, that the exceptions follow
    std::uint16_t swept_at_s_ = 0; // of persistence
    std::uint32_t sweep_due_ = 0;  // entries
};

// Runs the stages on a burst that receive has filled.
void process(Worker& worker, Burst& burst);

// One round of the loop: everything packets can come from, then the bounded housekeeping. `now_ns`
// is CLOCK_MONOTONIC, which the caller reads. False when no packet came.
bool poll(Worker& worker, Burst& burst, std::uint64_t now_ns);

} // namespace weir::dpdk
