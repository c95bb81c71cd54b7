// SPDX-License-Identifier: BSD-3-Clause
// A connection that another engine has made while there was no dataplane, on its way into a
// worker's table: an array of these in sealed memory (dataplane/channel/messages.hpp).
#pragma once

#include "dataplane/lb/connection_row.hpp"
#include "dataplane/lb/last_hops.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace weir::lb {

struct GivenConnection {
    HotRow row;  // flags, and last_hop but for kNoLastHop, mean nothing
    LastHop hop; // where the client's packets come from, unless row.last_hop is kNoLastHop
};
static_assert(sizeof(GivenConnection) == 64 && alignof(GivenConnection) == 32);

// Nothing when `memory` is not an array of them.
inline std::optional<std::span<const GivenConnection>>
given_connections(std::span<const std::byte> memory) {
    if (memory.size() % sizeof(GivenConnection) != 0 ||
        reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(GivenConnection) != 0)
        return std::nullopt;
    return std::span(reinterpret_cast<const GivenConnection*>(memory.data()),
                     memory.size() / sizeof(GivenConnection));
}

} // namespace weir::lb
