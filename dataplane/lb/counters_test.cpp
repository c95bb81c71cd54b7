// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/counters.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

namespace weir::lb {
namespace {

struct Memory {
    explicit Memory(std::uint32_t workers)
        : size(CountersView::bytes_needed(workers)),
          bytes(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096))) {
        std::memset(bytes.get(), 0, size);
    }
    std::span<std::byte> span() { return {bytes.get(), size}; }
    struct Free {
        void operator()(std::byte* at) const { std::free(at); }
    };
    std::size_t size;
    std::unique_ptr<std::byte, Free> bytes;
};

TEST(Counters, OtherProcessFindsTheSameRows) {
    Memory memory(2);
    CountersView writer = CountersView::format(memory.span(), 2);
    writer.vip(1, 77).packets = 5;
    writer.backend(2, WEIR_MAX_BACKENDS - 1).bytes = 9;
    std::string problem;
    auto reader = CountersView::open(memory.span(), problem);
    ASSERT_TRUE(reader) << problem;
    EXPECT_EQ(reader->blocks(), 3u);
    EXPECT_EQ(reader->vip(1, 77).packets, 5u);
    EXPECT_EQ(reader->backend(2, WEIR_MAX_BACKENDS - 1).bytes, 9u);
}

TEST(Counters, WrongMemoryIsNamed) {
    Memory memory(1);
    std::string problem;
    EXPECT_FALSE(CountersView::open(memory.span(), problem)) << "all zero";
    CountersView::format(memory.span(), 1);
    EXPECT_FALSE(CountersView::open(memory.span().first(4096), problem));
    EXPECT_FALSE(CountersView::open(memory.span().first(8), problem));
    reinterpret_cast<CountersHeader*>(memory.span().data())->blocks = 1000;
    EXPECT_FALSE(CountersView::open(memory.span(), problem));
    EXPECT_NE(problem.find("size"), std::string::npos);
}

TEST(Counters, BooksBalanceOnlyWhenTheyDo) {
    WorkerCounters block{};
    block.ports[0].rx_packets = 10;
    block.handed_in = 2;
    block.ports[1].tx_packets = 6;
    block.verdicts[WEIR_PUNTED_ECHO] = 1;
    block.verdicts[WEIR_HANDED_OVER] = 2;
    block.verdicts[WEIR_DROP_LAND] = 3;
    EXPECT_TRUE(books_of(block).balanced());
    block.verdicts[WEIR_DROP_LAND]++;
    EXPECT_FALSE(books_of(block).balanced());
}

TEST(Counters, ReaderSeesBalancedBooksUnderWriting) {
    Memory memory(1);
    CountersView view = CountersView::format(memory.span(), 1);
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        WorkerCounters& block = view.worker(0);
        while (!stop) {
            begin_write(block);
            block.ports[0].rx_packets += 32;
            block.verdicts[WEIR_DROP_LAND] += 32;
            end_write(block);
        }
    });
    int read = 0;
    for (int i = 0; i < 20'000; i++) {
        auto copy = view.read(0);
        if (!copy)
            continue;
        read++;
        ASSERT_TRUE(books_of(*copy).balanced());
    }
    stop = true;
    writer.join();
    EXPECT_GT(read, 0);
}

TEST(Counters, WriterThatStoppedInsideASectionIsGivenUp) {
    Memory memory(1);
    CountersView view = CountersView::format(memory.span(), 1);
    begin_write(view.worker(0));
    EXPECT_FALSE(view.read(0));
}

} // namespace
} // namespace weir::lb
