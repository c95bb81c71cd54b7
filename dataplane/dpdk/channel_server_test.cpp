// SPDX-License-Identifier: BSD-3-Clause
// Control's side of the channel, played against the real server over a real socket.
#include "dataplane/dpdk/channel_server_fixture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <poll.h>
#include <random>
#include <sys/socket.h>
#include <sys/stat.h>

namespace weir::dpdk {
namespace {

using channel::MessageType;
using ::testing::HasSubstr;

using K = channel::MemoryKind;

TEST_F(ChannelServerTest, GreetsWithEverythingControlNeeds) {
    channel::Socket control = connect();
    channel::Hello hello;
    EXPECT_THAT(greeting(control, hello),
                ::testing::ElementsAre(K::counters, K::connections, K::connections, K::legend,
                                       K::captures, K::captures));
    EXPECT_EQ(hello.generation, 0u);
    EXPECT_EQ(hello.workers, 2u);
}

TEST_F(ChannelServerTest, ControlReadsTheCountersThatTheEngineWrites) {
    channel::Socket control = connect();
    next(control);
    channel::Packet packet = next(control);
    std::string problem;
    auto mapped = channel::SharedMemory::map(std::move(packet.descriptor),
                                             channel::Access::read_only, false, problem);
    ASSERT_TRUE(mapped) << problem;
    auto view = lb::CountersView::open(mapped->bytes(), problem);
    ASSERT_TRUE(view) << problem;
    lb::begin_write(memory_->counters().worker(1));
    memory_->counters().worker(1).generated = 42;
    lb::end_write(memory_->counters().worker(1));
    EXPECT_EQ(view->read(1)->generated, 42u);
}

TEST_F(ChannelServerTest, APublishedGenerationIsAcknowledgedAndToldToTheNextControl) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    const SentGeneration sent(5);
    send_segment(control, sent);
    const channel::Ack ack = publish(control, sent);
    EXPECT_EQ(ack.accepted, 1u);
    EXPECT_EQ(ack.generation, 5u);
    EXPECT_EQ(generations_.current().load()->generation(), 5u);

    channel::Socket second = connect();
    EXPECT_THAT(greeting(second, hello),
                ::testing::ElementsAre(K::counters, K::connections, K::connections, K::legend,
                                       K::captures, K::captures, K::segment, K::root));
    EXPECT_EQ(hello.generation, 5u);
    channel::Packet packet;
    EXPECT_EQ(control.receive(packet), channel::Receive::closed) << "the newest one is obeyed";
    EXPECT_EQ(publish(second, SentGeneration(6)).accepted, 1u) << "the segment is held already";
}

TEST_F(ChannelServerTest, ARefusedGenerationSaysWhy) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    const channel::Ack ack = publish(control, SentGeneration(5));
    EXPECT_EQ(ack.accepted, 0u);
    EXPECT_EQ(ack.generation, 5u);
    EXPECT_THAT(ack.sentence, HasSubstr("was not sent"));
    EXPECT_TRUE(server_->connected());
}

TEST_F(ChannelServerTest, TapsAreAttachedOrRefusedWithASentence) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    auto attach = channel::make_message<channel::AttachTap>(MessageType::attach_tap);
    std::memset(attach.kernel_name, 'x', sizeof(attach.kernel_name)); // not terminated
    ASSERT_TRUE(control.send(attach));
    server_->on_client_readable();
    EXPECT_EQ(next(control).as<channel::Ack>()->accepted, 1u);
    EXPECT_EQ(attached_, "0 " + std::string(16, 'x'));
    attach.interface = 0xffffffff;
    ASSERT_TRUE(control.send(attach));
    server_->on_client_readable();
    EXPECT_STREQ(next(control).as<channel::Ack>()->sentence, "no such interface");
}

channel::Capture capture_message(std::uint32_t session, std::uint64_t lease_ns) {
    auto message = channel::make_message<channel::Capture>(MessageType::capture);
    message.session = session;
    message.vip = 3;
    message.verdicts = lb::verdict_bit(WEIR_FORWARDED);
    message.snaplen = 96;
    message.lease_ns = lease_ns;
    return message;
}

