// SPDX-License-Identifier: BSD-3-Clause
// Tells the neighbours on a link that an address is here: gratuitous ARP (RFC 5227 section 3, in
// request and reply form, as old devices heed only one of them) and unsolicited neighbour
// advertisements (RFC 4861 section 7.2.6). Repeated a few times, since nobody acknowledges them.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/address.hpp"
#include "config/expected.hpp"

namespace weir::control {

using Frame = std::vector<uint8_t>; // Ethernet, without FCS

enum class ArpForm : uint8_t { kRequest = 1, kReply = 2 }; // the ARP operation codes

Frame gratuitous_arp(const net::MacAddress& mac, const net::IpAddress& address, ArpForm form);
Frame unsolicited_advertisement(const net::MacAddress& mac, const net::IpAddress& address);

struct Announcement {
    int ifindex = 0;
    net::MacAddress mac;
    net::IpAddress address;
};

// Sends each announcement once, now.
Expected<void> announce_once(const std::vector<Announcement>& announcements);

class Announcer {
public:
    static constexpr std::array<std::chrono::milliseconds, 3> kRounds{
        std::chrono::milliseconds{0}, std::chrono::milliseconds{250},
        std::chrono::milliseconds{1'000}};

    explicit Announcer(boost::asio::io_context& io) : io_(io) {}

    // One burst now, the others from the event loop. A later call adds to, and does not replace,
    // what is under way.
    void announce(std::vector<Announcement> announcements);
    // Nothing more is sent for this address: it has gone elsewhere.
    void forget(const net::IpAddress& address);

private:
    struct Burst;
    static void next_round(const std::shared_ptr<Burst>& burst);

    boost::asio::io_context& io_;
    std::vector<std::weak_ptr<Burst>> bursts_;
};

} // namespace weir::control
