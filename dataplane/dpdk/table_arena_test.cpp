// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/table_arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace weir::dpdk {
namespace {

TEST(TableArenaTest, BlocksBeginALineAndAreAsLongAsAskedFor) {
    TableArena arena;
    const auto first = arena.take(1);
    const auto second = arena.take(131'074);
    ASSERT_TRUE(first && second);
    for (const auto* block : {&*first, &*second})
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->bytes().data()) % 64, 0u);
    EXPECT_EQ(first->bytes().size(), 1u);
    EXPECT_EQ(second->bytes().size(), 131'074u);
    EXPECT_EQ(arena.bytes_in_use(), 64u + 131'136u);
}

TEST(TableArenaTest, WhatComesBackIsGivenOutAgain) {
    TableArena arena;
    const std::byte* where = nullptr;
    {
        const auto block = arena.take(4096);
        where = block->bytes().data();
    }
    EXPECT_EQ(arena.bytes_in_use(), 0u);
    const auto again = arena.take(4000);
    EXPECT_EQ(again->bytes().data(), where);
}

TEST(TableArenaTest, AMovedBlockComesBackOnce) {
    TableArena arena;
    {
        auto block = arena.take(64);
        const TableArena::Block moved = std::move(*block);
        EXPECT_EQ(arena.bytes_in_use(), 64u);
    }
    EXPECT_EQ(arena.bytes_in_use(), 0u);
}

TEST(TableArenaTest, NothingWhenThereIsNoMemory) {
    TableArena arena;
    EXPECT_FALSE(arena.take(std::size_t{1} << 60));
    EXPECT_EQ(arena.bytes_in_use(), 0u);
    EXPECT_TRUE(arena.take(64)) << "a smaller one is not refused for that";
}

// Whatever comes and goes: no two blocks share a byte, and ranges that touch are one again.
TEST(TableArenaTest, BlocksKeepWhatIsInThem) {
    struct Held {
        TableArena::Block block;
        std::byte value;
    };
    TableArena arena;
    std::mt19937 random(7);
    std::vector<std::unique_ptr<Held>> held;
    std::size_t most = 0;
    for (int step = 0; step < 20'000; step++) {
        if (held.size() < 40 && random() % 2 == 0) {
            auto block = arena.take(1 + random() % (random() % 8 == 0 ? 3'000'000 : 5'000));
            ASSERT_TRUE(block);
            const auto value = static_cast<std::byte>(random());
            // The ends say it: a neighbour that reached in would have changed one of them.
            for (std::byte* at : {&block->bytes().front(), &block->bytes().back()})
                *at = value;
            held.push_back(std::make_unique<Held>(Held{std::move(*block), value}));
        } else if (!held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            const Held& gone = *held.back();
            ASSERT_EQ(gone.block.bytes().front(), gone.value);
            ASSERT_EQ(gone.block.bytes().back(), gone.value);
            std::memset(gone.block.bytes().data(), 0xff, gone.block.bytes().size());
            held.pop_back();
        }
        most = std::max(most, arena.bytes_in_use());
    }
    const std::size_t mapped = arena.bytes_mapped();
    EXPECT_LE(mapped, 2 * most + (std::size_t{66} << 20)) << "most at a time: " << most;
    held.clear();
    EXPECT_EQ(arena.bytes_in_use(), 0u);
    const auto whole = arena.take(std::size_t{64} << 20);
    EXPECT_EQ(arena.bytes_mapped(), mapped) << "the free ranges of a mapping have become one";
}

} // namespace
} // namespace weir::dpdk
