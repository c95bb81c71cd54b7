// SPDX-License-Identifier: BSD-3-Clause
// What the controller asks of the BPF programs beside the engine: that packets are judged by a
// given match table on their way to the engine (steering) and to the kernel (the guard), and that
// the kernel answers for addresses on loan only while their lease runs (the guard, too).
// control/main.cpp implements it over xdp/, tests by a note of the calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/address.hpp"
#include "config/expected.hpp"
#include "dataplane/lb/forwarding_state.hpp"

namespace weir::control {

// A kernel-side interface.
struct SteeredInterface {
    std::string name; // in the kernel
    unsigned ifindex = 0;
    bool bypassed = false; // a TAP: only the guard is there
};

struct GuardCount { // packets, of the guards of all interfaces since control started
    const char* name = "";
    const char* sentence = "";
    std::uint64_t count = 0;
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

    // The addresses on loan, by the number of their lease; all others are the kernel's for good.
    using Loans = std::vector<std::vector<net::IpAddress>>;
    virtual Expected<void> lend(const Loans& loans) = 0;
    // Where the guards look up until when a lease runs: CLOCK_MONOTONIC in nanoseconds; 0: it does
    // not. Lives as long as this; one writer, of any thread. Null: there is no such lease, because
    // lend() had fewer or the kernel gives no memory for them.
    virtual std::uint64_t* lease(std::size_t number) = 0;

    virtual std::vector<GuardCount> guard_counts() = 0;
};

} // namespace weir::control
