// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/table_arena.hpp"

#include <algorithm>
#include <iterator>
#include <memory>
#include <numeric>
#include <sys/mman.h>

namespace weir::dpdk {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Address space taken at a time; its pages are there once they are written.
constexpr std::size_t kLeastGrowth = std::size_t{64} << 20;

std::size_t up_to(std::size_t bytes, std::size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

} // namespace

TableArena::~TableArena() {
    for (const std::span<std::byte> mapping : mappings_)
        ::munmap(mapping.data(), mapping.size());
}

std::optional<TableArena::Block> TableArena::take(std::size_t bytes) {
    const std::size_t length = up_to(bytes, kLine);
    auto range = first_fit(length);
    if (range == free_.end()) {
        if (!grow(length))
            return std::nullopt;
        range = first_fit(length);
    }
    const auto [start, free] = *range;
    free_.erase(range);
    if (free > length)
        free_.emplace(start + length, free - length);
    in_use_ += length;
    return Block(this, {start, bytes});
}

void TableArena::give_back(std::span<std::byte> bytes) {
    std::byte* start = bytes.data();
    std::size_t length = up_to(bytes.size(), kLine);
    in_use_ -= length;
    const auto after = free_.lower_bound(start);
    if (after != free_.end() && start + length == after->first) {
        length += after->second;
        free_.erase(after);
    }
    const auto next = free_.lower_bound(start);
    if (next != free_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == start) {
            before->second += length;
            return;
        }
    }
    free_.emplace(start, length);
}

// Lowest first, so that as few pages as possible are ever written.
TableArena::FreeRanges::iterator TableArena::first_fit(std::size_t bytes) {
    return std::find_if(free_.begin(), free_.end(),
                        [&](const auto& range) { return range.second >= bytes; });
}

bool TableArena::grow(std::size_t bytes) {
    const std::size_t size = std::max(up_to(bytes, kHugePage), kLeastGrowth);
    // A page more, to have room for a boundary of a huge page.
    void* at = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    mappings_.emplace_back(static_cast<std::byte*>(at), size + kHugePage);
    void* aligned = at;
    std::size_t space = size + kHugePage;
    std::align(kHugePage, size, aligned, space);
    ::madvise(aligned, size, MADV_HUGEPAGE); // without, it works with small pages
    free_.emplace(static_cast<std::byte*>(aligned), size);
    return true;
}

std::size_t TableArena::bytes_mapped() const {
    return std::accumulate(mappings_.begin(), mappings_.end(), std::size_t{0},
                           [](std::size_t sum, std::span<std::byte> m) { return sum + m.size(); });
}

} // namespace weir::dpdk
