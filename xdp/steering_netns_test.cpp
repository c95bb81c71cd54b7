// SPDX-License-Identifier: BSD-3-Clause
// The steering program on a real interface, with the sorter and in the dataplane's place a socket
// or none: where a client's packets go.
#include <gtest/gtest.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "xdp/bpffs.hpp"
#include "xdp/served_table.hpp"
#include "xdp/sorter.hpp"
#include "xdp/steering.hpp"
#include "xdp/test_lab.hpp"

namespace {

using namespace weir::xdp;
using namespace weir::xdp_test;

// An AF_XDP socket on queue 0 that takes packets and never reads them.
class PacketSocket {
public:
    explicit PacketSocket(unsigned ifindex)
        : memory_(std::aligned_alloc(4096, kBytes)), socket_(socket(AF_XDP, SOCK_RAW, 0)) {
        xdp_umem_reg area{};
        area.addr = reinterpret_cast<uint64_t>(memory_.get());
        area.len = kBytes;
        area.chunk_size = 2048;
        const int entries = 16;
        sockaddr_xdp address{};
        address.sxdp_family = AF_XDP;
        address.sxdp_flags = XDP_COPY;
        address.sxdp_ifindex = ifindex;
        const int fd = socket_.get();
        bound_ =
            setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &area, sizeof(area)) == 0 &&
            setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof(entries)) == 0 &&
            setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof(entries)) == 0 &&
            setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)) == 0 &&
            bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    }
    bool bound() const { return bound_; }
    const Descriptor& socket_descriptor() const { return socket_; }

private:
    static constexpr size_t kBytes = size_t{16} * 2048;
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<void, Free> memory_;
    Descriptor socket_;
    bool bound_ = false;
};

// As the AF_XDP driver does it: load the file, attach its only program if there is none.
class AttachedObject {
public:
    explicit AttachedObject(unsigned ifindex) : ifindex_(static_cast<int>(ifindex)) {
        object_ = bpf_object__open_file(WEIR_STEER_OBJECT, nullptr);
        if (!object_ || bpf_object__load(object_) != 0)
            return;
        bpf_program* program = bpf_object__next_program(object_, nullptr);
        only_one_ = program && !bpf_object__next_program(object_, program) &&
                    bpf_program__type(program) == BPF_PROG_TYPE_XDP;
        has_xsks_map_ = bpf_object__find_map_by_name(object_, "xsks_map") != nullptr;
        error_ = bpf_xdp_attach(ifindex_, bpf_program__fd(program), XDP_FLAGS_UPDATE_IF_NOEXIST,
                                nullptr);
    }
    AttachedObject(const AttachedObject&) = delete;
    AttachedObject& operator=(const AttachedObject&) = delete;
    ~AttachedObject() { bpf_object__close(object_); }

    bool fits_the_driver() const { return only_one_ && has_xsks_map_; }
    int error() const { return error_; }
    // Puts a bound AF_XDP socket of its queue 0 into the map, as the driver does.
    bool serve(const Descriptor& socket) {
        const uint32_t queue = 0;
        const int fd = socket.get();
        return bpf_map_update_elem(bpf_object__find_map_fd_by_name(object_, "xsks_map"), &queue,
                                   &fd, BPF_ANY) == 0;
    }

private:
    int ifindex_;
    bpf_object* object_ = nullptr;
    bool only_one_ = false, has_xsks_map_ = false;
    int error_ = -1;
};

