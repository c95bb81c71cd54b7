// SPDX-License-Identifier: BSD-3-Clause
// The persistent multi-queue TAP that is the kernel-side interface of a kernel-bypassed device.
// Control makes it, the dataplane attaches its queues; it survives both.
#pragma once

#include <optional>
#include <string>

#include "control/kernel/link.hpp"

namespace weir::control {

struct TapSettings {
    std::string name;
    std::optional<net::MacAddress> mac; // the NIC's own, so that the neighbours see one
    uint32_t mtu = 1500;
};

// Makes the TAP, or takes the one that is there, without touching its queues; sets MAC and MTU,
// turns duplicate address detection off, brings it up. Idempotent.
Expected<Link> ensure_tap(NetlinkSocket& socket, const TapSettings& settings);

// For a clean removal; that a process still holds queues does not matter.
Expected<void> remove_tap(NetlinkSocket& socket, const std::string& name);

} // namespace weir::control
