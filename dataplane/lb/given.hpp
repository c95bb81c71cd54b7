// SPDX-License-Identifier: BSD-3-Clause
// What another engine has made while there was no dataplane, on its way into the workers' tables:
// arrays of connections and of what `persistence` remembers, each in sealed memory
// (dataplane/channel/messages.hpp).
#pragma once

#include "dataplane/lb/connection_row.hpp"
#include "dataplane/lb/last_hops.hpp"
#include "dataplane/lb/persistence_table.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace weir::lb {

struct GivenConnection {
    HotRow row;  // flags, and last_hop but for kNoLastHop, mean nothing
    LastHop hop; // where the client's packets come from, unless row.last_hop is kNoLastHop
};
static_assert(sizeof(GivenConnection) == 64 && alignof(GivenConnection) == 32);

using GivenNetwork = PersistenceTable::Entry;

// Nothing when `memory` is not an array of them.
template <class Given>
std::optional<std::span<const Given>> given_in(std::span<const std::byte> memory) {
    if (memory.size() % sizeof(Given) != 0 ||
        reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(Given) != 0)
        return std::nullopt;
    return std::span(reinterpret_cast<const Given*>(memory.data()), memory.size() / sizeof(Given));
}

} // namespace weir::lb
