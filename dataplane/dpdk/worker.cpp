// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/worker.hpp"

#include "dataplane/dpdk/short_way.hpp"
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/lb/connection_owner.hpp"
#include "dataplane/lb/exception_entry.hpp"

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <sys/prctl.h>

namespace weir::dpdk {
namespace {

// The whole table is visited once in this time, so an age in 16-bit seconds is unambiguous.
constexpr std::uint64_t kSweepTime_ns = 20'000'000'000;
// Entries visited after one poll at the most: two per hot-row cache line, so 32 lines.
constexpr std::uint64_t kExpireBudget = 64;

// The persistence table is visited once in 32 s, a few cache lines a poll.
constexpr std::uint32_t kSweepEverySecond = lb::PersistenceTable::kEntries / 32;
constexpr std::uint32_t kSweepBudget = 64;

constexpr std::uint64_t kLongestEnd_ns = 100'000'000; // for what the rings hold when it ends

constexpr std::uint32_t kIdlePollsBeforeSleep = 64;
constexpr std::uint32_t kLongestSleep_ns = 50'000;

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now); // vDSO, no system call
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// Backs off to short sleeps when nothing comes. The sleeps grow slowly, so that under little load
// bursts fill up and under none the core rests.
class Idle {
public:
    explicit Idle(bool adaptive) : adaptive_(adaptive) {}

    void after_poll(bool brought_packets) {
        if (!adaptive_)
            return;
        if (brought_packets) {
            idle_polls_ = 0;
            return;
        }
        if (++idle_polls_ < kIdlePollsBeforeSleep)
            return;
        std::uint32_t over = idle_polls_ - kIdlePollsBeforeSleep;
        timespec wait{0, std::min((over + 1) * 500, kLongestSleep_ns)};
        ::nanosleep(&wait, nullptr);
        idle_polls_ = std::min(idle_polls_, kIdlePollsBeforeSleep + 1000);
    }

private:
    bool adaptive_;
    std::uint32_t idle_polls_ = 0;
};

} // namespace

// The packet's way.
void process(Worker& worker, Burst& burst) {
    if (worker.capture.on()) [[unlikely]]
        clear_rows(burst);
    if (burst.origin != Origin::from_kernel) {
        read(worker, burst);
        if (!forward_shortly(worker, burst)) {
            parse(worker, burst);
            follow_fragments(worker, burst);
            match(worker, burst);
            hand_over(worker, burst);
            track(worker, burst);
            rewrite(worker, burst);
            answer(worker, burst);
        }
    }
    if (worker.capture.on()) [[unlikely]]
        capture(worker, burst);
    transmit(worker, burst);
}

namespace {

bool take_all_in(Worker& worker, Burst& burst) {
    bool brought = false;
    WorkerContext& context = worker.context;
    for (std::uint32_t i = 0; i < context.port_count; i++) {
        if (receive_from_port(worker, context.ports[i], burst)) {
            process(worker, burst);
            brought = true;
        }
    }
    if (context.workers > 1 && receive_from_peers(worker, burst)) {
        process(worker, burst);
        brought = true;
    }
    if (receive_released(worker, burst)) {
        process(worker, burst);
        brought = true;
    }
    if (context.from_kernel && receive_from_kernel(worker, burst)) {
        process(worker, burst);
        brought = true;
    }
    return brought;
}

} // namespace

