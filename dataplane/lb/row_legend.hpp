// SPDX-License-Identifier: BSD-3-Clause
// What the numbers in connection rows mean: which VIP, backend, SNAT address and interface, under
// which hash key and by which clock. It lies in memory of its own beside the connection tables and
// outlives the process with them, so that who adopts a row can see whether it still says what it
// said. One thread writes: each generation, before the workers see it.
#pragma once

#include "dataplane/lb/forwarding_state.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::lb {

inline constexpr std::uint64_t kLegendMagic = 0x31444e474c524557; // "WERLGND1"
// Of everything that lies beside the tables: this, and what is behind a table in its memory.
inline constexpr std::uint32_t kLegendVersion = 1;

using BootId = std::array<std::byte, 16>;

struct RowLegend {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t bytes;
    BootId boot_id;        // seconds in rows are of this boot's monotonic clock
    std::uint64_t alive_s; // of that clock, renewed while the workers may write; 0: they never did
    weir_hash_key hash_key;
    // Fingerprints by row number; 0: the number means nothing.
    std::array<std::uint64_t, WEIR_MAX_VIPS> vips;
    std::array<std::uint64_t, WEIR_MAX_BACKENDS> backends;
    std::array<std::uint64_t, WEIR_MAX_SNAT_ADDRESSES> snat;
    std::array<std::uint64_t, WEIR_MAX_INTERFACES> interfaces;
};

// An empty legend in zeroed memory of at least sizeof(RowLegend) bytes, 64-byte aligned.
RowLegend& format_legend(std::span<std::byte> memory, const BootId& boot_id);

// What another process left, or null when it is not of this version or not of this boot.
RowLegend* adopt_legend(std::span<std::byte> memory, const BootId& boot_id);

// From now on rows mean what `state` says.
void write_legend(RowLegend& legend, const ForwardingState& state);

// A row's fingerprint: another one where connections of the row would be another one's. Never 0 for
// a row in use.
std::uint64_t fingerprint(const weir_vip_row& vip);
std::uint64_t fingerprint(const weir_backend_row& backend);
std::uint64_t fingerprint(const weir_snat_row& snat);
std::uint64_t fingerprint(const weir_interface_row& interface);

} // namespace weir::lb
