// SPDX-License-Identifier: BSD-3-Clause
// The raw sockets over which the groups of one interface and family are heard and speak. Never
// blocks. One thread.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "config/expected.hpp"
#include "control/vrrp/packet.hpp"

namespace weir::control::vrrp {

// Where adverts go when there are no peers: 224.0.0.18, ff02::12.
net::IpAddress multicast_group(bool v4);

class Wire {
public:
    // Opened in the network namespace of the calling thread.
    static Expected<Wire> open(const std::string& interface, bool v4);
    ~Wire();
    Wire(Wire&& other) noexcept;
    Wire& operator=(Wire&&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] int ifindex() const { return ifindex_; }

    // Zero, or errno.
    int send(const net::IpAddress& source, const net::IpAddress& destination,
             const Bytes& message) const;

    // The next packet; nothing when none is waiting. The bytes are ours until the next call. One
    // that is too short to have a sender comes with hop_limit 0 and no message.
    std::optional<Received> receive();

private:
    using Moment = std::chrono::steady_clock::time_point;

    Wire(int fd, int ifindex, bool v4) : fd_(fd), ifindex_(ifindex), v4_(v4) {}
    Micros age_of(const msghdr& header, Moment now) const;

    int fd_;
    int ifindex_;
    bool v4_;
    std::array<std::uint8_t, 8192> buffer_{};
    Moment empty_at_ = std::chrono::steady_clock::now(); // when no packet was waiting
};

struct LinkState {
    int ifindex = 0; // 0: there is no such interface
    bool running = false;
    friend bool operator==(const LinkState&, const LinkState&) = default;
};
LinkState look_at_link(const std::string& interface);

using PresentOn = std::map<std::string, std::vector<net::IpAddress>>; // by interface
PresentOn read_present_addresses();

// The address that adverts come from: of `wanted` the first that is on the interface. Without
// wanted ones for IPv6 the link-local one, else the first that is not one of `moving`.
std::optional<net::IpAddress> choose_source(const PresentOn& present, const std::string& interface,
                                            bool v4, const std::vector<net::IpAddress>& wanted,
                                            const std::vector<net::IpAddress>& moving);

} // namespace weir::control::vrrp