bool poll(Worker& worker, Burst& burst, std::uint64_t now_ns) {
    worker.time_ns = now_ns;
    worker.now_ms = now_ns / 1'000'000;
    worker.now_s = static_cast<std::uint16_t>(now_ns / 1'000'000'000);
    worker.follow_generation();
    worker.fragments.expire(worker.now_ms);
    worker.capture.follow(now_ns);
    bool brought_packets = take_all_in(worker, burst);
    worker.expire(now_ns);
    worker.sweep_persistence();
    worker.count(now_ns, brought_packets);
    return brought_packets;
}

int run_worker(WorkerContext& context) {
    ::prctl(PR_SET_TIMERSLACK, 1000); // nanoseconds: sleeps end when they should
    Worker worker(context, monotonic_ns());
    Burst burst{};
    Idle idle(context.adaptive_idle);
    for (;;) {
        const bool brought_packets = poll(worker, burst, monotonic_ns());
        if (context.stop->load(std::memory_order_relaxed))
            break;
        idle.after_poll(brought_packets);
    }
    // Empties the rings, as far as a flood lets it.
    const std::uint64_t ends_at_ns = monotonic_ns() + kLongestEnd_ns;
    while (poll(worker, burst, monotonic_ns()) && monotonic_ns() < ends_at_ns) {
    }
    return 0;
}

Worker::Worker(WorkerContext& given, std::uint64_t now_ns)
    : context(given), table(*given.table), last_hops(*given.last_hops),
      scheduler(given.id, given.workers, given.secret), persistence(*given.persistence),
      strays(*given.strays), exceptions(std::make_unique<lb::ExceptionFilter>()),
      recent_destinations(std::make_unique<RecentDestinations>()),
      recent_hops(std::make_unique<std::uint16_t[]>(WEIR_MAX_VIPS)),
      vip_flags_(std::make_unique<std::uint8_t[]>(WEIR_MAX_VIPS)),
      vip_counters_(&given.counters->vip(given.block, 0)),
      backend_counters_(&given.counters->backend(given.block, 0)), expired_at_ns_(now_ns) {
    std::fill_n(recent_hops.get(), WEIR_MAX_VIPS, lb::kNoLastHop);
    const lb::WorkerCounters& block = context.counters->worker(context.block);
    tally.handed_in = block.handed_in;
    tally.generated = block.generated;
    std::copy_n(block.verdicts, tally.verdicts.size(), tally.verdicts.begin());
    std::copy_n(block.ports, tally.ports.size(), tally.ports.begin());
    if (context.capture_order)
        capture = lb::CaptureProducer(context.capture_ring, *context.capture_order);
}

Worker::~Worker() {
    lb::ReleasedFragment waiting;
    fragments.expire(UINT64_MAX);
    while (fragments.take_released(waiting))
        rte_pktmbuf_free(static_cast<rte_mbuf*>(waiting.packet));
}

void Worker::follow_generation() {
    // Whoever reports before it looks holds no generation in between; one that was looked up before
    // the report could be gone behind it. So nothing may be read from the one of the last poll.
    rte_rcu_qsbr_quiescent(context.rcu, context.id);
    const lb::ForwardingState* newest = context.state->load(std::memory_order_acquire);
    if (newest == state && (!newest || newest->generation() == generation_))
        return;
    if (!state)
        grace_began_ms = now_ms;
    const bool inherited = !state && table.entries() != 0;
    state = newest;
    if (!state) {
        vip_count_ = 0;
        return;
    }
    generation_ = state->generation();
    recent_destinations->forget();
    if (starts_exceptions() || inherited)
        exceptions->assume_all();
    if (context.spread)
        spread = context.spread->load(std::memory_order_relaxed);
    take_snat_rows();
}

// Does a VIP that recorded everything record exceptions only from now on? Keeps the flags for the
// next time.
bool Worker::starts_exceptions() {
    const std::span<const weir_vip_row> vips = state->vips();
    bool starts = false;
    for (std::size_t i = 0; i < vips.size(); i++) {
        starts |= i < vip_count_ && (vips[i].flags & ~vip_flags_[i] & WEIR_VIP_EXCEPTIONS) != 0;
        vip_flags_[i] = vips[i].flags;
    }
    vip_count_ = vips.size();
    return starts;
}

void Worker::take_snat_rows() {
    std::span<const weir_snat_row> rows = state->snat();
    if (rows.size() == snat_row_count_ &&
        std::memcmp(rows.data(), snat_rows_.data(), rows.size_bytes()) == 0)
        return;
    snat_row_count_ = static_cast<std::uint32_t>(rows.size());
    std::copy(rows.begin(), rows.end(), snat_rows_.begin());
    std::array<lb::SnatRange, WEIR_MAX_SNAT_ADDRESSES> ranges{};
    std::array<weir_address, WEIR_MAX_SNAT_ADDRESSES> addresses{};
    for (std::uint8_t family : {4, 6}) {
        std::size_t count = 0;
        for (std::uint32_t i = 0; i < snat_row_count_; i++)
            if (rows[i].family == family) {
                addresses[count] = rows[i].address;
                ranges[count++] = {static_cast<std::uint8_t>(i), rows[i].first_port,
                                   rows[i].last_port};
            }
        lb::SnatPorts& ports = family == 4 ? snat_v4 : snat_v6;
        const auto of_family = std::span(ranges).first(count);
        if (spread)
            ports.configure(of_family, std::span(addresses).first(count), context.id, *spread,
                            context.secret + family);
        else
            ports.configure(of_family, context.id, context.workers, context.secret + family);
    }
}

void Worker::forget(const lb::HotRow& row) {
    last_hops.release(static_cast<std::uint16_t>(row.last_hop));
    count_closed(row.vip, row.backend);
    if ((row.flags & lb::kRowStrayReplies) != 0)
        end_stray(row);
}

// Its port is free again for the worker that it belongs to.
void Worker::end_stray(const lb::HotRow& row) {
    if (row.vip >= state->vips().size() || row.backend >= state->backends().size() ||
        row.snat_address >= state->snat().size())
        return; // it stays blocked towards a backend that is gone
    const weir_flow reply = lb::reply_flow(*state, row);
    strays.remove(weir_flow_hash(&state->hash_key(), &reply));
}

void Worker::count_opened(std::uint32_t vip, std::uint32_t backend) {
    vip_counters(vip).connections_opened++;
    vip_counters(vip).connections_active++;
    backend_counters(backend).connections_opened++;
    lb::add_active(backend_counters(backend), 1);
}

void Worker::count_closed(std::uint32_t vip, std::uint32_t backend) {
    if (vip_counters(vip).connections_active != 0)
        vip_counters(vip).connections_active--;
    if (backend_counters(backend).connections_active != 0)
        lb::add_active(backend_counters(backend), -1);
}

std::uint16_t Worker::timeout_of(const lb::HotRow& row, bool& superfluous) {
    superfluous = false;
    if (row.vip >= state->vips().size())
        return 0;
    const weir_vip_row& vip = state->vips()[row.vip];
    if (vip.flags & WEIR_VIP_EXCEPTIONS) {
        if (rounds_ != table.sweeps()) {
            rounds_ = table.sweeps();
            exceptions->turn();
        }
        const std::uint64_t hash =
            lb::client_flow_hash(*state, vip, row.client, row.client_port, row.service_port);
        superfluous = lb::is_superfluous(*state, vip, row.client, hash, row.backend);
        if (superfluous)
            return 0;
        exceptions->keep(hash);
    }
    return weir_entry_timeout_s(&vip, row.state);
}

void Worker::expire(std::uint64_t now_ns) {
    expire_due_ += (now_ns - expired_at_ns_) * table.capacity();
    expired_at_ns_ = now_ns;
    std::uint64_t due = expire_due_ / kSweepTime_ns;
    if (due == 0 || !state)
        return;
    std::uint64_t budget = std::min(due, kExpireBudget);
    // What a long pause left over is not made up for in one go.
    expire_due_ = std::min(expire_due_ - budget * kSweepTime_ns,
                           std::uint64_t{table.capacity()} * kSweepTime_ns);
    bool superfluous = false;
    connections_expired += table.expire(
        now_s, static_cast<std::uint32_t>(budget),
        [&](const lb::HotRow& row) { return timeout_of(row, superfluous); },
        [&](lb::EntryIndex, const lb::HotRow& row, const lb::ColdRow&) {
            if (superfluous && weir_goes_on_unrecorded(row.state)) // it goes on without an entry
                last_hops.release(static_cast<std::uint16_t>(row.last_hop));
            else
                forget(row);
        });
}

void Worker::sweep_persistence() {
    if (!state) // what was left may still be coming in
        return;
    if (swept_at_s_ != now_s) {
        swept_at_s_ = now_s;
        sweep_due_ = std::min(sweep_due_ + kSweepEverySecond, lb::PersistenceTable::kEntries);
    }
    std::uint32_t budget = std::min(sweep_due_, kSweepBudget);
    if (budget == 0)
        return;
    sweep_due_ -= budget;
    persistence.sweep(now_s, budget);
}

void Worker::count(std::uint64_t now_ns, bool brought_packets) {
    lb::WorkerCounters& block = context.counters->worker(context.block);
    lb::begin_write(block);
    block.polls++;
    block.heartbeat_ns = now_ns;
    block.generation = state ? state->generation() : 0;
    block.core = context.core;
    block.held = fragments.held();
    block.connections_active = table.entries();
    block.connections_opened = connections_opened;
    block.connections_expired = connections_expired;
    if (brought_packets) {
        block.bursts++;
        block.handed_in = tally.handed_in;
        block.generated = tally.generated;
        std::copy(tally.verdicts.begin(), tally.verdicts.end(), block.verdicts);
        std::copy_n(tally.ports.begin(), context.interface_count, block.ports);
    }
    lb::end_write(block);
}

} // namespace weir::dpdk