// Stands where the balancer would: takes every packet and says so by its count.
class DroppingProgram {
public:
    DroppingProgram() {
        const bpf_insn drop[2] = {
            {.code = BPF_ALU64 | BPF_MOV | BPF_K,
             .dst_reg = 0,
             .src_reg = 0,
             .off = 0,
             .imm = XDP_DROP},
            {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
        // Programs of one map have to be made for the same kind of attachment.
        LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_XDP);
        program_ =
            Descriptor(bpf_prog_load(BPF_PROG_TYPE_XDP, "dropping", "GPL", drop, 2, &options));
    }
    int descriptor() const { return program_.get(); }

private:
    Descriptor program_;
};

class SteeringInNamespace : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        lab_ = std::make_unique<Lab>();
        auto sorter = Sorter::load();
        ASSERT_TRUE(sorter) << sorter.error().sentence;
        sorter_.emplace(std::move(*sorter));
    }
    uint64_t ours() const { return sorter_->counters()->ours; }
    // A client's attempt to connect that is ours; returns when the sorter has seen it.
    Attempt ours_from_client(const char* vip) const {
        const uint64_t before = ours();
        Attempt attempt = lab_->connect(vip, 80, SOCK_STREAM);
        EXPECT_TRUE(eventually([&] { return ours() > before; })) << vip;
        return attempt;
    }
    bool kernel_answers(uint16_t port) const {
        Attempt attempt = lab_->connect(kVip, port, SOCK_STREAM);
        return eventually([&] { return attempt.refused(); });
    }

    std::unique_ptr<Lab> lab_;
    std::optional<Sorter> sorter_;
};

TEST_F(SteeringInNamespace, EverythingIsTheKernelsUntilASorterIsEnteredAndKnowsATable) {
    AttachedObject object(lab_->ifindex());
    ASSERT_TRUE(object.fits_the_driver());
    ASSERT_EQ(object.error(), 0);
    EXPECT_TRUE(kernel_answers(80));
    EXPECT_EQ(sorter_->counters()->unpublished, 0u);

    Steering steering(lab_->ifindex());
    ASSERT_EQ(*steering.find(), SteeringProgram::kChanged);
    ASSERT_EQ(*steering.find(), SteeringProgram::kKnown);
    ASSERT_TRUE(steering.connect({.sorter = sorter_->program()}));
    EXPECT_TRUE(kernel_answers(80));
    EXPECT_GE(sorter_->counters()->unpublished, 1u);

    // What is ours and meets neither socket nor balancer is the kernel's, too, where the guard is.
    ASSERT_TRUE(sorter_->publish(view_of(served_table()), 3));
    EXPECT_EQ(*sorter_->generation(), 3u);
    EXPECT_TRUE(kernel_answers(80));
    EXPECT_TRUE(kernel_answers(81));
    EXPECT_EQ(ours(), 1u);
    EXPECT_GE(sorter_->counters()->passed, 1u);
}

TEST_F(SteeringInNamespace, WhatIsOursGoesToTheSocketAndWithoutOneToTheBalancer) {
    AttachedObject object(lab_->ifindex());
    ASSERT_EQ(object.error(), 0);
    const DroppingProgram balancer;
    Steering steering(lab_->ifindex());
    ASSERT_TRUE(sorter_->publish(view_of(served_table()), 1));
    ASSERT_TRUE(steering.connect({.sorter = sorter_->program()}));
    {
        PacketSocket socket(lab_->ifindex());
        ASSERT_TRUE(socket.bound());
        ASSERT_TRUE(object.serve(socket.socket_descriptor()));
        for (const char* vip : {kVip, kVip6}) {
            Attempt served = ours_from_client(vip);
            EXPECT_EQ(served.error(), 0) << "the kernel has not seen it, there is no guard";
        }
        EXPECT_TRUE(kernel_answers(81));
        // With a socket the balancer has packets only when it is told to.
        ASSERT_TRUE(
            steering.connect({.sorter = sorter_->program(), .balancer = balancer.descriptor()}));
        ASSERT_TRUE(sorter_->balance_in_place(true));
        EXPECT_EQ(ours_from_client(kVip).error(), 0);
        ASSERT_TRUE(sorter_->balance_in_place(false));
    }
    // The socket died with its owner. Nobody had to be told.
    EXPECT_EQ(ours_from_client(kVip).error(), 0) << "the balancer has taken it";
    ASSERT_TRUE(steering.connect({.sorter = sorter_->program()}));
    EXPECT_TRUE(kernel_answers(80)) << "there is no balancer any more";
    EXPECT_TRUE(kernel_answers(81));
}

