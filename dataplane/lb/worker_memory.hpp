// SPDX-License-Identifier: BSD-3-Clause
// What of a worker outlives the process: its connection table, and behind it in the same memory its
// last hops and what it remembers of clients' networks. Plain memory without pointers.
#pragma once

#include "dataplane/lb/connection_reader.hpp"
#include "dataplane/lb/connection_table.hpp"
#include "dataplane/lb/last_hops.hpp"
#include "dataplane/lb/persistence_table.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace weir::lb {

struct WorkerMemory {
    ConnectionTable table;
    LastHops* last_hops = nullptr;
    PersistenceTable* persistence = nullptr;

    static std::size_t bytes_needed(const TableGeometry& geometry);

    // REQUIRES of both: `memory` 64-byte aligned; of format() bytes_needed() long.
    static WorkerMemory format(std::span<std::byte> memory, const TableGeometry& geometry);
    // What another process left at any instruction. The table is whole again; who uses the last
    // hops is not known yet, and what the rows mean has yet to be looked at: lb::Takeover.
    struct Adopted;
    static std::optional<Adopted> adopt(std::span<std::byte> memory, const TableGeometry& geometry);
};

struct WorkerMemory::Adopted {
    WorkerMemory memory;
    std::uint32_t half_open = 0;
    std::uint32_t discarded = 0;
};

// The same, read only and of any geometry.
struct ForeignMemory {
    ConnectionReader table;
    const LastHops* last_hops;
    const PersistenceTable* persistence;

    static std::optional<ForeignMemory> open(std::span<const std::byte> memory);
};

} // namespace weir::lb
