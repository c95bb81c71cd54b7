// SPDX-License-Identifier: BSD-3-Clause
// Where slot tables lie in the balancer's one array of slot rows. Tables are known by the id of
// their content, so generations share those that did not change; a table's place is free again when
// neither half of the published state refers to it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "xdp/balancer.h"

namespace weir::xdp {

constexpr uint32_t slot_rows_of(size_t slots) {
    return static_cast<uint32_t>((slots + WEIR_SLOTS_A_ROW - 1) / WEIR_SLOTS_A_ROW);
}

class SlotArena {
public:
    explicit SlotArena(uint32_t rows) : rows_(rows) {}

    struct Place {
        uint32_t first;
        bool fresh; // has to be written
    };

    // The half is about to be written: what it referred to is let go.
    void begin(uint32_t half) {
        for (auto& [id, extent] : extents_)
            extent.used[half] = false;
    }

    // A place for a table of `rows` rows; nothing when no gap is large enough.
    std::optional<Place> place(uint64_t id, uint32_t rows, uint32_t half) {
        if (auto known = extents_.find(id); known != extents_.end()) {
            known->second.used[half] = true;
            return Place{known->second.first, false};
        }
        std::erase_if(extents_, [](const auto& entry) {
            return !entry.second.used[0] && !entry.second.used[1];
        });
        std::map<uint32_t, uint32_t> taken; // first row -> past the last
        for (const auto& [other, extent] : extents_)
            taken[extent.first] = extent.first + extent.rows;
        uint32_t first = 0;
        for (const auto& [begin, past] : taken) {
            if (begin - first >= rows)
                break;
            first = past;
        }
        if (rows > rows_ || first > rows_ - rows)
            return std::nullopt;
        Extent extent{first, rows, {}};
        extent.used[half] = true;
        extents_[id] = extent;
        return Place{first, true};
    }

    // A table that lies there already, as a half of an earlier control refers to it.
    void remember(uint64_t id, uint32_t first, uint32_t rows, uint32_t half) {
        Extent& extent = extents_.try_emplace(id, Extent{first, rows, {}}).first->second;
        extent.used[half] = true;
    }

private:
    struct Extent {
        uint32_t first, rows;
        std::array<bool, 2> used;
    };
    uint32_t rows_;
    std::map<uint64_t, Extent> extents_; // by the table's id
};

} // namespace weir::xdp
