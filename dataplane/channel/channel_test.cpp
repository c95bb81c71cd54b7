// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/channel/socket.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace weir::channel {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

class ChannelTest : public ::testing::Test {
protected:
    void SetUp() override {
        char directory[] = "/tmp/weir-channel-XXXXXX";
        ASSERT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        path_ = directory_ + "/" + kSocketName;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string directory_;
    std::string path_;
    std::string problem_;
};

TEST_F(ChannelTest, DescriptorTravelsWithItsMessage) {
    auto listener = Socket::listen(path_, problem_);
    ASSERT_TRUE(listener) << problem_;
    auto client = Socket::connect(path_, problem_);
    ASSERT_TRUE(client) << problem_;
    auto server = listener->accept();
    ASSERT_TRUE(server);

    auto segment = SharedMemory::create_sealed("test", bytes_of("slots"), problem_);
    ASSERT_TRUE(segment) << problem_;
    auto sent = make_message<Memory>(MessageType::memory);
    sent.kind = MemoryKind::segment;
    sent.id = 42;
    ASSERT_TRUE(client->send(sent, segment->descriptor()));

    Packet packet;
    ASSERT_EQ(server->receive(packet), Receive::packet);
    ASSERT_EQ(packet.type(), MessageType::memory);
    EXPECT_EQ(packet.as<Memory>()->id, 42u);
    EXPECT_FALSE(packet.as<Publish>() && packet.as<Hello>()) << "sizes tell messages apart";
    auto mapped =
        SharedMemory::map(std::move(packet.descriptor), Access::read_only, true, problem_);
    ASSERT_TRUE(mapped) << problem_;
    EXPECT_EQ(std::memcmp(mapped->bytes().data(), "slots", 5), 0);
}

TEST_F(ChannelTest, ClosedPeerIsSeen) {
    auto listener = Socket::listen(path_, problem_);
    auto client = Socket::connect(path_, problem_);
    auto server = listener->accept();
    ASSERT_TRUE(server);
    Packet packet;
    EXPECT_EQ(server->receive(packet), Receive::nothing_yet);
    client->close();
    EXPECT_EQ(server->receive(packet), Receive::closed);
}

TEST_F(ChannelTest, NobodyListeningIsASentence) {
    EXPECT_FALSE(Socket::connect(path_, problem_));
    EXPECT_NE(problem_.find(path_), std::string::npos);
}

TEST_F(ChannelTest, TooLongPathIsASentence) {
    EXPECT_FALSE(Socket::listen(std::string(200, 'x'), problem_));
    EXPECT_NE(problem_.find("--runtime-dir"), std::string::npos);
}

TEST_F(ChannelTest, SealedMemoryCannotBeWritten) {
    auto segment = SharedMemory::create_sealed("test", bytes_of("x"), problem_);
    ASSERT_TRUE(segment);
    EXPECT_LT(::write(segment->descriptor(), "y", 1), 0);
    EXPECT_NE(::ftruncate(segment->descriptor(), 100), 0);
}

TEST_F(ChannelTest, UnsealedMemoryIsRefused) {
    Descriptor plain(::memfd_create("test", MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(plain.get(), 4096), 0);
    EXPECT_FALSE(SharedMemory::map(std::move(plain), Access::read_only, true, problem_));
    EXPECT_EQ(problem_, "the memory segment is not sealed");
}

TEST_F(ChannelTest, AnotherProtocolVersionHasNoType) {
    Packet packet;
    auto message = make_message<Ready>(MessageType::ready);
    message.header.version = kProtocolVersion + 1;
    const auto* first = reinterpret_cast<const std::byte*>(&message);
    packet.bytes.assign(first, first + sizeof(message));
    EXPECT_FALSE(packet.type());
    packet.bytes.resize(3);
    EXPECT_FALSE(packet.type());
}

} // namespace
} // namespace weir::channel
