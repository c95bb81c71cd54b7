// SPDX-License-Identifier: BSD-3-Clause
// What travels with a packet from worker to worker, in 8 bytes of the mbuf that are the driver's
// only until receive: why it was handed over, and what the sender found out that the packet itself
// does not say.
#pragma once

#include "dataplane/lb/fragment_table.hpp"

#include <cstdint>
#include <cstring>
#include <rte_mbuf.h>

namespace weir::dpdk {

enum class HandOver : std::uint8_t {
    to_owner = 0, // of the connection: it stays there
    to_datagram,  // a fragment, to the worker that follows its datagram
};

struct HandOverNote {
    HandOver why = HandOver::to_owner;
    bool has_ports = false; // a later fragment: those of the first
    lb::FragmentPorts ports;
};
static_assert(sizeof(HandOverNote) <= sizeof(rte_mbuf::hash));

inline void write_note(rte_mbuf* mbuf, const HandOverNote& note) {
    std::memcpy(&mbuf->hash, &note, sizeof(note));
}

inline HandOverNote note_of(const rte_mbuf* mbuf) {
    HandOverNote note;
    std::memcpy(static_cast<void*>(&note), &mbuf->hash, sizeof(note));
    return note;
}

} // namespace weir::dpdk
