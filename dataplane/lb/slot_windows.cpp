// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/slot_windows.hpp"

#include <algorithm>

namespace weir::lb {
namespace {

std::uint32_t backend_of(std::uint16_t member, std::span<const std::uint32_t> members) {
    return member == WEIR_NO_MEMBER ? WEIR_NO_ROW : members[member];
}

} // namespace

SlotWindows SlotWindows::adopt(std::span<const std::uint16_t> slots,
                               std::span<const std::uint32_t> members,
                               std::span<const std::uint16_t> oldest,
                               std::span<const std::uint32_t> elders) {
    SlotWindows windows;
    windows.slots_.assign(slots.begin(), slots.end());
    windows.members_.assign(members.begin(), members.end());
    if (oldest.size() != slots.size())
        return windows;
    windows.oldest_.assign(oldest.begin(), oldest.end());
    windows.elders_.assign(elders.begin(), elders.end());
    windows.opened_s_.resize(oldest.size());
    windows.open_ = static_cast<std::uint32_t>(
        oldest.size() - static_cast<std::size_t>(std::count(oldest.begin(), oldest.end(),
                                                            std::uint16_t{WEIR_NO_MEMBER})));
    return windows;
}

// More elders than a slot can name are not remembered: their flows go by the new table.
void SlotWindows::open_for(std::size_t slot, std::uint32_t backend, std::uint32_t now_s) {
    auto found = std::find(elders_.begin(), elders_.end(), backend);
    if (found == elders_.end()) {
        if (elders_.size() >= WEIR_NO_MEMBER)
            return;
        found = elders_.insert(elders_.end(), backend);
    }
    oldest_[slot] = static_cast<std::uint16_t>(found - elders_.begin());
    opened_s_[slot] = now_s;
    open_++;
}

bool SlotWindows::close_if_due(std::size_t slot, std::uint32_t current, std::uint32_t now_s,
                               std::uint32_t length_s) {
    if (oldest_[slot] == WEIR_NO_MEMBER)
        return false;
    if (opened_s_[slot] == 0)
        opened_s_[slot] = now_s;
    const bool back = elders_[oldest_[slot]] == current;
    if (back || now_s - opened_s_[slot] >= length_s) {
        oldest_[slot] = WEIR_NO_MEMBER;
        open_--;
    }
    return back;
}

void SlotWindows::follow(std::span<const std::uint16_t> slots,
                         std::span<const std::uint32_t> members, std::uint32_t now_s,
                         std::uint32_t length_s) {
    if (slots.empty())
        return;
    const bool resized = slots_.size() != slots.size();
    const bool same =
        !resized && std::equal(members.begin(), members.end(), members_.begin(), members_.end()) &&
        std::equal(slots.begin(), slots.end(), slots_.begin());
    if (resized) { // a hash meets another slot now: nothing can be said of what is not recorded
        oldest_.clear();
        elders_.clear();
        open_ = 0;
    }
    if (!same && !resized && oldest_.empty()) {
        oldest_.assign(slots.size(), WEIR_NO_MEMBER);
        opened_s_.assign(slots.size(), 0);
    }
    for (std::size_t slot = 0; slot < oldest_.size(); slot++) {
        const std::uint32_t current = backend_of(slots[slot], members);
        const std::uint32_t before = same ? current : backend_of(slots_[slot], members_);
        const bool back = close_if_due(slot, current, now_s, length_s);
        // Back at its oldest backend: all that went elsewhere meanwhile is recorded.
        if (oldest_[slot] == WEIR_NO_MEMBER && !back && before != current && before != WEIR_NO_ROW)
            open_for(slot, before, now_s);
    }
    if (!same) {
        slots_.assign(slots.begin(), slots.end());
        members_.assign(members.begin(), members.end());
    }
    drop_unused_elders();
}

void SlotWindows::drop_unused_elders() {
    if (open_ == 0) {
        oldest_ = {};
        opened_s_ = {};
        elders_ = {};
        return;
    }
    std::vector<std::uint16_t> fresh(elders_.size(), WEIR_NO_MEMBER);
    std::vector<std::uint32_t> kept;
    for (std::uint16_t& oldest : oldest_) {
        if (oldest == WEIR_NO_MEMBER)
            continue;
        if (fresh[oldest] == WEIR_NO_MEMBER) {
            fresh[oldest] = static_cast<std::uint16_t>(kept.size());
            kept.push_back(elders_[oldest]);
        }
        oldest = fresh[oldest];
    }
    elders_ = std::move(kept);
}

std::optional<std::uint32_t> SlotWindows::next_close_s(std::uint32_t length_s) const {
    std::optional<std::uint32_t> next;
    for (std::size_t slot = 0; slot < oldest_.size(); slot++)
        if (oldest_[slot] != WEIR_NO_MEMBER && (!next || opened_s_[slot] + length_s < *next))
            next = opened_s_[slot] + length_s;
    return next;
}

} // namespace weir::lb
