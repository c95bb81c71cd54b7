// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/fsuid.h>
#include <sys/stat.h>

#include "control/weirctl/fake_control.hpp"

namespace weir::weirctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const Request kStatus{"GET", "/v1/status", "", ""};

std::string failure(const std::string& directory, const Limits& limits = {}) {
    const auto answer = exchange(directory, kStatus, limits);
    if (!answer)
        return answer.error().sentence;
    if (answer->body.size() > 100)
        return "answered: " + std::to_string(answer->body.size()) + " bytes";
    return "answered: " + answer->body;
}

TEST(Client, GetsStatusAndBody) {
    const FakeControl control(FakeControl::says(http_answer(404, "{\"error\":\"x\"}\n")));
    const auto answer = exchange(control.directory(), kStatus, {});
    ASSERT_TRUE(answer) << answer.error().sentence;
    EXPECT_EQ(answer->status, 404U);
    EXPECT_EQ(answer->body, "{\"error\":\"x\"}\n");
    EXPECT_THAT(control.requests().at(0), StartsWith("GET /v1/status HTTP/1.1\r\nHost: weir\r\n"));
}

TEST(Client, PostsTheBodyWithItsLengthAndType) {
    const FakeControl control(FakeControl::says(http_answer(200, "{}")));
    const std::string body(200'000, 'x');
    ASSERT_TRUE(exchange(control.directory(), {"POST", "/v1/apply?file=a", body, "text/x"}, {}));
    const std::string request = control.requests().at(0);
    EXPECT_THAT(request, StartsWith("POST /v1/apply?file=a HTTP/1.1\r\n"));
    EXPECT_THAT(request, HasSubstr("Content-Length: 200000\r\n"));
    EXPECT_THAT(request, HasSubstr("Content-Type: text/x\r\n"));
    EXPECT_THAT(request, testing::EndsWith("\r\n\r\n" + body));
}

TEST(Client, ReadsABodyThatEndsWithTheConnection) {
    const FakeControl control(FakeControl::says("HTTP/1.1 200 OK\r\n\r\n{}"));
    EXPECT_EQ(failure(control.directory()), "answered: {}");
}

TEST(Client, SaysThatThereIsNoSocket) {
    const TemporaryDirectory directory;
    EXPECT_EQ(failure(directory.path()), "weir-control is not running: there is no " +
                                             directory.path() +
                                             "/control.sock (--runtime-dir names another node's "
                                             "directory)");
}

TEST(Client, SaysThatNothingListens) {
    const TemporaryDirectory directory;
    const int fd = bind_control_socket(directory.path(), false);
    EXPECT_EQ(failure(directory.path()), "weir-control is not running: nothing listens on " +
                                             directory.path() + "/control.sock");
    ::close(fd);
}

TEST(Client, SaysThatPermissionIsMissing) {
    const FakeControl control(FakeControl::says(http_answer(200, "{}")));
    ASSERT_EQ(::chmod((control.directory() + "/control.sock").c_str(), 0), 0);
    std::string said;
    // Root may open every file; a thread that has another file system identity may not.
    std::thread([&] {
        if (::geteuid() == 0)
            ::setfsuid(65534);
        said = failure(control.directory());
    }).join();
    EXPECT_THAT(said, StartsWith("no permission to open "));
}

TEST(Client, RefusesAPathThatDoesNotFit) {
    EXPECT_THAT(failure("/" + std::string(120, 'd')), HasSubstr("too long for a Unix socket"));
}

TEST(Client, SaysThatTheConnectionClosedEarly) {
    for (const char* part :
         {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"}) {
        const FakeControl control(FakeControl::says(part));
        EXPECT_THAT(failure(control.directory()),
                    StartsWith("weir-control closed the connection before its answer"))
            << part;
    }
}

TEST(Client, SaysThatItIsNotHttp) {
    const FakeControl control(FakeControl::says("220 mail.example ESMTP\r\n\r\n"));
    EXPECT_THAT(failure(control.directory()), HasSubstr("control.sock does not speak HTTP"));
}

TEST(Client, RefusesAHugeAnswerWhetherAnnouncedOrNot) {
    const Limits limits{std::chrono::seconds(15), 100'000};
    const std::string expected = "the answer is larger than 100 kB, which weirctl refuses to read";
    const FakeControl announced(FakeControl::says(http_answer(200, std::string(100'001, ' '))));
    EXPECT_EQ(failure(announced.directory(), limits), expected);
    const FakeControl boastful(
        FakeControl::says("HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n{"));
    EXPECT_EQ(failure(boastful.directory(), limits), expected);
    const FakeControl endless([](int connection, const std::string&, int) {
        FakeControl::send_all(connection, "HTTP/1.1 200 OK\r\n\r\n" + std::string(300'000, 'x'));
    });
    EXPECT_EQ(failure(endless.directory(), limits), expected);
    const FakeControl header([](int connection, const std::string&, int) {
        FakeControl::send_all(connection, "HTTP/1.1 200 OK\r\nX: " + std::string(300'000, 'x'));
    });
    EXPECT_EQ(failure(header.directory(), limits), expected);
    const FakeControl fits(FakeControl::says(http_answer(200, std::string(100'000, ' '))));
    EXPECT_THAT(failure(fits.directory(), limits), StartsWith("answered"));
}

TEST(Client, GivesUpAtTheDeadlineOnSilenceAndOnATrickle) {
    const Limits limits{std::chrono::milliseconds(300), 1'000'000};
    const auto began = std::chrono::steady_clock::now();
    const FakeControl silent([](int, const std::string&, int stop) {
        pollfd wait{stop, POLLIN, 0};
        ::poll(&wait, 1, -1);
    });
    EXPECT_THAT(failure(silent.directory(), limits),
                StartsWith("weir-control did not answer within 0.3 s"));
    // Each byte is in time; the whole answer is not.
    const FakeControl trickle([](int connection, const std::string&, int stop) {
        FakeControl::send_all(connection, "HTTP/1.1 200 OK\r\n\r\n");
        pollfd wait{stop, POLLIN, 0};
        while (::poll(&wait, 1, 20) == 0)
            if (::send(connection, "x", 1, MSG_NOSIGNAL) != 1)
                return;
    });
    EXPECT_THAT(failure(trickle.directory(), limits),
                StartsWith("weir-control did not answer within 0.3 s"));
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

} // namespace
} // namespace weir::weirctl
