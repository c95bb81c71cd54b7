// SPDX-License-Identifier: BSD-3-Clause
// The shared memory in which workers count: written by the engine, read by anyone who holds the
// descriptor.
//
// Every block has one writer (its worker) and is written with plain stores inside a sequence
// section: odd while the worker writes, even when the block is consistent. A reader copies a block
// and takes the copy only if the sequence was even and unchanged, so the books of a block balance
// exactly at every moment, under load too.
//
// Closed books of a block, exact integers:
//   sum(rx) + generated + handed_in = sum(tx) + sum(punted) + handed_over + sum(drops) + held
// Between blocks: what was punted or handed over and not yet handed in lies in a ring.
#pragma once

#include "dataplane/forwarding/limits.h"
#include "dataplane/forwarding/verdict.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace weir::lb {

inline constexpr std::uint64_t kCountersMagic = 0x31544e4352494557; // "WEIRCNT1"
inline constexpr std::uint32_t kCountersVersion = 3;
inline constexpr std::size_t kVerdictSlots = 64;
static_assert(WEIR_VERDICT_COUNT <= kVerdictSlots);

struct PortCounters { // one per worker and port
    std::uint64_t rx_packets;
    std::uint64_t rx_bytes;
    std::uint64_t tx_packets;
    std::uint64_t tx_bytes;
};

struct VipCounters { // one per worker and VIP row
    std::uint64_t packets;
    std::uint64_t bytes;
    std::uint64_t connections_opened;
    std::uint64_t connections_active;
    std::uint64_t drops;
    std::uint64_t reply_packets;
    std::uint64_t reply_bytes;
    std::uint64_t reserved;
};
static_assert(sizeof(VipCounters) == 64);

struct BackendCounters { // one per worker and backend row
    std::uint64_t packets;
    std::uint64_t bytes;
    std::uint64_t connections_opened;
    std::uint64_t connections_active;
    std::uint64_t reply_packets;
    std::uint64_t reply_bytes;
    std::uint64_t reserved[2];
};
static_assert(sizeof(BackendCounters) == 64);

struct alignas(64) WorkerCounters {
    std::uint64_t sequence; // odd: being written
    std::uint64_t generated;
    std::uint64_t handed_in;
    std::uint64_t held;
    std::uint64_t connections_active;
    std::uint64_t connections_opened;
    std::uint64_t connections_expired;
    std::uint64_t generation;   // the state this worker forwards by
    std::uint64_t bursts;       // polls that brought packets
    std::uint64_t polls;        // all polls
    std::uint64_t heartbeat_ns; // CLOCK_MONOTONIC, renewed at least every millisecond
    std::uint64_t core;
    std::uint64_t rx_missed; // packets the ports lost before the worker saw them
    // Of the dataplane before, written once, before the worker forwards (lb/takeover.hpp).
    std::uint64_t connections_adopted;
    std::uint64_t connections_moved; // of those, from another worker's table
    std::uint64_t connections_refused;
    std::uint64_t verdicts[kVerdictSlots];       // by enum weir_verdict
    PortCounters ports[WEIR_MAX_INTERFACES + 1]; // by interface row; the last: the TAP side
};

// The first bytes of the memory. Offsets are from its start; the arrays are
//   WorkerCounters  workers[blocks]
//   VipCounters     vips[blocks][WEIR_MAX_VIPS]
//   BackendCounters backends[blocks][WEIR_MAX_BACKENDS]
// The last block is the kernel-path thread's, the ones before it the workers'.
struct CountersHeader {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t blocks; // workers + 1
    std::uint64_t workers_offset;
    std::uint64_t vips_offset;
    std::uint64_t backends_offset;
    std::uint64_t total_bytes;
};

// The memory seen as its parts. The holder of the mapping must outlive the view.
class CountersView {
public:
    // Bytes to reserve for `workers` workers. Untouched pages cost nothing.
    static std::size_t bytes_needed(std::uint32_t workers);

