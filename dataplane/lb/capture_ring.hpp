// SPDX-License-Identifier: BSD-3-Clause
// Copies of packets on their way from a worker to the control process: an order that says which to
// take, and for each worker a ring of slots in shared memory.
//
// Who writes what: the engine's main thread the order, the worker its ring, control nothing (its
// mapping is read-only). So the worker never waits: what is not read in time is overwritten, and
// the reader sees by the numbers how much it has missed. A slot is read under a sequence: its stamp
// is odd while the worker writes it.
//
// What it may cost: the producer has a budget of time, a thirty-second of what passes (kShare). It
// is charged with what copying took, and without budget a packet that matches is counted and not
// copied. An order lasts until a moment of CLOCK_MONOTONIC: nobody has to end it.
#pragma once

#include "dataplane/forwarding/limits.h"
#include "dataplane/lb/counters.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace weir::lb {

inline constexpr std::uint64_t kCaptureMagic = 0x3150414352494557; // "WEIRCAP1"
inline constexpr std::uint32_t kCaptureSlots = 1024;               // power of two
inline constexpr std::uint32_t kCaptureSlotBytes = 2048;           // of a packet, at the most
inline constexpr std::uint32_t kCaptureAnyVip = 0xffffffff;
inline constexpr std::uint32_t kCaptureNoRow = 0xffffffff;

// A bit for each verdict.
using VerdictSet = std::uint64_t;
static_assert(WEIR_VERDICT_COUNT <= 64);
constexpr VerdictSet verdict_bit(std::uint32_t verdict) {
    return VerdictSet{1} << verdict;
}
VerdictSet verdicts_of_class(weir_verdict_class wanted);

struct CaptureFilter {
    VerdictSet verdicts = 0;
    std::uint32_t vip = kCaptureAnyVip; // row
    std::uint32_t snaplen = kCaptureSlotBytes;
};

// Written by one thread, read by all workers.
class CaptureOrder {
public:
    // A capture under way goes on with its filter when `session` is its own.
    // REQUIRES: session is not 0 and not that of an earlier capture.
    void start(std::uint32_t session, const CaptureFilter& filter, std::uint64_t until_ns);
    void stop() { until_ns_.store(0, std::memory_order_release); }

    bool on(std::uint64_t now_ns) const {
        return now_ns < until_ns_.load(std::memory_order_acquire);
    }
    std::uint32_t session() const { return session_.load(std::memory_order_acquire); }
    // The filter of `session`; nothing when another is being put in its place.
    std::optional<CaptureFilter> filter(std::uint32_t session) const;

private:
    std::atomic<std::uint64_t> until_ns_{0}; // CLOCK_MONOTONIC
    std::atomic<std::uint32_t> session_{0};  // 0: the filter is being written
    std::atomic<std::uint32_t> vip_{0};
    std::atomic<std::uint32_t> snaplen_{0};
    std::atomic<VerdictSet> verdicts_{0};
};

// What is known of a captured packet beside its bytes.
struct CaptureFacts {
    std::uint64_t time_ns = 0;         // CLOCK_MONOTONIC
    std::uint32_t original_length = 0; // of the frame
    std::uint32_t vip = kCaptureNoRow; // rows of the live generation
    std::uint32_t backend = kCaptureNoRow;
    std::uint8_t verdict = 0;
    std::uint8_t interface = 0; // row: where it leaves, or where it came in
    bool outbound = false;
};

// In shared memory.
struct alignas(64) CaptureRingHeader {
    std::uint64_t magic;
    std::uint32_t worker;
    std::uint32_t slots;
    std::uint32_t slot_bytes;
    std::uint32_t reserved[11];
    // the worker's line
    std::uint64_t written; // packets put into slots since the engine's start
    std::uint64_t matched; // packets that a filter let through since then
    std::uint64_t begun_written;
    std::uint64_t begun_matched;
    std::uint32_t session; // the one that the two above were noted for
    std::uint32_t reserved_too[7];
};
static_assert(sizeof(CaptureRingHeader) == 128);

