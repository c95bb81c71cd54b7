// SPDX-License-Identifier: BSD-3-Clause
// For the tests of this directory: two fresh network namespaces joined by a veth pair, `lb0` here
// and `peer0` there. The test process itself moves into the first; both vanish with it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

namespace weir::control {

class NamespaceTest : public testing::Test {
protected:
    void SetUp() override {
        if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
            GTEST_SKIP() << "needs root, to make network namespaces";
        }
        peer_ = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        ASSERT_EQ(unshare(CLONE_NEWNET), 0);
        here_ = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        run("ip link set lo up");
        run("ip link add lb0 address 02:00:00:00:00:02 type veth peer name peer0 "
            "address 02:00:00:00:00:11 netns /proc/self/fd/" +
            std::to_string(inheritable(peer_)));
        run("ip link set lb0 up");
        in_peer([] {
            run("ip link set lo up");
            run("ip link set peer0 up");
        });
    }
    void TearDown() override {
        close(peer_);
        close(here_);
    }

    static void run(const std::string& command) {
        ASSERT_EQ(std::system(command.c_str()), 0) << command;
    }
    void in_peer(const std::function<void()>& what) const {
        ASSERT_EQ(setns(peer_, CLONE_NEWNET), 0);
        what();
        ASSERT_EQ(setns(here_, CLONE_NEWNET), 0);
    }
    void run_in_peer(const std::string& command) const {
        in_peer([&] { run(command); });
    }

    // Runs the loop until `done`, or 15 s: a condition, not a nap.
    static bool run_until(boost::asio::io_context& io, const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
        while (!done() && std::chrono::steady_clock::now() < deadline) {
            io.restart();
            io.run_one_for(std::chrono::milliseconds(20));
        }
        return done();
    }

private:
    static int inheritable(int fd) {
        fcntl(fd, F_SETFD, 0);
        return fd;
    }

    int peer_ = -1;
    int here_ = -1;
};

} // namespace weir::control
