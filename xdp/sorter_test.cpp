// SPDX-License-Identifier: BSD-3-Clause
// The sorter's verdict on the corpus, against the shared headers run natively. What it remembers of
// fragments is the end-to-end tests' business.
#include "xdp/sorter.hpp"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>
#include <optional>
#include <random>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/tunnel_error.h"
#include "xdp/busy_table.hpp"
#include "xdp/maps.h"
#include "xdp/test_lab.hpp"
#include "xdp/test_run.hpp"

namespace weir::xdp {
namespace {

using namespace forwarding_test;

constexpr size_t kMaxFrame = 3072; // more would reach the program as fragments

class SorterVerdict : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        auto loaded = Sorter::load();
        ASSERT_TRUE(loaded) << loaded.error().sentence;
        sorter_.emplace(std::move(*loaded));
        ASSERT_TRUE(sorter_->publish({table_.header(), table_.range_rows(), table_.rows()}, 1));
        for (const auto& samples : {sound_packets(), unsound_packets()})
            for (const Sample& sample : samples)
                corpus_.push_back(build(sample.plan));
    }

    uint32_t answer(const Bytes& frame) const {
        const auto ran = xdp_test::run_once(sorter_->program(), frame);
        EXPECT_TRUE(ran) << std::strerror(errno);
        return ran ? ran->returned : UINT32_MAX;
    }

    // Nothing: it depends on fragments before it.
    std::optional<uint32_t> expected(const Bytes& frame) {
        const uint8_t* data = frame.data();
        const uint8_t* end = data + frame.size();
        const weir_match_view view = table_.view();
        weir_packet packet{};
        if (weir_parse(data, end, &packet) != WEIR_UNDECIDED) {
            unparsed_++;
            return XDP_PASS;
        }
        if (packet.flags & WEIR_PACKET_FRAGMENT)
            return std::nullopt;
        weir_match match = weir_match_packet(&view, &packet);
        if (!weir_match_is_ours(&match, &packet) && packet.quoted_offset != 0 &&
            weir_parse_tunnel_error(data, end, &packet, view.gue_port))
            match = weir_match_packet(&view, &packet);
        const bool ours = weir_match_is_ours(&match, &packet);
        (ours ? ours_ : passed_)++;
        return ours ? uint32_t{WEIR_STEER_TO_ENGINE} : uint32_t{XDP_PASS};
    }

    // Both agree on the packet, or fragments before it would have to be known.
    void compare(const Bytes& frame) {
        const std::optional<uint32_t> wanted = expected(frame);
        if (!wanted)
            return;
        EXPECT_EQ(answer(frame), *wanted) << testing::PrintToString(frame);
    }

    void expect_counted() const {
        const auto counters = sorter_->counters();
        ASSERT_TRUE(counters);
        EXPECT_EQ(counters->ours, ours_);
        EXPECT_EQ(counters->passed, passed_);
        EXPECT_EQ(counters->unparsed, unparsed_);
    }

    TestTable table_ = busy_table();
    std::optional<Sorter> sorter_;
    std::vector<Bytes> corpus_;
    uint64_t ours_ = 0, passed_ = 0, unparsed_ = 0;
};

TEST_F(SorterVerdict, IsTheSharedHeadersOnTheCorpus) {
    for (const Bytes& frame : corpus_)
        compare(frame);
    EXPECT_GT(ours_, 20u);
    EXPECT_GT(passed_, 2u);
    expect_counted();
}

TEST_F(SorterVerdict, IsTheSharedHeadersOnDamagedPackets) {
    std::mt19937_64 random(21);
    for (int i = 0; i < 20'000 && !HasFailure(); i++) {
        Bytes frame = corpus_[random() % corpus_.size()];
        damage(frame, random);
        if (frame.size() >= 14 && frame.size() <= kMaxFrame)
            compare(frame);
    }
    for (const uint64_t count : {ours_, passed_, unparsed_})
        EXPECT_GT(count, 1000u) << "the damage is too uniform";
    expect_counted();
}

TEST_F(SorterVerdict, FollowsTheTable) {
    // Negative control: the comparison sees a VIP that is gone.
    const Bytes frame = build(sound_packets()[0].plan);
    ASSERT_EQ(expected(frame), uint32_t{WEIR_STEER_TO_ENGINE});
    EXPECT_EQ(answer(frame), uint32_t{WEIR_STEER_TO_ENGINE});
    const TestTable empty;
    ASSERT_TRUE(sorter_->publish({empty.header(), empty.range_rows(), empty.rows()}, 2));
    EXPECT_EQ(answer(frame), uint32_t{XDP_PASS});
}

} // namespace
} // namespace weir::xdp
