// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/server.hpp"

#include <boost/asio/post.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace weir::control {
namespace {

// A server that answers with what it was asked, in its own thread.
class ServerTest : public ::testing::Test {
protected:
    ServerTest()
        : server_(io_, [this](const HttpRequest& request, const HttpRespond& respond) {
              if (request.path == "/stream") {
                  respond({200, "x/y", "", stream_});
                  return;
              }
              respond({200, "text/plain",
                       request.method + " " + request.path + "?" + request.query + " " +
                           std::to_string(request.body.size()) + (request.local ? " local" : "")});
          }) {}

    void SetUp() override {
        char directory[] = "/tmp/weir-server-XXXXXX";
        ASSERT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        path_ = directory_ + "/control.sock";
        ASSERT_TRUE(server_.listen_unix(path_));
        thread_ = std::thread([this] { io_.run(); });
    }

    void TearDown() override {
        boost::asio::post(io_, [this] { server_.stop(); });
        thread_.join();
        std::filesystem::remove_all(directory_);
    }

    // Everything the server says to these bytes until it closes or has said `until`.
    std::string ask(std::string_view bytes, std::string_view until) {
        int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
        EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        timeval limit{5, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
        std::string answer;
        std::array<char, 4096> part;
        while (answer.find(until) == std::string::npos) {
            ssize_t got = ::recv(fd, part.data(), part.size(), 0);
            if (got <= 0)
                break;
            answer.append(part.data(), static_cast<std::size_t>(got));
        }
        ::close(fd);
        return answer;
    }

    // Gives "first", then nothing until it is asked to finish.
    struct Stream : HttpStream {
        void next(Give give) override {
            if (count++ == 0)
                give("first");
            else if (finished)
                give(std::exchange(last, ""));
            else
                waiting = std::move(give);
        }
        void finish() override {
            finished = true;
            if (waiting)
                std::exchange(waiting, nullptr)(std::exchange(last, ""));
        }
        int count = 0;
        bool finished = false;
        std::string last = "last";
        Give waiting;
    };
    // What the server's thread sees of the stream's being held.
    long holders() {
        std::promise<long> held;
        boost::asio::post(io_, [&] { held.set_value(stream_.use_count()); });
        return held.get_future().get();
    }
    int connect_to_stream() {
        int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
        EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        timeval limit{5, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        const std::string_view request = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
        EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
        return fd;
    }
    static std::string read_until(int fd, std::string_view until) {
        std::string answer;
        std::array<char, 4096> part;
        while (answer.find(until) == std::string::npos) {
            const ssize_t got = ::recv(fd, part.data(), part.size(), 0);
            if (got <= 0)
                break;
            answer.append(part.data(), static_cast<std::size_t>(got));
        }
        return answer;
    }

    boost::asio::io_context io_;
    std::shared_ptr<Stream> stream_ = std::make_shared<Stream>();
    HttpServer server_;
    std::string directory_;
    std::string path_;
    std::thread thread_;
};

TEST_F(ServerTest, AnswersOverTheUnixSocketAsLocal) {
    std::string answer = ask("GET /v1/status?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "local");
    EXPECT_NE(answer.find("GET /v1/status?a=b 0 local"), std::string::npos) << answer;
}

TEST_F(ServerTest, TheSocketIsForItsOwnerAndGroup) {
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0660u);
}

TEST_F(ServerTest, TakesABodyUpToTheLimit) {
    std::string body(1'000'000, 'x');
    std::string answer =
        ask("POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
                "\r\n\r\n" + body,
            "local");
    EXPECT_NE(answer.find("POST /v1/apply? 1000000 local"), std::string::npos) << answer;
}

TEST_F(ServerTest, RefusesWhatIsAnnouncedAsTooLargeAtOnce) {
    // Part of the body comes with the header: nothing may be reserved for the rest.
    std::string answer = ask(
        "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nbegins", "4 MiB");
    EXPECT_NE(answer.find("413"), std::string::npos) << answer;
}

TEST_F(ServerTest, AStreamComesInChunksAndEndsWhenTheClientShutsItsSideDown) {
    const int fd = connect_to_stream();
    std::string answer = read_until(fd, "first\r\n");
    EXPECT_NE(answer.find("200"), std::string::npos) << answer;
    EXPECT_NE(answer.find("Transfer-Encoding: chunked"), std::string::npos) << answer;
    EXPECT_NE(answer.find("Content-Type: x/y"), std::string::npos) << answer;
    EXPECT_NE(answer.find("\r\n5\r\nfirst\r\n"), std::string::npos) << answer;
    ::shutdown(fd, SHUT_WR);
    answer = read_until(fd, "no such text: until it closes");
    EXPECT_EQ(answer, "4\r\nlast\r\n0\r\n\r\n");
    ::close(fd);
    EXPECT_EQ(holders(), 1);
}

TEST_F(ServerTest, AStreamWhoseClientIsGoneIsDropped) {
    const int fd = connect_to_stream();
    read_until(fd, "first");
    EXPECT_EQ(holders(), 2);
    ::close(fd);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (holders() != 1 && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    EXPECT_EQ(holders(), 1);
}

TEST_F(ServerTest, GarbageEndsTheConnectionAndNothingElse) {
    using namespace std::string_view_literals;
    std::string_view garbage = "\x16\x03\x01\x00\xff not http at all\r\n\r\n"sv;
    EXPECT_EQ(ask(garbage, "local").find("200"), std::string::npos);
    EXPECT_NE(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "local").find("200"), std::string::npos);
}

TEST(QueryNumber, IsWithinItsBoundsOrASentence) {
    const auto of = [](const char* query) { return query_number(query, "after", 1, 20, 7); };
    EXPECT_EQ(of("after=20").value(), 20U);
    EXPECT_EQ(of("").value(), 7U);
    EXPECT_EQ(of("before=3").value(), 7U);
    for (const char* wrong : {"0", "21", "-1", "3x", "x", " 3", "99999999999999999999"}) {
        const auto refused = of((std::string("after=") + wrong).c_str());
        ASSERT_FALSE(refused) << wrong;
        EXPECT_EQ(refused.error().sentence, std::string("after has to be a number from 1 to 20, "
                                                        "not \"") +
                                                wrong + "\"");
    }
}

} // namespace
} // namespace weir::control
