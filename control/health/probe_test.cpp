// SPDX-License-Identifier: BSD-3-Clause
// One probe against real sockets on loopback: good, refusing, silent, lying and endless backends.
#include "control/health/probe.hpp"

#include <gtest/gtest.h>

#include "control/health/fake_backend.hpp"
#include "control/health/http_probe.hpp"

#include <sys/socket.h>

namespace weir::control {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;

ProbeSpec spec_for(uint16_t port, config::HealthType type, const char* address = "127.0.0.1") {
    ProbeSpec spec;
    spec.address = net::IpAddress::parse(address).value();
    spec.port = port;
    spec.health.type = type;
    spec.health.timeout = 2s;
    return spec;
}

class ProbeTest : public testing::Test {
protected:
    ProbeResult probe(const ProbeSpec& spec) {
        std::optional<ProbeResult> result;
        const auto probe = std::make_shared<Probe>(io_, spec);
        asio::co_spawn(
            io_, [&]() -> asio::awaitable<void> { result = co_await probe->run(); },
            asio::detached);
        EXPECT_TRUE(run_until(io_, [&] { return result.has_value(); }));
        return result.value_or(ProbeResult{});
    }
    ProbeResult http(FakeBackend& backend, const std::string& reply) {
        backend.reply = reply;
        ProbeSpec spec = spec_for(backend.port(), config::HealthType::kHttp);
        spec.health.path = "/healthz";
        return probe(spec);
    }
    ProbeResult http_body(FakeBackend& backend, const std::string& reply,
                          const std::string& expected) {
        backend.reply = reply;
        ProbeSpec spec = spec_for(backend.port(), config::HealthType::kHttp);
        spec.health.expect_body = expected;
        return probe(spec);
    }

    asio::io_context io_;
};

// A port that was free a moment ago and that nothing listens on.
uint16_t closed_port(asio::io_context& io) {
    const asio::ip::tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    return acceptor.local_endpoint().port();
}

TEST_F(ProbeTest, TcpListening) {
    FakeBackend backend(io_);
    const ProbeResult result = probe(spec_for(backend.port(), config::HealthType::kTcp));
    EXPECT_EQ(result.outcome, ProbeOutcome::kSuccess);
    EXPECT_EQ(result.text, "connected");
}

TEST_F(ProbeTest, TcpOverIpv6) {
    FakeBackend backend(io_, "::1");
    EXPECT_EQ(probe(spec_for(backend.port(), config::HealthType::kTcp, "::1")).outcome,
              ProbeOutcome::kSuccess);
}

TEST_F(ProbeTest, NothingListeningIsRefusedAtOnce) {
    const auto started = std::chrono::steady_clock::now();
    ProbeSpec spec = spec_for(closed_port(io_), config::HealthType::kTcp);
    spec.health.timeout = 10s;
    const ProbeResult result = probe(spec);
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text, "connection refused");
    EXPECT_LT(std::chrono::steady_clock::now() - started, 5s);
}

// A listener whose queue is full drops SYNs without a word, as a dead host does.
TEST_F(ProbeTest, NoAnswerToConnectTimesOut) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener, 0), 0);
    ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
    asio::ip::tcp::socket filler(io_);
    filler.connect({asio::ip::address_v4::loopback(), ntohs(address.sin_port)});

    ProbeSpec spec = spec_for(ntohs(address.sin_port), config::HealthType::kTcp);
    spec.health.timeout = 300ms;
    const auto started = std::chrono::steady_clock::now();
    const ProbeResult result = probe(spec);
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text, "no connection within 300 ms");
    EXPECT_GE(std::chrono::steady_clock::now() - started, 300ms);
    close(listener);
}

TEST_F(ProbeTest, AnInterfaceThatIsNotThereSaysNothingAboutTheBackend) {
    FakeBackend backend(io_);
    ProbeSpec spec = spec_for(backend.port(), config::HealthType::kTcp);
    spec.device = "weir-none";
    EXPECT_EQ(probe(spec).outcome, ProbeOutcome::kInconclusive);
}

