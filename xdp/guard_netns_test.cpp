// SPDX-License-Identifier: BSD-3-Clause
// The guard on a real interface, without a dataplane: who answers a client, with it and without it.
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "xdp/guard.hpp"
#include "xdp/served_table.hpp"
#include "xdp/test_lab.hpp"

namespace {

using namespace weir::xdp;
using namespace weir::xdp_test;
using namespace weir::forwarding_test;

class GuardInNamespace : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        lab_ = std::make_unique<Lab>();
    }
    Guard attached_guard(const TestTable& table) {
        auto guard = Guard::load(lab_->ifindex());
        EXPECT_TRUE(guard) << (guard ? "" : guard.error().sentence);
        auto published = guard->publish(view_of(table), 1);
        EXPECT_TRUE(published) << (published ? "" : published.error().sentence);
        auto attached = guard->attach();
        EXPECT_TRUE(attached) << (attached ? "" : attached.error().sentence);
        return std::move(*guard);
    }
    std::unique_ptr<Lab> lab_;
};

TEST_F(GuardInNamespace, WithoutItTheKernelResetsClientsOfTheVip) {
    for (const char* vip : {kVip, kVip6}) {
        Attempt tcp = lab_->connect(vip, 80, SOCK_STREAM);
        EXPECT_TRUE(eventually([&] { return tcp.refused(); })) << vip;
        Attempt udp = lab_->connect(vip, 53, SOCK_DGRAM);
        udp.send("query");
        EXPECT_TRUE(eventually([&] { return udp.refused(); })) << vip;
    }
}

TEST_F(GuardInNamespace, WithItNobodyAnswersForTheVip) {
    Guard guard = attached_guard(served_table());
    uint64_t dropped = 0;
    for (const char* vip : {kVip, kVip6}) {
        Attempt tcp = lab_->connect(vip, 80, SOCK_STREAM);
        Attempt udp = lab_->connect(vip, 53, SOCK_DGRAM);
        udp.send("query");
        dropped += 2;
        // Once the guard has dropped both, the kernel has seen neither: an answer cannot follow.
        ASSERT_TRUE(eventually([&] { return guard.counters()->dropped_vip >= dropped; })) << vip;
        EXPECT_EQ(tcp.error(), 0) << vip;
        EXPECT_EQ(udp.error(), 0) << vip;
    }
}

TEST_F(GuardInNamespace, PortsThatAreNotServedStayTheKernels) {
    Guard guard = attached_guard(served_table());
    for (const char* address : {kVip, kVip6, kNode}) {
        Attempt tcp = lab_->connect(address, 81, SOCK_STREAM);
        EXPECT_TRUE(eventually([&] { return tcp.refused(); })) << address;
    }
    EXPECT_EQ(guard.counters()->dropped_vip, 0u);
    EXPECT_GE(guard.counters()->passed, 3u);
}

TEST_F(GuardInNamespace, SnatPortsAreDropped) {
    Guard guard = attached_guard(served_table());
    Attempt inside = lab_->connect(kNode, 40000, SOCK_STREAM);
    ASSERT_TRUE(eventually([&] { return guard.counters()->dropped_snat >= 1; }));
    EXPECT_EQ(inside.error(), 0);
    Attempt outside = lab_->connect(kNode, 39999, SOCK_STREAM);
    EXPECT_TRUE(eventually([&] { return outside.refused(); }));
}

// A UDP socket of the namespace it is made in; what it has received so far.
class Receiver {
public:
    Receiver(const char* address, uint16_t port)
        : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_in self{};
        self.sin_family = AF_INET;
        self.sin_port = htons(port);
        inet_pton(AF_INET, address, &self.sin_addr);
        EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&self), sizeof(self)), 0);
    }
    const std::vector<std::string>& received() {
        char bytes[64];
        for (ssize_t size; (size = recv(socket_.get(), bytes, sizeof(bytes), 0)) >= 0;)
            received_.emplace_back(bytes, static_cast<size_t>(size));
        return received_;
    }

