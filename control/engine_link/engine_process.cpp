// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/engine_process.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace weir::control {
namespace {

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(const char* const* arguments, int report) {
    ::setsid();
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0)
        ::dup2(nothing, STDIN_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    // Some libraries open descriptors without close-on-exec; `report` has it.
    ::dup2(report, 3);
    ::fcntl(3, F_SETFD, FD_CLOEXEC);
    ::syscall(SYS_close_range, 4u, ~0u, 0u);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::execv(arguments[0], const_cast<char* const*>(arguments));
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(3, &error, sizeof(error));
    ::_exit(127);
}

std::string how_it_ended(int descriptor) {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(descriptor), &info, WEXITED | WNOHANG) != 0 ||
        info.si_pid == 0)
        return "ended";
    if (info.si_code == CLD_EXITED)
        return "ended with code " + std::to_string(info.si_status);
    return std::string("was ended by signal ") + std::to_string(info.si_status) + " (" +
           ::strsignal(info.si_status) + ")";
}

} // namespace

EngineProcess::EngineProcess(boost::asio::io_context& io, std::vector<std::string> command,
                             std::function<void()> before_start)
    : io_(io), command_(std::move(command)), before_start_(std::move(before_start)), timer_(io),
      dump_timer_(io) {}

// Timer and watch cancel themselves; the process goes on.
EngineProcess::~EngineProcess() = default;

void EngineProcess::start() {
    released_ = false;
    if (pid_ == 0)
        launch();
}

void EngineProcess::release() {
    released_ = true;
    timer_.cancel();
    dump_timer_.cancel();
    watched_.reset();
}

void EngineProcess::restart() {
    if (pid_ != 0)
        ::kill(pid_, SIGTERM);
}

void EngineProcess::end_stalled() {
    if (pid_ == 0 || stalled_)
        return;
    stalled_ = true;
    ::kill(pid_, SIGABRT);
    ::kill(pid_, SIGCONT); // one that was stopped takes the other no sooner
    dump_timer_.expires_after(kDumpTime);
    dump_timer_.async_wait([this, pid = pid_](const boost::system::error_code& error) {
        if (!error && pid == pid_) // it is watched, so its number is nobody else's yet
            ::kill(pid, SIGKILL);
    });
}

Expected<pid_t> EngineProcess::spawn() const {
    std::vector<const char*> arguments;
    for (const std::string& word : command_)
        arguments.push_back(word.c_str());
    arguments.push_back(nullptr);
    int report[2]; // closed by a successful exec, else the child's errno
    if (::pipe2(report, O_CLOEXEC) != 0)
        return Error{std::string("cannot make a pipe: ") + std::strerror(errno)};
    const pid_t child = ::fork();
    if (child == 0)
        become(arguments.data(), report[1]);
    const int fork_error = errno;
    ::close(report[1]);
    int error = 0;
    const bool failed = child > 0 && ::read(report[0], &error, sizeof(error)) == sizeof(error);
    ::close(report[0]);
    if (child < 0)
        return Error{std::string("cannot make a process: ") + std::strerror(fork_error)};
    if (failed) {
        ::waitpid(child, nullptr, 0);
        return Error{"cannot run " + command_.front() + ": " + std::strerror(error)};
    }
    return child;
}

void EngineProcess::launch() {
    before_start_();
    started_ = std::chrono::steady_clock::now();
    auto child = spawn();
    if (!child) {
        last_end_ = child.error().sentence;
        spdlog::error("{}", last_end_);
        launch_later();
        return;
    }
    spdlog::info("started {} (pid {})", command_.front(), *child);
    watch(*child);
}

void EngineProcess::adopt(pid_t pid) {
    if (pid == pid_)
        return;
    timer_.cancel();
    started_ = std::chrono::steady_clock::now();
    watch(pid);
}

void EngineProcess::watch(pid_t pid) {
    const auto descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0u));
    if (descriptor < 0) { // gone already, or never was
        last_end_ = "pid " + std::to_string(pid) + " is not there";
        launch_later();
        return;
    }
    ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    pid_ = pid;
    watched_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, descriptor);
    watched_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [this, descriptor](const boost::system::error_code& error) {
                             if (!error && !released_)
                                 ended(descriptor);
                         });
}

void EngineProcess::ended(int descriptor) {
    last_end_ = "weir-dataplane (pid " + std::to_string(pid_) + ") " + how_it_ended(descriptor);
    if (std::exchange(stalled_, false))
        last_end_ += "; it had stood still";
    dump_timer_.cancel();
    spdlog::warn("{}", last_end_);
    watched_.reset();
    pid_ = 0;
    if (std::chrono::steady_clock::now() - started_ >= kSettled)
        pause_ = kFirstPause;
    launch_later();
}

void EngineProcess::launch_later() {
    if (command_.empty())
        return;
    timer_.expires_after(pause_);
    pause_ = std::clamp(pause_ * 2, kSecondPause, kLongestPause);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !released_ && pid_ == 0)
            launch();
    });
}

} // namespace weir::control
