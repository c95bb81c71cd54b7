// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_choice.hpp"

#include <algorithm>

namespace weir::control {
namespace {

// "eth0 (ixgbe), eth1"
std::string devices(const config::Config& config, const HostFacts& host) {
    std::string list;
    for (const config::InterfaceConfig& interface : config.interfaces) {
        list += (list.empty() ? "" : ", ") + interface.kernel_interface;
        if (const auto driver = host.driver.find(interface.kernel_interface);
            driver != host.driver.end())
            list += " (" + driver->second + ")";
    }
    return list;
}

// Of "auto", and what only one engine can do comes first.
EngineChoice look_at_devices(const config::Config& config, const HostFacts& host) {
    const auto bypassed =
        std::find_if_not(config.interfaces.begin(), config.interfaces.end(),
                         [](const auto& interface) { return interface.is_kernel_visible(); });
    if (bypassed != config.interfaces.end())
        return {EngineKind::kDpdk, "only DPDK drives " + config::to_string(bypassed->device)};
    if (host.dataplane_runs)
        return {EngineKind::kDpdk, "weir-dataplane is running"};
    if (!host.no_dataplane.empty())
        return {EngineKind::kXdp, "weir-dataplane cannot run here: " + host.no_dataplane};
    if (!host.no_af_xdp.empty())
        return {EngineKind::kXdp,
                "DPDK cannot drive " + devices(config, host) + ": " + host.no_af_xdp};
    if (config.engine.hugepages == config::HugepageUse::kOn && !host.has_hugepages)
        return {EngineKind::kXdp, "hugepages = \"on\", and this host has none free"};
    return {EngineKind::kDpdk, "DPDK drives " + devices(config, host) + " through AF_XDP"};
}

} // namespace

std::string to_string(EngineKind kind) {
    return kind == EngineKind::kXdp ? "xdp" : "dpdk";
}

EngineChoice choose_engine(const config::Config& config, const HostFacts& host) {
    switch (config.engine.mode) {
    case config::EngineMode::kDpdk:
        return {EngineKind::kDpdk, "mode = \"dpdk\" in the configuration"};
    case config::EngineMode::kXdp:
        return {EngineKind::kXdp, "mode = \"xdp\" in the configuration"};
    case config::EngineMode::kAuto:
        break;
    }
    EngineChoice choice = look_at_devices(config, host);
    choice.why = "mode = \"auto\": " + choice.why;
    return choice;
}

} // namespace weir::control
