// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/fragment_table.hpp"

#include <algorithm>

namespace weir::lb {

static_assert(kFragmentSets * kFragmentWays < 0xffff);
static_assert((kFragmentSets & (kFragmentSets - 1)) == 0);

FragmentTable::FragmentTable()
    : datagrams_(kFragmentSets * kFragmentWays), marks_(kFragmentSets * kFragmentWays) {
    for (std::uint32_t i = 0; i < kFragmentsHeld; i++)
        nodes_[i].next = i + 1 < kFragmentsHeld ? static_cast<std::uint16_t>(i + 1) : kNone;
}

FragmentDecision FragmentTable::see(const weir_packet& packet, std::uint64_t hash, void* handle,
                                    std::uint64_t now_ms) {
    const std::uint16_t at = find_or_make(hash | 1, now_ms);
    Datagram& datagram = datagrams_[at];
    datagram.seen_ms = now_ms;
    const bool last = (packet.flags & WEIR_PACKET_MORE_FRAGMENTS) == 0;
    const std::uint32_t first_unit = packet.fragment_offset / 8u;
    const std::uint32_t units = (weir_fragment_payload(&packet) + 7) / 8;
    const std::uint32_t end = first_unit + units;
    if (datagram.poisoned)
        return {FragmentStep::kOverlap, {}};
    // The end of the datagram, where it is known, is the end.
    const bool ends_differ = datagram.units_total != 0 &&
                             (end > datagram.units_total || (last && end != datagram.units_total));
    if (ends_differ || (last && end < datagram.units_reached))
        datagram.poisoned = true;
    if (datagram.poisoned || !mark(datagram, at, first_unit, units)) {
        if (datagram.poisoned)
            release_waiting(at, false);
        return {FragmentStep::kOverlap, {}};
    }
    datagram.units_reached = std::max(datagram.units_reached, static_cast<std::uint16_t>(end));
    if (last)
        datagram.units_total = static_cast<std::uint16_t>(end);
    const bool is_first = packet.fragment_offset == 0;
    if (is_first) {
        datagram.ports = {packet.source_port, packet.destination_port};
        datagram.first_seen = true;
        release_waiting(at, true);
    }
    if (!datagram.first_seen)
        return {keep(at, handle), {}};
    const FragmentDecision decision{FragmentStep::kFollow, datagram.ports};
    if (datagram.units_total != 0 && datagram.units_seen == datagram.units_total)
        forget(at);
    return decision;
}

// False: some unit was marked before; the datagram is poisoned unless all of them were.
bool FragmentTable::mark(Datagram& datagram, std::uint16_t at, std::uint32_t first,
                         std::uint32_t count) {
    auto& words = marks_[at];
    std::uint32_t already = 0;
    for (std::uint32_t unit = first; unit < first + count; unit++)
        already += words[unit / 64] >> (unit % 64) & 1;
    if (already != 0) {
        datagram.poisoned = already != count;
        return false;
    }
    for (std::uint32_t unit = first; unit < first + count; unit++)
        words[unit / 64] |= std::uint64_t{1} << (unit % 64);
    datagram.units_seen = static_cast<std::uint16_t>(datagram.units_seen + count);
    return true;
}

std::uint16_t FragmentTable::find_or_make(std::uint64_t hash, std::uint64_t now_ms) {
    const auto set = static_cast<std::uint32_t>(hash >> 8) & (kFragmentSets - 1);
    const auto begin = static_cast<std::uint16_t>(set * kFragmentWays);
    std::uint16_t victim = begin;
    for (std::uint16_t at = begin; at < begin + kFragmentWays; at++) {
        const Datagram& datagram = datagrams_[at];
        if (datagram.hash == hash && now_ms - datagram.began_ms < kFragmentLifetime_ms)
            return at;
        const Datagram& worst = datagrams_[victim];
        if (datagram.hash == hash || // too old: its id is in use again
            (worst.hash != hash && worst.hash != 0 &&
             (datagram.hash == 0 || datagram.seen_ms < worst.seen_ms)))
            victim = at;
    }
    forget(victim);
    datagrams_[victim].hash = hash;
    datagrams_[victim].began_ms = now_ms;
    marks_[victim].fill(0);
    return victim;
}

FragmentStep FragmentTable::keep(std::uint16_t at, void* handle) {
    Datagram& datagram = datagrams_[at];
    if (free_ == kNone || datagram.waiting == kFragmentsHeldOfADatagram)
        return FragmentStep::kQueueFull;
    const std::uint16_t node = free_;
    free_ = nodes_[node].next;
    nodes_[node] = {{handle, false, {}}, kNone};
    if (datagram.last_held == kNone)
        datagram.first_held = node;
    else
        nodes_[datagram.last_held].next = node;
    datagram.last_held = node;
    datagram.waiting++;
    held_++;
    if (!datagram.listed)
        list(at);
    return FragmentStep::kWait;
}

// Moves the datagram's waiting fragments to the released ones.
void FragmentTable::release_waiting(std::uint16_t at, bool has_ports) {
    Datagram& datagram = datagrams_[at];
    if (datagram.first_held == kNone)
        return;
    for (std::uint16_t node = datagram.first_held; node != kNone; node = nodes_[node].next) {
        nodes_[node].fragment.has_ports = has_ports;
        nodes_[node].fragment.ports = datagram.ports;
    }
    if (released_last_ == kNone)
        released_first_ = datagram.first_held;
    else
        nodes_[released_last_].next = datagram.first_held;
    released_last_ = datagram.last_held;
    datagram.first_held = datagram.last_held = kNone;
    datagram.waiting = 0;
    unlist(at);
}

bool FragmentTable::take_released(ReleasedFragment& released) {
    if (released_first_ == kNone)
        return false;
    const std::uint16_t node = released_first_;
    released = nodes_[node].fragment;
    released_first_ = nodes_[node].next;
    if (released_first_ == kNone)
        released_last_ = kNone;
    nodes_[node].next = free_;
    free_ = node;
    held_--;
    return true;
}

// The list is in the order the datagrams began to wait, so the due ones are at its old end.
void FragmentTable::expire(std::uint64_t now_ms) {
    while (oldest_ != kNone && now_ms - datagrams_[oldest_].began_ms >= kFragmentWait_ms)
        forget(oldest_);
}

void FragmentTable::forget(std::uint16_t at) {
    release_waiting(at, false);
    datagrams_[at] = {};
}

void FragmentTable::list(std::uint16_t at) {
    Datagram& datagram = datagrams_[at];
    datagram.listed = true;
    datagram.older = newest_;
    datagram.newer = kNone;
    (newest_ == kNone ? oldest_ : datagrams_[newest_].newer) = at;
    newest_ = at;
}

void FragmentTable::unlist(std::uint16_t at) {
    Datagram& datagram = datagrams_[at];
    if (!datagram.listed)
        return;
    datagram.listed = false;
    (datagram.older == kNone ? oldest_ : datagrams_[datagram.older].newer) = datagram.newer;
    (datagram.newer == kNone ? newest_ : datagrams_[datagram.newer].older) = datagram.older;
}

} // namespace weir::lb