TEST_F(ProbeTest, HttpGood) {
    FakeBackend backend(io_);
    const ProbeResult result = http(backend, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_EQ(result.outcome, ProbeOutcome::kSuccess);
    EXPECT_EQ(result.text, "HTTP 200");
    EXPECT_EQ(backend.last_request.rfind("GET /healthz HTTP/1.1\r\n", 0), 0U);
    EXPECT_NE(backend.last_request.find("Host: 127.0.0.1:" + std::to_string(backend.port())),
              std::string::npos);
    EXPECT_NE(backend.last_request.find("Connection: close\r\n"), std::string::npos);
}

TEST_F(ProbeTest, HttpStatusNotExpected) {
    FakeBackend backend(io_);
    const ProbeResult result = http(backend, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text, "HTTP 503");
}

TEST_F(ProbeTest, HttpSilentAfterAccept) {
    FakeBackend backend(io_);
    ProbeSpec spec = spec_for(backend.port(), config::HealthType::kHttp);
    spec.health.timeout = 300ms;
    const ProbeResult result = probe(spec);
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text, "connected, but no complete answer within 300 ms");
    EXPECT_EQ(backend.connections, 1); // connected: no further attempts on a slow server
}

TEST_F(ProbeTest, HttpGarbage) {
    FakeBackend backend(io_);
    const ProbeResult result = http(backend, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text.rfind("not HTTP: ", 0), 0U) << result.text;
}

TEST_F(ProbeTest, HttpClosedInTheMiddle) {
    FakeBackend backend(io_);
    const ProbeResult result = http(backend, "HTTP/1.1 200 OK\r\nContent-Le");
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(result.text, "connection closed before the HTTP answer was complete");
}

TEST_F(ProbeTest, HttpEndlessHeaderIsCutOff) {
    FakeBackend backend(io_);
    backend.endless = true;
    ProbeSpec spec = spec_for(backend.port(), config::HealthType::kHttp);
    spec.health.timeout = 9s;
    backend.reply = "HTTP/1.1 200 OK\r\n" + std::string(3'000, 'X');
    const ProbeResult one_line = probe(spec);
    EXPECT_EQ(one_line.outcome, ProbeOutcome::kFailure);
    EXPECT_EQ(one_line.text, "HTTP header larger than 16384 bytes");
}

TEST_F(ProbeTest, HttpBodyExpected) {
    FakeBackend backend(io_);
    EXPECT_EQ(http_body(backend, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok!", "ok").text,
              "HTTP 200, body as expected");
    EXPECT_EQ(http_body(backend, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick", "ok").text,
              "the body does not contain the expected text");
    EXPECT_EQ(http_body(backend,
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
                        "ok")
                  .outcome,
              ProbeOutcome::kSuccess);
}

TEST_F(ProbeTest, HttpBodyLengthIsNotBelieved) {
    FakeBackend backend(io_);
    const ProbeResult result = http_body(
        backend, "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nsick", "ok");
    EXPECT_EQ(result.outcome, ProbeOutcome::kFailure);
}

TEST_F(ProbeTest, HttpEndlessBodyIsCutOff) {
    FakeBackend backend(io_);
    backend.endless = true;
    backend.reply = "HTTP/1.0 200 OK\r\n\r\n" + std::string(5'000, 'x');
    ProbeSpec spec = spec_for(backend.port(), config::HealthType::kHttp);
    spec.health.timeout = 9s;
    spec.health.expect_body = "ok";
    EXPECT_EQ(probe(spec).text,
              "the body does not contain the expected text in its first 65536 bytes");
}

TEST(ProbeHost, ConfiguredElseAddressAndPort) {
    ProbeSpec spec = spec_for(8080, config::HealthType::kHttp, "2001:db8::1");
    EXPECT_EQ(probe_host(spec), "[2001:db8::1]:8080");
    spec.port = 80;
    EXPECT_EQ(probe_host(spec), "[2001:db8::1]");
    spec.health.host = "www.example.org";
    EXPECT_EQ(probe_host(spec), "www.example.org");
}

TEST(StatusExpected, AnyRange) {
    const std::vector<config::StatusRange> expected{{200, 204}, {301, 301}};
    EXPECT_TRUE(status_expected(expected, 200));
    EXPECT_TRUE(status_expected(expected, 301));
    EXPECT_FALSE(status_expected(expected, 205));
    EXPECT_FALSE(status_expected(expected, 302));
}

} // namespace
} // namespace weir::control
