// SPDX-License-Identifier: BSD-3-Clause
// The memory that the tables of generations lie in while workers read them. It is used again and
// again and never given back to the system before the end: unmapping a page stops every core that
// runs a thread of the process until it has forgotten where the page was (a TLB shootdown), and a
// generation's end would stop the workers so. It is of huge pages where the kernel has some.
//
// Thread ownership: everything runs on the main thread; workers only read what blocks hold.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace weir::dpdk {

class TableArena {
public:
    // A piece of the arena that returns to it. Zero, or what it held the last time.
    class Block {
    public:
        Block() = default;
        Block(Block&& other) noexcept
            : arena_(other.arena_), bytes_(std::exchange(other.bytes_, {})) {}
        Block& operator=(Block&&) = delete;
        ~Block() {
            if (!bytes_.empty())
                arena_->give_back(bytes_);
        }
        std::span<std::byte> bytes() const { return bytes_; }

    private:
        friend class TableArena;
        Block(TableArena* arena, std::span<std::byte> bytes) : arena_(arena), bytes_(bytes) {}
        TableArena* arena_ = nullptr;
        std::span<std::byte> bytes_;
    };

    TableArena() = default;
    TableArena(const TableArena&) = delete;
    TableArena& operator=(const TableArena&) = delete;
    // REQUIRES: no block is left.
    ~TableArena();

    // At a 64-byte boundary. Nothing when the system has no more memory. REQUIRES: bytes != 0.
    std::optional<Block> take(std::size_t bytes);

    std::size_t bytes_in_use() const { return in_use_; }
    std::size_t bytes_mapped() const;

private:
    using FreeRanges = std::map<std::byte*, std::size_t>; // start: length; no two touch

    void give_back(std::span<std::byte> bytes);
    FreeRanges::iterator first_fit(std::size_t bytes);
    bool grow(std::size_t bytes);

    std::vector<std::span<std::byte>> mappings_;
    FreeRanges free_;
    std::size_t in_use_ = 0; // rounded up to whole lines
};

} // namespace weir::dpdk
