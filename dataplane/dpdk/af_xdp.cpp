// SPDX-License-Identifier: BSD-3-Clause
// Kernel-visible interfaces through DPDK's AF_XDP driver.
#include "dataplane/dpdk/device.hpp"
#include "dataplane/dpdk/eal.hpp"
#include "dataplane/dpdk/output_capture.hpp"
#include "dataplane/dpdk/xdp_program.hpp"

#include <algorithm>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <spdlog/spdlog.h>

namespace weir::dpdk {

Expected<void> Devices::open_kernel_interface(std::size_t row) {
    Device& device = devices_[row];
    // The driver refuses more than one queue where the interface does not count them in pairs, but
    // takes any queue as the first: one port per queue then.
    const bool paired = device.facts.combined_queues != 0;
    const std::uint32_t ports = paired ? 1 : device.queue_count;
    const std::uint32_t queues = paired ? device.queue_count : 1;
    for (std::uint32_t first = 0; first < ports; first++) {
        const std::string name = "net_af_xdp_" + std::to_string(row) + "_" + std::to_string(first);
        std::string arguments = "iface=" + device.config.kernel_interface +
                                ",start_queue=" + std::to_string(first) +
                                ",queue_count=" + std::to_string(queues) +
                                ",xdp_prog=" + bpf_directory_ + "/" + kSteeringObject;
        std::uint16_t port = 0;
        const OutputCapture capture;
        int result = rte_eal_hotplug_add("vdev", name.c_str(), arguments.c_str());
        if (result == 0)
            result = rte_eth_dev_get_port_by_name(name.c_str(), &port);
        if (result != 0)
            return Error{device.config_key() + ": DPDK cannot use '" +
                         device.config.kernel_interface +
                         "' through AF_XDP: " + dpdk_reason(capture.text(), result)};
        device.ports.push_back(port);
    }
    return {};
}

// Setting up a port's queues loads the steering program and attaches it, which the driver refuses
// beside another one: what a killed dataplane left is taken off first. With one port per queue each
// port attaches a program of its own; the last stays, and the sockets of all go into its map.
Expected<void> Devices::start_kernel_interface(Device& device, rte_mempool* pool) {
    const std::string& name = device.config.kernel_interface;
    std::vector<QueueSocket> sockets;
    const auto per_port = static_cast<std::uint16_t>(device.queue_count / device.ports.size());
    for (std::size_t i = 0; i < device.ports.size(); i++) {
        auto detached = detach_stale_program(device.facts.index, name);
        if (!detached)
            return detached.error();
        if (*detached && i == 0)
            spdlog::info("took off '{}' the steering program of a dataplane that is gone", name);
        const std::vector<int> before = xdp_sockets();
        if (auto started = start_port(device, device.ports[i], per_port, pool); !started)
            return started;
        for (int descriptor : xdp_sockets())
            if (std::find(before.begin(), before.end(), descriptor) == before.end())
                sockets.push_back({static_cast<std::uint32_t>(i), descriptor});
        for (std::uint16_t queue = 0; queue < per_port; queue++)
            device.queues.push_back({device.ports[i], queue});
    }
    if (device.ports.size() == 1)
        return {};
    if (sockets.size() != device.ports.size())
        return Error{device.config_key() + ": the AF_XDP driver opened " +
                     std::to_string(sockets.size()) + " sockets on '" + name + "' for " +
                     std::to_string(device.ports.size()) + " queues"};
    return enter_sockets(device.facts.index, name, sockets);
}

} // namespace weir::dpdk
