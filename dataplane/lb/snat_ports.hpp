// SPDX-License-Identifier: BSD-3-Clause
// Which SNAT address and port a worker tries next for a new full-nat connection. One object a
// worker and address family; only that worker calls it; no allocation after configure().
//
// A port is in use towards one backend only: (SNAT address, port, backend, protocol) is what must
// be unique, and the connection table's reply index is what knows it. So nothing is kept here per
// port and nothing can leak: the allocator proposes, the caller looks the reply tuple up.
//
// Proposals walk through a secret permutation of all {address, port} pairs the worker owns, with a
// cursor per group of backends. Hence, in the spirit of RFC 6056: ports cannot be foretold from
// outside; they are uniformly used; no proposal is repeated within a walk; and a port that was
// just released is the last to come up again towards its backend.
//
// Which pairs are a worker's: where NICs spread by a Spread, those to which a reply reaches it,
// which depends on the backend; elsewhere what weir_snat_port_owner() deals out.
//   With a Spread of 2^b entries, every aligned block of 2^b ports has one port for each entry, so
//   a walk goes over places: {address, block, entry of this worker's}. Of a block that a range has
//   only a part of, some places hold no port of the range and are passed over.
//
// Exhausted means: kSnatTries proposals in a row (all of them, when the worker owns no more) are in
// use towards this backend. With a share u of the ports in use by long-lived connections that
// happens with probability u^kSnatTries; the next attempt goes on with the next proposals. Places
// passed over do not count as proposals, but an attempt looks at no more than kSnatPlaces: only
// ranges that are far smaller than the table of the Spread feel that.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/forwarding/limits.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/permutation.hpp"
#include "dataplane/lb/spread.hpp"

namespace weir::lb {

inline constexpr std::uint32_t kSnatTries = 32;
inline constexpr std::uint32_t kSnatPlaces = 1024;
inline constexpr std::uint32_t kSnatStepsAtOnce = 16; // a vector's, at most
inline constexpr std::uint32_t kSnatCursors = 1024;   // groups of backends, power of two

struct SnatRange {
    std::uint8_t address;     // row of the SNAT address
    std::uint16_t first_port; // host order, both ends included
    std::uint16_t last_port;
};

// A row of the SNAT addresses and a port of it, or nothing. In one word, so that a copy of what was
// just put together never waits for its parts to reach memory.
class SnatPort {
public:
    constexpr SnatPort() = default; // nothing
    constexpr SnatPort(std::uint8_t address, std::uint16_t port)
        : word_(std::uint32_t{address} << 16 | port) {}
    constexpr explicit operator bool() const { return word_ != kNothing; }
    constexpr std::uint8_t address() const { return static_cast<std::uint8_t>(word_ >> 16); }
    constexpr std::uint16_t port() const { return static_cast<std::uint16_t>(word_); } // host order
    bool operator==(const SnatPort&) const = default;

private:
    static constexpr std::uint32_t kNothing = 0xffffffff;
    std::uint32_t word_ = kNothing;
};

// Steps of walks, of several connections side by side: SnatPorts::step(), then find(), then port().
class SnatSteps {
public:
    static constexpr std::uint32_t kMost = Permutation::kLanes;
    void clear() { count_ = 0; }

private:
    friend class SnatPorts;
    Permutation::Lanes lanes_;
    std::uint32_t count_ = 0;
};

class SnatPorts {
public:
    SnatPorts() = default;

    // Ports of all ranges for which weir_snat_port_owner() names this worker. At most
    // WEIR_MAX_SNAT_ADDRESSES ranges, of one family, each first_port <= last_port. `secret` is
    // random and differs between workers.
    void configure(std::span<const SnatRange> ranges, std::uint32_t worker, std::uint32_t workers,
                   std::uint64_t secret);

    // Ports of all ranges whose replies `spread` brings to this worker. `addresses`: of the SNAT
    // rows, by the ranges' order. The spread outlives this object's use.
    void configure(std::span<const SnatRange> ranges, std::span<const weir_address> addresses,
                   std::uint32_t worker, const Spread& spread, std::uint64_t secret);

    // Of a walk. Without a spread each place is a pair of the worker's.
    std::uint32_t places() const { return places_; }

