// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/slot_tables.hpp"

#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/round_order.hpp"

namespace weir::control {

template <class Build>
std::shared_ptr<const SlotTable> SlotTables::remembered(Key key, Build build) {
    if (const auto found = tables_.find(key); found != tables_.end()) {
        found->second.used = true;
        return found->second.table;
    }
    auto fresh = std::make_shared<SlotTable>();
    fresh->slots = build();
    fresh->id = lb::segment_id(fresh->slots);
    built_++;
    tables_.emplace(std::move(key), Entry{fresh});
    return fresh;
}

std::shared_ptr<const SlotTable> SlotTables::table(std::span<const lb::MaglevBackend> members,
                                                   std::uint32_t size) {
    Key key{size};
    for (const lb::MaglevBackend& backend : members) {
        key.push_back(backend.identity_hash_a);
        key.push_back(backend.identity_hash_b);
        key.push_back(backend.weight);
    }
    return remembered(std::move(key), [&] {
        std::vector<std::uint16_t> slots(size);
        lb::build_maglev(members, slots);
        return slots;
    });
}

std::shared_ptr<const SlotTable> SlotTables::round(std::span<const std::uint32_t> weights) {
    Key key{0}; // no Maglev table has that size
    key.insert(key.end(), weights.begin(), weights.end());
    return remembered(std::move(key), [&] { return lb::build_round_order(weights); });
}

void SlotTables::keep_used() {
    std::erase_if(tables_, [](const auto& item) { return !item.second.used; });
    for (auto& [key, entry] : tables_)
        entry.used = false;
}

} // namespace weir::control
