// SPDX-License-Identifier: BSD-3-Clause
// The link against an engine of our own making at the other end of the socket.
#include "control/engine_link/engine_link.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "control/compile/sample.hpp"
#include "dataplane/lb/connection_table.hpp"

namespace weir::control {
namespace {

using channel::MemoryKind;
using channel::MessageType;

// The engine's end: takes what control sends, holds segments as the real one does.
class FakeEngine {
public:
    explicit FakeEngine(const std::string& path) {
        auto listener = channel::Socket::listen(path, problem);
        EXPECT_TRUE(listener) << problem;
        listener_ = std::move(*listener);
    }

    bool accept() {
        if (auto connection = listener_.accept())
            connection_ = std::move(*connection);
        return static_cast<bool>(connection_);
    }

    // `tables`: shows a connection table and its legend, too.
    void greet(const Generation* running, bool tables = false) {
        auto hello = channel::make_message<channel::Hello>(MessageType::hello);
        hello.workers = 1;
        hello.pid = 4711;
        connection_.send(hello);
        auto counters = channel::SharedMemory::create("counters", lb::CountersView::bytes_needed(1),
                                                      false, problem);
        ASSERT_TRUE(counters) << problem;
        lb::CountersView::format(counters->bytes(), 1);
        share(MemoryKind::counters, 0, counters->descriptor());
        if (tables)
            share_tables();
        ring = channel::SharedMemory::create("capture", lb::capture_ring_bytes(), false, problem);
        ASSERT_TRUE(ring) << problem;
        lb::CaptureProducer::format(ring->bytes(), 0);
        share(MemoryKind::captures, 0, ring->descriptor());
        if (running != nullptr) {
            for (const auto& [id, memory] : running->segments())
                share(MemoryKind::segment, id, memory->descriptor());
            share(MemoryKind::root, running->number(), running->root_descriptor());
        }
        connection_.send(channel::make_message<channel::Ready>(MessageType::ready));
    }

    // Everything that is waiting.
    void receive() {
        channel::Packet packet;
        while (connection_ && connection_.receive(packet) == channel::Receive::packet) {
            if (packet.type() == MessageType::kept)
                kept_said++;
            const auto memory = packet.as<channel::Memory>();
            if (memory && memory->kind == MemoryKind::segment)
                segments.push_back(memory->id);
            if (memory &&
                (memory->kind == MemoryKind::connections || memory->kind == MemoryKind::legend)) {
                given_back.push_back(memory->kind);
                first_word_given_back = first_word(std::move(packet.descriptor));
            }
            if (const auto publish = packet.as<channel::Publish>()) {
                published.push_back(publish->generation);
                auto root = channel::SharedMemory::map(std::move(packet.descriptor),
                                                       channel::Access::read_only, true, problem);
                EXPECT_TRUE(root) << problem;
            }
            if (const auto attach = packet.as<channel::AttachTap>())
                taps.emplace_back(attach->kernel_name);
            if (const auto order = packet.as<channel::Capture>())
                captures.push_back(*order);
        }
    }

    void answer(std::uint64_t generation, bool accepted, const char* why = "") {
        auto ack = channel::make_message<channel::Ack>(MessageType::ack);
        ack.generation = generation;
        ack.accepted = accepted ? 1 : 0;
        std::strncpy(ack.sentence, why, sizeof(ack.sentence) - 1);
        EXPECT_TRUE(connection_.send(ack));
    }

    void hang_up() { connection_.close(); }

    std::string problem;
    std::vector<std::uint64_t> segments;
    std::vector<MemoryKind> given_back;
    std::uint64_t first_word_given_back = 0; // of the last of them
    int kept_said = 0;
    std::vector<std::uint64_t> published;
    std::vector<std::string> taps;
    std::vector<channel::Capture> captures;
    std::optional<channel::SharedMemory> ring;
    std::optional<channel::SharedMemory> table;
    std::optional<channel::SharedMemory> legend;

private:
    void share_tables() {
        const lb::TableGeometry geometry{64, 4, 0, 1, 16};
        table = channel::SharedMemory::create("table", lb::ConnectionTable::bytes_needed(geometry),
                                              false, problem);
        ASSERT_TRUE(table) << problem;
        lb::ConnectionTable::format(table->bytes(), geometry);
        share(MemoryKind::connections, 0, table->descriptor());
        legend = channel::SharedMemory::create("legend", 64, false, problem);
        ASSERT_TRUE(legend) << problem;
        legend->bytes()[0] = std::byte{42};
        share(MemoryKind::legend, 0, legend->descriptor());
    }

