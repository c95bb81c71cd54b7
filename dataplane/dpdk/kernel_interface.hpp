// SPDX-License-Identifier: BSD-3-Clause
// What the engine asks the kernel about an interface before it gives it to DPDK, so that an
// unusable one is one sentence and not a driver's complaint. Main thread, at start.
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace weir::dpdk {

struct KernelInterfaceFacts {
    unsigned index = 0;
    std::array<std::uint8_t, 6> mac{};
    std::uint32_t mtu = 0;
    bool up = false;
    std::uint32_t receive_queues = 1;
    // Queues in pairs, as the AF_XDP driver counts them; 0 when the interface (a veth) has none.
    std::uint32_t combined_queues = 0;
};

// `config_key` names the place in the configuration, for the sentence.
Expected<KernelInterfaceFacts> look_at_interface(const std::string& name,
                                                 const std::string& config_key);

// Waits until the interface is up, at most `timeout_ms`: weir-control may be about to do it.
Expected<void> wait_until_up(const std::string& name, const std::string& config_key,
                             int timeout_ms);

// The right to drive an interface, for as long as the descriptor is open. Another dataplane in the
// same network namespace that has it is a sentence.
Expected<channel::Descriptor> claim_interface(const std::string& name);

// AF_XDP and TAP need privileges; what is missing is named.
Expected<void> check_privileges();

// A PCI device must be there and bound to a driver that leaves it to DPDK.
Expected<void> check_pci_device(const std::string& address, const std::string& config_key);

} // namespace weir::dpdk
