// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_table_fixture.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace weir::lb {
namespace {

// The table against two std::maps, over random operations.
struct Model {
    struct Record {
        EntryIndex entry;
        bool replies;
        ReplyKey reply;
        bool probation;
        std::uint16_t last_seen_s;
    };
    using Tuple = std::pair<std::uint32_t, std::uint16_t>; // client number, VIP
    std::map<Tuple, Record> connections;
    std::map<ReplyKey, Tuple> replies;
    std::map<EntryIndex, Tuple> entries;

    void forget(EntryIndex entry) {
        const auto tuple = entries.find(entry);
        ASSERT_NE(tuple, entries.end()) << "an entry nobody knows";
        const auto record = connections.find(tuple->second);
        if (record->second.replies)
            replies.erase(record->second.reply);
        connections.erase(record);
        entries.erase(tuple);
    }
};

struct Load {
    std::uint32_t capacity;
    double target; // of the capacity
    double nat;    // share of connections with a reply tuple
    std::uint64_t operations;
};

class AgainstModel : public testing::TestWithParam<Load> {};

TEST_P(AgainstModel, AgreesAfterEveryOperation) {
    const Load load = GetParam();
    constexpr std::uint16_t kVips = 5;
    const TableGeometry geometry{
        .capacity = load.capacity, .vips = kVips, .probation_limit = load.capacity / 4};
    Memory memory(ConnectionTable::bytes_needed(geometry));
    auto table = ConnectionTable::format(memory.span(), geometry);
    Model model;
    std::mt19937_64 random(load.capacity);
    const auto population = static_cast<std::uint32_t>(load.capacity * 2);
    const auto target = static_cast<std::size_t>(load.capacity * load.target);
    std::uint16_t now_s = 65000;
    const auto timeout = [](const HotRow& row) {
        return static_cast<std::uint16_t>((row.flags & kRowProbation) ? 20 : 200);
    };
    std::uint64_t inserted = 0;
    std::uint64_t bucket_full = 0;
    std::uint64_t expired = 0;
    std::uint64_t recycled = 0;
    std::size_t most = 0;

    for (std::uint64_t operation = 0; operation < load.operations; ++operation) {
        const auto client = static_cast<std::uint32_t>(random() % population);
        const auto vip = static_cast<std::uint16_t>(client % kVips);
        const auto known = model.connections.find({client, vip});
        auto connection = connection_of(client, vip);
        const auto choice = random() % 100;
        if (choice < 35 && (known != model.connections.end() || table.entries() < target)) {
            const ReplyKey reply{static_cast<std::uint8_t>(client % 2),
                                 static_cast<std::uint16_t>(random() % 4096),
                                 static_cast<std::uint32_t>(random() % (load.capacity / 256 + 2))};
            if (static_cast<double>(random() % 1000) < 1000 * load.nat)
                with_reply(connection, reply);
            const auto result = table.insert(
                connection, now_s, kNoQuota, [&](const HotRow& row) { return reply.matches(row); },
                [&](EntryIndex entry, const HotRow& row) {
                    EXPECT_TRUE(row.flags & kRowProbation);
                    ++recycled;
                    model.forget(entry);
                });
            if (known != model.connections.end()) {
                ASSERT_EQ(result.outcome, InsertOutcome::kExists);
                ASSERT_EQ(result.entry, known->second.entry);
            } else if (connection.reply_indexed && model.replies.contains(reply)) {
                ASSERT_EQ(result.outcome, InsertOutcome::kReplyInUse);
                ASSERT_EQ(result.entry, model.connections.at(model.replies.at(reply)).entry);
            } else if (result.outcome == InsertOutcome::kBucketFull) {
                ++bucket_full;
            } else {
                ASSERT_EQ(result.outcome, InsertOutcome::kInserted);
                ASSERT_FALSE(model.entries.contains(result.entry));
                model.connections[{client, vip}] = {result.entry, connection.reply_indexed, reply,
                                                    connection.probation, now_s};
                model.entries[result.entry] = {client, vip};
                if (connection.reply_indexed)
                    model.replies[reply] = {client, vip};
                ++inserted;
            }
        } else if (choice < 75) {
            table.prefetch_index(connection.forward_hash);
            const EntryIndex hint = table.prefetch_row(connection.forward_hash);
            const EntryIndex entry =
                table.find_forward(connection.forward_hash, connection.key, hint);
            if (known == model.connections.end()) {
                ASSERT_EQ(entry, kNoEntry);
                continue;
            }
            ASSERT_EQ(entry, known->second.entry);
            auto& record = known->second;
            if (record.replies) {
                const auto matches = [&](const HotRow& row) { return record.reply.matches(row); };
                const auto hash = record.reply.hash();
                ASSERT_EQ(table.find_reply(hash, matches), entry);
                ASSERT_EQ(table.find_reply(hash, matches, table.prefetch_row(hash)), entry);
            }
            ASSERT_EQ(table.on_probation(entry), record.probation);
            if (choice < 50) {
                table.update(entry, kEstablished, kNoLastHop, now_s);
                record.last_seen_s = now_s;
            }
            if (choice >= 45 && choice < 55) {
                table.promote(entry, now_s);
                record.probation = false;
            }
        } else if (choice < 77) {
            if (known != model.connections.end()) {
                table.erase(known->second.entry);
                model.forget(known->second.entry);
            }
        } else if (choice < 95) {
            table.expire(
                now_s, 64, timeout, [&](EntryIndex entry, const HotRow& row, const ColdRow&) {
                    const auto record = model.connections.at(model.entries.at(entry));
                    const auto age_s = static_cast<std::uint16_t>(now_s - record.last_seen_s);
                    EXPECT_GE(age_s, timeout(row));
                    ++expired;
                    model.forget(entry);
                });
        } else if (random() % (load.capacity / 90) == 0) {
            ++now_s;
        }
        ASSERT_EQ(table.entries(), model.connections.size());
        most = std::max(most, model.connections.size());
        if (operation % (load.operations / 8) == 0) {
            ASSERT_TRUE(table.consistent());
        }
    }
    EXPECT_TRUE(table.consistent());
    EXPECT_EQ(bucket_full, 0u);
    EXPECT_GT(inserted, load.capacity);
    EXPECT_GE(most, target * 9 / 10) << "the load was not reached";
    EXPECT_GT(expired, 0u);
    if (load.target > 0.5) {
        EXPECT_GT(recycled, 0u);
    }

    for (const auto& [tuple, record] : model.connections) {
        const auto connection = connection_of(tuple.first, tuple.second);
        ASSERT_EQ(table.find_forward(connection.forward_hash, connection.key), record.entry);
        table.erase(record.entry);
    }
    EXPECT_EQ(table.entries(), 0u);
    EXPECT_TRUE(table.consistent());
}

INSTANTIATE_TEST_SUITE_P(Loads, AgainstModel,
                         testing::Values(Load{97, 1.0, 0.5, 200'000}, Load{4096, 0.3, 1.0, 500'000},
                                         Load{4096, 0.8, 1.0, 1'000'000},
                                         Load{16384, 0.8, 0.5, 1'000'000}));

} // namespace
} // namespace weir::lb
