// SPDX-License-Identifier: BSD-3-Clause
// The compiler's part about slots that changed of late (dataplane/lb/slot_windows.hpp): which pools
// have windows and for how long. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "control/compile/inputs.hpp"
#include "control/compile/slot_tables.hpp"

namespace weir::control {

// How long a flow of which nobody keeps a record may be idle, in seconds; 0 when the VIP has no
// such flows. A pool's is that of its longest.
std::uint32_t window_length(const config::VipConfig& vip);

// The same for windows that are still open though the last VIP of their kind is gone: the default
// idle timeout.
std::uint32_t window_or_default(std::uint32_t length_s);

// The windows of the pool of this identity under its next table (null: it has none now); nothing
// when it needs none.
std::optional<PoolWindows> next_windows(const Windows& before, std::uint64_t identity,
                                        const SlotTable* table,
                                        std::span<const std::uint32_t> members, std::uint32_t now_s,
                                        std::uint32_t length_s);

// For who has only the generation. Windows that are open there begin their time again with the next
// compilation.
Windows windows_of(const lb::ForwardingState& state);

} // namespace weir::control
