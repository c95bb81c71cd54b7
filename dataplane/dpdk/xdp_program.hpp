// SPDX-License-Identifier: BSD-3-Clause
// The XDP program on a kernel-visible interface, seen from the engine: finding one that a killed
// dataplane left behind, taking it off, and putting AF_XDP sockets into its map. DPDK's driver does
// the loading and attaching; this speaks rtnetlink and bpf(2) directly, so that no BPF library
// comes into the engine. Main thread, at start.
#pragma once

#include "config/expected.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace weir::dpdk {

inline constexpr const char* kSteeringProgram = "weir_steer";
inline constexpr const char* kSteeringObject = "steer.bpf.o"; // the file that has it

// The id of the attached program, 0: none.
Expected<std::uint32_t> attached_program(unsigned ifindex);

// Takes the program off. One that is not ours stays, and is a sentence. Says whether one was there.
Expected<bool> detach_stale_program(unsigned ifindex, const std::string& interface);

struct QueueSocket {
    std::uint32_t queue;
    int descriptor;
};
// Puts sockets into the attached program's `xsks_map`, replacing what is there.
Expected<void> enter_sockets(unsigned ifindex, const std::string& interface,
                             const std::vector<QueueSocket>& sockets);

// This process's open AF_XDP sockets.
std::vector<int> xdp_sockets();

} // namespace weir::dpdk
