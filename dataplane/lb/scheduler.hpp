// SPDX-License-Identifier: BSD-3-Clause
// The choice of a backend for a new connection, by the pool's scheduler and under its backends'
// max_connections. Pure: connection counts, time and the secret of the random draws are given. One
// worker owns a Scheduler. What each scheduler promises: docs/schedulers.md.
#pragma once

#include "dataplane/forwarding/select.h"

#include <array>
#include <bitset>
#include <cstdint>
#include <span>

namespace weir::lb {

// A pool as the choice reads it. Indices are checked where the generation is opened.
struct PoolTable {
    const weir_pool_row& pool;
    std::span<const std::uint16_t> slots;   // at least pool.slot_count
    std::span<const std::uint32_t> members; // from pool.member_first on
    std::span<const weir_backend_row> backends;

    std::uint16_t member(std::uint32_t slot) const { return slots[slot]; }
    std::uint32_t backend(std::uint16_t member) const {
        return member == WEIR_NO_MEMBER ? WEIR_NO_ROW : members[member];
    }
};

struct Choice {
    std::uint32_t backend = WEIR_NO_ROW;
    bool at_limit = false; // there are backends, but none with room was found
};

// Draws that need no system call and that nobody outside can foresee for long (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
public:
    explicit Random(std::uint64_t secret) : state_(secret) {}
    std::uint32_t below(std::uint32_t count) { return weir_scale(next(), count); }

private:
    std::uint32_t next() {
        state_ += 0x9e3779b97f4a7c15u;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        return static_cast<std::uint32_t>((mixed ^ (mixed >> 31)) >> 32);
    }
    std::uint64_t state_;
};

// Whether the backend may have one more, given what it has.
inline bool has_room(const weir_backend_row& backend, std::uint64_t connections) {
    return backend.max_connections == 0 || connections < backend.max_connections;
}

// Whether a new connection loads backend `a` less than `b`: (connections + 1) / weight, compared
// without a division. A weight of 0 has no slot; where it is asked all the same it counts as 1.
inline bool less_loaded(std::uint64_t a_connections, std::uint32_t a_weight,
                        std::uint64_t b_connections, std::uint32_t b_weight) {
    return (a_connections + 1) * (b_weight ? b_weight : 1) <
           (b_connections + 1) * (a_weight ? a_weight : 1);
}

class Scheduler {
public:
    // Slots looked at, and backends whose connections are counted, before a pool is taken to be at
    // its limits: what one new connection may cost. Backends are looked at once each, up to the
    // first 4096 members of a pool.
    static constexpr std::uint32_t kLongestWalk = 1024;
    static constexpr std::uint32_t kMostCounted = 256;
    // For so many milliseconds, the current one included, a pool that was found to be at its limits
    // is not looked at again.
    static constexpr std::uint64_t kFullFor_ms = 1;

    Scheduler(std::uint32_t worker, std::uint32_t workers, std::uint64_t secret)
        : worker_(worker), workers_(workers), random_(secret) {
        cursor_.fill(kNoCursor);
    }

    // `pool` is the pool's row id, `slot_hash` weir_slot_hash() of the packet; `connections_of`
    // (backend row id -> connections of all workers) is called for pools with limits and for
    // least-connection ones only.
    template <class ConnectionsOf>
    Choice choose(const PoolTable& table, std::uint32_t pool, std::uint64_t slot_hash,
                  std::uint64_t now_ms, ConnectionsOf connections_of);

private:
    static constexpr std::uint32_t kNoCursor = 0xffffffff;
    // How often the second draw of two is repeated for the sake of another backend.
    static constexpr int kRedraws = 4;
    static constexpr std::size_t kRemembered = 4096; // members known to be full during a walk

    static bool limited(const PoolTable& table) {
        return (table.pool.flags & WEIR_POOL_HAS_LIMITS) != 0;
    }

    std::uint32_t step(std::uint32_t pool, std::uint32_t slot_count) {
        std::uint32_t at = cursor_[pool];
        if (at == kNoCursor) // the workers start evenly spaced, not in step
            at = static_cast<std::uint32_t>(std::uint64_t{slot_count} * worker_ / workers_);
        else if (at >= slot_count) // another generation's order was longer
            at %= slot_count;
        cursor_[pool] = at + 1 == slot_count ? 0 : at + 1;
        return at;
    }

    std::uint32_t start_slot(const PoolTable& table, std::uint32_t pool, std::uint64_t slot_hash);
    template <class ConnectionsOf>
    Choice less_loaded_of_two(const PoolTable& table, ConnectionsOf connections_of);
    template <class ConnectionsOf>
    Choice walk(const PoolTable& table, std::uint32_t pool, std::uint32_t slot,
                std::uint64_t now_ms, ConnectionsOf connections_of);

