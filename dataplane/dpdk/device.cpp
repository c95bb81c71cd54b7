// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/device.hpp"

#include "dataplane/dpdk/eal.hpp"
#include "dataplane/dpdk/output_capture.hpp"
#include "dataplane/dpdk/rss.hpp"
#include "dataplane/dpdk/start_plan.hpp"
#include "dataplane/dpdk/xdp_program.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <spdlog/spdlog.h>
#include <thread>

namespace weir::dpdk {
namespace {

constexpr int kUpWaitMs = 3000;
constexpr int kLinkWaitMs = 300;

void wait_for_link(const Device& device) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kLinkWaitMs);
    for (std::uint16_t port : device.ports) {
        rte_eth_link link{};
        while (rte_eth_link_get_nowait(port, &link) == 0 && !link.link_status) {
            if (std::chrono::steady_clock::now() >= deadline) {
                spdlog::warn("interface '{}' has no link yet", device.config.name);
                return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
}

// The sentence for a device with too few queues.
Error too_few_queues(const Device& device, std::uint32_t queues, std::uint32_t workers) {
    std::string sentence = device.config_key() + ": '" + config::to_string(device.config.device) +
                           "' has " + std::to_string(queues) + " queue" + (queues == 1 ? "" : "s") +
                           ", but there are " + std::to_string(workers) + " workers";
    if (device.kernel_visible())
        sentence += ": give it more (`ethtool -L " + device.config.kernel_interface +
                    "`) or lower engine.workers";
    else
        sentence += ": lower engine.workers";
    return {sentence};
}

Expected<Device> survey_one(const config::InterfaceConfig& config) {
    Device device;
    device.config = config;
    if (const auto* nic = std::get_if<config::KernelInterface>(&config.device)) {
        auto facts = look_at_interface(nic->name, device.config_key());
        if (!facts)
            return facts.error();
        device.facts = *facts;
        auto claim = claim_interface(nic->name);
        if (!claim)
            return claim.error();
        device.claim = std::move(*claim);
        device.queue_count = facts->receive_queues;
    } else if (const auto* pci = std::get_if<config::PciDevice>(&config.device)) {
        auto usable = check_pci_device(pci->address, device.config_key());
        if (!usable)
            return usable.error();
    }
    return device;
}

bool needs_privileges(const config::InterfaceConfig& interface) {
    const auto* vdev = std::get_if<config::VdevDevice>(&interface.device);
    return interface.is_kernel_visible() || (vdev && vdev->arguments.starts_with("net_tap"));
}

} // namespace

Expected<Devices> Devices::survey(const config::Config& config, std::string bpf_directory) {
    Devices devices;
    devices.bpf_directory_ = std::move(bpf_directory);
    if (config.interfaces.empty())
        return Error{"the configuration has no [interface.NAME]: the dataplane needs at least one"};
    if (config.interfaces.size() > WEIR_MAX_INTERFACES)
        return Error{"the configuration has more than " + std::to_string(WEIR_MAX_INTERFACES) +
                     " interfaces"};
    for (const config::InterfaceConfig& interface : config.interfaces) {
        auto device = survey_one(interface);
        if (!device)
            return device.error();
        devices.devices_.push_back(std::move(*device));
    }
    if (std::any_of(config.interfaces.begin(), config.interfaces.end(), needs_privileges))
        if (auto allowed = check_privileges(); !allowed)
            return allowed.error();
    for (const Device& device : devices.devices_) {
        if (!device.kernel_visible())
            continue;
        const auto& name = device.config.kernel_interface;
        if (auto up = wait_until_up(name, device.config_key(), kUpWaitMs); !up)
            return up.error();
        if (const std::string object = devices.bpf_directory_ + "/" + kSteeringObject;
            !std::filesystem::exists(object))
            return Error{"the steering program " + object +
                         " is not there: reinstall Weir or set WEIR_BPF_DIR to its directory"};
    }
    return devices;
}

std::uint32_t Devices::queue_limit() const {
    std::uint32_t limit = WEIR_MAX_WORKERS;
    for (const Device& device : devices_)
        if (device.queue_count != 0)
            limit = std::min(limit, device.queue_count);
    return limit;
}

Expected<void> Devices::settle_workers(std::uint32_t workers) {
    std::uint32_t entries = 0;
    for (Device& device : devices_) {
        if (!device.kernel_visible())
            device.queue_count = workers;
        if (device.queue_count < workers)
            return too_few_queues(device, device.queue_count, workers);
        entries += (device.queue_count + workers - 1) / workers;
        if (entries > kMaxWorkerPorts)
            return Error{device.config_key() + ": '" + device.config.kernel_interface + "' has " +
                         std::to_string(device.queue_count) + " queues for " +
                         std::to_string(workers) + " workers: lower them (`ethtool -L " +
                         device.config.kernel_interface + " combined " + std::to_string(workers) +
                         "`)"};
    }
    return {};
}

std::uint32_t Devices::queue_pairs() const {
    std::uint32_t pairs = 0;
    for (const Device& device : devices_)
        pairs += device.queue_count;
    return pairs;
}

std::uint16_t Devices::largest_mtu() const {
    std::uint32_t largest = 0;
    for (const Device& device : devices_)
        largest = std::max({largest, std::uint32_t{device.config.mtu}, device.facts.mtu});
    return static_cast<std::uint16_t>(std::min(largest, 65000u - 2048u));
}

std::vector<std::string> Devices::pci_addresses() const {
    std::vector<std::string> addresses;
    for (const Device& device : devices_)
        if (const auto* pci = std::get_if<config::PciDevice>(&device.config.device))
            addresses.push_back(pci->address);
    return addresses;
}

Expected<void> Devices::open(std::uint32_t& workers, bool may_lower) {
    for (std::size_t row = 0; row < devices_.size(); row++) {
        Device& device = devices_[row];
        Expected<void> opened = device.kernel_visible() ? open_kernel_interface(row)
                                : std::holds_alternative<config::VdevDevice>(device.config.device)
                                    ? open_vdev(device)
                                    : open_pci(device);
        if (!opened)
            return opened;
        rte_eth_dev_info info{};
        if (rte_eth_dev_info_get(device.ports.front(), &info) != 0)
            return Error{device.config_key() + ": DPDK does not say what the device can do"};
        device.driver = info.driver_name;
        rte_ether_addr mac{};
        rte_eth_macaddr_get(device.ports.front(), &mac);
        std::memcpy(device.mac.data(), mac.addr_bytes, device.mac.size());
        if (device.kernel_visible())
            continue;
        const std::uint32_t most = std::min(info.max_rx_queues, info.max_tx_queues);
        if (most >= workers)
            continue;
        if (!may_lower || most == 0)
            return too_few_queues(device, most, workers);
        workers = most;
    }
    return settle_workers(workers);
}

Expected<void> Devices::open_vdev(Device& device) {
    const std::string& text = std::get<config::VdevDevice>(device.config.device).arguments;
    const std::size_t comma = text.find(',');
    const std::string name = text.substr(0, comma);
    const std::string arguments = comma == std::string::npos ? "" : text.substr(comma + 1);
    std::string printed;
    int result;
    std::uint16_t port = 0;
    {
        const OutputCapture capture;
        result = rte_eal_hotplug_add("vdev", name.c_str(), arguments.c_str());
        if (result == 0)
            result = rte_eth_dev_get_port_by_name(name.c_str(), &port);
        printed = capture.text();
    }
    if (result != 0)
        return Error{device.config_key() + ": DPDK cannot make '" + text +
                     "': " + dpdk_reason(printed, result)};
    device.ports.push_back(port);
    return {};
}

Expected<void> Devices::open_pci(Device& device) {
    const std::string& address = std::get<config::PciDevice>(device.config.device).address;
    std::uint16_t port = 0;
    if (rte_eth_dev_get_port_by_name(address.c_str(), &port) != 0)
        return Error{device.config_key() + ": DPDK has no driver that takes PCI device " + address};
    device.ports.push_back(port);
    return {};
}

Expected<void> start_port(const Device& device, std::uint16_t port, std::uint16_t queues,
                          rte_mempool* pool) {
    const OutputCapture capture;
    const auto failed = [&](const char* step, int error) {
        return Error{device.config_key() + ": DPDK cannot " + step + " '" +
                     config::to_string(device.config.device) +
                     "': " + dpdk_reason(capture.text(), error)};
    };
    rte_eth_dev_info info{};
    if (int error = rte_eth_dev_info_get(port, &info); error != 0)
        return failed("look at", error);
    if (device.config.mtu > info.max_mtu)
        return Error{"interface." + device.config.name +
                     ".mtu: " + std::to_string(device.config.mtu) + " is more than the " +
                     std::to_string(info.max_mtu) + " that " + device.driver + " can do"};
    rte_eth_conf conf{};
    if (!device.kernel_visible())
        conf.rxmode.mtu = device.config.mtu;
    if (queues > 1 && spread_by(info) != 0 && !device.kernel_visible()) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = spread_by(info);
    }
    if (int error = rte_eth_dev_configure(port, queues, queues, &conf); error != 0)
        return failed("configure", error);
    std::uint16_t receive = kQueueDescriptors;
    std::uint16_t transmit = kQueueDescriptors;
    rte_eth_dev_adjust_nb_rx_tx_desc(port, &receive, &transmit);
    const int socket = rte_eth_dev_socket_id(port);
    for (std::uint16_t queue = 0; queue < queues; queue++) {
        int error = rte_eth_rx_queue_setup(port, queue, receive, static_cast<unsigned>(socket),
                                           nullptr, pool);
        if (error == 0)
            error = rte_eth_tx_queue_setup(port, queue, transmit, static_cast<unsigned>(socket),
                                           nullptr);
        if (error != 0)
            return failed("set up the queues of", error);
    }
    if (int error = rte_eth_dev_start(port); error != 0)
        return failed("start", error);
    return {};
}

Expected<void> Devices::start_bypassed(Device& device, rte_mempool* pool) {
    const std::uint16_t port = device.ports.front();
    const auto queues = static_cast<std::uint16_t>(device.queue_count);
    if (auto started = start_port(device, port, queues, pool); !started)
        return started;
    for (std::uint16_t queue = 0; queue < queues; queue++)
        device.queues.push_back({port, queue});
    if (queues > 1)
        try_spread(device, queues);
    {
        const OutputCapture capture; // not every driver can, and says so
        rte_eth_dev_set_mtu(port, device.config.mtu);
        rte_eth_promiscuous_disable(port);
        rte_eth_allmulticast_enable(port); // neighbour discovery and VRRP are multicast
    }
    wait_for_link(device);
    return {};
}

// With a key for the time being: the flow hash's secret, from which the real one comes, arrives
// with the first generation, before which nothing is forwarded.
void Devices::try_spread(Device& device, std::uint32_t workers) {
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(device.ports.front(), &info) != 0)
        return;
    const bool hardware = std::holds_alternative<config::PciDevice>(device.config.device);
    const std::uint32_t entries = controllable_entries(info, hardware, workers);
    const auto spread = lb::Spread::make(lb::rss_key_of({}), entries, workers);
    if (entries == 0 || !spread)
        return;
    const auto applied = [&] {
        const OutputCapture quiet;
        return apply_spread(device.ports.front(), *spread);
    }();
    if (applied)
        device.spread_entries = entries;
    else
        spdlog::warn("interface '{}' spreads packets as it likes: {}", device.config.name,
                     applied.error().sentence);
}