    // As another engine would see it that writes to it.
    std::uint64_t first_word(channel::Descriptor descriptor) {
        const auto memory = channel::SharedMemory::map(std::move(descriptor),
                                                       channel::Access::read_write, false, problem);
        EXPECT_TRUE(memory) << problem;
        std::uint64_t word = 0;
        if (memory)
            std::memcpy(&word, memory->bytes().data(), sizeof(word));
        return word;
    }

    void share(MemoryKind kind, std::uint64_t id, int descriptor) {
        auto message = channel::make_message<channel::Memory>(MessageType::memory);
        message.kind = kind;
        message.id = id;
        EXPECT_TRUE(connection_.send(message, descriptor));
    }

    channel::Socket listener_;
    channel::Socket connection_;
};

class EngineLinkTest : public ::testing::Test {
protected:
    EngineLinkTest() {
        char directory[] = "/tmp/weir-link-XXXXXX";
        EXPECT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        path_ = directory_ + "/dataplane.sock";
        link_ = std::make_unique<EngineLink>(
            io_, path_,
            EngineLink::Handlers{
                .ready =
                    [this](const Engine&, std::shared_ptr<const Generation> running) {
                        ready_++;
                        running_ = std::move(running);
                    },
                .lost = [this](bool) { lost_++; },
                .answered =
                    [this](const std::shared_ptr<const Generation>&, bool accepted,
                           const std::string& reason) {
                        (accepted ? accepted_ : refused_)++;
                        reason_ = reason;
                    },
                .tap_answered = [this](bool accepted, const std::string&) { tap_ = accepted; }});
    }
    ~EngineLinkTest() override { std::filesystem::remove_all(directory_); }

    template <class Condition>::testing::AssertionResult until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline)
                return ::testing::AssertionFailure() << "not within 10 s";
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(10));
        }
        return ::testing::AssertionSuccess();
    }

    std::shared_ptr<const Generation> next() {
        const auto before = newest_;
        newest_ = Generation::seal(world_.compile(), before.get()).value();
        return newest_;
    }

    boost::asio::io_context io_;
    std::string directory_;
    std::string path_;
    std::unique_ptr<EngineLink> link_;
    sample::World world_;
    std::shared_ptr<const Generation> newest_;
    std::shared_ptr<const Generation> running_;
    std::string reason_;
    int ready_ = 0, lost_ = 0, accepted_ = 0, refused_ = 0;
    bool tap_ = false;
};

TEST_F(EngineLinkTest, ACaptureIsOrderedAndItsRingIsReadEvenWhenTheLinkIsLost) {
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(nullptr);
    ASSERT_TRUE(until([&] { return link_->engine() != nullptr; }));
    ASSERT_EQ(link_->engine()->captures.size(), 1u);
    const CaptureSource source = link_->engine()->captures[0];
    auto message = channel::make_message<channel::Capture>(MessageType::capture);
    message.session = 9;
    ASSERT_TRUE(link_->order_capture(message));
    engine.receive();
    ASSERT_EQ(engine.captures.size(), 1u);
    EXPECT_EQ(engine.captures[0].session, 9u);

    lb::CaptureOrder order;
    lb::CaptureProducer worker(engine.ring->bytes(), order);
    order.start(9, {~lb::VerdictSet{0}}, 1000);
    worker.follow(1);
    engine.hang_up();
    ASSERT_TRUE(until([&] { return link_->engine() == nullptr; }));
    lb::CaptureReader reader = source.reader;
    EXPECT_TRUE(reader.begin(9));
}

