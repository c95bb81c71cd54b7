// SPDX-License-Identifier: BSD-3-Clause
// What the engine decides before it starts EAL: which cores, how many packet buffers, huge pages or
// not, and the arguments that say so to EAL. Pure functions of the configuration and what was found
// on the machine; called once, by the engine's start.
#pragma once

#include "config/config.hpp"
#include "config/expected.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weir::dpdk {

inline constexpr std::uint32_t kMostAutoWorkers = 8;

inline constexpr std::uint32_t kQueueDescriptors = 2048; // each way; AF_XDP's rings have as many
inline constexpr std::uint32_t kInboxSize = 2048;        // packets; ring sizes are powers of two
inline constexpr std::uint32_t kPuntControlSize = 512;
inline constexpr std::uint32_t kPuntDataSize = 2048;
inline constexpr std::uint32_t kFromKernelSize = 1024;
inline constexpr std::uint32_t kPoolCache = 256; // buffers each thread keeps at hand

struct Machine {
    std::vector<unsigned> online;  // cores of the machine
    std::vector<unsigned> allowed; // of them, those this process may run on
    std::size_t free_huge_bytes = 0;
};
Machine inspect_machine();

// "0-3,7" for {0, 1, 2, 3, 7}.
std::string core_list(const std::vector<unsigned>& cores);

// One core a worker. `queue_limit`: what "auto" must not exceed because a device has no more
// queues. "auto" leaves the first allowed core to everything else when there is another.
Expected<std::vector<unsigned>> choose_cores(const std::vector<unsigned>& wanted,
                                             const Machine& machine, std::uint32_t queue_limit);

// Of the packet buffers that all queues, rings and workers can hold at once, waiting fragments
// among them, with what the threads' caches keep: so they do not run out.
struct BufferPlan {
    std::uint32_t count = 0;
    std::uint16_t data_room = 0; // bytes, head room included
    std::size_t bytes = 0;       // memory of the pool, rounded up generously
};
BufferPlan plan_buffers(std::uint32_t queue_pairs, std::uint32_t workers,
                        std::uint16_t largest_mtu);

// Whether EAL's memory is in huge pages. "auto" takes them when `bytes` of them are free.
Expected<bool> choose_huge_pages(config::HugepageUse use, std::size_t bytes,
                                 const Machine& machine);

struct EalPlan {
    std::vector<unsigned> worker_cores;
    std::vector<unsigned> allowed;
    std::vector<std::string> pci; // addresses; no PCI device is looked at when empty
    bool huge_pages = false;
    std::size_t memory_bytes = 0; // without huge pages all of it is set aside at the start
};
// EAL's command line. Worker i runs on lcore i + 1, pinned; the main lcore 0 floats.
std::vector<std::string> eal_arguments(const EalPlan& plan);

} // namespace weir::dpdk
