// SPDX-License-Identifier: BSD-3-Clause
// The ports: from [interface.NAME] to DPDK queue pairs, one or more for each worker. survey() runs
// before EAL and finds what can be wrong without it; the rest runs after. Main thread.
#pragma once

#include "config/config.hpp"
#include "config/expected.hpp"
#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/dpdk/kernel_interface.hpp"
#include "dataplane/dpdk/worker_context.hpp"
#include "dataplane/lb/spread.hpp"

#include <algorithm>
#include <string>
#include <vector>

struct rte_eth_dev_info;

namespace weir::dpdk {

struct QueuePair {
    std::uint16_t port = 0; // DPDK's port id
    std::uint16_t queue = 0;
};

// One interface. A kernel interface whose queues the AF_XDP driver does not count (a veth) is one
// DPDK port per queue; every other device is one port.
struct Device {
    config::InterfaceConfig config;
    KernelInterfaceFacts facts;    // kernel-visible ones
    channel::Descriptor claim;     // kernel-visible ones
    std::uint32_t queue_count = 0; // 0: one a worker
    std::vector<std::uint16_t> ports;
    std::vector<QueuePair> queues;
    std::uint32_t spread_entries = 0; // of its RSS table, tried out; 0: spreads as it likes
    std::string driver;
    std::array<std::uint8_t, 6> mac{};

    bool kernel_visible() const { return config.is_kernel_visible(); }
    std::string config_key() const { return "interface." + config.name + ".device"; }
};

class Devices {
public:
    // `bpf_directory` holds steer.bpf.o.
    static Expected<Devices> survey(const config::Config& config, std::string bpf_directory);

    // What the devices' queues allow; for workers = "auto".
    std::uint32_t queue_limit() const;
    // Checks that every worker gets a queue, and none too many. `chosen`: the configuration named
    // the workers, for the sentence.
    Expected<void> settle_workers(std::uint32_t workers);
    std::uint32_t queue_pairs() const;
    std::uint16_t largest_mtu() const;
    std::vector<std::string> pci_addresses() const;

    // Creates DPDK's ports. May find that a device has fewer queues: then *workers gets smaller
    // if `may_lower`, else it is an error.
    Expected<void> open(std::uint32_t& workers, bool may_lower);
    // Queues and start; from here packets arrive.
    Expected<void> start(rte_mempool* pool);
    void close();

    // Entries of the table by which every device can be made to spread packets; 0 when one cannot:
    // which device a packet comes by says nothing about its connection, so all spread alike or the
    // owner of a packet has to follow from the packet alone.
    std::uint32_t spread_entries() const;
    Expected<void> apply(const lb::Spread& spread);

    void fill(WorkerContext& context) const; // ports of worker context.id of context.workers
    channel::InterfaceInfo describe(std::size_t row, std::uint32_t workers) const;
    std::size_t size() const { return devices_.size(); }
    bool any_kernel_visible() const {
        return std::any_of(devices_.begin(), devices_.end(),
                           [](const Device& device) { return device.kernel_visible(); });
    }
    const Device& operator[](std::size_t row) const { return devices_[row]; }

private:
    Expected<void> open_kernel_interface(std::size_t row);
    Expected<void> open_vdev(Device& device);
    Expected<void> open_pci(Device& device);
    Expected<void> start_kernel_interface(Device& device, rte_mempool* pool);
    Expected<void> start_bypassed(Device& device, rte_mempool* pool);

    void try_spread(Device& device, std::uint32_t workers);

    std::vector<Device> devices_;
    std::string bpf_directory_;
};

// Configures a port with `queues` queue pairs on `pool` and starts it. Printed output is captured
// into the error.
Expected<void> start_port(const Device& device, std::uint16_t port, std::uint16_t queues,
                          rte_mempool* pool);

} // namespace weir::dpdk
