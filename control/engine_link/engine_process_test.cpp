// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/engine_process.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::control {
namespace {

class EngineProcessTest : public ::testing::Test {
protected:
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

    static void end(pid_t pid) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }

    boost::asio::io_context io_;
    int starts_ = 0;
};

TEST_F(EngineProcessTest, IsStartedAgainWhenItEnds) {
    EngineProcess process(io_, {"/bin/sleep", "1000"}, [this] { starts_++; });
    process.start();
    ASSERT_TRUE(until([&] { return process.pid() != 0; }));
    const pid_t first = process.pid();
    EXPECT_EQ(::getsid(first), first) << "it has its own session";
    ::kill(first, SIGKILL);
    ASSERT_TRUE(until([&] { return process.pid() != 0 && process.pid() != first; }));
    EXPECT_NE(process.last_end().find("signal 9"), std::string::npos) << process.last_end();
    EXPECT_EQ(starts_, 2);
    const pid_t second = process.pid();
    process.release();
    EXPECT_EQ(::kill(second, 0), 0) << "released, not ended";
    end(second);
}

TEST_F(EngineProcessTest, SaysWhyItCannotStart) {
    EngineProcess process(io_, {"/nonexistent/weir-dataplane"}, [] {});
    process.start();
    EXPECT_EQ(process.pid(), 0);
    EXPECT_NE(process.last_end().find("No such file"), std::string::npos) << process.last_end();
}

TEST_F(EngineProcessTest, TellsTheExitCode) {
    EngineProcess process(io_, {"/bin/sh", "-c", "exit 3"}, [] {});
    process.start();
    ASSERT_TRUE(until([&] { return !process.last_end().empty(); }));
    EXPECT_NE(process.last_end().find("code 3"), std::string::npos) << process.last_end();
}

TEST_F(EngineProcessTest, StartsAgainAtOnceTheFirstTimeAndWithPausesThen) {
    using Clock = std::chrono::steady_clock;
    std::vector<Clock::time_point> started;
    EngineProcess process(io_, {"/bin/false"}, [&] { started.push_back(Clock::now()); });
    process.start();
    ASSERT_TRUE(until([&] { return started.size() >= 4; }));
    process.release();
    // Between the first two only what /bin/false takes; the machine may be slow, so no upper bound.
    EXPECT_EQ(EngineProcess::kFirstPause.count(), 0);
    EXPECT_GE(started[2] - started[1], EngineProcess::kSecondPause);
    EXPECT_GE(started[3] - started[2], 2 * EngineProcess::kSecondPause);
}

TEST_F(EngineProcessTest, OneThatStandsStillIsEndedWhateverStoppedIt) {
    EngineProcess process(io_, {"/bin/sleep", "1000"}, [this] { starts_++; });
    process.start();
    ASSERT_TRUE(until([&] { return process.pid() != 0; }));
    for (const bool stopped : {false, true}) {
        const pid_t before = process.pid();
        if (stopped)
            ::kill(before, SIGSTOP);
        process.end_stalled();
        ASSERT_TRUE(until([&] { return process.pid() != 0 && process.pid() != before; }));
        EXPECT_NE(process.last_end().find("was ended by signal 6"), std::string::npos)
            << process.last_end();
        EXPECT_NE(process.last_end().find("stood still"), std::string::npos) << process.last_end();
    }
    const pid_t last = process.pid();
    process.release();
    end(last);
}

TEST_F(EngineProcessTest, OneThatStandsStillAndIsDeafIsKilled) {
    const std::filesystem::path deaf =
        ::testing::TempDir() + "deaf." + std::to_string(::getpid()); // there: it is
    EngineProcess process(
        io_, {"/bin/sh", "-c", "trap '' ABRT; : >" + deaf.string() + "; exec sleep 1000"},
        [this] { starts_++; });
    process.start();
    ASSERT_TRUE(until([&] { return process.pid() != 0 && std::filesystem::exists(deaf); }));
    const pid_t before = process.pid();
    process.end_stalled();
    ASSERT_TRUE(until([&] { return process.pid() != 0 && process.pid() != before; }));
    EXPECT_NE(process.last_end().find("was ended by signal 9"), std::string::npos)
        << process.last_end();
    const pid_t last = process.pid();
    process.release();
    end(last);
    std::filesystem::remove(deaf);
}

TEST_F(EngineProcessTest, WatchesOneThatRunsAlready) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::pause();
        ::_exit(0);
    }
    EngineProcess process(io_, {"/bin/sleep", "1000"}, [this] { starts_++; });
    process.adopt(child);
    EXPECT_EQ(process.pid(), child);
    EXPECT_EQ(starts_, 0);
    ::kill(child, SIGKILL);
    ASSERT_TRUE(until([&] { return starts_ == 1 && process.pid() != 0; }));
    const pid_t second = process.pid();
    process.release();
    end(second);
}

TEST_F(EngineProcessTest, WithoutACommandItEndsWhatStandsStillAndStartsNothing) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::pause();
        ::_exit(0);
    }
    EngineProcess process(io_, {}, [this] { starts_++; });
    process.adopt(child);
    ::kill(child, SIGSTOP);
    process.end_stalled();
    ASSERT_TRUE(until([&] { return process.pid() == 0; }));
    EXPECT_NE(process.last_end().find("was ended by signal 6"), std::string::npos)
        << process.last_end();
    io_.restart();
    io_.run_for(2 * EngineProcess::kSecondPause);
    EXPECT_EQ(starts_, 0);
    EXPECT_EQ(process.pid(), 0);
}

} // namespace
} // namespace weir::control