private:
    Descriptor socket_;
    std::vector<std::string> received_;
};

TEST_F(GuardInNamespace, RepliesOfNatBackendsAreNotForwardedUntranslated) {
    // A backend at 192.0.2.77 replies to a client that is reached through this node, a router.
    lab_->ip("route add 203.0.113.0/24 via 192.0.2.1");
    lab_->router();
    lab_->client_ip("addr add 203.0.113.9/32 dev lo");
    std::unique_ptr<Receiver> client;
    lab_->in_client([&] { client = std::make_unique<Receiver>("203.0.113.9", 5353); });
    PacketPlan reply;
    reply.source = "192.0.2.77";
    reply.source_port = 8053;
    reply.destination = "203.0.113.9";
    reply.destination_port = 5353;
    reply.protocol = kUdp;
    auto send = [&](const std::string& text) {
        reply.payload.assign(text.begin(), text.end());
        lab_->send_frame(build(reply));
    };
    send("without");
    ASSERT_TRUE(eventually([&] { return client->received().size() == 1; }));

    TestTable table = served_table();
    table.backend("192.0.2.77", kUdp, 8053);
    Guard guard = attached_guard(table);
    send("with");
    ASSERT_TRUE(eventually([&] { return guard.counters()->dropped_backend >= 1; }));
    ASSERT_TRUE(Guard::detach(lab_->ifindex()));
    send("without again");
    ASSERT_TRUE(eventually([&] { return client->received().size() == 2; }));
    EXPECT_EQ(client->received().back(), "without again");
}

TEST_F(GuardInNamespace, AnswersToProbesPass) {
    TestTable table = served_table();
    table.backend("192.0.2.77", kUdp, 8053);
    Guard guard = attached_guard(table);
    PacketPlan answer;
    answer.source = "192.0.2.77";
    answer.source_port = 8053;
    answer.destination = kNode;
    answer.destination_port = 33000;
    answer.protocol = kUdp;
    Receiver probe(kNode, 33000);
    lab_->send_frame(build(answer));
    ASSERT_TRUE(eventually([&] { return probe.received().size() == 1; }));
    EXPECT_EQ(guard.counters()->dropped_backend, 0u);
}

TEST_F(GuardInNamespace, VlanTagsDoNotHideAPacket) {
    // The kernel takes the outer tag out of the frame before the guard sees it, the inner one not.
    Guard guard = attached_guard(served_table());
    PacketPlan plan;
    plan.destination = kVip;
    plan.vlan_tci = 7;
    const Bytes tagged = build(plan);
    Bytes twice = tagged;
    const uint8_t outer[] = {0x88, 0xa8, 0, 9};
    twice.insert(twice.begin() + 12, std::begin(outer), std::end(outer));
    lab_->send_frame(tagged);
    lab_->send_frame(twice);
    EXPECT_TRUE(eventually([&] { return guard.counters()->dropped_vip >= 2; }));
}

TEST_F(GuardInNamespace, HeadersOutsideTheLinearPartAreFound) {
    lab_->ip("link set b0 mtu 9000");
    lab_->client_ip("link set c0 mtu 9000");
    Guard guard = attached_guard(served_table());
    PacketPlan plan;
    plan.payload.resize(6000);
    plan.destination = kVip;
    lab_->send_frame(build(plan), 14);
    plan.source = "2001:db8::1";
    plan.destination = kVip6;
    plan.v6_extensions = {{60, Bytes(2047)}};
    plan.v6_extensions[0].body[0] = 255;
    lab_->send_frame(build(plan), 14);
    EXPECT_TRUE(eventually([&] { return guard.counters()->dropped_vip >= 2; }));
    plan.v6_extensions.assign(5, {60, Bytes(7)});
    lab_->send_frame(build(plan), 14);
    EXPECT_TRUE(eventually([&] { return guard.counters()->dropped_unreadable >= 1; }));
}

