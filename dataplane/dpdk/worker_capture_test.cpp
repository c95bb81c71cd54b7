// SPDX-License-Identifier: BSD-3-Clause
// What a worker copies for a capture: the right packets, as they leave or as they came, with what
// was decided of them, and nothing when nobody has asked.
#include "dataplane/dpdk/worker_lab.hpp"

#include <ctime>

namespace weir::dpdk {
namespace {

std::uint64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// A lab in which everything that the filter lets through is captured.
class CaptureLab : public Lab {
public:
    explicit CaptureLab(const Plan& plan, lb::CaptureFilter filter = {~lb::VerdictSet{0}},
                        std::uint32_t workers = 1, bool bypassed = false)
        : Lab(plan, workers, bypassed) {
        capture_order().start(1, filter, UINT64_MAX);
        poll_all();
        for (std::uint32_t i = 0; i < workers; i++) {
            readers_.push_back(capture_reader(i));
            EXPECT_TRUE(readers_.back().begin(1));
        }
    }
    std::vector<lb::CapturedPacket> captured() {
        std::vector<lb::CapturedPacket> packets;
        for (lb::CaptureReader& reader : readers_)
            reader.read(packets, 1000);
        return packets;
    }
    std::uint64_t matched(std::uint32_t worker = 0) const { return readers_[worker].matched(); }
    std::uint64_t sampled_out() const { return readers_[0].sampled_out(); }

private:
    std::vector<lb::CaptureReader> readers_;
};

TEST(WorkerCapture, IsOffByDefault) {
    Lab lab({WEIR_FORWARD_NAT});
    lab.send(build(from_client(lab.plan())));
    lb::CaptureReader reader = lab.capture_reader(0);
    ASSERT_TRUE(reader.begin(0)) << "no session has begun";
    EXPECT_EQ(reader.matched(), 0u);
}

TEST(WorkerCapture, AForwardedPacketIsCopiedAsItLeaves) {
    CaptureLab lab({WEIR_FORWARD_NAT});
    const std::uint64_t before = now_ns();
    const std::vector<Bytes> sent = lab.send(build(from_client(lab.plan())));
    ASSERT_EQ(sent.size(), 1u);
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(packets[0].bytes, sent[0]);
    const lb::CaptureFacts& facts = packets[0].facts;
    EXPECT_EQ(facts.verdict, WEIR_FORWARDED);
    EXPECT_EQ(facts.vip, 0u);
    EXPECT_EQ(facts.backend, backend_of(sent[0]));
    EXPECT_EQ(facts.interface, 0u);
    EXPECT_TRUE(facts.outbound);
    EXPECT_EQ(facts.original_length, sent[0].size());
    EXPECT_GE(facts.time_ns, before);
    EXPECT_LE(facts.time_ns, now_ns());
}

TEST(WorkerCapture, ADroppedPacketIsCopiedAsItCame) {
    CaptureLab lab({WEIR_FORWARD_FULL_NAT});
    const Bytes stray = build(from_client(lab.plan(), 0x10)); // ACK of nothing
    EXPECT_TRUE(lab.send(stray).empty());
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(packets[0].bytes, stray);
    EXPECT_EQ(packets[0].facts.verdict, WEIR_DROP_NO_CONNECTION);
    EXPECT_EQ(packets[0].facts.vip, 0u);
    EXPECT_EQ(packets[0].facts.backend, lb::kCaptureNoRow);
    EXPECT_FALSE(packets[0].facts.outbound);
}

// The arrays of a burst still hold what the burst before left there.
TEST(WorkerCapture, APacketThatIsDecidedEarlyHasNoRowsOfAnother) {
    CaptureLab lab({WEIR_FORWARD_NAT}, {~lb::VerdictSet{0}}, 1, true);
    lab.send(build(from_client(lab.plan())));
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    lab.send(arp);
    PacketPlan bad = from_client(lab.plan(), 0x03); // SYN and FIN: refused when the VIP is known
    lab.send(build(bad));
    lab.put_from_kernel(arp);
    lab.run();
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 4u);
    EXPECT_EQ(packets[1].facts.verdict, WEIR_PUNTED_CONTROL);
    EXPECT_EQ(packets[1].facts.vip, lb::kCaptureNoRow);
    EXPECT_EQ(packets[1].facts.backend, lb::kCaptureNoRow);
    EXPECT_EQ(packets[2].facts.verdict, WEIR_DROP_BAD_TCP_FLAGS);
    EXPECT_EQ(packets[2].facts.vip, 0u);
    EXPECT_EQ(packets[2].facts.backend, lb::kCaptureNoRow);
    EXPECT_EQ(packets[3].facts.verdict, WEIR_FROM_KERNEL);
    EXPECT_EQ(packets[3].facts.vip, lb::kCaptureNoRow);
    EXPECT_TRUE(packets[3].facts.outbound);
}

TEST(WorkerCapture, APuntThatTheKernelCannotTakeIsCapturedAsTheDropItIs) {
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    CaptureLab lab({WEIR_FORWARD_NAT}, {lb::verdict_bit(WEIR_DROP_NOT_OURS)});
    lab.send(arp);
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(packets[0].facts.verdict, WEIR_DROP_NOT_OURS);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NOT_OURS), 1u);
    CaptureLab other({WEIR_FORWARD_NAT}, {lb::verdict_bit(WEIR_PUNTED_CONTROL)});
    other.send(arp);
    EXPECT_TRUE(other.captured().empty()) << "nothing was punted";
}

