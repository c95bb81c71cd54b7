// SPDX-License-Identifier: BSD-3-Clause
// Reads a connection table that another process or thread is writing, over memory that may be
// mapped read-only. Takes no lock and never slows the writer down. What it returns is a copy of a
// row as it once was: confirmed rows are proven whole by their check, rows on probation by being
// read twice. For counting, listing and moving connections, not for forwarding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/lb/connection_row.hpp"
#include "dataplane/lb/connection_table.hpp"

namespace weir::lb {

class ConnectionReader {
public:
    struct Connection {
        EntryIndex entry;
        HotRow row;
        ColdRow cold; // on probation, only the hashes mean anything
    };

    // Nothing when the memory holds no table of this layout, or not all of it.
    static std::optional<ConnectionReader> open(std::span<const std::byte> memory);

    std::uint32_t capacity() const { return fixed_.capacity; }
    std::uint32_t vips() const { return fixed_.vips; }
    std::uint32_t worker() const { return fixed_.worker; }
    std::uint32_t workers() const { return fixed_.workers; }
    std::uint32_t entries() const;
    std::uint32_t probation_entries() const;
    std::uint32_t vip_entries(std::uint16_t vip) const; // REQUIRES: vip < vips()

    // Nothing when the entry is free or its row did not hold still.
    // REQUIRES: entry < capacity().
    std::optional<Connection> read(EntryIndex entry) const;

    template <class Visit> void for_each(Visit visit) const {
        for (EntryIndex entry = 0; entry < capacity(); ++entry) {
            if (const auto connection = read(entry))
                visit(*connection);
        }
    }

private:
    TableHeader fixed_{}; // as it was checked; only its first line is used
    const TableHeader* header_ = nullptr;
    const HotRow* hot_ = nullptr;
    const ColdRow* cold_ = nullptr;
    const VipUse* vips_ = nullptr;
};

} // namespace weir::lb
