// SPDX-License-Identifier: BSD-3-Clause
// A real server on a real socket, and what a test needs to play control.
#pragma once

#include "dataplane/dpdk/channel_server.hpp"
#include "dataplane/dpdk/generations_fixture.hpp"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>

namespace weir::dpdk {

class ChannelServerTest : public ::testing::Test {
protected:
    using MessageType = channel::MessageType;

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

} // namespace weir::dpdk
