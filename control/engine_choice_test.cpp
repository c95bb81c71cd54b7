// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_choice.hpp"

#include <gtest/gtest.h>

namespace weir::control {
namespace {

config::Config config_with(config::EngineMode mode, config::Device device) {
    config::Config config;
    config.engine.mode = mode;
    config::InterfaceConfig interface;
    interface.name = "uplink";
    if (const auto* kernel = std::get_if<config::KernelInterface>(&device))
        interface.kernel_interface = kernel->name;
    interface.device = std::move(device);
    config.interfaces.push_back(std::move(interface));
    return config;
}

config::Config on_eth0(config::EngineMode mode = config::EngineMode::kAuto) {
    return config_with(mode, config::KernelInterface{"eth0"});
}

HostFacts without_dpdk() {
    HostFacts host;
    host.no_dataplane = "/usr/bin/weir-dataplane is not installed";
    return host;
}

TEST(EngineChoice, WhatTheConfigurationNamesIsTaken) {
    const EngineChoice xdp = choose_engine(on_eth0(config::EngineMode::kXdp), {});
    EXPECT_EQ(xdp.kind, EngineKind::kXdp);
    EXPECT_EQ(xdp.why, "mode = \"xdp\" in the configuration");
    const EngineChoice dpdk = choose_engine(on_eth0(config::EngineMode::kDpdk), without_dpdk());
    EXPECT_EQ(dpdk.kind, EngineKind::kDpdk);
    EXPECT_EQ(dpdk.why, "mode = \"dpdk\" in the configuration");
}

TEST(EngineChoice, AKernelInterfaceIsDpdksWhereThereIsDpdk) {
    HostFacts host;
    host.driver["eth0"] = "ixgbe";
    const EngineChoice choice = choose_engine(on_eth0(), host);
    EXPECT_EQ(choice.kind, EngineKind::kDpdk);
    EXPECT_EQ(choice.why, "mode = \"auto\": DPDK drives eth0 (ixgbe) through AF_XDP");
}

TEST(EngineChoice, WithoutADataplaneProgramItIsXdp) {
    const EngineChoice choice = choose_engine(on_eth0(), without_dpdk());
    EXPECT_EQ(choice.kind, EngineKind::kXdp);
    EXPECT_EQ(choice.why, "mode = \"auto\": weir-dataplane cannot run here: "
                          "/usr/bin/weir-dataplane is not installed");
}

TEST(EngineChoice, WithoutAfXdpItIsXdp) {
    HostFacts host;
    host.no_af_xdp = "this kernel gives no AF_XDP socket: Operation not permitted";
    const EngineChoice choice = choose_engine(on_eth0(), host);
    EXPECT_EQ(choice.kind, EngineKind::kXdp);
    EXPECT_EQ(choice.why, "mode = \"auto\": DPDK cannot drive eth0: " + host.no_af_xdp);
}

TEST(EngineChoice, HugepagesThatMustBeButAreNotMakeItXdp) {
    config::Config config = on_eth0();
    config.engine.hugepages = config::HugepageUse::kOn;
    EXPECT_EQ(choose_engine(config, {}).kind, EngineKind::kXdp);
    HostFacts host;
    host.has_hugepages = true;
    EXPECT_EQ(choose_engine(config, host).kind, EngineKind::kDpdk);
    config.engine.hugepages = config::HugepageUse::kAuto;
    EXPECT_EQ(choose_engine(config, {}).kind, EngineKind::kDpdk);
}

TEST(EngineChoice, WhatTheKernelDoesNotSeeIsDpdksWhateverIsMissing) {
    for (const config::Device& device :
         {config::Device(config::PciDevice{"0000:3b:00.0"}),
          config::Device(config::VdevDevice{"net_tap0,iface=tap0"})}) {
        const auto config = config_with(config::EngineMode::kAuto, device);
        const EngineChoice choice = choose_engine(config, without_dpdk());
        EXPECT_EQ(choice.kind, EngineKind::kDpdk);
        EXPECT_EQ(choice.why, "mode = \"auto\": only DPDK drives " + config::to_string(device));
    }
}

TEST(EngineChoice, ADataplaneThatRunsIsNotTakenItsDevices) {
    HostFacts host;
    host.dataplane_runs = true;
    host.no_af_xdp = "it is full";
    const EngineChoice choice = choose_engine(on_eth0(), host);
    EXPECT_EQ(choice.kind, EngineKind::kDpdk);
    EXPECT_EQ(choice.why, "mode = \"auto\": weir-dataplane is running");
}

} // namespace
} // namespace weir::control
