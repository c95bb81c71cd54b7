// SPDX-License-Identifier: BSD-3-Clause
// Shallow virtual reassembly: which datagrams are on their way in pieces, the ports their first
// fragments showed, and the fragments that came before their first. One object a worker, which is
// the only one to call it; all memory is taken by the constructor; each call is bounded.
//
// A datagram is known by its 64-bit keyed hash (forwarding/fragment.h). It is forgotten when all of
// it has passed, when it is older than kFragmentLifetime_ms, or when its set needs room: then the
// one of the set that was seen longest ago goes. So a flood of fragments costs a legitimate
// datagram only if it refills a set within the time that datagram's fragments take to arrive.
//
// Overlaps (RFC 1858, RFC 5722): units of 8 bytes that have passed are marked. A fragment that
// holds a marked unit is dropped, and unless it was nothing but a repetition the rest of its
// datagram with it.
#pragma once

#include "dataplane/forwarding/fragment.h"

#include <array>
#include <cstdint>
#include <vector>

namespace weir::lb {

inline constexpr std::uint32_t kFragmentWait_ms = 200; // for the first fragment
inline constexpr std::uint32_t kFragmentLifetime_ms = 2000;
inline constexpr std::uint32_t kFragmentSets = 1024; // power of two
inline constexpr std::uint32_t kFragmentWays = 4;
inline constexpr std::uint32_t kFragmentsHeld = 256;           // of one worker
inline constexpr std::uint32_t kFragmentsHeldOfADatagram = 48; // 64 kB in pieces of 1480 bytes

struct FragmentPorts {
    weir_be16 source = 0;
    weir_be16 destination = 0;
};

enum class FragmentStep : std::uint8_t {
    kFollow,    // its datagram's ports are known (they are the first fragment's own, or lent)
    kWait,      // before the first one: the table keeps it
    kOverlap,   // drop
    kQueueFull, // drop: too many wait
};

struct FragmentDecision {
    FragmentStep step;
    FragmentPorts ports; // with kFollow
};

// A packet that waited, on its way back to the caller.
struct ReleasedFragment {
    void* packet = nullptr;
    bool has_ports = false; // false: the first fragment never came
    FragmentPorts ports;
};

class FragmentTable {
public:
    FragmentTable();

    // A fragment has come: notes it and says what to do. `handle` is the caller's packet, which the
    // table owns from kWait until take_released() gives it back. Times are monotonic milliseconds.
    // REQUIRES: weir_fragment_is_followed, no defect; a first fragment has its ports.
    FragmentDecision see(const weir_packet& packet, std::uint64_t hash, void* handle,
                         std::uint64_t now_ms);

    // Gives up datagrams whose first fragment did not come in time.
    void expire(std::uint64_t now_ms);

    // The next packet whose waiting is over, in the order they came; false when there is none.
    bool take_released(ReleasedFragment& released);

    // Packets the table owns now, waiting or released.
    [[nodiscard]] std::uint32_t held() const { return held_; }

private:
    static constexpr std::uint16_t kNone = 0xffff;
    static constexpr std::uint32_t kUnits = 8192; // of 8 bytes: 64 kB

    struct Datagram {
        std::uint64_t hash = 0; // 0: free
        std::uint64_t seen_ms = 0;
        std::uint64_t began_ms = 0;
        FragmentPorts ports;
        std::uint16_t units_seen = 0;
        std::uint16_t units_reached = 0; // the furthest end of a fragment so far
        std::uint16_t units_total = 0;   // 0: the last fragment has not come
        std::uint16_t waiting = 0;
        std::uint16_t first_held = kNone;
        std::uint16_t last_held = kNone;
        std::uint16_t older = kNone; // list of datagrams with waiting fragments, by age
        std::uint16_t newer = kNone;
        bool first_seen = false;
        bool poisoned = false;
        bool listed = false;
    };
    struct Held {
        ReleasedFragment fragment;
        std::uint16_t next = kNone;
    };

    std::uint16_t find_or_make(std::uint64_t hash, std::uint64_t now_ms);
    bool mark(Datagram& datagram, std::uint16_t at, std::uint32_t first, std::uint32_t count);
    FragmentStep keep(std::uint16_t at, void* handle);
    void release_waiting(std::uint16_t at, bool has_ports);
    void forget(std::uint16_t at);
    void list(std::uint16_t at);
    void unlist(std::uint16_t at);

    std::vector<Datagram> datagrams_;
    std::vector<std::array<std::uint64_t, kUnits / 64>> marks_; // by datagram
    std::array<Held, kFragmentsHeld> nodes_;
    std::uint16_t free_ = 0;
    std::uint16_t released_first_ = kNone;
    std::uint16_t released_last_ = kNone;
    std::uint16_t oldest_ = kNone;
    std::uint16_t newest_ = kNone;
    std::uint32_t held_ = 0;
};

} // namespace weir::lb