struct alignas(64) CaptureSlot {
    std::uint64_t stamp;    // 2n + 1 while packet n is written, 2n + 2 when it is whole
    std::uint64_t facts[4]; // packed by the producer
    std::uint64_t reserved[3];
    std::uint64_t bytes[kCaptureSlotBytes / 8];
};
static_assert(sizeof(CaptureSlot) == 64 + kCaptureSlotBytes);

constexpr std::size_t capture_ring_bytes() {
    return sizeof(CaptureRingHeader) + kCaptureSlots * sizeof(CaptureSlot);
}

// A worker's end. Without memory it is never on.
class CaptureProducer {
public:
    static constexpr std::uint64_t kShare = 32;            // one part in so many, of the time
    static constexpr std::int64_t kMostSaved_ns = 100'000; // budget that quiet times save up
    // Of the time between two polls: in more, the thread was not running and has earned nothing.
    static constexpr std::uint64_t kLongestPoll_ns = 50'000;
    static constexpr std::int64_t kMostCharged_ns = 50'000; // a pause of the thread is no copying

    CaptureProducer();
    // REQUIRES: `memory` was made by format() and, like `order`, outlives the producer.
    CaptureProducer(std::span<std::byte> memory, const CaptureOrder& order);

    // Lays a ring out and touches all of its pages. REQUIRES: zeroed, capture_ring_bytes() long,
    // 64-byte aligned.
    static void format(std::span<std::byte> memory, std::uint32_t worker);

    // Once a poll: takes up an order or its end, and earns budget.
    void follow(std::uint64_t now_ns) {
        if (!order_->on(now_ns)) [[likely]] {
            on_ = false;
            return;
        }
        follow_order(now_ns);
    }
    bool on() const { return on_; }
    const CaptureFilter& filter() const { return filter_; } // REQUIRES: on()

    // REQUIRES: on(), for all below.
    void count_matches(std::uint32_t packets);
    bool has_budget() const { return budget_ns_ > 0; }
    void put(const CaptureFacts& facts, std::span<const std::uint8_t> frame);
    void charge(std::uint64_t spent_ns);

private:
    void follow_order(std::uint64_t now_ns);

    CaptureRingHeader* header_ = nullptr;
    CaptureSlot* slots_ = nullptr;
    const CaptureOrder* order_;
    bool on_ = false;
    std::uint32_t session_ = 0;
    CaptureFilter filter_;
    std::int64_t budget_ns_ = 0;
    std::uint64_t earned_at_ns_ = 0;
};

struct CapturedPacket {
    CaptureFacts facts;
    std::uint32_t worker = 0;
    std::vector<std::uint8_t> bytes;
};

// Control's end of one worker's ring. Trusts nothing in it beyond what open() has checked.
class CaptureReader {
public:
    // Nothing when the memory holds no ring of this layout.
    static std::optional<CaptureReader> open(std::span<const std::byte> memory);

    std::uint32_t worker() const { return worker_; }
    // Whether the worker has taken up `session`. From the first yes on, read() reads its packets.
    bool begin(std::uint32_t session);
    // Appends what has come since the last call, in order, at most `most` packets.
    // REQUIRES: begin() said yes.
    void read(std::vector<CapturedPacket>& packets, std::uint32_t most);

    // Since begin(): packets the filter let through; those not copied for want of budget; those
    // overwritten before they were read.
    std::uint64_t matched() const;
    std::uint64_t sampled_out() const;
    std::uint64_t overwritten() const { return overwritten_; }

private:
    bool read_slot(std::uint64_t number, CapturedPacket& packet) const;

    const CaptureRingHeader* header_ = nullptr;
    const CaptureSlot* slots_ = nullptr;
    std::uint32_t worker_ = 0;
    std::uint64_t next_ = 0; // number of the packet to read
    std::uint64_t begun_written_ = 0;
    std::uint64_t begun_matched_ = 0;
    std::uint64_t overwritten_ = 0;
};

} // namespace weir::lb
