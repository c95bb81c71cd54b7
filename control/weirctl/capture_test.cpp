// SPDX-License-Identifier: BSD-3-Clause
// `weirctl capture` against a scripted server, and the reading of a pcapng stream.
#include "control/weirctl/capture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

#include "control/weirctl/fake_control.hpp"
#include "control/weirctl/field.hpp"
#include "control/weirctl/pcapng_digest.hpp"

namespace weir::weirctl {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;
using testing::StartsWith;

std::string le(std::uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; i++)
        text += static_cast<char>(value >> (8 * i));
    return text;
}

std::string block(std::uint32_t type, const std::string& body) {
    const std::string length = le(body.size() + 12, 4);
    return le(type, 4) + length + body + length;
}

std::string packet_block() {
    return block(6, std::string(20, 'p'));
}

std::string statistics_block(std::string comment) {
    const std::string size = le(comment.size(), 2);
    comment.resize((comment.size() + 3) / 4 * 4);
    return block(5, std::string(12, '\0') + le(1, 2) + size + comment + le(0, 4));
}

const std::string kHead = block(0x0a0d0d0a, std::string(16, 'h')) + block(1, std::string(8, 'i'));
const std::string kEnd = statistics_block("captured=2 sampled_out=1500 overwritten=0 ended=count");

TEST(PcapngDigest, CountsPacketsHoweverTheyArePieced) {
    const std::string stream = kHead + packet_block() + packet_block() + kEnd;
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, stream.size()}) {
        PcapngDigest digest;
        for (std::size_t at = 0; at < stream.size(); at += step)
            EXPECT_TRUE(digest.feed(std::string_view(stream).substr(at, step)));
        EXPECT_EQ(digest.packets(), 2U);
        EXPECT_TRUE(digest.whole());
        ASSERT_TRUE(digest.has_statistics());
        EXPECT_EQ(digest.said("captured"), "2");
        EXPECT_EQ(digest.said("ended"), "count");
        EXPECT_EQ(digest.said("end"), "");
    }
}

TEST(PcapngDigest, RefusesWhatIsNotPcapng) {
    for (const std::string& text : {"hello, world"s, le(6, 4) + le(8, 4), le(6, 4) + le(13, 4),
                                    le(6, 4) + le(0xfffffff0, 4)}) {
        PcapngDigest digest;
        EXPECT_FALSE(digest.feed(text));
        EXPECT_FALSE(digest.feed(packet_block()));
        EXPECT_EQ(digest.packets(), 0U);
    }
}

