// SPDX-License-Identifier: BSD-3-Clause
// The steering program on one kernel-visible interface. DPDK's AF_XDP driver loads and attaches it
// (xdp/steer.bpf.c), anew each time the dataplane starts; this finds whichever is attached and
// enters the node's sorter and balancer into it. Control's main thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "xdp/library.hpp"

namespace weir::xdp {

enum class SteeringProgram {
    kAbsent,  // no XDP program on the interface: the dataplane has not started, or has ended
    kKnown,   // the one that was found before
    kChanged, // another one: nothing has been entered by this process
};

// What it calls; descriptors, -1: nothing, and the packets concerned are the kernel's.
struct SteeringTargets {
    int sorter = -1;
    // For what is ours where there is no socket. No value: what an earlier control has entered.
    std::optional<int> balancer = -1;
};

class Steering {
public:
    // `pin`: where on a BPF filesystem pin() pins; empty: nowhere.
    explicit Steering(unsigned ifindex, std::string pin = {})
        : ifindex_(ifindex), pin_(std::move(pin)) {}

    // Looks which program is attached. An error also when it is not Weir's. Cheap when it is
    // kKnown: one netlink question.
    Expected<SteeringProgram> find();

    // Enters `targets` into the attached program; finds it first. An error when there is none.
    Expected<void> connect(const SteeringTargets& targets);

    // Attaches a steering program without sockets, for an interface that an ending dataplane has
    // taken its own off. The next dataplane takes it off, as one that was left behind.
    Expected<void> attach();

    // Takes a program of Weir's that a killed dataplane left behind off the interface: the AF_XDP
    // driver refuses to attach beside it. Says whether there was one. Only right when no dataplane
    // runs on the interface.
    Expected<bool> detach();

    // Pins the attached program's map of programs, in the place of an earlier one's: it then keeps
    // them without this process. Tried once a program; nothing else depends on it.
    // REQUIRES: find() or connect() has found a program.
    Expected<void> pin();
    // The map of programs ends with this process, or with its program.
    void unpin() const;

private:
    struct Program {
        uint32_t id;
        Descriptor descriptor;
        Descriptor programs; // its map of them, which keeps its entries while somebody holds it
        bool pin_tried = false;
    };
    Expected<Program> open(uint32_t program_id) const;

    unsigned ifindex_;
    std::string pin_;
    std::optional<Program> program_;
};

} // namespace weir::xdp
