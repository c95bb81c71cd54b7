// SPDX-License-Identifier: BSD-3-Clause
// What a dataplane is given of others: the tables of the one before it, and connections that
// another engine made.
#include "dataplane/dpdk/channel_server_fixture.hpp"
#include "dataplane/forwarding/connection_state.h"

#include <sys/stat.h>

namespace weir::dpdk {
namespace {

using channel::MessageType;

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
    const std::vector<lb::GivenNetwork> network = {
        lb::PersistenceTable::entry_of(77, 0, 123, static_cast<std::uint32_t>(monotonic_s()))};
    const auto send = [&](std::span<const std::byte> content,
                          channel::MemoryKind kind = channel::MemoryKind::given_connections) {
        auto message = channel::make_message<channel::Memory>(MessageType::memory);
        message.kind = kind;
        ASSERT_TRUE(control.send(message, sealed(content).descriptor()));
        server_->on_client_readable();
    };
    send(std::as_bytes(std::span(two)).first(100));
    send(std::as_bytes(std::span(network)).first(15), channel::MemoryKind::given_networks);
    EXPECT_TRUE(server_->connected()) << "of another layout: lost, and no more than that";
    EXPECT_FALSE(memory_->take_over(*SentState(3), nullptr));
    send(std::as_bytes(std::span(two)));
    send(std::as_bytes(std::span(network)), channel::MemoryKind::given_networks);
    const auto numbers = memory_->take_over(*SentState(3), nullptr);
    ASSERT_TRUE(numbers);
    EXPECT_EQ(numbers->given, 1u);
    EXPECT_EQ(numbers->refused, 1u);
    EXPECT_EQ(memory_->table(0).entries() + memory_->table(1).entries(), 1u);
    for (std::uint32_t worker : {0u, 1u})
        EXPECT_TRUE(
            memory_->persistence(worker).find(77, static_cast<std::uint16_t>(monotonic_s()), 60));

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

} // namespace
} // namespace weir::dpdk
