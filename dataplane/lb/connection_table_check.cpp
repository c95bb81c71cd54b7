// SPDX-License-Identifier: BSD-3-Clause
// Whether a table holds together: for tests and post-mortems.
#include "dataplane/lb/connection_table.hpp"

namespace weir::lb {

// Whether the stack has as many free rows as it should, each list its share.
bool ConnectionTable::free_rows_consistent() const {
    for (std::uint32_t list = 0; list < kFreeLists; ++list) {
        std::uint32_t left = (free_count_ + kFreeLists - 1 - list) / kFreeLists;
        EntryIndex entry = free_[list];
        for (; entry != kNoEntry && left > 0; --left) {
            if (hot_[entry].state != kRowFree)
                return false;
            entry = free_below(entry);
        }
        if (entry != kNoEntry || left > 0)
            return false;
    }
    return true;
}

bool ConnectionTable::consistent() const {
    std::uint64_t live = 0;
    std::uint64_t on_probation_rows = 0;
    std::uint64_t slots = 0;
    for (EntryIndex entry = 0; entry < capacity_; ++entry) {
        const HotRow& row = hot_[entry];
        if (row.state == kRowFree)
            continue;
        const ColdRow& cold_row = cold_[entry];
        const bool replies = (row.flags & kRowReplyIndexed) != 0;
        const bool probation = (row.flags & kRowProbation) != 0;
        const auto is_this = [&](EntryIndex found) { return found == entry; };
        if (row.vip >= vip_count_ || index_.find(cold_row.forward_hash, is_this) != entry ||
            (replies && index_.find(cold_row.reply_hash, is_this) != entry) ||
            (!probation &&
             cold_row.check != row_check(row, cold_row.forward_hash, cold_row.reply_hash)))
            return false;
        ++live;
        on_probation_rows += probation;
        slots += replies ? 2 : 1;
    }
    std::uint64_t listed = 0;
    std::uint64_t counted = 0;
    for (std::uint32_t vip = 0; vip < vip_count_; ++vip) {
        std::uint64_t length = 0;
        EntryIndex older = kNoEntry;
        for (EntryIndex entry = vips_[vip].probation_oldest; entry != kNoEntry;
             entry = cold_[entry].probation_newer) {
            if (!on_probation(entry) || hot_[entry].vip != vip ||
                cold_[entry].probation_older != older || ++length > capacity_)
                return false;
            older = entry;
        }
        if (length != vips_[vip].probation_entries || older != vips_[vip].probation_newest)
            return false;
        listed += length;
        counted += vips_[vip].entries;
    }
    return live == header_->entries && live + free_count_ == capacity_ && free_rows_consistent() &&
           counted == live && listed == on_probation_rows && listed == header_->probation_entries &&
           index_.consistent(slots);
}

} // namespace weir::lb
