// SPDX-License-Identifier: BSD-3-Clause
// How much one configuration may hold: the bounds of the forwarding tables, and a few that only
// keep a configuration readable.
#pragma once

#include <cstddef>

#include "dataplane/forwarding/limits.h"

namespace weir::config {

inline constexpr std::size_t kMaxVips = WEIR_MAX_VIPS;
inline constexpr std::size_t kMaxPools = WEIR_MAX_POOLS;
inline constexpr std::size_t kMaxBackends = 65536; // pool memberships in total
inline constexpr std::size_t kMaxBackendsPerPool = 4096;
inline constexpr std::size_t kMaxInterfaces = WEIR_MAX_INTERFACES;
inline constexpr std::size_t kMaxInterfaceAddresses = 64;                 // per interface
inline constexpr std::size_t kMaxSnatAddresses = WEIR_MAX_SNAT_ADDRESSES; // over all prefixes
inline constexpr std::size_t kMaxTunnelSources = WEIR_MAX_TUNNEL_SOURCES; // per family
inline constexpr std::size_t kMaxPortRangeVips = WEIR_MAX_RANGES; // VIPs whose port is a range
inline constexpr std::size_t kMaxRangesPerAddress = WEIR_MAX_RANGES_PER_ADDRESS;
inline constexpr std::size_t kMaxWorkers = WEIR_MAX_WORKERS;
inline constexpr std::size_t kMaxVrrpGroups = 64;
inline constexpr std::size_t kMaxVrrpPeers = 16;
inline constexpr std::size_t kMaxAdvertisedV4 = 255; // what the count in an advert can say
inline constexpr std::size_t kMaxAdvertisedV6 = 70;  // what fits into a packet of 1280 bytes
inline constexpr std::size_t kMaxNameLength = 63;

static_assert(kMaxBackends <= WEIR_MAX_BACKENDS);

} // namespace weir::config
