// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/kernel_interface.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace weir::dpdk {
namespace {

namespace fs = std::filesystem;

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(),
                std::min(name.size(), sizeof(request.ifr_name) - 1));
    return request;
}

channel::Descriptor control_socket() {
    return channel::Descriptor(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

bool is_up(const channel::Descriptor& socket, const std::string& name) {
    ifreq request = request_for(name);
    return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP);
}

bool has_capability(unsigned capability) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (::syscall(SYS_capget, &header, data) != 0)
        return true; // cannot tell: let the kernel decide
    return data[capability / 32].effective & (1u << (capability % 32));
}

} // namespace

Expected<KernelInterfaceFacts> look_at_interface(const std::string& name,
                                                 const std::string& config_key) {
    KernelInterfaceFacts facts;
    facts.index = ::if_nametoindex(name.c_str());
    if (facts.index == 0)
        return Error{config_key + ": there is no interface '" + name +
                     "' here: `ip link` lists those there are"};
    const channel::Descriptor socket = control_socket();
    facts.up = is_up(socket, name);
    ifreq request = request_for(name);
    if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) == 0)
        std::memcpy(facts.mac.data(), request.ifr_hwaddr.sa_data, facts.mac.size());
    request = request_for(name);
    if (::ioctl(socket.get(), SIOCGIFMTU, &request) == 0)
        facts.mtu = static_cast<std::uint32_t>(request.ifr_mtu);
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    request = request_for(name);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    if (::ioctl(socket.get(), SIOCETHTOOL, &request) == 0) {
        facts.combined_queues = channels.max_combined > 0 ? channels.combined_count : 0;
        facts.receive_queues = std::max({channels.combined_count, channels.rx_count, 1u});
    }
    return facts;
}

Expected<void> wait_until_up(const std::string& name, const std::string& config_key,
                             int timeout_ms) {
    const channel::Descriptor socket = control_socket();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (!is_up(socket, name)) {
        if (std::chrono::steady_clock::now() >= deadline)
            return Error{std::string(config_key)
                             .append(": interface '")
                             .append(name)
                             .append("' is down: weir-control brings it up, or `ip link set ")
                             .append(name)
                             .append(" up`")};
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
}

Expected<channel::Descriptor> claim_interface(const std::string& name) {
    // Abstract socket names are per network namespace and vanish with their process.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string text = "weir-dataplane/" + name;
    std::memcpy(address.sun_path + 1, text.data(), text.size());
    channel::Descriptor claim(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    if (::bind(claim.get(), reinterpret_cast<sockaddr*>(&address), length) == 0)
        return claim;
    if (errno == EADDRINUSE)
        return Error{"interface '" + name + "' is driven by another weir-dataplane already"};
    return Error{"cannot claim interface '" + name + "': " + std::strerror(errno)};
}

Expected<void> check_privileges() {
    std::string missing;
    const auto need = [&](bool there, const char* name) {
        if (!there)
            missing += (missing.empty() ? "" : ", ") + std::string(name);
    };
    need(has_capability(CAP_NET_ADMIN), "CAP_NET_ADMIN");
    need(has_capability(CAP_NET_RAW), "CAP_NET_RAW");
    need(has_capability(CAP_BPF) || has_capability(CAP_SYS_ADMIN), "CAP_BPF");
    need(has_capability(CAP_IPC_LOCK), "CAP_IPC_LOCK");
    if (missing.empty())
        return {};
    return Error{"missing permission to drive kernel interfaces: run weir-dataplane as root or "
                 "grant it " +
                 missing};
}

Expected<void> check_pci_device(const std::string& address, const std::string& config_key) {
    const fs::path device = fs::path("/sys/bus/pci/devices") / address;
    std::error_code ignored;
    if (!fs::exists(device, ignored))
        return Error{config_key + ": there is no PCI device " + address +
                     ": `lspci -D` lists those there are"};
    const fs::path driver = fs::read_symlink(device / "driver", ignored).filename();
    static const std::vector<std::string> kUsable = {"vfio-pci", "uio_pci_generic", "igb_uio",
                                                     "mlx4_core", "mlx5_core"};
    if (std::find(kUsable.begin(), kUsable.end(), driver.string()) != kUsable.end())
        return {};
    const std::string now = driver.empty() ? "is bound to no driver"
                                           : "is bound to the kernel driver " + driver.string();
    return Error{config_key + ": PCI device " + address + " " + now +
                 ": bind it to vfio-pci (`dpdk-devbind.py --bind=vfio-pci " + address +
                 "`), or name its kernel interface instead"};
}

} // namespace weir::dpdk