    // Lays an empty memory out. REQUIRES: zeroed, bytes_needed(workers) long, 64-byte aligned.
    static CountersView format(std::span<std::byte> memory, std::uint32_t workers);

    // Opens memory that another process laid out; a wrong one is named in `problem`.
    static std::optional<CountersView> open(std::span<std::byte> memory, std::string& problem);

    std::uint32_t blocks() const { return header_->blocks; }
    WorkerCounters& worker(std::uint32_t block) const;
    VipCounters& vip(std::uint32_t block, std::uint32_t row) const {
        auto* rows = reinterpret_cast<VipCounters*>(base_ + header_->vips_offset);
        return rows[std::size_t{block} * WEIR_MAX_VIPS + row];
    }
    BackendCounters& backend(std::uint32_t block, std::uint32_t row) const {
        auto* rows = reinterpret_cast<BackendCounters*>(base_ + header_->backends_offset);
        return rows[std::size_t{block} * WEIR_MAX_BACKENDS + row];
    }

    // A consistent copy of a block. Bounded: gives up (nullopt) when the writer stands still inside
    // a section, which only a crashed or stopped engine does.
    std::optional<WorkerCounters> read(std::uint32_t block) const;

private:
    explicit CountersView(std::byte* base) : base_(base) {
        header_ = reinterpret_cast<CountersHeader*>(base);
    }
    std::byte* base_;
    CountersHeader* header_;
};

// Connections of a backend: the other workers read them while they schedule, outside of sections.
inline void add_active(BackendCounters& backend, std::int64_t change) {
    std::atomic_ref<std::uint64_t> active(backend.connections_active);
    active.store(active.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(change),
                 std::memory_order_relaxed);
}

// Of all workers together, as of now: no two of the numbers need be of the same moment.
inline std::uint64_t active_of_all(const CountersView& counters, std::uint32_t workers,
                                   std::uint32_t backend) {
    std::uint64_t sum = 0;
    for (std::uint32_t block = 0; block < workers; block++)
        sum += std::atomic_ref<std::uint64_t>(counters.backend(block, backend).connections_active)
                   .load(std::memory_order_relaxed);
    return sum;
}

// The writer's section around all stores to a block.
inline void begin_write(WorkerCounters& block) {
    std::atomic_ref<std::uint64_t> sequence(block.sequence);
    sequence.store(sequence.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
}

inline void end_write(WorkerCounters& block) {
    std::atomic_ref<std::uint64_t> sequence(block.sequence);
    sequence.store(sequence.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

// Sum of one class of verdicts.
std::uint64_t sum_of_class(const WorkerCounters& block, weir_verdict_class wanted);

// The two sides of the closed books of a block.
struct Books {
    std::uint64_t rx = 0;
    std::uint64_t generated = 0;
    std::uint64_t handed_in = 0;
    std::uint64_t tx = 0;
    std::uint64_t punted = 0;
    std::uint64_t handed_out = 0;
    std::uint64_t dropped = 0;
    std::uint64_t held = 0;

    bool balanced() const {
        return rx + generated + handed_in == tx + punted + handed_out + dropped + held;
    }
    Books& operator+=(const Books& other);
};
Books books_of(const WorkerCounters& block);

// What the one list in verdict.h says of a verdict.
struct VerdictInfo {
    const char* name;
    const char* sentence;
    weir_verdict_class verdict_class;
};
const VerdictInfo& verdict_info(std::uint32_t verdict);

// The class of every verdict, in a few cache lines for the packet path.
inline constexpr auto kVerdictClasses = [] {
    std::array<std::uint8_t, 256> classes{};
#define WEIR_VERDICT_CLASS(enumerator, name, class_, sentence)                                     \
    classes[WEIR_##enumerator] = WEIR_CLASS_##class_;
    WEIR_VERDICTS(WEIR_VERDICT_CLASS)
#undef WEIR_VERDICT_CLASS
    return classes;
}();
inline weir_verdict_class class_of(std::uint8_t verdict) {
    return static_cast<weir_verdict_class>(kVerdictClasses[verdict]);
}

} // namespace weir::lb