TEST_F(GuardInNamespace, ANewGuardTakesTheOldOnesPlaceOnlyWithATable) {
    Guard old = attached_guard(served_table());
    auto fresh = Guard::load(lab_->ifindex());
    ASSERT_TRUE(fresh) << fresh.error().sentence;
    auto too_early = fresh->attach();
    ASSERT_FALSE(too_early);
    EXPECT_NE(too_early.error().sentence.find("publish one before"), std::string::npos);
    EXPECT_TRUE(*old.attached());

    ASSERT_TRUE(fresh->publish(view_of(served_table()), 7));
    ASSERT_TRUE(fresh->attach());
    ASSERT_TRUE(fresh->attach()) << "attaching again changes nothing";
    EXPECT_TRUE(*fresh->attached());
    EXPECT_FALSE(*old.attached());
    EXPECT_EQ(*fresh->generation(), 7u);

    Attempt tcp = lab_->connect(kVip, 80, SOCK_STREAM);
    ASSERT_TRUE(eventually([&] { return fresh->counters()->dropped_vip >= 1; }));
    EXPECT_EQ(old.counters()->dropped_vip, 0u);
    EXPECT_EQ(tcp.error(), 0);
}

TEST_F(GuardInNamespace, StaysWhenControlEndsAndGoesWhenAsked) {
    { Guard guard = attached_guard(served_table()); }
    Attempt guarded = lab_->connect(kVip, 80, SOCK_STREAM);
    ASSERT_TRUE(Guard::detach(lab_->ifindex()));
    ASSERT_TRUE(Guard::detach(lab_->ifindex())) << "detaching nothing is fine";
    // The retransmitted SYN meets no guard; that the first one did shows in the same attempt
    // having had no answer until now.
    EXPECT_EQ(guarded.error(), 0);
    Attempt tcp = lab_->connect(kVip, 80, SOCK_STREAM);
    EXPECT_TRUE(eventually([&] { return tcp.refused(); }));
}

TEST_F(GuardInNamespace, PublishingMovesWhatIsDropped) {
    Guard guard = attached_guard(served_table());
    TestTable other;
    other.address(kVip, WEIR_MATCH_VIP_ADDRESS);
    other.serve(kVip, kTcp, 81, 0);
    for (uint64_t generation = 2; generation < 6; generation++) {
        const bool odd = generation % 2;
        ASSERT_TRUE(guard.publish(view_of(odd ? served_table() : other), generation));
        const uint64_t before = guard.counters()->dropped_vip;
        Attempt dropped = lab_->connect(kVip, odd ? 80 : 81, SOCK_STREAM);
        Attempt answered = lab_->connect(kVip, odd ? 81 : 80, SOCK_STREAM);
        ASSERT_TRUE(eventually([&] { return answered.refused(); })) << generation;
        ASSERT_TRUE(eventually([&] { return guard.counters()->dropped_vip > before; }));
        EXPECT_EQ(dropped.error(), 0) << generation;
    }
}

TEST_F(GuardInNamespace, RefusesATableThatDoesNotFit) {
    Guard guard = attached_guard(served_table());
    TestTable table = served_table();
    MatchTableView view = view_of(table);
    EXPECT_FALSE(guard.publish(view, 0));
    view.header.mask = 6;
    EXPECT_FALSE(guard.publish(view, 2));
    view = view_of(table);
    view.ranges = {};
    EXPECT_FALSE(guard.publish(view, 2));
    EXPECT_EQ(*guard.generation(), 1u) << "a refused table changes nothing";
}

TEST_F(GuardInNamespace, AnInterfaceThatIsGoneIsSaidSo) {
    Guard guard = attached_guard(served_table());
    lab_->ip("link del b0");
    auto attached = guard.attach();
    ASSERT_FALSE(attached);
    EXPECT_NE(attached.error().sentence.find("the interface is gone"), std::string::npos)
        << attached.error().sentence;
}

} // namespace