TEST(WorkerCapture, TheVerdictFilterLetsOnlyThatVerdictThrough) {
    CaptureLab lab({WEIR_FORWARD_FULL_NAT}, {lb::verdict_bit(WEIR_DROP_NO_CONNECTION)});
    lab.put(build(from_client(lab.plan(), 0x02, 1000)));
    lab.put(build(from_client(lab.plan(), 0x10, 2000)));
    lab.put(build(from_client(lab.plan(), 0x02, 3000)));
    lab.run();
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(source_port_of(packets[0].bytes, false), 2000);
    EXPECT_EQ(lab.matched(), 1u);
}

TEST(WorkerCapture, TheVipFilterLetsOnlyThatVipThrough) {
    CaptureLab its({WEIR_FORWARD_NAT}, {~lb::VerdictSet{0}, 0});
    its.send(build(from_client(its.plan())));
    EXPECT_EQ(its.captured().size(), 1u);
    CaptureLab another({WEIR_FORWARD_NAT}, {~lb::VerdictSet{0}, 1});
    another.send(build(from_client(another.plan())));
    EXPECT_TRUE(another.captured().empty());
    EXPECT_EQ(another.matched(), 0u);
}

TEST(WorkerCapture, AReplyNamesItsVipAndBackend) {
    CaptureLab lab({WEIR_FORWARD_FULL_NAT}, {lb::verdict_bit(WEIR_REPLIED), 0});
    const Plan& p = lab.plan();
    const std::vector<Bytes> there = lab.send(build(from_client(p)));
    ASSERT_EQ(there.size(), 1u);
    PacketPlan reply;
    reply.destination_mac = kOurMac;
    reply.source = p.backend(backend_of(there[0]));
    reply.source_port = p.backend_port;
    reply.destination = p.snat();
    reply.destination_port = source_port_of(there[0], p.v6);
    reply.tcp_flags = 0x12;
    const std::vector<Bytes> back = lab.send(build(reply));
    ASSERT_EQ(back.size(), 1u);
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(packets[0].bytes, back[0]);
    EXPECT_EQ(packets[0].facts.backend, backend_of(there[0]));
}

// A packet that the first worker hands over is not its any more: only the owner may copy it.
TEST(WorkerCapture, AHandedOverPacketIsCopiedOnceByItsOwner) {
    CaptureLab lab({WEIR_FORWARD_NAT}, {~lb::VerdictSet{0}}, 2);
    for (std::uint16_t port = 1; port <= 64; port++)
        lab.put(build(from_client(lab.plan(), 0x02, port)), 0);
    const std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 64u);
    ASSERT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u);
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 64u);
    std::map<std::uint16_t, std::uint32_t> owner;
    for (const Sent& one : sent)
        owner[source_port_of(one.bytes, false)] = one.worker;
    for (const lb::CapturedPacket& packet : packets) {
        EXPECT_EQ(packet.facts.verdict, WEIR_FORWARDED);
        EXPECT_EQ(packet.worker, owner.at(source_port_of(packet.bytes, false)));
    }
}

TEST(WorkerCapture, EndsByItselfWhenTheOrderRunsOut) {
    CaptureLab lab({WEIR_FORWARD_NAT});
    lab.send(build(from_client(lab.plan(), 0x02, 1)));
    EXPECT_EQ(lab.matched(), 1u);
    lab.capture_order().start(1, {}, 1); // is over when it is looked at
    lab.send(build(from_client(lab.plan(), 0x02, 2)));
    EXPECT_EQ(lab.matched(), 1u);
}

TEST(WorkerCapture, WithoutAGenerationPacketsHaveNoRows) {
    CaptureLab lab({WEIR_FORWARD_NAT});
    lab.send(build(from_client(lab.plan())));
    lab.unpublish();
    lab.send(build(from_client(lab.plan())));
    const auto packets = lab.captured();
    ASSERT_EQ(packets.size(), 2u);
    EXPECT_EQ(packets[1].facts.verdict, WEIR_DROP_NO_CONFIGURATION);
    EXPECT_EQ(packets[1].facts.vip, lb::kCaptureNoRow);
}

} // namespace
} // namespace weir::dpdk
