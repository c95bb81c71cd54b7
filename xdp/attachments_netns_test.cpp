// SPDX-License-Identifier: BSD-3-Clause
// What outlives control, with a real device and a BPF filesystem of the test's own: pinned maps and
// links, their adoption, and the change from one program to another.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <net/if.h>

#include <ctime>
#include <filesystem>
#include <optional>

#include "xdp/attachments.hpp"
#include "xdp/balancer_sample.hpp"
#include "xdp/bpffs.hpp"
#include "xdp/test_lab.hpp"

namespace weir::xdp {
namespace {

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
}

class Outliving : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        lab_.emplace();
        place_.emplace();
        directory_ = place_->path();
        const auto mounted = prepare_bpffs(directory_);
        ASSERT_TRUE(mounted) << mounted.error().sentence;
        EXPECT_TRUE(*mounted);
        ASSERT_TRUE(make_directory(maps()));
        ASSERT_TRUE(make_directory(directory_ + "/links"));
    }

    std::string maps() const { return directory_ + "/maps"; }
    Attachments attachments() const { return Attachments(directory_ + "/links"); }
    static Balancer loaded() { return std::move(Balancer::load(kSampleSizes)).value(); }

    static void publish(Balancer& balancer, SampleGeneration& generation) {
        const uint32_t loopback = 1; // where BPF_PROG_TEST_RUN has packets come from
        const auto done = balancer.publish(generation.state(), {&loopback, 1}, now_ns());
        ASSERT_TRUE(done) << done.error().sentence;
    }
    // Of the link that is pinned for b0.
    uint32_t link_id() const {
        const Descriptor link(bpf_obj_get((directory_ + "/links/b0").c_str()));
        bpf_link_info info{};
        uint32_t bytes = sizeof(info);
        return bpf_obj_get_info_by_fd(link.get(), &info, &bytes) == 0 ? info.id : 0;
    }

    std::optional<xdp_test::Lab> lab_;
    std::optional<xdp_test::MountPlace> place_;
    std::string directory_;
};

TEST_F(Outliving, MapsThatAreTakenUpGoOnWhereTheyWere) {
    SampleGeneration first(4, 7);
    {
        Balancer balancer = loaded();
        publish(balancer, first);
        for (uint16_t port = 1; port <= 20; port++)
            ASSERT_EQ(run_syn(balancer, port), 7);
        ASSERT_TRUE(balancer.pin(maps()));
    }
    auto taken = Balancer::adopt(maps());
    ASSERT_TRUE(taken) << taken.error().sentence;
    EXPECT_EQ(taken->generation(), 4u);
    EXPECT_EQ(taken->sizes().connections, kSampleSizes.connections);
    EXPECT_EQ(taken->sizes().rows.slot_rows, kSampleSizes.rows.slot_rows);
    EXPECT_EQ(taken->devices(), std::vector<uint32_t>{1});
    EXPECT_EQ(connections_of(*taken), 20u);
    EXPECT_EQ(taken->vip_active(0), 20u);
    EXPECT_EQ(run_syn(*taken, 1), 7);
    EXPECT_EQ(run_syn(*taken, 21), 7);

    const auto published = taken->published();
    ASSERT_TRUE(published && *published);
    EXPECT_TRUE(std::ranges::equal((*published)->root, first.root()));
    ASSERT_EQ((*published)->slot_tables.size(), 1u);
    EXPECT_EQ((*published)->slot_tables.at(first.segment.id), first.slots);

    for (uint64_t number = 5; number <= 8; number++) { // both halves, twice
        SampleGeneration next(number, static_cast<uint8_t>(number));
        publish(*taken, next);
        EXPECT_EQ(run_syn(*taken, 1), static_cast<int>(number));
    }
    EXPECT_EQ(connections_of(*taken), 21u);
}

