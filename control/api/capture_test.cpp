// SPDX-License-Identifier: BSD-3-Clause
// The stream over an engine that is a ring in plain memory, with the test as its worker.
#include "control/api/capture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "control/compile/sample.hpp"

namespace weir::control {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint64_t kStart_ns = 1000;

class CaptureTest : public ::testing::Test {
protected:
    CaptureTest()
        : desk_(io_, {.snapshot = [this] { return snapshot(); },
                      .order = [this](const channel::Capture& order) { return take(order); }}) {
        for (const config::BackendConfig& backend : world_.config.pools[0].backends)
            world_.adjacency.hops[backend.address.address] = {
                0, net::MacAddress::parse("02:00:00:00:00:21").value(), 1500};
        compiled_ = world_.compile();
        live_ = Generation::seal(*compiled_, nullptr).value();
        std::string problem;
        auto memory =
            channel::SharedMemory::create("capture", lb::capture_ring_bytes(), false, problem);
        lb::CaptureProducer::format(memory->bytes(), 0);
        worker_ = lb::CaptureProducer(memory->bytes(), order_);
        const auto reader = lb::CaptureReader::open(memory->bytes()).value();
        engine_.captures.push_back(
            {reader, std::make_shared<const channel::SharedMemory>(std::move(*memory))});
        engine_.hello.interfaces = 1;
        std::strncpy(engine_.hello.interface[0].name, "uplink", 32);
    }

    Snapshot snapshot() const {
        return {.config = world_.config,
                .admin = world_.admin,
                .health = {},
                .counts = {},
                .next_hops = next_hops_,
                .compiled = &*compiled_,
                .live = live_,
                .engine = connected_ ? &engine_ : nullptr,
                .ready = true,
                .choice = {EngineKind::kDpdk, "because"},
                .problems = {},
                .now = {}};
    }

    bool take(const channel::Capture& order) {
        orders_.push_back(order);
        if (order.lease_ns != 0)
            order_.start(order.session, {order.verdicts, order.vip, order.snaplen}, UINT64_MAX);
        else
            order_.stop();
        if (worker_polls_)
            worker_.follow(kStart_ns);
        return connected_;
    }

    std::shared_ptr<HttpStream> start(const std::string& query = "") {
        HttpResponse response = desk_.start({"GET", "/v1/capture", query, "", true});
        EXPECT_EQ(response.status, 200u) << response.body;
        EXPECT_EQ(response.content_type, "application/x-pcapng");
        return response.stream;
    }
    std::string refused(const std::string& query, unsigned status, bool local = true) {
        const HttpResponse response = desk_.start({"GET", "/v1/capture", query, "", local});
        EXPECT_EQ(response.status, status);
        EXPECT_EQ(response.stream, nullptr);
        return response.body;
    }

    // Runs the loop until the stream has given a piece.
    std::string piece(HttpStream& stream) {
        std::optional<std::string> given;
        stream.next([&](std::string text) { given = std::move(text); });
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!given && std::chrono::steady_clock::now() < deadline) {
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(10));
        }
        EXPECT_TRUE(given) << "nothing within 10 s";
        return given.value_or("");
    }
    std::string rest(HttpStream& stream) {
        std::string all;
        for (std::string next = piece(stream); !next.empty(); next = piece(stream))
            all += next;
        return all;
    }

    void put(std::uint8_t first, std::uint8_t verdict = WEIR_FORWARDED,
             std::uint32_t backend = lb::kCaptureNoRow, std::uint64_t time_ns = 1) {
        const std::array<std::uint8_t, 4> bytes = {first, 0xbe, 0xbe, 0xbe};
        worker_.count_matches(1);
        worker_.put({.time_ns = time_ns,
                     .original_length = 4,
                     .vip = compiled_->vip_ids[0],
                     .backend = backend,
                     .verdict = verdict},
                    bytes);
    }

    boost::asio::io_context io_;
    sample::World world_;
    std::optional<CompiledState> compiled_;
    std::shared_ptr<const Generation> live_;
    std::map<net::IpAddress, NextHop> next_hops_;
    Engine engine_;
    bool connected_ = true;
    bool worker_polls_ = true;
    lb::CaptureOrder order_;
    lb::CaptureProducer worker_;
    std::vector<channel::Capture> orders_;
    CaptureDesk desk_;
};

TEST_F(CaptureTest, GivesTheHeadOnceTheWorkersHaveBegunAndThenPackets) {
    const auto stream = start();
    const std::string head = piece(*stream);
    EXPECT_THAT(head, StartsWith("\x0a\x0d\x0d\x0a"));
    EXPECT_THAT(head, HasSubstr("uplink"));
    put(0x01, WEIR_FORWARDED, compiled_->backend_ids[0].at(1));
    put(0x02, WEIR_DROP_NO_BACKEND);
    const std::string packets = piece(*stream);
    EXPECT_THAT(packets, HasSubstr("verdict=forwarded vip=web backend=web/192.0.2.12:80 worker=0"));
    EXPECT_THAT(packets, HasSubstr("verdict=drop_no_backend vip=web worker=0"));
    EXPECT_THAT(packets, HasSubstr("\x01\xbe\xbe\xbe"));
    EXPECT_LT(packets.find("\x01\xbe\xbe\xbe"), packets.find("\x02\xbe\xbe\xbe"));
}

TEST_F(CaptureTest, OrdersWhatTheQuerySays) {
    const auto stream = start("vip=web&verdict=drop_land,replied&snaplen=96");
    ASSERT_EQ(orders_.size(), 1u);
    EXPECT_EQ(orders_[0].vip, compiled_->vip_ids[0]);
    EXPECT_EQ(orders_[0].verdicts, lb::verdict_bit(WEIR_DROP_LAND) | lb::verdict_bit(WEIR_REPLIED));
    EXPECT_EQ(orders_[0].snaplen, 96u);
    EXPECT_NE(orders_[0].session, 0u);
    EXPECT_GT(orders_[0].lease_ns, 0u);
}

