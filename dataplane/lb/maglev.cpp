// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/maglev.hpp"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

namespace weir::lb {
namespace {

// One backend's walk: the slots it would like, best first.
struct Walk {
    std::uint32_t next; // slot it asks for at its next turn
    std::uint32_t stride;
    std::uint64_t credit; // a turn costs the largest weight of the pool
    std::uint32_t weight;
    std::uint16_t backend;
};

std::vector<Walk> walks_by_identity(std::span<const MaglevBackend> backends, std::uint32_t size) {
    std::vector<std::uint16_t> order;
    std::uint32_t largest_weight = 0;
    for (std::size_t i = 0; i < backends.size(); ++i) {
        if (backends[i].weight > 0) {
            order.push_back(static_cast<std::uint16_t>(i));
            largest_weight = std::max(largest_weight, backends[i].weight);
        }
    }
    std::sort(order.begin(), order.end(), [&](std::uint16_t left, std::uint16_t right) {
        const auto& l = backends[left];
        const auto& r = backends[right];
        return std::tie(l.identity_hash_a, l.identity_hash_b, l.weight) <
               std::tie(r.identity_hash_a, r.identity_hash_b, r.weight);
    });

    std::vector<Walk> walks;
    walks.reserve(order.size());
    for (const std::uint16_t index : order) {
        const auto& backend = backends[index];
        walks.push_back({
            .next = static_cast<std::uint32_t>(backend.identity_hash_a % size),
            .stride = static_cast<std::uint32_t>(backend.identity_hash_b % (size - 1) + 1),
            // Half a turn in advance, so that shares round to the nearest slot and not down.
            .credit = largest_weight / 2,
            .weight = backend.weight,
            .backend = index,
        });
    }
    return walks;
}

} // namespace

void build_maglev(std::span<const MaglevBackend> backends, std::span<std::uint16_t> slots) {
    std::fill(slots.begin(), slots.end(), kNoBackend);
    const auto size = static_cast<std::uint32_t>(slots.size());
    std::vector<Walk> walks = walks_by_identity(backends, size);
    if (walks.empty())
        return;
    std::uint64_t turn_cost = 0;
    for (const Walk& walk : walks)
        turn_cost = std::max<std::uint64_t>(turn_cost, walk.weight);

    const auto advance = [size](std::uint32_t slot, std::uint32_t stride) {
        slot += stride;
        return slot >= size ? slot - size : slot;
    };
    std::uint32_t unfilled = size;
    for (;;) {
        for (Walk& walk : walks) {
            walk.credit += walk.weight;
            if (walk.credit < turn_cost)
                continue;
            walk.credit -= turn_cost;
            std::uint32_t slot = walk.next;
            while (slots[slot] != kNoBackend)
                slot = advance(slot, walk.stride);
            slots[slot] = walk.backend;
            walk.next = advance(slot, walk.stride);
            if (--unfilled == 0)
                return;
        }
    }
}

} // namespace weir::lb
