// SPDX-License-Identifier: BSD-3-Clause
// Starts weir-dataplane and starts it again when it ends (--spawn-dataplane). The child has its own
// session and keeps nothing of control's but stderr, so it outlives control; a control process that
// restarts is told its pid by the engine itself and watches it from then on. Without a command it
// only watches what somebody else starts, and starts again. One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "config/expected.hpp"

namespace weir::control {

class EngineProcess {
public:
    // One crash costs no time at all; crashes in a row cost ever more.
    static constexpr std::chrono::milliseconds kFirstPause{0};
    static constexpr std::chrono::milliseconds kSecondPause{100};
    static constexpr std::chrono::milliseconds kLongestPause{5'000};
    static constexpr std::chrono::seconds kSettled{10}; // alive that long: the pauses start anew

    // `before_start` runs right before each start: what a killed engine left behind is cleared.
    // `command` empty: nothing is started.
    EngineProcess(boost::asio::io_context& io, std::vector<std::string> command,
                  std::function<void()> before_start);
    ~EngineProcess();

    // Starts it, and again whenever it ends. REQUIRES: a command.
    void start();
    // This engine runs already: watch it, start it again when it ends.
    void adopt(pid_t pid);
    // No more starts. The process goes on.
    void release();
    // Asks the running one to end (SIGTERM); a fresh one follows.
    void restart();
    // It runs, or is stopped, but does nothing any more: SIGABRT, so that it leaves a core where
    // the system keeps them, and SIGKILL when that does not end it within kDumpTime. A fresh one
    // follows, where there is a command.
    void end_stalled();
    static constexpr std::chrono::milliseconds kDumpTime{500};

    [[nodiscard]] pid_t pid() const { return pid_; } // 0: none
    [[nodiscard]] const std::string& last_end() const { return last_end_; }

private:
    void launch();
    Expected<pid_t> spawn() const;
    void watch(pid_t pid);
    void ended(int descriptor);
    void launch_later();

    boost::asio::io_context& io_;
    std::vector<std::string> command_;
    std::function<void()> before_start_;
    boost::asio::steady_timer timer_;
    boost::asio::steady_timer dump_timer_;
    std::unique_ptr<boost::asio::posix::stream_descriptor> watched_; // a pidfd
    pid_t pid_ = 0;
    std::chrono::steady_clock::time_point started_{};
    std::chrono::milliseconds pause_ = kFirstPause;
    std::string last_end_;
    bool released_ = false;
    bool stalled_ = false; // what runs was told to end because it stood still
};

} // namespace weir::control
