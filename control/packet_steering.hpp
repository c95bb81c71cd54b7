// SPDX-License-Identifier: BSD-3-Clause
// What the controller asks of the BPF programs beside the engine: that packets are judged by a
// given match table on their way to the engine (steering) and to the kernel (the guard).
// control/main.cpp implements it over xdp/, tests by a note of the calls.
#pragma once

#include <string>
#include <vector>

#include "config/expected.hpp"
#include "dataplane/lb/forwarding_state.hpp"

namespace weir::control {

// A kernel-side interface.
struct SteeredInterface {
    std::string name; // in the kernel
    unsigned ifindex = 0;
    bool bypassed = false; // a TAP: only the guard is there
};

class PacketSteering {
public:
    virtual ~PacketSteering() = default;

    // From the return on packets are judged by `state`'s match table everywhere; on an error some
    // interfaces may have it and others the one before. The guards come first, so that the kernel
    // is silenced before anything can reach it.
    virtual Expected<void> publish(const std::vector<SteeredInterface>& interfaces,
                                   const lb::ForwardingState& state) = 0;

    // False when a program was replaced or taken off since publish(): it is to be called again.
    virtual bool intact(const std::vector<SteeredInterface>& interfaces) = 0;
};

} // namespace weir::control
