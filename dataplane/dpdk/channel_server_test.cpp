// SPDX-License-Identifier: BSD-3-Clause
// Control's side of the channel, played against the real server over a real socket.
#include "dataplane/dpdk/channel_server.hpp"

#include "dataplane/dpdk/generations_fixture.hpp"
#include "dataplane/forwarding/connection_state.h"

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

class ChannelServerTest : public ::testing::Test {
protected:
    void SetUp() override {
        spdlog::set_level(spdlog::level::off);
        char directory[] = "/tmp/weir-server-XXXXXX";
        ASSERT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        auto memory = EngineMemory::create(2, 1024, false, false);
        ASSERT_TRUE(memory) << memory.error().sentence;
        memory_.emplace(std::move(*memory));
        auto hello = channel::make_message<channel::Hello>(MessageType::hello);
        hello.workers = 2;
        hello.interfaces = 1;
        auto server = ChannelServer::listen(path());
        ASSERT_TRUE(server) << server.error().sentence;
        server_.emplace(std::move(*server));
        server_->serve(hello, *memory_, generations_,
                       [this](std::uint32_t row, const std::string& name) -> Expected<void> {
                           attached_ = std::to_string(row) + " " + name;
                           if (row != 0)
                               return Error{"no such interface"};
                           return {};
                       });
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string path() const { return directory_ + "/" + channel::kSocketName; }

    channel::Socket connect() {
        std::string problem;
        auto socket = channel::Socket::connect(path(), problem);
        EXPECT_TRUE(socket) << problem;
        server_->on_listener_readable();
        return std::move(*socket);
    }

    static channel::Packet next(const channel::Socket& socket) {
        channel::Packet packet;
        EXPECT_EQ(socket.receive(packet), channel::Receive::packet);
        return packet;
    }

    // Reads the greeting up to Ready; returns what memory came.
    static std::vector<channel::MemoryKind> greeting(const channel::Socket& socket,
                                                     channel::Hello& hello) {
        std::vector<channel::MemoryKind> kinds;
        hello = next(socket).as<channel::Hello>().value();
        for (;;) {
            channel::Packet packet = next(socket);
            if (packet.type() != MessageType::memory)
                break;
            EXPECT_TRUE(packet.descriptor);
            kinds.push_back(packet.as<channel::Memory>()->kind);
        }
        return kinds;
    }

    static void send_segment(const channel::Socket& socket, const SentGeneration& sent) {
        auto memory = channel::make_message<channel::Memory>(MessageType::memory);
        memory.kind = channel::MemoryKind::segment;
        memory.id = sent.segment_id();
        ASSERT_TRUE(socket.send(memory, sent.segment.descriptor()));
    }
    channel::Ack publish(const channel::Socket& socket, const SentGeneration& sent) {
        auto message = channel::make_message<channel::Publish>(MessageType::publish);
        message.generation = sent.sample.tables.generation;
        EXPECT_TRUE(socket.send(message, sent.root.descriptor()));
        server_->on_client_readable();
        return next(socket).as<channel::Ack>().value();
    }

    std::string directory_;
    Readers readers_;
    Generations generations_{readers_.rcu.get(), 1};
    std::optional<EngineMemory> memory_;
    std::optional<ChannelServer> server_;
    std::string attached_;
};

// The forwarding state of a SentGeneration.
class SentState {
public:
    explicit SentState(std::uint64_t generation) : sent_(generation) {
        std::string problem;
        state_ = lb::ForwardingState::open(sent_.root.bytes(), {&sent_.sample.segment, 1}, problem);
        EXPECT_TRUE(state_) << problem;
    }
    const lb::ForwardingState& operator*() const { return *state_; }

private:
    SentGeneration sent_;
    std::optional<lb::ForwardingState> state_;
};

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

// What control sends an engine of what it kept of the one before.
void give(const channel::Socket& control, const EngineMemory& memory) {
    auto message = channel::make_message<channel::Memory>(MessageType::memory);
    message.kind = channel::MemoryKind::connections;
    for (message.worker = 0; message.worker < memory.workers(); message.worker++)
        ASSERT_TRUE(control.send(message, memory.table_descriptor(message.worker)));
    message.kind = channel::MemoryKind::legend;
    ASSERT_TRUE(control.send(message, memory.legend_descriptor()));
    ASSERT_TRUE(control.send(channel::make_message<channel::Kept>(MessageType::kept)));
}

// One confirmed connection of VIP 0 in the worker's table.
void open_connection(EngineMemory& memory, std::uint32_t worker, std::uint32_t client) {
    lb::NewConnection made;
    made.key = lb::forward_key(weir_address_from_v4(client), 1, weir_swap16(80), 0);
    made.forward_hash = client;
    made.reply_indexed = true;
    made.reply_hash = client + 1000;
    made.state = 6;
    made.probation = false;
    EXPECT_EQ(memory.table(worker)
                  .insert(
                      made, static_cast<std::uint16_t>(monotonic_s()), UINT32_MAX,
                      [](const lb::HotRow&) { return false; },
                      [](lb::EntryIndex, const lb::HotRow&) {})
                  .outcome,
              lb::InsertOutcome::kInserted);
}

class InheritanceTest : public ChannelServerTest {
protected:
    void SetUp() override {
        ChannelServerTest::SetUp();
        sent_.sample.tables.vips[0].identity = 1;
        sent_.root = sealed(lb::build_root(sent_.sample.tables));
        memory_->follow(state());
        open_connection(*memory_, 0, 5);
        open_connection(*memory_, 1, 6);
    }
    // Of which the former engine's rows are.
    const lb::ForwardingState& state() {
        if (!generations_.running()) {
            EXPECT_TRUE(generations_.add_segment(sent_.segment_id(), copy_of(sent_.segment)));
            EXPECT_TRUE(generations_.publish(3, copy_of(sent_.root)));
        }
        return generations_.running()->state;
    }
    Expected<ChannelServer> next_server() {
        return ChannelServer::listen(directory_ + "/next.sock");
    }
    channel::Socket connect_next() {
        std::string problem;
        return std::move(*channel::Socket::connect(directory_ + "/next.sock", problem));
    }
    Inheritance what_the_next_one_is_given() {
        auto server = next_server();
        channel::Socket control = connect_next();
        give(control, *memory_);
        return server->wait_for_inheritance(std::chrono::seconds(5));
    }
    SentGeneration sent_{3};
};

TEST_F(InheritanceTest, TablesOfTheSameGeometryAreUsedOnInPlace) {
    Inheritance left = what_the_next_one_is_given();
    left.open(2);
    ASSERT_TRUE(left.takeover);
    left.keep_fitting(EngineMemory::geometry_of(1024, 0, 2), config::HugepageUse::kAuto);
    ASSERT_EQ(left.tables.size(), 2u);
    auto next = EngineMemory::create(2, 1024, false, false, std::move(left));
    ASSERT_TRUE(next) << next.error().sentence;
    EXPECT_EQ(next->table(0).entries() + next->table(1).entries(), 2u);
    const auto numbers = next->take_over(state(), nullptr);
    ASSERT_TRUE(numbers);
    EXPECT_EQ(numbers->adopted, 2u);
    EXPECT_EQ(numbers->refused, 0u);
    EXPECT_FALSE(next->take_over(state(), nullptr)) << "once";
    const std::uint32_t before = memory_->table(0).entries();
    open_connection(*next, 0, 7);
    EXPECT_EQ(memory_->table(0).entries(), before + 1) << "it is the very memory";
}

TEST_F(InheritanceTest, TablesOfAnotherGeometryAreReadOutAndTheirMemoryIsGivenBack) {
    Inheritance left = what_the_next_one_is_given();
    left.open(1);
    left.keep_fitting(EngineMemory::geometry_of(512, 0, 1), config::HugepageUse::kAuto);
    EXPECT_TRUE(left.tables.empty());
    struct stat status {};
    ::fstat(memory_->table_descriptor(0), &status);
    EXPECT_EQ(status.st_size, 0);
    auto next = EngineMemory::create(1, 512, false, false, std::move(left));
    ASSERT_TRUE(next) << next.error().sentence;
    EXPECT_EQ(next->take_over(state(), nullptr)->adopted, 2u);
    EXPECT_EQ(next->table(0).entries(), 2u);
}

TEST_F(InheritanceTest, ALateOneIsTakenUpToTheFirstGeneration) {
    auto next = EngineMemory::create(2, 1024, false, false);
    ASSERT_TRUE(next);
    Readers readers;
    Generations generations(readers.rcu.get(), 1);
    auto server = next_server();
    server->serve(channel::make_message<channel::Hello>(MessageType::hello), *next, generations,
                  {});
    EXPECT_TRUE(server->wait_for_inheritance(std::chrono::milliseconds(1)).tables.empty());
    channel::Socket control = connect_next();
    server->on_listener_readable();
    give(control, *memory_);
    server->on_client_readable();
    EXPECT_EQ(next->table(0).entries(), 0u);
    EXPECT_EQ(next->take_over(state(), nullptr)->adopted, 2u);
    EXPECT_EQ(next->table(0).entries() + next->table(1).entries(), 2u);
}

TEST_F(InheritanceTest, NothingIsTakenOnceAGenerationRuns) {
    channel::Socket control = connect();
    give(control, *memory_);
    server_->on_client_readable();
    EXPECT_TRUE(server_->connected());
    EXPECT_FALSE(memory_->take_over(state(), nullptr));
}

// Connections of another engine (the sample's VIP is in nat): with nothing left by a dataplane,
// too.
TEST_F(ChannelServerTest, WhatAnotherEngineMadeBeginsWithTheFirstGeneration) {
    channel::Socket control = connect();
    channel::Hello hello;
    greeting(control, hello);
    lb::GivenConnection made{};
    made.row.client = weir_address_from_v4(5);
    made.row.client_port = 1;
    made.row.service_port = weir_swap16(80);
    made.row.state = WEIR_STATE_ESTABLISHED;
    made.row.last_hop = lb::kNoLastHop;
    const std::vector<lb::GivenConnection> two = {made, {}}; // the second names nothing
    const auto send = [&](std::span<const std::byte> content) {
        auto message = channel::make_message<channel::Memory>(MessageType::memory);
        message.kind = channel::MemoryKind::given;
        ASSERT_TRUE(control.send(message, sealed(content).descriptor()));
        server_->on_client_readable();
    };
    send(std::as_bytes(std::span(two)).first(100));
    EXPECT_TRUE(server_->connected()) << "of another layout: lost, and no more than that";
    EXPECT_FALSE(memory_->take_over(*SentState(3), nullptr));
    send(std::as_bytes(std::span(two)));
    const auto numbers = memory_->take_over(*SentState(3), nullptr);
    ASSERT_TRUE(numbers);
    EXPECT_EQ(numbers->given, 1u);
    EXPECT_EQ(numbers->refused, 1u);
    EXPECT_EQ(memory_->table(0).entries() + memory_->table(1).entries(), 1u);

    const SentGeneration sent(3);
    send_segment(control, sent);
    ASSERT_EQ(publish(control, sent).accepted, 1u);
    send(std::as_bytes(std::span(two)));
    EXPECT_FALSE(server_->connected()) << "its connections are its own now";
}

TEST_F(InheritanceTest, ALegendOfAnotherReleaseMakesTheTablesWorthless) {
    std::string problem;
    auto legend =
        channel::SharedMemory::map(channel::Descriptor(::dup(memory_->legend_descriptor())),
                                   channel::Access::read_write, false, problem);
    reinterpret_cast<lb::RowLegend*>(legend->bytes().data())->version++;
    Inheritance left = what_the_next_one_is_given();
    left.open(2);
    EXPECT_FALSE(left.takeover);
    EXPECT_TRUE(left.tables.empty());
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