    std::uint32_t worker_;
    std::uint32_t workers_;
    Random random_;
    std::array<std::uint32_t, WEIR_MAX_POOLS> cursor_{};        // next slot of a round, by pool row
    std::array<std::uint64_t, WEIR_MAX_POOLS> full_until_ms_{}; // by pool row
};

inline std::uint32_t Scheduler::start_slot(const PoolTable& table, std::uint32_t pool,
                                           std::uint64_t slot_hash) {
    switch (table.pool.scheduler) {
    case WEIR_SCHEDULE_ROUND_ROBIN:
        return step(pool, table.pool.slot_count);
    case WEIR_SCHEDULE_LEAST:
        return random_.below(table.pool.slot_count);
    default:
        return weir_maglev_slot(slot_hash, table.pool.slot_count);
    }
}

template <class ConnectionsOf>
Choice Scheduler::choose(const PoolTable& table, std::uint32_t pool, std::uint64_t slot_hash,
                         std::uint64_t now_ms, ConnectionsOf connections_of) {
    if (table.pool.slot_count == 0)
        return {};
    if (limited(table) && now_ms < full_until_ms_[pool])
        return {WEIR_NO_ROW, true};
    if (table.pool.scheduler == WEIR_SCHEDULE_LEAST) {
        const Choice choice = less_loaded_of_two(table, connections_of);
        if (!choice.at_limit)
            return choice;
    }
    const std::uint32_t slot = start_slot(table, pool, slot_hash);
    const std::uint32_t backend = table.backend(table.member(slot));
    if (backend == WEIR_NO_ROW || !limited(table) ||
        has_room(table.backends[backend], connections_of(backend)))
        return {backend, false};
    return walk(table, pool, slot, now_ms, connections_of);
}

// Power of two choices (Mitzenmacher, 2001): the slots of a round are as many as the weights say,
// so a draw is weighted. With replacement two of few backends would often be the same one, which is
// no choice: then the second is drawn again.
template <class ConnectionsOf>
Choice Scheduler::less_loaded_of_two(const PoolTable& table, ConnectionsOf connections_of) {
    const std::uint32_t count = table.pool.slot_count;
    const std::uint32_t first = table.backend(table.member(random_.below(count)));
    std::uint32_t second = first;
    for (int draw = 0; draw <= kRedraws && second == first; draw++)
        second = table.backend(table.member(random_.below(count)));
    if (first == WEIR_NO_ROW || second == WEIR_NO_ROW)
        return {first == WEIR_NO_ROW ? second : first, false};
    const weir_backend_row& a = table.backends[first];
    const weir_backend_row& b = table.backends[second];
    const std::uint64_t a_has = connections_of(first);
    const std::uint64_t b_has = second == first ? a_has : connections_of(second);
    const bool a_may = has_room(a, a_has);
    const bool b_may = has_room(b, b_has);
    if (!a_may && !b_may)
        return {WEIR_NO_ROW, true};
    if (!a_may || !b_may)
        return {a_may ? first : second, false};
    const bool plain = (table.pool.flags & WEIR_POOL_IGNORES_WEIGHTS) != 0;
    const bool other = plain ? b_has < a_has : less_loaded(b_has, b.weight, a_has, a.weight);
    return {other ? second : first, false};
}

// The first backend with room behind `slot`, whose own has none. A round's order and a Maglev table
// both mix the backends, so what a full one cannot take goes to all others by their weights.
template <class ConnectionsOf>
Choice Scheduler::walk(const PoolTable& table, std::uint32_t pool, std::uint32_t slot,
                       std::uint64_t now_ms, ConnectionsOf connections_of) {
    const bool in_rounds = table.pool.scheduler == WEIR_SCHEDULE_ROUND_ROBIN;
    const std::uint32_t count = table.pool.slot_count;
    const std::uint32_t steps = count < kLongestWalk ? count : kLongestWalk;
    std::bitset<kRemembered> full;
    std::uint32_t counted = 0;
    for (std::uint32_t i = 0; i < steps && counted < kMostCounted; i++) {
        const std::uint16_t member = table.member(slot);
        const std::uint32_t backend = table.backend(member);
        if (backend == WEIR_NO_ROW)
            return {}; // a table without backends has no others
        const bool known = member < kRemembered && full[member];
        if (!known) {
            counted++;
            if (has_room(table.backends[backend], connections_of(backend)))
                return {backend, false};
            if (member < kRemembered)
                full.set(member);
        }
        slot = in_rounds ? step(pool, count) : (slot + 1 == count ? 0 : slot + 1);
    }
    full_until_ms_[pool] = now_ms + kFullFor_ms;
    return {WEIR_NO_ROW, true};
}

} // namespace weir::lb