TEST_F(CaptureTest, AClassOfVerdictsCanBeNamed) {
    const auto stream = start("verdict=drop");
    EXPECT_EQ(orders_[0].verdicts, lb::verdicts_of_class(WEIR_CLASS_DROP));
}

TEST_F(CaptureTest, EndsAfterTheCountAndTellsTheEngine) {
    const auto stream = start("count=2");
    piece(*stream);
    put(1);
    put(2);
    put(3);
    const std::string all = rest(*stream);
    EXPECT_THAT(all, HasSubstr("\x02\xbe\xbe\xbe"));
    EXPECT_THAT(all, testing::Not(HasSubstr("\x03\xbe\xbe\xbe")));
    EXPECT_THAT(all, HasSubstr("captured=2 sampled_out=0 overwritten=0 ended=count"));
    EXPECT_EQ(orders_.back().lease_ns, 0u);
    EXPECT_FALSE(order_.on(0));
}

TEST_F(CaptureTest, EndsAfterTheDuration) {
    const auto stream = start("duration=50ms");
    EXPECT_THAT(rest(*stream), HasSubstr("captured=0 sampled_out=0 overwritten=0 ended=duration"));
}

TEST_F(CaptureTest, EndsWhenAskedToWithWhatThereIs) {
    const auto stream = start();
    piece(*stream);
    put(1);
    stream->finish();
    const std::string all = rest(*stream);
    EXPECT_THAT(all, HasSubstr("\x01\xbe\xbe\xbe"));
    EXPECT_THAT(all, HasSubstr("captured=1 sampled_out=0 overwritten=0 ended=asked"));
}

TEST_F(CaptureTest, SaysWhatWasMissed) {
    const auto stream = start();
    piece(*stream);
    worker_.count_matches(5); // without budget
    for (std::uint32_t i = 0; i < lb::kCaptureSlots + 3; i++)
        put(1);
    stream->finish();
    EXPECT_THAT(rest(*stream), HasSubstr("captured=1024 sampled_out=5 overwritten=3 ended=asked"));
}

TEST_F(CaptureTest, PacketsOfOneReadingAreInTheOrderOfTheirTimes) {
    const auto stream = start();
    piece(*stream);
    put(0x0f, WEIR_FORWARDED, lb::kCaptureNoRow, 2000);
    put(0x0e, WEIR_FORWARDED, lb::kCaptureNoRow, 1000);
    const std::string packets = piece(*stream);
    EXPECT_LT(packets.find("\x0e\xbe\xbe\xbe"), packets.find("\x0f\xbe\xbe\xbe"));
}

TEST_F(CaptureTest, EndsWithTheEngine) {
    const auto stream = start();
    piece(*stream);
    connected_ = false;
    EXPECT_THAT(rest(*stream), HasSubstr("ended=engine"));
}

TEST_F(CaptureTest, AWorkerThatStandsStillDoesNotHoldTheHeadBack) {
    worker_polls_ = false;
    const auto stream = start();
    EXPECT_THAT(piece(*stream), StartsWith("\x0a\x0d\x0d\x0a"));
    worker_.follow(kStart_ns);
    put(1);
    EXPECT_THAT(piece(*stream), HasSubstr("\x01\xbe\xbe\xbe")) << "and it is heard later";
}

TEST_F(CaptureTest, RenewsItsLease) {
    const auto stream = start();
    piece(*stream);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (orders_.size() < 2 && std::chrono::steady_clock::now() < deadline)
        io_.run_one_for(std::chrono::milliseconds(10));
    ASSERT_GE(orders_.size(), 2u);
    EXPECT_EQ(orders_[1].session, orders_[0].session);
    EXPECT_GT(orders_[1].lease_ns, 0u);
}

TEST_F(CaptureTest, OnlyOneAtATimeAndAStreamThatIsDroppedEndsIt) {
    {
        const auto stream = start();
        EXPECT_THAT(refused("", 409), HasSubstr("another capture is running"));
    }
    EXPECT_EQ(orders_.back().lease_ns, 0u);
    const auto stream = start();
    EXPECT_NE(orders_.back().session, orders_.front().session);
}

TEST_F(CaptureTest, RefusesWhatCannotBe) {
    EXPECT_THAT(refused("", 403, false), HasSubstr("Unix socket only"));
    EXPECT_THAT(refused("vip=wbe", 400), HasSubstr(R"(did you mean \"web\"?)"));
    EXPECT_THAT(refused("verdict=forwarded,drop_no_bakcend", 400),
                HasSubstr(R"(did you mean \"drop_no_backend\"?)"));
    EXPECT_THAT(refused("verdict=,", 400), HasSubstr("no verdict"));
    EXPECT_THAT(refused("verdict=handed_over", 400), HasSubstr("worker that gets them"));
    EXPECT_THAT(refused("verdict=drop_tx_full", 400), HasSubstr("only counted"));
    EXPECT_THAT(refused("count=0", 400), HasSubstr("count has to be a number from 1"));
    EXPECT_THAT(refused("count=10x", 400), HasSubstr("count"));
    EXPECT_THAT(refused("snaplen=2049", 400), HasSubstr("from 1 to 2048"));
    EXPECT_THAT(refused("duration=3", 400), HasSubstr("duration"));
    connected_ = false;
    EXPECT_THAT(refused("", 503), HasSubstr("not connected"));
    EXPECT_TRUE(orders_.empty());
}

} // namespace
} // namespace weir::control
