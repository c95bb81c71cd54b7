// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/start_plan.hpp"

#include "dataplane/dpdk/burst.hpp"
#include "dataplane/forwarding/limits.h"
#include "dataplane/lb/fragment_table.hpp"

#include <algorithm>
#include <fstream>
#include <sched.h>
#include <unistd.h>

namespace weir::dpdk {
namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;
constexpr std::size_t kHugePage = 2 * kMegabyte;
constexpr std::size_t kEalOverhead = 48 * kMegabyte; // ports, rings, tables of EAL's own

// Per buffer besides its data room: mbuf header, mempool header and alignment.
constexpr std::size_t kBufferOverhead = 128 + 64 + 64;
constexpr std::uint32_t kHeadroom = 128;     // RTE_PKTMBUF_HEADROOM, for encapsulation
constexpr std::uint32_t kXdpHeadroom = 256;  // XDP_PACKET_HEADROOM: what the kernel takes
constexpr std::uint32_t kFrameOverhead = 26; // Ethernet, two VLAN tags, FCS
constexpr std::uint32_t kLeastFrameRoom = 2048;

bool contains(const std::vector<unsigned>& cores, unsigned core) {
    return std::find(cores.begin(), cores.end(), core) != cores.end();
}

Error unusable_core(unsigned core, const Machine& machine) {
    std::string name = "engine.workers: core " + std::to_string(core);
    if (!contains(machine.online, core))
        return {name + " is not available: this machine has cores " + core_list(machine.online)};
    return {name + " is not available to this process: it may run on cores " +
            core_list(machine.allowed)};
}

} // namespace

Machine inspect_machine() {
    Machine machine;
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof(set), &set);
    const long present = std::min<long>(::sysconf(_SC_NPROCESSORS_ONLN), CPU_SETSIZE);
    for (unsigned core = 0; core < static_cast<unsigned>(present); core++) {
        machine.online.push_back(core);
        if (CPU_ISSET(core, &set))
            machine.allowed.push_back(core);
    }
    std::size_t pages = 0;
    std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> pages;
    machine.free_huge_bytes = pages * kHugePage;
    return machine;
}

std::string core_list(const std::vector<unsigned>& cores) {
    std::string text;
    for (std::size_t i = 0; i < cores.size();) {
        std::size_t last = i;
        while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1)
            last++;
        text += (text.empty() ? "" : ",") + std::to_string(cores[i]);
        if (last > i)
            text += "-" + std::to_string(cores[last]);
        i = last + 1;
    }
    return text;
}

Expected<std::vector<unsigned>> choose_cores(const std::vector<unsigned>& wanted,
                                             const Machine& machine, std::uint32_t queue_limit) {
    for (unsigned core : wanted)
        if (!contains(machine.allowed, core))
            return unusable_core(core, machine);
    if (wanted.size() > WEIR_MAX_WORKERS)
        return Error{"engine.workers: " + std::to_string(wanted.size()) +
                     " workers are more than the " + std::to_string(WEIR_MAX_WORKERS) +
                     " supported"};
    if (!wanted.empty())
        return wanted;
    std::vector<unsigned> cores = machine.allowed;
    if (cores.size() > 1)
        cores.erase(cores.begin());
    const std::size_t most = std::min(kMostAutoWorkers, std::max(queue_limit, 1u));
    if (cores.size() > most)
        cores.erase(cores.begin(), cores.end() - static_cast<std::ptrdiff_t>(most));
    return cores;
}

BufferPlan plan_buffers(std::uint32_t queue_pairs, std::uint32_t workers,
                        std::uint16_t largest_mtu) {
    BufferPlan plan;
    const std::uint32_t per_queue = 3 * kQueueDescriptors; // filled, received, being sent
    const std::uint32_t rings =
        workers * kInboxSize + kPuntControlSize + kPuntDataSize + kFromKernelSize;
    const std::uint32_t in_hand = workers * (kBurstSize + kMostGenerated + lb::kFragmentsHeld);
    const std::uint32_t caches = (workers + 2) * (kPoolCache + kPoolCache / 2);
    plan.count = queue_pairs * per_queue + rings + in_hand + caches;
    const std::uint32_t frame = (largest_mtu + kFrameOverhead + 63u) / 64u * 64u;
    plan.data_room =
        static_cast<std::uint16_t>(kHeadroom + kXdpHeadroom + std::max(frame, kLeastFrameRoom));
    plan.bytes = plan.count * (plan.data_room + kBufferOverhead);
    return plan;
}

Expected<bool> choose_huge_pages(config::HugepageUse use, std::size_t bytes,
                                 const Machine& machine) {
    const std::size_t needed = (bytes + kEalOverhead + kHugePage - 1) / kHugePage;
    const std::size_t there = machine.free_huge_bytes / kHugePage;
    switch (use) {
    case config::HugepageUse::kOff:
        return false;
    case config::HugepageUse::kAuto:
        return there >= needed;
    case config::HugepageUse::kOn:
        break;
    }
    if (there >= needed)
        return true;
    return Error{"engine.hugepages is \"on\" and " + std::to_string(needed) +
                 " free huge pages of 2 MB are needed, but " + std::to_string(there) +
                 " are there: raise vm.nr_hugepages, lower engine.connections, or write \"auto\""};
}

std::vector<std::string> eal_arguments(const EalPlan& plan) {
    std::vector<std::string> arguments = {"weir-dataplane", "--no-telemetry", "--log-level=error"};
    std::string lcores = "0@(" + core_list(plan.allowed) + ")";
    for (std::size_t i = 0; i < plan.worker_cores.size(); i++)
        lcores += "," + std::to_string(i + 1) + "@" + std::to_string(plan.worker_cores[i]);
    arguments.insert(arguments.end(), {"--lcores", lcores, "--main-lcore", "0"});
    if (plan.huge_pages) {
        arguments.emplace_back("--in-memory");
    } else {
        // EAL refuses --in-memory together with --no-huge; these two leave no file behind either.
        const std::size_t megabytes = (plan.memory_bytes + kEalOverhead) / kMegabyte + 1;
        arguments.insert(arguments.end(),
                         {"--no-huge", "--no-shconf", "-m", std::to_string(megabytes)});
    }
    if (plan.pci.empty())
        arguments.insert(arguments.end(), {"--no-pci", "--iova-mode=va"});
    for (const std::string& address : plan.pci)
        arguments.insert(arguments.end(), {"-a", address});
    return arguments;
}

} // namespace weir::dpdk