    // The first proposal for which `is_free(SnatPort)` holds, or nothing: exhausted. `reply_part`:
    // the spread's source_part() of the backend's address and port; without a spread anything.
    template <class IsFree>
    SnatPort allocate(std::uint32_t backend, std::uint32_t reply_part, IsFree is_free) {
        const std::uint32_t looks = places_ < kSnatPlaces ? places_ : kSnatPlaces;
        std::uint32_t tries = 0;
        for (std::uint32_t look = 0; look < looks;) {
            SnatSteps steps;
            const std::uint32_t count = std::min(looks - look, kSnatStepsAtOnce);
            for (std::uint32_t i = 0; i < count; ++i)
                step(backend, steps);
            find(steps);
            for (std::uint32_t i = 0; i < count; ++i) {
                const SnatPort found = port(steps, i, reply_part);
                if (!found)
                    continue;
                const bool free = is_free(found);
                if (!free && ++tries < kSnatTries)
                    continue;
                step_back(backend, count - 1 - i);
                return free ? found : SnatPort();
            }
            look += count;
        }
        return {};
    }

    // What the walk's next place holds, whatever became of the last. REQUIRES: places() > 0.
    SnatPort next(std::uint32_t backend, std::uint32_t reply_part) {
        SnatSteps steps;
        const std::uint32_t number = step(backend, steps);
        find(steps);
        return port(steps, number, reply_part);
    }

    // The same for up to SnatSteps::kMost connections. The number of the step, for port().
    // REQUIRES: places() > 0.
    std::uint32_t step(std::uint32_t backend, SnatSteps& steps);
    void find(SnatSteps& steps) const { permutation_.apply(steps.lanes_, steps.count_); }
    SnatPort port(const SnatSteps& steps, std::uint32_t number, std::uint32_t reply_part) const {
        const std::uint32_t place = steps.lanes_.index[number];
        if (spread_ == nullptr)
            return pair_at(place);
        return pair_by_spread(place, reply_part);
    }

    // What `port` is made of, for the benchmark.
    SnatPort pair_at(std::uint32_t place) const { // without a spread
        const Owned& owned = range_with(place);
        const std::uint32_t port = owned.first_port + (place - owned.before) * workers_;
        return {owned.range.address, static_cast<std::uint16_t>(port)};
    }
    SnatPort pair_by_spread(std::uint32_t place, std::uint32_t reply_part) const {
        const auto block = static_cast<std::uint32_t>(place * per_entry_ >> kReciprocalShift);
        const std::uint32_t entry = worker_ + (place - block * own_entries_) * workers_;
        const Owned& owned = range_with(block);
        const std::uint32_t first = owned.first_port + (block - owned.before) * spread_->entries();
        const std::uint32_t port =
            spread_->port_in_block(v6_, first, entry ^ reply_part ^ owned.part);
        if (port < owned.range.first_port || port > owned.range.last_port)
            return {};
        return {owned.range.address, static_cast<std::uint16_t>(port)};
    }

private:
    // place * reciprocal is exact for places below 2^24 (256 addresses) and 2^11 entries, rounded
    // up (Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994).
    static constexpr unsigned kReciprocalShift = 36;

    struct Owned {
        SnatRange range;
        std::uint32_t first_port; // the worker's first; of the first block, with a spread
        std::uint32_t before;     // places, or blocks with a spread, in the ranges before this one
        std::uint32_t part;       // with a spread: what the address adds to a reply's hash
    };

    // Of `units`: all ranges' places, or blocks with a spread.
    void start_walks(std::uint32_t units, std::uint64_t secret);
    // Steps taken in vain, to be taken again. Fewer than places().
    void step_back(std::uint32_t backend, std::uint32_t steps);
    const Owned& range_with(std::uint32_t unit) const {
        std::uint32_t range = range_hint_[unit >> hint_shift_];
        while (range + 1 < range_count_ && ranges_[range + 1].before <= unit)
            ++range;
        return ranges_[range];
    }

    std::array<Owned, WEIR_MAX_SNAT_ADDRESSES> ranges_{};
    std::uint32_t range_count_ = 0;
    // By the unit's highest bits, which may be too low: the range of the first such unit.
    static constexpr unsigned kHintBits = 10;
    std::array<std::uint8_t, 1u << kHintBits> range_hint_{};
    unsigned hint_shift_ = 0;
    std::uint32_t places_ = 0;
    std::uint32_t worker_ = 0;
    std::uint32_t workers_ = 1;
    const Spread* spread_ = nullptr;
    std::uint32_t own_entries_ = 0; // of the spread
    std::uint64_t per_entry_ = 0;   // their reciprocal, in 2^-kReciprocalShift
    bool v6_ = false;
    Permutation permutation_; // of the places
    std::uint64_t secret_ = 0;
    std::array<std::uint32_t, kSnatCursors> cursor_{};
};

} // namespace weir::lb
