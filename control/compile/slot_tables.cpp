// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/slot_tables.hpp"

#include "dataplane/lb/forwarding_state.hpp"

namespace weir::control {

std::shared_ptr<const SlotTable> SlotTables::table(std::span<const lb::MaglevBackend> members,
                                                   std::uint32_t size) {
    Key key{size};
    for (const lb::MaglevBackend& backend : members) {
        key.push_back(backend.identity_hash_a);
        key.push_back(backend.identity_hash_b);
        key.push_back(backend.weight);
    }
    if (const auto found = tables_.find(key); found != tables_.end()) {
        found->second.used = true;
        return found->second.table;
    }
    auto fresh = std::make_shared<SlotTable>();
    fresh->slots.resize(size);
    lb::build_maglev(members, fresh->slots);
    fresh->id = lb::segment_id(fresh->slots);
    built_++;
    tables_.emplace(std::move(key), Entry{fresh});
    return fresh;
}

void SlotTables::keep_used() {
    std::erase_if(tables_, [](const auto& item) { return !item.second.used; });
    for (auto& [key, entry] : tables_)
        entry.used = false;
}

} // namespace weir::control
