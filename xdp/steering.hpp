// SPDX-License-Identifier: BSD-3-Clause
// The steering program's maps on one kernel-visible interface. DPDK's AF_XDP driver loads and
// attaches the program (xdp/steer.bpf.c), anew each time the dataplane starts; this finds whichever
// is attached and publishes match tables to it. Control's main thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "xdp/match_blocks.hpp"

namespace weir::xdp {

struct SteeringCounters { // packets since the program was loaded
    uint64_t to_socket = 0;
    uint64_t no_socket = 0;
    uint64_t passed = 0;
    uint64_t unparsed = 0;
    uint64_t unpublished = 0;
};

enum class SteeringProgram {
    kAbsent,  // no XDP program on the interface: the dataplane has not started
    kKnown,   // the one that was found before
    kChanged, // another one: it has only what was published to it, most likely nothing
};

class Steering {
public:
    explicit Steering(unsigned ifindex) : ifindex_(ifindex) {}

    // Looks which program is attached. An error also when it is not Weir's. Cheap when it is
    // kKnown: one netlink question.
    Expected<SteeringProgram> find();

    // Publishes to the attached program; finds it first. An error when there is none.
    Expected<void> publish(const MatchTableView& table, uint64_t generation);

    // Of the program that was found last. 0: nothing published to it.
    Expected<uint64_t> generation() const;
    Expected<SteeringCounters> counters() const;

    // Takes a program of Weir's that a killed dataplane left behind off the interface: the AF_XDP
    // driver refuses to attach beside it. Says whether there was one. Only right when no dataplane
    // runs on the interface.
    Expected<bool> detach();

private:
    struct Program {
        uint32_t id;
        Descriptor descriptor;
        MatchBlocks blocks;
        Descriptor counts;
    };
    Expected<Program> open(uint32_t program_id) const;
    Error nothing_attached() const;

    unsigned ifindex_;
    std::optional<Program> program_;
};

} // namespace weir::xdp