TEST_F(ChannelServerTest, ACaptureIsOrderedForAWhileAndEndsWithItsControl) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    lb::CaptureOrder& order = memory_->capture_order();
    const auto send = [&](const channel::Capture& message) {
        ASSERT_TRUE(control.send(message));
        server_->on_client_readable();
    };
    EXPECT_FALSE(order.on(0));
    send(capture_message(5, UINT64_MAX));
    EXPECT_TRUE(order.on(0));
    EXPECT_FALSE(order.on(UINT64_MAX / 2)) << "no lease is for ever";
    EXPECT_EQ(order.filter(5)->vip, 3u);
    EXPECT_EQ(order.filter(5)->snaplen, 96u);
    EXPECT_EQ(order.filter(5)->verdicts, lb::verdict_bit(WEIR_FORWARDED));
    send(capture_message(5, 0));
    EXPECT_FALSE(order.on(0));
    send(capture_message(6, 1'000'000'000));
    EXPECT_TRUE(order.on(0));
    control.close();
    server_->on_client_readable();
    EXPECT_FALSE(order.on(0)) << "nobody is there to read";
}

TEST_F(ChannelServerTest, ANewerControlDoesNotInheritACapture) {
    channel::Socket control = connect();
    ASSERT_TRUE(control.send(capture_message(5, 1'000'000'000)));
    server_->on_client_readable();
    ASSERT_TRUE(memory_->capture_order().on(0));
    channel::Socket second = connect();
    EXPECT_FALSE(memory_->capture_order().on(0));
}

TEST_F(ChannelServerTest, AControlThatVanishesIsForgotten) {
    {
        channel::Socket control = connect();
        ASSERT_TRUE(server_->connected());
    }
    server_->on_client_readable();
    EXPECT_FALSE(server_->connected());
    channel::Socket again = connect();
    EXPECT_TRUE(server_->connected());
}

TEST_F(ChannelServerTest, AnotherProtocolVersionIsToldSo) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    auto ready = channel::make_message<channel::Ready>(MessageType::ready);
    ready.header.version++;
    ASSERT_TRUE(control.send(ready));
    server_->on_client_readable();
    EXPECT_THAT(next(control).as<channel::Ack>()->sentence, HasSubstr("same release"));
    EXPECT_FALSE(server_->connected());
}

// Whatever arrives, the server lives, and the generation that runs stays.
TEST_F(ChannelServerTest, GarbageEndsTheConnectionAndNothingElse) {
    {
        channel::Socket control = connect();
        channel::Hello hello;
        greeting(control, hello);
        const SentGeneration sent(5);
        send_segment(control, sent);
        ASSERT_EQ(publish(control, sent).accepted, 1u);
    }
    std::mt19937_64 random(7);
    const SentGeneration some(9);
    for (int round = 0; round < 2000; round++) {
        channel::Socket control = connect();
        std::vector<std::byte> bytes(random() % 400);
        for (std::byte& byte : bytes)
            byte = static_cast<std::byte>(random());
        const channel::MessageHeader header{static_cast<MessageType>(random() % 10),
                                            channel::kProtocolVersion};
        const std::size_t sizes[] = {sizeof(channel::Memory), sizeof(channel::Publish),
                                     sizeof(channel::AttachTap), sizeof(channel::Capture)};
        if (random() % 2)
            bytes.resize(sizes[random() % 4]);
        if (random() % 4 && bytes.size() >= sizeof(header))
            std::memcpy(bytes.data(), &header, sizeof(header));
        iovec part{bytes.data(), bytes.size()};
        alignas(cmsghdr) char control_bytes[CMSG_SPACE(sizeof(int))]{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (random() % 2) {
            const int descriptor =
                random() % 2 ? some.root.descriptor() : some.segment.descriptor();
            message.msg_control = control_bytes;
            message.msg_controllen = sizeof(control_bytes);
            cmsghdr* c = CMSG_FIRSTHDR(&message);
            *c = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
            std::memcpy(CMSG_DATA(c), &descriptor, sizeof(int));
        }
        ASSERT_GE(::sendmsg(control.descriptor(), &message, MSG_NOSIGNAL), 0);
        server_->on_client_readable();
    }
    EXPECT_EQ(generations_.current().load()->generation(), 5u);
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    EXPECT_EQ(hello.generation, 5u);
}

} // namespace
} // namespace weir::dpdk
