// SPDX-License-Identifier: BSD-3-Clause
// Who is who across generations, restarts and nodes: hashes of names and endpoints under fixed,
// published keys, so that every node of a cluster and every run of control computes the same ones.
// They are not secrets and protect against nothing; flows are hashed with the configured key.
// Pure; called by the compiler and by whoever reads its rows back.
#pragma once

#include <cstdint>
#include <string_view>

#include "config/address.hpp"
#include "dataplane/forwarding/base.h"

namespace weir::control {

// VIPs, pools and interfaces are known by their name. Never 0, which marks a free row.
std::uint64_t name_identity(std::string_view name);

// A backend is known by its pool's name, its address and its port; its own name may change.
std::uint64_t backend_identity(std::string_view pool, const net::Endpoint& endpoint);

// The two walks of lb::MaglevBackend: of address and port alone.
struct MaglevIdentity {
    std::uint64_t a = 0;
    std::uint64_t b = 0;
};
MaglevIdentity maglev_identity(const net::Endpoint& endpoint);

weir_address to_weir(const net::IpAddress& address);
net::IpAddress to_net(const weir_address& address);
inline std::uint8_t family_of(const net::IpAddress& address) {
    return address.is_v4() ? 4 : 6;
}

} // namespace weir::control
