// SPDX-License-Identifier: BSD-3-Clause
// Slot tables of pools, Maglev tables and rounds, remembered by what they are made from: a table is
// built only when a pool's members changed. The memory changes nothing but the time it takes. One
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "dataplane/lb/maglev.hpp"

namespace weir::control {

struct SlotTable {
    std::uint64_t id = 0; // lb::segment_id of the slots
    std::vector<std::uint16_t> slots;
};

class SlotTables {
public:
    // REQUIRES: `size` is prime, `members` are sorted and differ.
    std::shared_ptr<const SlotTable> table(std::span<const lb::MaglevBackend> members,
                                           std::uint32_t size);

    // One round over members with these weights, lb::build_round_order(). REQUIRES: some weight.
    std::shared_ptr<const SlotTable> round(std::span<const std::uint32_t> weights);

    // Forgets the tables that were not asked for since the last call.
    void keep_used();
    [[nodiscard]] std::uint64_t built() const { return built_; }

private:
    using Key = std::vector<std::uint64_t>;
    struct Entry {
        std::shared_ptr<const SlotTable> table;
        bool used = true;
    };
    template <class Build> std::shared_ptr<const SlotTable> remembered(Key key, Build build);

    std::map<Key, Entry> tables_;
    std::uint64_t built_ = 0;
};

} // namespace weir::control