TEST_F(Outliving, NothingPublishedIsNothingTakenUp) {
    ASSERT_TRUE(loaded().pin(maps()));
    auto taken = Balancer::adopt(maps());
    ASSERT_TRUE(taken) << taken.error().sentence;
    EXPECT_EQ(taken->generation(), 0u);
    const auto published = taken->published();
    ASSERT_TRUE(published);
    EXPECT_FALSE(*published);
    EXPECT_EQ(run_syn(*taken, 1), -XDP_PASS);
}

TEST_F(Outliving, MapsOfAnotherLayoutAreNotTakenUp) {
    EXPECT_FALSE(Balancer::adopt(maps())) << "there is none";
    ASSERT_TRUE(loaded().pin(maps()));
    const std::string path = maps() + "/connections";
    std::filesystem::remove(path);
    const Descriptor other(
        bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "connections", 24, 40, 4096, nullptr));
    ASSERT_EQ(bpf_obj_pin(other.get(), path.c_str()), 0);
    const auto refused = Balancer::adopt(maps());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sentence, path + " has another layout than this version's");
}

TEST_F(Outliving, AnotherProgramTakesThePlaceOfTheOldOneInItsLink) {
    uint32_t first_link = 0;
    {
        const Balancer balancer = loaded();
        Attachments links = attachments();
        const auto mode = links.attach("b0", balancer.program());
        ASSERT_TRUE(mode) << mode.error().sentence;
        EXPECT_EQ(*mode, AttachMode::kNative);
        EXPECT_TRUE(links.intact("b0"));
        first_link = link_id();
    }
    EXPECT_EQ(program_on(lab_->ifindex()), "weir_balance") << "it outlives control";
    Attachments links = attachments();
    EXPECT_EQ(links.names(), std::set<std::string>{"b0"});
    EXPECT_FALSE(links.intact("b0")) << "this control has not taken it up";
    const std::set<uint32_t> old_maps = links.maps_of("b0");
    EXPECT_FALSE(old_maps.empty());
    const Balancer next = loaded();
    const auto mode = links.attach("b0", next.program());
    ASSERT_TRUE(mode) << mode.error().sentence;
    EXPECT_EQ(*mode, AttachMode::kNative);
    EXPECT_TRUE(links.intact("b0"));
    EXPECT_EQ(link_id(), first_link) << "the same link: nothing was detached";
    EXPECT_NE(links.maps_of("b0"), old_maps);
    links.release("b0");
    EXPECT_EQ(program_on(lab_->ifindex()), "");
    EXPECT_TRUE(links.names().empty());
}

TEST_F(Outliving, ADeviceThatIsMadeAnewGetsALinkAnew) {
    const Balancer balancer = loaded();
    Attachments links = attachments();
    ASSERT_TRUE(links.attach("b0", balancer.program()));
    lab_->ip("link del b0");
    EXPECT_FALSE(links.intact("b0"));
    EXPECT_TRUE(links.maps_of("b0").empty()) << "a dead link holds no program in force";
    const auto nothing = links.attach("b0", balancer.program());
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().sentence, "there is no interface b0 to attach the balancer to");
    lab_->ip("link add b0 type veth peer name b1");
    EXPECT_FALSE(links.intact("b0"));
    const auto again = links.attach("b0", balancer.program());
    ASSERT_TRUE(again) << again.error().sentence;
    EXPECT_TRUE(links.intact("b0"));
}

TEST_F(Outliving, SomebodyElsesProgramIsNamedAndStays) {
    const Balancer other = loaded();
    LIBBPF_OPTS(bpf_link_create_opts, options);
    const Descriptor link(
        bpf_link_create(other.program(), static_cast<int>(lab_->ifindex()), BPF_XDP, &options));
    ASSERT_TRUE(link);
    const Balancer ours = loaded();
    const auto refused = attachments().attach("b0", ours.program());
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().sentence.find("the XDP program 'weir_balance' is there"),
              std::string::npos)
        << refused.error().sentence;
    EXPECT_TRUE(attachments().names().empty());
}

} // namespace
} // namespace weir::xdp