std::uint32_t Devices::spread_entries() const {
    std::uint32_t least = lb::kMaxSpreadEntries;
    for (const Device& device : devices_)
        least = std::min(least, device.spread_entries);
    return least;
}

Expected<void> Devices::apply(const lb::Spread& spread) {
    for (const Device& device : devices_)
        if (auto applied = apply_spread(device.ports.front(), spread); !applied)
            return Error{"interface '" + device.config.name + "': " + applied.error().sentence};
    return {};
}

Expected<void> Devices::start(rte_mempool* pool) {
    for (Device& device : devices_) {
        auto started = device.kernel_visible() ? start_kernel_interface(device, pool)
                                               : start_bypassed(device, pool);
        if (!started)
            return started;
    }
    return {};
}

void Devices::close() {
    const OutputCapture quiet;
    for (Device& device : devices_) {
        for (std::uint16_t port : device.ports) {
            rte_eth_dev_stop(port);
            rte_eth_dev_close(port);
        }
        device.ports.clear();
        device.queues.clear();
    }
}

void Devices::fill(WorkerContext& context) const {
    const auto add = [&](std::size_t row, std::size_t queue) {
        const Device& device = devices_[row];
        WorkerPort& port = context.ports[context.port_count++];
        port.dpdk_port = device.queues[queue].port;
        port.queue = device.queues[queue].queue;
        port.interface_row = static_cast<std::uint8_t>(row);
        port.bypassed = !device.kernel_visible();
        port.spread_controlled = context.workers == 1 || spread_entries() != 0;
    };
    context.interface_count = static_cast<std::uint32_t>(devices_.size());
    context.port_count = 0;
    for (std::size_t row = 0; row < devices_.size(); row++)
        add(row, context.id);
    for (std::size_t row = 0; row < devices_.size(); row++)
        for (std::size_t queue = context.id + context.workers; queue < devices_[row].queues.size();
             queue += context.workers)
            add(row, queue);
}

channel::InterfaceInfo Devices::describe(std::size_t row, std::uint32_t workers) const {
    const Device& device = devices_[row];
    channel::InterfaceInfo info{};
    std::strncpy(info.name, device.config.name.c_str(), sizeof(info.name) - 1);
    if (device.kernel_visible())
        std::strncpy(info.kernel_name, device.config.kernel_interface.c_str(),
                     sizeof(info.kernel_name) - 1);
    std::strncpy(info.driver, device.driver.c_str(), sizeof(info.driver) - 1);
    std::memcpy(info.mac, device.mac.data(), sizeof(info.mac));
    info.mtu = device.config.mtu;
    info.kind = device.kernel_visible() ? channel::InterfaceKind::kernel_visible
                                        : channel::InterfaceKind::bypassed;
    info.queues = device.queue_count;
    info.steering_controlled = workers == 1 || spread_entries() != 0 ? 1 : 0;
    return info;
}

} // namespace weir::dpdk
