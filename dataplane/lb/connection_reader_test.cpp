// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_reader.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
};

struct Shared {
    explicit Shared(const TableGeometry& geometry)
        : bytes(ConnectionTable::bytes_needed(geometry)),
          memory(static_cast<std::byte*>(std::aligned_alloc(64, bytes))),
          table(ConnectionTable::format({memory.get(), bytes}, geometry)) {}
    std::span<const std::byte> view() const { return {memory.get(), bytes}; }

    std::size_t bytes;
    std::unique_ptr<std::byte, Free> memory;
    ConnectionTable table;
};

// Every field follows from the number, so a torn row shows.
NewConnection connection_of(std::uint32_t number, bool probation) {
    NewConnection connection;
    connection.key = forward_key(
        {{number, ~std::uint64_t{number}}}, static_cast<std::uint16_t>(number),
        static_cast<std::uint16_t>(number >> 3), static_cast<std::uint16_t>(number % 7));
    connection.forward_hash = index_hash(number * 0x12345671ull);
    connection.backend = number % 1000;
    connection.snat_port = static_cast<std::uint16_t>(number * 3);
    connection.state = 1;
    connection.probation = probation;
    return connection;
}

bool whole(const ConnectionReader::Connection& connection) {
    const auto number = static_cast<std::uint32_t>(connection.row.client.word[0]);
    const auto expected = connection_of(number, false);
    return matches_forward(connection.row, expected.key) &&
           connection.row.backend == expected.backend &&
           connection.row.snat_port == expected.snat_port;
}

InsertResult insert(ConnectionTable& table, const NewConnection& connection) {
    return table.insert(
        connection, 5, 0xffffffff, [](const HotRow&) { return false; },
        [](EntryIndex, const HotRow&) {});
}

TEST(ConnectionReader, SeesEveryConnection) {
    Shared shared({.capacity = 100, .vips = 7, .worker = 3, .workers = 4, .probation_limit = 50});
    for (std::uint32_t number = 0; number < 60; ++number)
        ASSERT_EQ(insert(shared.table, connection_of(number, number % 2 == 0)).outcome,
                  InsertOutcome::kInserted);
    const auto reader = ConnectionReader::open(shared.view());
    ASSERT_TRUE(reader);
    EXPECT_EQ(reader->capacity(), 100u);
    EXPECT_EQ(reader->worker(), 3u);
    EXPECT_EQ(reader->workers(), 4u);
    EXPECT_EQ(reader->entries(), 60u);
    EXPECT_EQ(reader->probation_entries(), 30u);
    EXPECT_EQ(reader->vip_entries(0), 9u);
    std::map<std::uint64_t, int> seen;
    reader->for_each([&](const ConnectionReader::Connection& connection) {
        EXPECT_TRUE(whole(connection));
        ++seen[connection.row.client.word[0]];
    });
    EXPECT_EQ(seen.size(), 60u);
}

TEST(ConnectionReader, RefusesWhatIsNoWholeTable) {
    Shared shared({.capacity = 100, .vips = 7});
    const auto with_byte = [&](std::size_t offset, int value) {
        Shared copy({.capacity = 100, .vips = 7});
        copy.memory.get()[offset] = static_cast<std::byte>(value);
        return ConnectionReader::open(copy.view()).has_value();
    };
    EXPECT_TRUE(ConnectionReader::open(shared.view()));
    EXPECT_FALSE(ConnectionReader::open(shared.view().first(shared.bytes - 64)));
    EXPECT_FALSE(ConnectionReader::open(shared.view().first(64)));
    EXPECT_FALSE(ConnectionReader::open({}));
    // Every field that says where something is: no value may lead outside the memory.
    for (const std::size_t offset :
         {offsetof(TableHeader, magic), offsetof(TableHeader, layout_version),
          offsetof(TableHeader, header_bytes), offsetof(TableHeader, capacity),
          offsetof(TableHeader, capacity) + 3, offsetof(TableHeader, vips),
          offsetof(TableHeader, vips) + 3, offsetof(TableHeader, buckets),
          offsetof(TableHeader, hot_offset_lines), offsetof(TableHeader, cold_offset_lines),
          offsetof(TableHeader, index_offset_lines), offsetof(TableHeader, vip_offset_lines),
          offsetof(TableHeader, total_lines_low), offsetof(TableHeader, total_lines_high)}) {
        EXPECT_FALSE(with_byte(offset, 0xfd)) << offset;
    }
}

TEST(ConnectionReader, ADamagedConfirmedRowIsNotShown) {
    Shared shared({.capacity = 10, .vips = 7, .probation_limit = 5});
    const auto inserted = insert(shared.table, connection_of(4, false));
    const auto reader = ConnectionReader::open(shared.view());
    ASSERT_TRUE(reader && reader->read(inserted.entry));
    const_cast<HotRow&>(shared.table.row(inserted.entry)).client_port ^= 1;
    EXPECT_FALSE(reader->read(inserted.entry));
}

TEST(ConnectionReader, NeverShowsATornConfirmedRowWhileTheWorkerWrites) {
    constexpr std::uint32_t kEntries = 64; // few, so that rows are reused all the time
    Shared shared({.capacity = kEntries, .vips = 7, .probation_limit = kEntries / 2});
    std::atomic<bool> reading = false;
    std::atomic<std::uint64_t> seen = 0;
    std::thread worker([&] {
        std::uint32_t number = 0;
        EntryIndex entries[kEntries / 2] = {};
        while (!reading)
            std::this_thread::yield();
        for (int round = 0; round < 2000 || (seen < 1000 && round < 2'000'000); ++round) {
            std::uint32_t inserted = 0;
            for (; inserted < kEntries / 2; ++inserted) {
                ++number;
                const auto result = insert(shared.table, connection_of(number, number % 2 == 0));
                entries[inserted] = result.entry;
                shared.table.update(result.entry, 6, 17, 6);
                shared.table.promote(result.entry, 6);
            }
            while (inserted > 0)
                shared.table.erase(entries[--inserted]);
        }
        reading = false;
    });
    const auto reader = ConnectionReader::open(shared.view());
    ASSERT_TRUE(reader);
    reading = true;
    std::uint64_t torn = 0;
    while (reading) {
        reader->for_each([&](const ConnectionReader::Connection& connection) {
            if ((connection.row.flags & kRowProbation) == 0) {
                torn += !whole(connection);
                ++seen;
            }
        });
    }
    worker.join();
    EXPECT_EQ(torn, 0u);
    EXPECT_GE(seen, 1000u);
    EXPECT_TRUE(shared.table.consistent());
}

} // namespace
} // namespace weir::lb