TEST(PcapngDigest, SurvivesOptionsThatLie) {
    PcapngDigest digest;
    EXPECT_TRUE(digest.feed(block(5, std::string(12, '\0') + le(1, 2) + le(60'000, 2))));
    EXPECT_TRUE(digest.feed(block(5, "")));
    EXPECT_EQ(digest.said("captured"), "");
}

std::string chunk(const std::string& text) {
    std::ostringstream out;
    out << std::hex << text.size() << "\r\n" << text << "\r\n";
    return out.str();
}

const std::string kStreamHead = "HTTP/1.1 200 OK\r\nContent-Type: application/x-pcapng\r\n"
                                "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

struct Outcome {
    int code;
    std::string out;
    std::string err;
};

class CaptureTest : public ::testing::Test {
protected:
    ~CaptureTest() override { std::remove(path_.c_str()); }

    Outcome run(const std::string& directory, std::vector<std::string> words = {}) const {
        std::vector<const char*> argv{"weirctl", "--runtime-dir", directory.c_str(), "capture",
                                      "-w",      path_.c_str()};
        for (const std::string& word : words)
            argv.push_back(word.c_str());
        std::ostringstream out;
        std::ostringstream err;
        const int code = weirctl::run(static_cast<int>(argv.size()), argv.data(),
                                      {out, err, "1", {std::chrono::seconds(5), 1'000'000}});
        return {code, out.str(), err.str()};
    }
    [[nodiscard]] std::string file() const {
        std::ifstream in(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    TemporaryDirectory place_;
    std::string path_ = place_.path() + ".pcapng";
};

TEST_F(CaptureTest, WritesTheStreamAndSaysWhatIsInIt) {
    const std::string stream = kHead + packet_block() + packet_block() + kEnd;
    const FakeControl control(FakeControl::says(kStreamHead + chunk(kHead + packet_block()) +
                                                chunk(packet_block() + kEnd) + "0\r\n\r\n"));
    const Outcome outcome =
        run(control.directory(), {"--vip", "a b", "--verdict", "drop", "--count", "2", "--duration",
                                  "3s", "--snaplen", "96"});
    EXPECT_EQ(outcome.code, kDone) << outcome.err;
    EXPECT_THAT(control.requests().at(0),
                StartsWith("GET /v1/capture?vip=a%20b&verdict=drop&count=2&duration=3s&snaplen=96 "
                           "HTTP/1.1\r\n"));
    EXPECT_EQ(file(), stream);
    EXPECT_EQ(outcome.out, "2 packets written to " + path_ +
                               "; 1,500 more were not copied, to keep the workers fast\n");
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(CaptureTest, SaysItInJsonToo) {
    const FakeControl control(
        FakeControl::says(kStreamHead + chunk(kHead + packet_block() + kEnd) + "0\r\n\r\n"));
    const Outcome outcome = run(control.directory(), {"--json"});
    EXPECT_EQ(json::parse(outcome.out), json({{"file", path_},
                                              {"packets", 1},
                                              {"sampled_out", 1500},
                                              {"overwritten", 0},
                                              {"ended", "count"}}));
}

TEST_F(CaptureTest, ARefusalLeavesNoFile) {
    const FakeControl control(
        FakeControl::says(http_answer(409, "{\"error\":\"another capture is running\"}")));
    const Outcome outcome = run(control.directory());
    EXPECT_EQ(outcome.code, kFailed);
    EXPECT_EQ(outcome.err, "weirctl: another capture is running\n");
    EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(CaptureTest, AStreamThatBreaksOffIsAFailureAndItsPacketsStay) {
    const FakeControl control(FakeControl::says(kStreamHead + chunk(kHead + packet_block())));
    const Outcome outcome = run(control.directory());
    EXPECT_EQ(outcome.code, kFailed);
    EXPECT_THAT(outcome.err, HasSubstr("before its answer was complete"));
    EXPECT_EQ(file(), kHead + packet_block());
}

TEST_F(CaptureTest, TheEndOfTheDataplaneIsSaid) {
    const FakeControl control(FakeControl::says(
        kStreamHead + chunk(kHead + statistics_block("captured=0 ended=engine")) + "0\r\n\r\n"));
    const Outcome outcome = run(control.directory());
    EXPECT_EQ(outcome.code, kFailed);
    EXPECT_THAT(outcome.err, HasSubstr("weir-dataplane ended"));
}

TEST_F(CaptureTest, AnInterruptAsksForTheEndAndWaitsForIt) {
    const FakeControl control([](int connection, const std::string&, int) {
        FakeControl::send_all(connection, kStreamHead + chunk(kHead + packet_block()));
        ::kill(::getpid(), SIGINT);
        char byte = 0;
        if (::recv(connection, &byte, 1, 0) == 0) // it has shut its side down
            FakeControl::send_all(connection, chunk(packet_block() + kEnd) + "0\r\n\r\n");
    });
    const Outcome outcome = run(control.directory());
    EXPECT_EQ(outcome.code, kDone) << outcome.err;
    EXPECT_EQ(file(), kHead + packet_block() + packet_block() + kEnd);
}

TEST_F(CaptureTest, AFileThatCannotBeWrittenIsNamed) {
    const FakeControl control(FakeControl::says(kStreamHead + chunk(kHead)));
    path_ = "/nowhere/at/all";
    const Outcome outcome = run(control.directory());
    EXPECT_EQ(outcome.code, kFailed);
    EXPECT_THAT(outcome.err, HasSubstr("cannot write /nowhere/at/all: No such file"));
}

TEST_F(CaptureTest, WrongUsageAsksNobody) {
    const FakeControl control(FakeControl::says(http_answer(200, "{}")));
    EXPECT_EQ(run(control.directory(), {"--count", "0"}).code, kBadUsage);
    EXPECT_EQ(run(control.directory(), {"--snaplen", "5000"}).code, kBadUsage);
    EXPECT_TRUE(control.requests().empty());
}

} // namespace
} // namespace weir::weirctl
