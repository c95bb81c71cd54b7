// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/windows.hpp"

#include <algorithm>

namespace weir::control {

std::uint32_t window_length(const config::VipConfig& vip) {
    if (vip.tracking != config::Tracking::kExceptions)
        return 0;
    const auto idle =
        vip.protocol == config::Protocol::kTcp ? vip.timeouts.established : vip.timeouts.udp;
    return static_cast<std::uint32_t>(idle.count());
}

std::uint32_t window_or_default(std::uint32_t length_s) {
    constexpr std::uint32_t kDefault_s = 3600;
    return length_s != 0 ? length_s : kDefault_s;
}

std::optional<PoolWindows> next_windows(const Windows& before, std::uint64_t identity,
                                        const SlotTable* table,
                                        std::span<const std::uint32_t> members, std::uint32_t now_s,
                                        std::uint32_t length_s) {
    const auto found = before.find(identity);
    const bool open = found != before.end() && found->second.slots->open();
    if (length_s == 0 && !open)
        return std::nullopt;
    if (found == before.end() && !table)
        return std::nullopt;
    if (!table || (found != before.end() && !open && found->second.table_id == table->id &&
                   std::ranges::equal(found->second.slots->members(), members)))
        return found->second;
    auto next = found != before.end() ? std::make_shared<lb::SlotWindows>(*found->second.slots)
                                      : std::make_shared<lb::SlotWindows>();
    next->follow(table->slots, members, now_s, window_or_default(length_s));
    return PoolWindows{table->id, std::move(next)};
}

Windows windows_of(const lb::ForwardingState& state) {
    Windows windows;
    for (const weir_vip_row& vip : state.vips()) {
        if (!(vip.flags & WEIR_VIP_EXCEPTIONS) || vip.pool >= state.pools().size())
            continue;
        const weir_pool_row& pool = state.pools()[vip.pool];
        if (pool.slot_count == 0 || windows.contains(pool.identity))
            continue;
        auto slots = std::make_shared<lb::SlotWindows>(
            lb::SlotWindows::adopt(state.slots(pool), state.members_of(pool),
                                   state.oldest_slots(pool), state.elders_of(pool)));
        windows[pool.identity] = {state.segment_rows()[pool.segment].id, std::move(slots)};
    }
    return windows;
}

} // namespace weir::control
