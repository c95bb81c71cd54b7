// SPDX-License-Identifier: BSD-3-Clause
// A port whose source and sink are arrays in this process: receiving copies pointers to packets
// that were prepared before, transmitting copies them to the other array. So the worker's own loop
// runs unchanged and nearly all the time is the worker's.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <string>
#include <vector>

struct rte_mempool;

namespace weir::bench {

// On lines of its own (and those that are fetched with them): each is another core's.
struct alignas(128) Wire {
    std::vector<rte_mbuf*> in; // what the next receive calls give
    std::size_t next = 0;
    std::vector<rte_mbuf*> out; // what was transmitted; its capacity is taken beforehand
};

inline constexpr std::uint32_t kMostQueues = 2;

// EAL with two lcores where there are two, one port of kMostQueues queues, and packet buffers.
// Made once, at the first call.
struct Machine {
    std::uint16_t port;
    rte_mempool* pool;
    unsigned second_lcore; // RTE_MAX_LCORE: none
    Wire wire[kMostQueues];
};
Machine& machine();

// A port on two rings, for rows whose packets come from another core. Each call makes a new one.
struct RingPort {
    std::uint16_t port;
    struct rte_ring* in;  // what the port receives
    struct rte_ring* out; // what it transmits
};
RingPort make_ring_port(std::uint32_t size);
void end_ring_port(const RingPort& rings);

} // namespace weir::bench
