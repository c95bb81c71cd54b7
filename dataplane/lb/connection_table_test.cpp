// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_table_fixture.hpp"

#include <algorithm>
#include <random>
#include <vector>

namespace weir::lb {
namespace {

TEST(ConnectionTable, CostsSixtyFourBytesAnEntry) {
    const TableGeometry small{.capacity = 1 << 16, .vips = 4};
    const TableGeometry large{.capacity = 1 << 20, .vips = 4};
    EXPECT_EQ(ConnectionTable::bytes_needed(large) - ConnectionTable::bytes_needed(small),
              64u * ((1 << 20) - (1 << 16)));
}

TEST(ConnectionTable, KeepsWhatItWasGiven) {
    const TableGeometry geometry{.capacity = 8, .vips = 300, .probation_limit = 8};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    auto wanted = connection_of(0xabcdef01, 299);
    with_reply(wanted, {.snat_address = 0xfe, .snat_port = 0xbeef, .backend = 0xfffff});
    wanted.last_hop = 0xffe;
    wanted.caller_flags = kRowCallerFlags;
    wanted.state = 0xf;
    const auto result = table.insert(wanted, 65535, kNoQuota, kNoReply, kNobodyRecycled);
    ASSERT_EQ(result.outcome, InsertOutcome::kInserted);
    const HotRow& row = table.row(result.entry);
    EXPECT_TRUE(matches_forward(row, wanted.key));
    EXPECT_EQ(row.vip, 299);
    EXPECT_EQ(row.backend, 0xfffffu);
    EXPECT_EQ(row.last_hop, 0xffeu);
    EXPECT_EQ(row.snat_address, 0xfe);
    EXPECT_EQ(row.snat_port, 0xbeef);
    EXPECT_EQ(row.state, 0xf);
    EXPECT_EQ(row.flags, kRowProbation | kRowReplyIndexed | kRowCallerFlags);
    EXPECT_EQ(row.last_seen_s, 65535);

    table.update(result.entry, 7, 12, 3);
    EXPECT_EQ(row.state, 7);
    EXPECT_EQ(row.last_hop, 12u);
    EXPECT_EQ(row.last_seen_s, 3);
    EXPECT_EQ(row.backend, 0xfffffu);
    table.promote(result.entry, 9);
    EXPECT_FALSE(table.on_probation(result.entry));
    EXPECT_EQ(row.flags, kRowReplyIndexed | kRowCallerFlags);
    EXPECT_EQ(table.cold(result.entry).life.created_s, 9);
    EXPECT_TRUE(table.consistent());
}

TEST(ConnectionTable, RefusesTheSameTupleAndTheSameReplyTwice) {
    const TableGeometry geometry{.capacity = 8, .vips = 2, .probation_limit = 8};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    const ReplyKey reply{1, 40000, 5};
    const auto same_reply = [&](const HotRow& row) { return reply.matches(row); };
    auto first = connection_of(1);
    with_reply(first, reply);
    const auto inserted = table.insert(first, 0, kNoQuota, same_reply, kNobodyRecycled);
    ASSERT_EQ(inserted.outcome, InsertOutcome::kInserted);

    const auto again = table.insert(first, 0, kNoQuota, same_reply, kNobodyRecycled);
    EXPECT_EQ(again.outcome, InsertOutcome::kExists);
    EXPECT_EQ(again.entry, inserted.entry);
    auto other = connection_of(2, 1);
    with_reply(other, reply);
    const auto clash = table.insert(other, 0, kNoQuota, same_reply, kNobodyRecycled);
    EXPECT_EQ(clash.outcome, InsertOutcome::kReplyInUse);
    EXPECT_EQ(clash.entry, inserted.entry);
    EXPECT_EQ(table.entries(), 1u);
}

TEST(ConnectionTable, ExpiresWithinBudgetAndAcrossTheClocksWrap) {
    const TableGeometry geometry{.capacity = 16, .vips = 1, .probation_limit = 16};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    for (std::uint32_t client = 0; client < 16; ++client)
        ASSERT_EQ(insert_plain(table, connection_of(client), 65530).outcome,
                  InsertOutcome::kInserted);
    const auto timeout = [](const HotRow&) { return std::uint16_t{10}; };
    const auto ignore = [](EntryIndex, const HotRow&, const ColdRow&) {};
    EXPECT_EQ(table.expire(3, 16, timeout, ignore), 0u) << "9 s old";
    EXPECT_EQ(table.expire(65529, 16, timeout, ignore), 0u) << "a clock one second behind";
    EXPECT_EQ(table.expire(4, 5, timeout, ignore), 5u) << "10 s old, budget of 5";
    EXPECT_EQ(table.expire(4, 100, timeout, ignore), 11u);
    EXPECT_EQ(table.entries(), 0u);
    EXPECT_TRUE(table.consistent());
}

TEST(ConnectionTable, AFloodOfHalfOpenConnectionsRemovesNoEstablishedOne) {
    const TableGeometry geometry{.capacity = 1024, .vips = 2, .probation_limit = 256};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    for (std::uint32_t client = 0; client < 800; ++client) {
        const auto result = insert_plain(table, connection_of(client));
        ASSERT_EQ(result.outcome, InsertOutcome::kInserted);
        table.update(result.entry, kEstablished, kNoLastHop, 0);
        table.promote(result.entry, 0);
    }
    // A handshake of the other VIP that takes its time.
    const auto slow = connection_of(900, 1);
    ASSERT_EQ(insert_plain(table, slow).outcome, InsertOutcome::kInserted);

    std::uint32_t recycled = 0;
    std::uint32_t expected_victim = 10'000;
    for (std::uint32_t client = 10'000; client < 20'000; ++client) {
        const auto result = table.insert(
            connection_of(client), 0, kNoQuota, kNoReply, [&](EntryIndex, const HotRow& row) {
                EXPECT_TRUE(matches_forward(row, connection_of(expected_victim).key))
                    << "the oldest goes first";
                ++expected_victim;
                ++recycled;
            });
        ASSERT_EQ(result.outcome, InsertOutcome::kInserted);
    }
    EXPECT_EQ(table.entries(), 1024u);
    EXPECT_EQ(recycled, 10'000u - (1024 - 801));
    for (std::uint32_t client = 0; client < 800; ++client) {
        const auto known = connection_of(client);
        const EntryIndex entry = table.find_forward(known.forward_hash, known.key);
        ASSERT_NE(entry, kNoEntry);
        EXPECT_FALSE(table.on_probation(entry));
    }
    EXPECT_NE(table.find_forward(slow.forward_hash, slow.key), kNoEntry)
        << "the flood recycles its own VIP's entries";
    EXPECT_TRUE(table.consistent());
}

TEST(ConnectionTable, ProbationIsLimitedToItsShare) {
    const TableGeometry geometry{.capacity = 1024, .vips = 1, .probation_limit = 100};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    for (std::uint32_t client = 0; client < 1000; ++client)
        ASSERT_EQ(insert_plain(table, connection_of(client)).outcome, InsertOutcome::kInserted);
    EXPECT_EQ(table.entries(), 100u);
    EXPECT_EQ(table.probation_entries(), 100u);
}

TEST(ConnectionTable, AFullTableTakesNoMoreUnlessSomeoneIsOnProbation) {
    const TableGeometry geometry{.capacity = 64, .vips = 1, .probation_limit = 1};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    auto confirmed = [](std::uint32_t client) {
        auto connection = connection_of(client);
        connection.probation = false;
        return connection;
    };
    for (std::uint32_t client = 0; client < 63; ++client)
        ASSERT_EQ(insert_plain(table, confirmed(client)).outcome, InsertOutcome::kInserted);
    ASSERT_EQ(insert_plain(table, connection_of(100)).outcome, InsertOutcome::kInserted);
    EXPECT_EQ(insert_plain(table, confirmed(101)).outcome, InsertOutcome::kInserted);
    EXPECT_EQ(insert_plain(table, confirmed(102)).outcome, InsertOutcome::kTableFull);
    EXPECT_EQ(insert_plain(table, connection_of(103)).outcome, InsertOutcome::kTableFull);
    EXPECT_EQ(table.entries(), 64u);
    EXPECT_TRUE(table.consistent());
}

TEST(ConnectionTable, AVipCannotExceedItsQuota) {
    const TableGeometry geometry{.capacity = 64, .vips = 2, .probation_limit = 64};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    const auto insert = [&](std::uint32_t client, std::uint16_t vip) {
        return table.insert(connection_of(client, vip), 0, 10, kNoReply,
                            [](EntryIndex, const HotRow&) {});
    };
    for (std::uint32_t client = 0; client < 10; ++client) {
        const auto result = insert(client, 0);
        if (client < 9)
            table.promote(result.entry, 0);
    }
    EXPECT_EQ(insert(20, 0).outcome, InsertOutcome::kInserted) << "in place of the half-open one";
    EXPECT_EQ(table.vip_use(0).entries, 10u);
    const auto newest = connection_of(20, 0);
    table.promote(table.find_forward(newest.forward_hash, newest.key), 0);
    EXPECT_EQ(insert(21, 0).outcome, InsertOutcome::kVipQuota);
    EXPECT_EQ(insert(21, 1).outcome, InsertOutcome::kInserted);
    EXPECT_TRUE(table.consistent());
}

// Every entry with two index slots, table filled to the last row: how far the bounded search goes.
TEST(ConnectionTable, FillsToTheLastEntryWithTwoIndexSlotsEach) {
    const TableGeometry geometry{.capacity = 100'000, .vips = 1, .probation_limit = 1};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    for (std::uint32_t client = 0; client < geometry.capacity; ++client) {
        auto connection = connection_of(client);
        connection.probation = false;
        with_reply(connection, {0, static_cast<std::uint16_t>(client), client >> 16});
        ASSERT_EQ(insert_plain(table, connection).outcome, InsertOutcome::kInserted) << client;
    }
    EXPECT_TRUE(table.consistent());
}

TEST(ConnectionTable, AdoptionKeepsConfirmedRowsAndDropsDamagedOnes) {
    const TableGeometry geometry{.capacity = 1000, .vips = 4, .probation_limit = 250};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    for (std::uint32_t client = 0; client < 600; ++client) {
        auto connection = connection_of(client, static_cast<std::uint16_t>(client % 4));
        with_reply(connection, {2, static_cast<std::uint16_t>(client), 9});
        const auto result = insert_plain(table, connection, 77);
        ASSERT_EQ(result.outcome, InsertOutcome::kInserted);
        if (client < 500)
            table.promote(result.entry, 77);
    }
    const auto victim = connection_of(13, 1);
    const EntryIndex damaged = table.find_forward(victim.forward_hash, victim.key);
    const_cast<HotRow&>(table.row(damaged)).client.word[0] ^= 0x100;

    const auto adopted = ConnectionTable::adopt(memory.span(), geometry);
    ASSERT_EQ(adopted.outcome, ConnectionTable::Adoption::kAdopted);
    EXPECT_EQ(adopted.kept, 499u);
    EXPECT_EQ(adopted.half_open, 100u);
    EXPECT_EQ(adopted.discarded, 1u);
    EXPECT_TRUE(adopted.table.consistent());
    for (std::uint32_t client = 0; client < 600; ++client) {
        const auto known = connection_of(client, static_cast<std::uint16_t>(client % 4));
        const ReplyKey reply{2, static_cast<std::uint16_t>(client), 9};
        const EntryIndex entry = adopted.table.find_forward(known.forward_hash, known.key);
        EXPECT_EQ(entry != kNoEntry, client < 500 && client != 13);
        EXPECT_EQ(adopted.table.find_reply(reply.hash(),
                                           [&](const HotRow& row) { return reply.matches(row); }),
                  entry);
    }

    auto other = geometry;
    other.workers = 2;
    EXPECT_EQ(ConnectionTable::adopt(memory.span(), other).outcome,
              ConnectionTable::Adoption::kOtherGeometry);
    EXPECT_EQ(ConnectionTable::adopt(memory.span().first(4096), geometry).outcome,
              ConnectionTable::Adoption::kOtherGeometry);
    memory.span()[8] = std::byte{99};
    EXPECT_EQ(ConnectionTable::adopt(memory.span(), geometry).outcome,
              ConnectionTable::Adoption::kOtherLayout);
    memory.span()[0] = std::byte{0};
    EXPECT_EQ(ConnectionTable::adopt(memory.span(), geometry).outcome,
              ConnectionTable::Adoption::kNotATable);
}

} // namespace
} // namespace weir::lb
