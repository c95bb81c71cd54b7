// SPDX-License-Identifier: BSD-3-Clause
// For the tests that run weir-dataplane itself (WEIR_DATAPLANE): its process, its configuration in
// a directory of its own, and control's end of its socket.
#pragma once

#include "dataplane/channel/socket.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace weir::dpdk {

inline constexpr const char* kQuietDevice = "vdev:net_null0,no-rx=1";
inline constexpr const char* kSmall = "hugepages = \"off\"\nconnections = 1024\n";

inline bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

// The running program; killed with the object if it still runs.
class Program {
public:
    explicit Program(const std::vector<std::string>& arguments, const std::string& log) {
        pid_ = ::fork();
        if (pid_ == 0) {
            const int file = ::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
            ::dup2(file, STDOUT_FILENO);
            ::dup2(file, STDERR_FILENO);
            std::vector<char*> pointers;
            const char* program = std::getenv("WEIR_DATAPLANE");
            std::string name = program ? program : "";
            pointers.push_back(name.data());
            for (const std::string& argument : arguments)
                pointers.push_back(const_cast<char*>(argument.c_str()));
            pointers.push_back(nullptr);
            ::execv(name.c_str(), pointers.data());
            ::_exit(127);
        }
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }

    void send(int signal) const { ::kill(pid_, signal); }

    // The exit code; -1 when it does not end in time, 128 + N when signal N ended it.
    int wait() {
        int status = 0;
        if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }))
            return -1;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

private:
    pid_t pid_ = -1;
};

class StartTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_NE(std::getenv("WEIR_DATAPLANE"), nullptr) << "run by meson test";
        char directory[] = "/tmp/weir-start-XXXXXX";
        ASSERT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string write_config(const std::string& device, const std::string& engine = "",
                             const std::string& name = "weir.toml") {
        std::string path = directory_ + "/" + name;
        std::ofstream(path) << "[engine]\n"
                            << kSmall << engine << "\n[interface.uplink]\ndevice = \"" << device
                            << "\"\naddresses = [\"192.0.2.2/24\"]\n"
                            << "[pool.p]\nbackends = [{ address = \"192.0.2.11:80\" }]\n"
                            << "[vip.v]\naddress = \"203.0.113.10\"\nport = 80\n"
                            << "protocol = \"tcp\"\nforward = \"full-nat\"\npool = \"p\"\n";
        return path;
    }
    std::string runtime() const { return directory_ + "/run"; }
    std::string log() const {
        std::ostringstream text;
        text << std::ifstream(directory_ + "/log").rdbuf();
        return text.str();
    }
    Program start(const std::string& config) {
        return Program({"--config", config, "--runtime-dir", runtime()}, directory_ + "/log");
    }
    // Runs it to its end.
    int run(const std::string& config) { return start(config).wait(); }

    channel::Socket connect() {
        std::optional<channel::Socket> socket;
        std::string problem;
        EXPECT_TRUE(eventually([&] {
            socket = channel::Socket::connect(runtime() + "/" + channel::kSocketName, problem);
            return socket.has_value();
        })) << problem
            << log();
        return std::move(*socket);
    }

    static channel::Packet next(const channel::Socket& socket) {
        pollfd wait{socket.descriptor(), POLLIN, 0};
        ::poll(&wait, 1, 10'000);
        channel::Packet packet;
        EXPECT_EQ(socket.receive(packet), channel::Receive::packet);
        return packet;
    }

    std::string directory_;
};

} // namespace weir::dpdk