TEST_F(SteeringInNamespace, FollowsARestartedDriver) {
    Steering steering(lab_->ifindex());
    EXPECT_EQ(*steering.find(), SteeringProgram::kAbsent);
    EXPECT_FALSE(steering.connect({.sorter = sorter_->program()}));
    EXPECT_FALSE(*steering.detach());
    ASSERT_TRUE(sorter_->publish(view_of(served_table()), 1));
    {
        AttachedObject object(lab_->ifindex());
        ASSERT_EQ(object.error(), 0);
        ASSERT_TRUE(steering.connect({.sorter = sorter_->program()}));
    }
    // The driver died: its program stays, with what was entered, and a new driver cannot attach
    // beside it.
    EXPECT_EQ(*steering.find(), SteeringProgram::kKnown);
    ours_from_client(kVip);
    {
        AttachedObject refused(lab_->ifindex());
        EXPECT_EQ(refused.error(), -EBUSY);
    }
    EXPECT_TRUE(*steering.detach());
    AttachedObject restarted(lab_->ifindex());
    ASSERT_EQ(restarted.error(), 0);
    EXPECT_EQ(*steering.find(), SteeringProgram::kChanged);
    ASSERT_TRUE(steering.connect({.sorter = sorter_->program()}));
    ours_from_client(kVip);
}

TEST_F(SteeringInNamespace, WhatIsPinnedIsCalledWhenNobodyHoldsItAnyMore) {
    const DroppingProgram balancer;
    const MountPlace place;
    ASSERT_TRUE(prepare_bpffs(place.path()));
    const std::string pin = place.path() + "/b0";
    ASSERT_TRUE(sorter_->publish(view_of(served_table()), 1));
    {
        Steering steering(lab_->ifindex(), pin);
        ASSERT_TRUE(steering.attach());
        ASSERT_TRUE(
            steering.connect({.sorter = sorter_->program(), .balancer = balancer.descriptor()}));
        ASSERT_TRUE(steering.pin());
    }
    EXPECT_EQ(ours_from_client(kVip).error(), 0) << "the balancer has taken it";
    {
        // The next owner, who does not know yet what the balancer is.
        Steering steering(lab_->ifindex(), pin);
        ASSERT_TRUE(steering.connect({.sorter = sorter_->program(), .balancer = std::nullopt}));
        EXPECT_EQ(ours_from_client(kVip).error(), 0);
        steering.unpin();
    }
    EXPECT_TRUE(kernel_answers(80)) << "nobody holds what was entered";
    // Where nothing can be pinned it is steered all the same.
    Steering steering(lab_->ifindex(), place.path() + "/none/b0");
    ASSERT_TRUE(
        steering.connect({.sorter = sorter_->program(), .balancer = balancer.descriptor()}));
    EXPECT_FALSE(steering.pin());
    EXPECT_EQ(ours_from_client(kVip).error(), 0);
}

TEST_F(SteeringInNamespace, AttachesOneOfItsOwnWhereTheDriverHasTakenItsOff) {
    const DroppingProgram balancer;
    Steering steering(lab_->ifindex());
    ASSERT_TRUE(sorter_->publish(view_of(served_table()), 1));
    ASSERT_TRUE(steering.attach());
    EXPECT_EQ(*steering.find(), SteeringProgram::kKnown);
    ASSERT_TRUE(
        steering.connect({.sorter = sorter_->program(), .balancer = balancer.descriptor()}));
    EXPECT_EQ(ours_from_client(kVip).error(), 0);
    EXPECT_FALSE(steering.attach()) << "there is one";
    EXPECT_TRUE(*steering.detach());
    EXPECT_TRUE(kernel_answers(80));
}

TEST_F(SteeringInNamespace, KeepsItsHandsOffForeignPrograms) {
    bpf_insn pass[2] = {};
    pass[0] = {
        .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS};
    pass[1].code = BPF_JMP | BPF_EXIT;
    Descriptor foreign(bpf_prog_load(BPF_PROG_TYPE_XDP, "somebody", "GPL", pass, 2, nullptr));
    ASSERT_TRUE(foreign);
    ASSERT_EQ(bpf_xdp_attach(static_cast<int>(lab_->ifindex()), foreign.get(), 0, nullptr), 0);
    Steering steering(lab_->ifindex());
    for (const auto& answer :
         {steering.find().error(), steering.detach().error(), steering.connect({}).error()})
        EXPECT_NE(answer.sentence.find("'somebody' on b0 is not this version of Weir's"),
                  std::string::npos)
            << answer.sentence;
    EXPECT_FALSE(steering.attach());
}

} // namespace