TEST_F(EngineLinkTest, PublishesAndSendsOnlyWhatTheEngineLacks) {
    link_->start(); // nobody listens yet
    FakeEngine engine(path_);
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    EXPECT_EQ(link_->engine(), nullptr);
    engine.greet(nullptr);
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    EXPECT_EQ(running_, nullptr);
    EXPECT_EQ(link_->engine()->hello.pid, 4711u);
    ASSERT_TRUE(link_->engine()->counters);
    EXPECT_EQ(link_->engine()->counters->blocks(), 2u);

    ASSERT_TRUE(link_->publish(next()));
    EXPECT_TRUE(link_->publishing());
    ASSERT_TRUE(until([&] { return engine.receive(), engine.published.size() == 1; }));
    EXPECT_EQ(engine.segments.size(), 1u);
    engine.answer(1, true);
    ASSERT_TRUE(until([&] { return accepted_ == 1; }));
    EXPECT_EQ(link_->live()->number(), 1u);

    ASSERT_TRUE(link_->publish(next()));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.published.size() == 2; }));
    EXPECT_EQ(engine.segments.size(), 1u) << "the table did not change";
    engine.answer(2, false, "because");
    ASSERT_TRUE(until([&] { return refused_ == 1; }));
    EXPECT_EQ(reason_, "because");
    EXPECT_EQ(link_->live()->number(), 1u) << "the old one stays";
}

TEST_F(EngineLinkTest, RecoversTheRunningGeneration) {
    const auto running = next();
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(running.get());
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    ASSERT_NE(running_, nullptr);
    EXPECT_TRUE(running_->same_content(*running));
    EXPECT_EQ(history_of(running_->state()).backends.size(), 3u);
    ASSERT_TRUE(link_->publish(next()));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.published.size() == 1; }));
    EXPECT_TRUE(engine.segments.empty()) << "it holds the table it runs with";
}

TEST_F(EngineLinkTest, ComesBackAfterTheEngineEnded) {
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(nullptr);
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    ASSERT_TRUE(link_->publish(next()));
    engine.hang_up();
    ASSERT_TRUE(until([&] { return lost_ == 1; }));
    EXPECT_EQ(link_->engine(), nullptr);
    EXPECT_FALSE(link_->publishing());
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(nullptr);
    ASSERT_TRUE(until([&] { return ready_ == 2; }));
}

TEST_F(EngineLinkTest, GivesTheNextEngineTheTablesOfOneThatForwarded) {
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.kept_said == 1; }));
    EXPECT_TRUE(engine.given_back.empty()) << "there was no engine before it";
    engine.greet(nullptr, true);
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    ASSERT_TRUE(link_->publish(next()));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.published.size() == 1; }));
    engine.answer(1, true);
    ASSERT_TRUE(until([&] { return accepted_ == 1; }));
    engine.hang_up();
    ASSERT_TRUE(until([&] { return lost_ == 1; }));

    ASSERT_TRUE(until([&] { return engine.accept(); }));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.kept_said == 2; }));
    EXPECT_EQ(engine.given_back, (std::vector{MemoryKind::connections, MemoryKind::legend}));
    EXPECT_EQ(engine.first_word_given_back, 42u) << "it is the very memory";

    // This one dies before it forwards: the next is given the same.
    engine.greet(nullptr, true);
    ASSERT_TRUE(until([&] { return ready_ == 2; }));
    engine.legend->bytes()[0] = std::byte{43};
    engine.hang_up();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.kept_said == 3; }));
    EXPECT_EQ(engine.first_word_given_back, 42u);
}

TEST_F(EngineLinkTest, TablesOfAnEngineThatIsFoundForwardingAreKeptToo) {
    const auto running = next();
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(running.get(), true);
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    engine.hang_up();
    ASSERT_TRUE(until([&] { return lost_ == 1; }));
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.kept_said == 1; }));
    EXPECT_EQ(engine.given_back.size(), 2u);
}

TEST_F(EngineLinkTest, AttachesTaps) {
    FakeEngine engine(path_);
    link_->start();
    ASSERT_TRUE(until([&] { return engine.accept(); }));
    engine.greet(nullptr);
    ASSERT_TRUE(until([&] { return ready_ == 1; }));
    ASSERT_TRUE(link_->attach_tap(0, "weir-uplink"));
    ASSERT_TRUE(until([&] { return engine.receive(), engine.taps.size() == 1; }));
    EXPECT_EQ(engine.taps[0], "weir-uplink");
    engine.answer(0, true);
    ASSERT_TRUE(until([&] { return tap_; }));
}

TEST_F(EngineLinkTest, SameContentIgnoresTheNumber) {
    const auto first = next();
    const auto second = next();
    EXPECT_TRUE(first->same_content(*second));
    world_.config.pools[0].backends[0].weight = 11;
    EXPECT_FALSE(first->same_content(*next()));
}

} // namespace
} // namespace weir::control
