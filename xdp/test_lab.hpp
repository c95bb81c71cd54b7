// SPDX-License-Identifier: BSD-3-Clause
// Two network namespaces of the test's own, joined by a veth pair: "client" c0 and "balancer" b0.
// They have no names and vanish with the process.
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "xdp/library.hpp"

namespace weir::xdp_test {

// What stands in the way of loading BPF programs and making namespaces here; empty: nothing.
std::string missing_permission();

// Polls until `holds` or ten seconds have passed; says whether it holds.
inline bool eventually(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

// A connection attempt from the client; remembers the first error it met.
class Attempt {
public:
    Attempt(xdp::Descriptor socket, int error) : socket_(std::move(socket)), error_(error) {}
    // errno of what has answered so far; 0: nothing has.
    int error();
    bool refused() { return error() == ECONNREFUSED; }
    // Sends one datagram (UDP); what answers shows in error().
    void send(const std::string& payload);

private:
    xdp::Descriptor socket_;
    int error_;
};

class Lab {
public:
    Lab();  // leaves the calling thread in the balancer's namespace
    ~Lab(); // and back where it was

    unsigned ifindex() const { return ifindex_; } // of b0

    // A non-blocking connect from the client's namespace; SOCK_STREAM or SOCK_DGRAM.
    Attempt connect(const std::string& address, uint16_t port, int type) const;
    // Sends a frame from c0; b0's MAC is the one that PacketPlan addresses. With
    // `linear_bytes`, b0's kernel gets an skb that has only so much of it outside pages; such a
    // frame has to be larger than a page.
    void send_frame(std::vector<uint8_t> frame, uint16_t linear_bytes = 0) const;
    // Runs `ip ...` in the balancer's or client's namespace; aborts the test when it fails.
    void ip(const std::string& arguments) const;
    void client_ip(const std::string& arguments) const;
    // Lets the balancer's kernel forward IPv4.
    void router() const;
    void in_client(const std::function<void()>& work) const;

private:
    xdp::Descriptor before_, client_, balancer_;
    unsigned ifindex_ = 0;
};

// A directory to mount something on. Mounts of the process are its own from now on, and what is
// mounted here goes with this object.
class MountPlace {
public:
    MountPlace();
    ~MountPlace();
    MountPlace(const MountPlace&) = delete;
    MountPlace& operator=(const MountPlace&) = delete;

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

} // namespace weir::xdp_test
