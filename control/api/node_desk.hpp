// SPDX-License-Identifier: BSD-3-Clause
// POST /v1/node: planned work on this node. A drain hands its VIPs to another node, goes on
// forwarding what still comes here, and answers with what it saw; until the node is resumed it does
// not take part in the election, not even after a restart of control. Nobody else there: the node
// takes the VIPs back, and the answer says so. One drain or resumption at a time; one io_context,
// one thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "config/expected.hpp"
#include "control/api/server.hpp"
#include "control/vrrp/runner.hpp"

namespace weir::control {

class NodeDesk {
public:
    struct Traffic { // of all VIPs together
        std::uint64_t packets = 0;
        std::uint64_t connections = 0;
    };
    // What the desk needs of the controller.
    struct Access {
        std::function<std::vector<vrrp::GroupStatus>()> groups; // none: VIPs are static
        std::function<Expected<void>(bool drained)> set_drained;
        std::function<Traffic()> traffic;
    };

    // Their sum is less than what the server allows an answer.
    struct Limits {
        std::chrono::milliseconds hand_over{3000}; // for another node to take over
        std::chrono::milliseconds quiet{1000};     // without a packet: no more come
        std::chrono::milliseconds strays{5000};    // waited for that, at the most
    };

    NodeDesk(boost::asio::io_context& io, Access access) : NodeDesk(io, std::move(access), {}) {}
    NodeDesk(boost::asio::io_context& io, Access access, const Limits& limits)
        : io_(io), access_(std::move(access)), limits_(limits) {}

    // {"action": "drain", "force": false} or {"action": "resume"}; docs/api.md has the answers.
    void handle(const HttpRequest& request, HttpRespond respond);

private:
    boost::asio::io_context& io_;
    Access access_;
    Limits limits_;
    std::weak_ptr<void> running_;
};

} // namespace weir::control
