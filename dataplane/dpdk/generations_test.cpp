// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/generations_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace weir::dpdk {
namespace {

using ::testing::HasSubstr;

class GenerationsTest : public ::testing::Test {
protected:
    Expected<Generations::Published> send(const SentGeneration& sent) {
        if (auto added = generations_.add_segment(sent.segment_id(), copy_of(sent.segment)); !added)
            return added.error();
        return generations_.publish(sent.sample.tables.generation, copy_of(sent.root));
    }
    std::uint64_t current() const {
        const lb::ForwardingState* state = generations_.current().load();
        return state ? state->generation() : 0;
    }

    Readers readers_;
    Generations generations_{readers_.rcu.get(), 1};
};

TEST_F(GenerationsTest, NothingRunsBeforeTheFirst) {
    EXPECT_EQ(generations_.current().load(), nullptr);
    EXPECT_EQ(generations_.running(), nullptr);
}

TEST_F(GenerationsTest, APublishedOneIsWhatReadersSee) {
    auto published = send(SentGeneration(3));
    ASSERT_TRUE(published) << published.error().sentence;
    EXPECT_EQ(published->remark, "");
    ASSERT_EQ(current(), 3u);
    const lb::ForwardingState& state = *generations_.current().load();
    EXPECT_EQ(state.select(state.pools()[0], 0), 0u);
}

TEST_F(GenerationsTest, EachIsShownBeforeReadersSeeIt) {
    std::vector<std::uint64_t> shown;
    Generations generations(readers_.rcu.get(), 1, [&](const lb::ForwardingState& state) {
        EXPECT_NE(generations.current().load(), &state);
        EXPECT_EQ(generations.running() != nullptr, !shown.empty());
        shown.push_back(state.generation());
    });
    const SentGeneration third(3);
    EXPECT_FALSE(generations.publish(3, copy_of(third.root))) << "its slot table is not there";
    for (std::uint64_t number : {3u, 4u}) {
        const SentGeneration sent(number);
        ASSERT_TRUE(generations.add_segment(sent.segment_id(), copy_of(sent.segment)));
        ASSERT_TRUE(generations.publish(number, copy_of(sent.root)));
    }
    EXPECT_EQ(shown, (std::vector<std::uint64_t>{3, 4}));
}

TEST_F(GenerationsTest, ASegmentThatStaysIsNotSentAgain) {
    ASSERT_TRUE(send(SentGeneration(3)));
    const SentGeneration next(4);
    auto published = generations_.publish(4, copy_of(next.root));
    ASSERT_TRUE(published) << published.error().sentence;
    EXPECT_EQ(current(), 4u);
    EXPECT_EQ(generations_.segments_held(), 1u);
}

TEST_F(GenerationsTest, TheirMemoryIsUsedAgain) {
    ASSERT_TRUE(send(SentGeneration(1, 0)));
    const std::size_t in_use = generations_.arena().bytes_in_use();
    const std::size_t mapped = generations_.arena().bytes_mapped();
    std::set<const lb::StateHeader*> roots;
    for (std::uint64_t number = 2; number <= 40; number++) {
        ASSERT_TRUE(send(SentGeneration(number, number % 2)));
        EXPECT_EQ(generations_.arena().bytes_in_use(), in_use);
        roots.insert(&generations_.current().load()->header());
    }
    EXPECT_EQ(generations_.arena().bytes_mapped(), mapped);
    EXPECT_LE(roots.size(), 4u) << "two at a time, each between the slot tables of two";
}

TEST_F(GenerationsTest, SegmentsOfNoGenerationAreGivenBack) {
    ASSERT_TRUE(send(SentGeneration(3, 0)));
    ASSERT_TRUE(send(SentGeneration(4, 1)));
    EXPECT_EQ(generations_.segments_held(), 1u);
    const SentGeneration unused(5, 0);
    ASSERT_TRUE(generations_.add_segment(unused.segment_id(), copy_of(unused.segment)));
    EXPECT_EQ(generations_.segments_held(), 2u);
    generations_.drop_unused_segments();
    EXPECT_EQ(generations_.segments_held(), 1u);
}

TEST_F(GenerationsTest, ARefusedOneChangesNothing) {
    ASSERT_TRUE(send(SentGeneration(7)));
    const lb::ForwardingState* before = generations_.current().load();
    struct Case {
        const char* says;
        std::uint64_t number;
        channel::SharedMemory root;
    };
    SentGeneration broken(8);
    broken.sample.tables.vips[0].pool = 99;
    SentGeneration wide(8);
    wide.sample.tables.interfaces.resize(2);
    SentGeneration other(8, 1); // its slot table is not sent
    Case cases[] = {
        {"not newer than 7", 7, sealed(lb::build_root(SentGeneration(7).sample.tables))},
        {"not newer than 7", 6, sealed(lb::build_root(SentGeneration(6).sample.tables))},
        {"of generation 8, not of 9", 9, sealed(lb::build_root(SentGeneration(8).sample.tables))},
        {"vip row 0", 8, sealed(lb::build_root(broken.sample.tables))},
        {"for 2 interfaces", 8, sealed(lb::build_root(wide.sample.tables))},
        {"was not sent", 8, sealed(lb::build_root(other.sample.tables))},
        {"shorter than its header", 8, sealed(std::as_bytes(std::span("no root at all")))},
        {"at most 268435456", 8, sealed_zeros((std::size_t{256} << 20) + 1)},
    };
    for (Case& c : cases) {
        auto published = generations_.publish(c.number, copy_of(c.root));
        ASSERT_FALSE(published) << c.says;
        EXPECT_THAT(published.error().sentence, HasSubstr(c.says));
        EXPECT_EQ(generations_.current().load(), before);
    }
    EXPECT_TRUE(send(SentGeneration(8)));
}

TEST_F(GenerationsTest, MemoryThatIsNotSealedIsRefused) {
    const SentGeneration sent(3);
    const auto open_memory = [](std::span<const std::byte> bytes) {
        channel::Descriptor memory(::memfd_create("test", MFD_ALLOW_SEALING));
        EXPECT_EQ(::write(memory.get(), bytes.data(), bytes.size()),
                  static_cast<ssize_t>(bytes.size()));
        return memory;
    };
    auto added = generations_.add_segment(sent.segment_id(), open_memory(sent.segment.bytes()));
    ASSERT_FALSE(added);
    EXPECT_THAT(added.error().sentence, HasSubstr("not sealed"));
    ASSERT_TRUE(generations_.add_segment(sent.segment_id(), copy_of(sent.segment)));
    auto published = generations_.publish(3, open_memory(sent.root.bytes()));
    ASSERT_FALSE(published);
    EXPECT_THAT(published.error().sentence, HasSubstr("not sealed"));
}

TEST_F(GenerationsTest, ASegmentMustBeWhatItsIdSays) {
    const SentGeneration sent(3);
    auto wrong_id = generations_.add_segment(sent.segment_id() + 1, copy_of(sent.segment));
    ASSERT_FALSE(wrong_id);
    EXPECT_THAT(wrong_id.error().sentence, HasSubstr("does not have the content"));
    const auto odd = sealed(std::as_bytes(std::span("12", 3)));
    auto odd_size = generations_.add_segment(1, copy_of(odd));
    ASSERT_FALSE(odd_size);
    EXPECT_THAT(odd_size.error().sentence, HasSubstr("3 bytes"));
    const auto large = sealed_zeros(WEIR_MAGLEV_MAX_SIZE * 2 + 2);
    auto too_large = generations_.add_segment(1, copy_of(large));
    ASSERT_FALSE(too_large);
    EXPECT_THAT(too_large.error().sentence, HasSubstr("at most"));
    EXPECT_EQ(generations_.segments_held(), 0u);
    EXPECT_EQ(generations_.arena().bytes_in_use(), 0u);
}

TEST_F(GenerationsTest, EndlessSegmentsAreRefused) {
    std::size_t taken = 0;
    for (std::uint32_t i = 0; i < 4 * WEIR_MAX_POOLS + 10; i++) {
        const std::vector<std::uint16_t> slots = {static_cast<std::uint16_t>(i), 1, 2};
        const auto memory = sealed(std::as_bytes(std::span(slots)));
        taken += generations_.add_segment(lb::segment_id(slots), copy_of(memory)) ? 1 : 0;
    }
    EXPECT_EQ(taken, 4 * WEIR_MAX_POOLS);
}

// The old generation stays as it is while a reader may still be in it.
TEST_F(GenerationsTest, AReaderThatStandsStillKeepsTheOldOne) {
    readers_.join(0);
    std::thread first([&] {
        while (current() != 3)
            std::this_thread::yield();
        readers_.quiesce(0);
    });
    ASSERT_TRUE(send(SentGeneration(3, 0)));
    first.join();
    const lb::ForwardingState* old = generations_.current().load();

    auto published = send(SentGeneration(4, 1));
    ASSERT_TRUE(published);
    EXPECT_THAT(published->remark, HasSubstr("has not taken it up"));
    EXPECT_EQ(current(), 4u);
    EXPECT_EQ(generations_.retired(), 1u);
    EXPECT_EQ(old->generation(), 3u) << "still there to be read";
    generations_.reclaim();
    EXPECT_EQ(generations_.retired(), 1u);

    readers_.quiesce(0);
    generations_.reclaim();
    EXPECT_EQ(generations_.retired(), 0u);
}

// Readers walk the state while generations come as fast as they can.
TEST_F(GenerationsTest, ReadersAlwaysSeeAWholeGeneration) {
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> walks{0};
    std::vector<std::thread> threads;
    for (unsigned reader = 0; reader < Readers::kMost; reader++) {
        readers_.join(reader);
        threads.emplace_back([&, reader] {
            std::mt19937_64 random(reader);
            std::uint64_t newest = 0;
            while (!stop) {
                if (const lb::ForwardingState* state = generations_.current().load()) {
                    lb::walk(*state, random);
                    EXPECT_GE(state->generation(), newest);
                    newest = state->generation();
                    walks++;
                }
                readers_.quiesce(reader);
            }
            rte_rcu_qsbr_thread_offline(readers_.rcu.get(), reader);
        });
    }
    for (std::uint64_t number = 1; number <= 300; number++)
        ASSERT_TRUE(send(SentGeneration(number, number % 2)));
    while (walks < 100)
        std::this_thread::yield();
    stop = true;
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(current(), 300u);
}

} // namespace
} // namespace weir::dpdk
