// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/worker_memory.hpp"

#include <new>

namespace weir::lb {
namespace {

std::size_t up_to_line(std::size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

std::size_t last_hops_offset(const TableGeometry& geometry) {
    return up_to_line(ConnectionTable::bytes_needed(geometry));
}

std::size_t persistence_offset(const TableGeometry& geometry) {
    return last_hops_offset(geometry) + up_to_line(sizeof(LastHops));
}

} // namespace

std::size_t WorkerMemory::bytes_needed(const TableGeometry& geometry) {
    return persistence_offset(geometry) + sizeof(PersistenceTable);
}

WorkerMemory WorkerMemory::format(std::span<std::byte> memory, const TableGeometry& geometry) {
    WorkerMemory made;
    made.last_hops = new (memory.data() + last_hops_offset(geometry)) LastHops{};
    made.persistence = new (memory.data() + persistence_offset(geometry)) PersistenceTable{};
    made.table =
        ConnectionTable::format(memory.first(ConnectionTable::bytes_needed(geometry)), geometry);
    return made;
}

std::optional<WorkerMemory::Adopted> WorkerMemory::adopt(std::span<std::byte> memory,
                                                         const TableGeometry& geometry) {
    if (memory.size() < bytes_needed(geometry))
        return std::nullopt;
    const auto table =
        ConnectionTable::adopt(memory.first(ConnectionTable::bytes_needed(geometry)), geometry);
    if (table.outcome != ConnectionTable::Adoption::kAdopted)
        return std::nullopt;
    Adopted adopted;
    adopted.memory.table = table.table;
    adopted.memory.last_hops =
        reinterpret_cast<LastHops*>(memory.data() + last_hops_offset(geometry));
    adopted.memory.persistence =
        reinterpret_cast<PersistenceTable*>(memory.data() + persistence_offset(geometry));
    adopted.half_open = table.half_open;
    adopted.discarded = table.discarded;
    return adopted;
}

std::optional<ForeignMemory> ForeignMemory::open(std::span<const std::byte> memory) {
    const auto table = ConnectionReader::open(memory);
    if (!table)
        return std::nullopt;
    TableGeometry geometry;
    geometry.capacity = table->capacity();
    geometry.vips = table->vips();
    if (memory.size() < WorkerMemory::bytes_needed(geometry))
        return std::nullopt;
    return ForeignMemory{
        *table, reinterpret_cast<const LastHops*>(memory.data() + last_hops_offset(geometry)),
        reinterpret_cast<const PersistenceTable*>(memory.data() + persistence_offset(geometry))};
}

} // namespace weir::lb
