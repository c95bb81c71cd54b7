// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_reader.hpp"

#include <cstring>

namespace weir::lb {
namespace {

// Acquire throughout: each load stays after the one before it. Plain moves on x86.
template <std::size_t Count, class Row> std::array<std::uint64_t, Count> load(const Row& row) {
    const auto* words = reinterpret_cast<const std::uint64_t*>(&row);
    std::array<std::uint64_t, Count> copy;
    for (std::size_t i = 0; i < Count; ++i)
        copy[i] = __atomic_load_n(words + i, __ATOMIC_ACQUIRE);
    return copy;
}

std::uint32_t load_count(const std::uint32_t& count) {
    return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

} // namespace

std::optional<ConnectionReader> ConnectionReader::open(std::span<const std::byte> memory) {
    if (memory.size() < sizeof(TableHeader) ||
        reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(TableHeader) != 0)
        return std::nullopt;
    const auto* header = reinterpret_cast<const TableHeader*>(memory.data());
    if (__atomic_load_n(&header->magic, __ATOMIC_ACQUIRE) != kTableMagic)
        return std::nullopt;
    ConnectionReader reader;
    std::memcpy(&reader.fixed_, header, offsetof(TableHeader, entries));
    if (!table_header_fits(reader.fixed_, memory.size()))
        return std::nullopt;
    const auto at_line = [&](std::uint32_t line) {
        return static_cast<const void*>(memory.data() + std::size_t{line} * 64);
    };
    reader.header_ = header;
    reader.hot_ = static_cast<const HotRow*>(at_line(reader.fixed_.hot_offset_lines));
    reader.cold_ = static_cast<const ColdRow*>(at_line(reader.fixed_.cold_offset_lines));
    reader.vips_ = static_cast<const VipUse*>(at_line(reader.fixed_.vip_offset_lines));
    return reader;
}

std::uint32_t ConnectionReader::entries() const {
    return load_count(header_->entries);
}

std::uint32_t ConnectionReader::probation_entries() const {
    return load_count(header_->probation_entries);
}

std::uint32_t ConnectionReader::vip_entries(std::uint16_t vip) const {
    return load_count(vips_[vip].entries);
}

std::optional<ConnectionReader::Connection> ConnectionReader::read(EntryIndex entry) const {
    constexpr int kAttempts = 3;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const auto hot_words = load<4>(hot_[entry]);
        const Connection connection = {entry, std::bit_cast<HotRow>(hot_words),
                                       std::bit_cast<ColdRow>(load<2>(cold_[entry]))};
        if (connection.row.state == kRowFree)
            return std::nullopt;
        const bool whole =
            (connection.row.flags & kRowProbation) != 0
                ? load<4>(hot_[entry]) == hot_words
                : connection.cold.check == row_check(connection.row, connection.cold.forward_hash,
                                                     connection.cold.reply_hash);
        if (whole)
            return connection;
    }
    return std::nullopt;
}

} // namespace weir::lb
