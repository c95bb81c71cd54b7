// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/announce.hpp"

#include <netpacket/packet.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <unistd.h>

namespace weir::control {
namespace {

constexpr uint8_t kNextHeaderIcmpv6 = 58;
constexpr uint8_t kNeighbourAdvertisement = 136;
constexpr uint8_t kOverride = 0x20; // unsolicited, and it replaces what is cached
constexpr uint8_t kTargetLinkLayerAddress = 2;

template <class Bytes> void append(Frame& frame, const Bytes& bytes) {
    frame.insert(frame.end(), std::begin(bytes), std::end(bytes));
}

void append_u16(Frame& frame, uint16_t value) {
    frame.push_back(static_cast<uint8_t>(value >> 8));
    frame.push_back(static_cast<uint8_t>(value));
}

void append_v4(Frame& frame, const net::IpAddress& address) {
    frame.insert(frame.end(), address.bytes().begin() + 12, address.bytes().end());
}

// RFC 1071, over the pseudo-header of RFC 8200 section 8.1 and the ICMPv6 message.
uint16_t icmpv6_checksum(const net::IpAddress& source, const net::IpAddress::Bytes& destination,
                         const Frame& message) {
    Frame covered;
    append(covered, source.bytes());
    append(covered, destination);
    append_u16(covered, 0);
    append_u16(covered, static_cast<uint16_t>(message.size()));
    append_u16(covered, 0);
    append_u16(covered, kNextHeaderIcmpv6);
    append(covered, message);
    uint32_t sum = 0;
    for (size_t i = 0; i < covered.size(); i += 2) { // the message's length is even
        sum += static_cast<uint32_t>(covered[i] << 8 | covered[i + 1]);
    }
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<uint16_t>(~sum);
}

} // namespace

Frame gratuitous_arp(const net::MacAddress& mac, const net::IpAddress& address, ArpForm form) {
    constexpr net::MacAddress::Bytes kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    Frame frame;
    append(frame, kBroadcast);
    append(frame, mac.bytes());
    append_u16(frame, ETHERTYPE_ARP);
    append_u16(frame, 1); // Ethernet
    append_u16(frame, ETHERTYPE_IP);
    frame.push_back(6);
    frame.push_back(4);
    append_u16(frame, static_cast<uint16_t>(form));
    append(frame, mac.bytes());
    append_v4(frame, address);
    append(frame, form == ArpForm::kRequest ? net::MacAddress::Bytes{} : kBroadcast);
    append_v4(frame, address);
    return frame;
}

Frame unsolicited_advertisement(const net::MacAddress& mac, const net::IpAddress& address) {
    constexpr net::MacAddress::Bytes kAllNodesMac{0x33, 0x33, 0, 0, 0, 1};
    constexpr net::IpAddress::Bytes kAllNodes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    Frame message{kNeighbourAdvertisement, 0, 0, 0, kOverride, 0, 0, 0};
    append(message, address.bytes());
    message.push_back(kTargetLinkLayerAddress);
    message.push_back(1); // in units of 8 bytes
    append(message, mac.bytes());
    const uint16_t checksum = icmpv6_checksum(address, kAllNodes, message);
    message[2] = static_cast<uint8_t>(checksum >> 8);
    message[3] = static_cast<uint8_t>(checksum);

    Frame frame;
    append(frame, kAllNodesMac);
    append(frame, mac.bytes());
    append_u16(frame, ETHERTYPE_IPV6);
    append(frame, std::array<uint8_t, 4>{0x60, 0, 0, 0});
    append_u16(frame, static_cast<uint16_t>(message.size()));
    frame.push_back(kNextHeaderIcmpv6);
    frame.push_back(255); // RFC 4861 section 7.1.2: anything less is ignored
    append(frame, address.bytes());
    append(frame, kAllNodes);
    append(frame, message);
    return frame;
}

Expected<void> announce_once(const std::vector<Announcement>& announcements) {
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return Error{std::string("opening a packet socket to announce addresses: ") +
                     std::strerror(errno) + "; CAP_NET_RAW is needed"};
    }
    std::string failed;
    for (const Announcement& announcement : announcements) {
        const net::IpAddress& address = announcement.address;
        std::vector<Frame> frames;
        if (address.is_v4()) {
            frames = {gratuitous_arp(announcement.mac, address, ArpForm::kRequest),
                      gratuitous_arp(announcement.mac, address, ArpForm::kReply)};
        } else {
            frames = {unsolicited_advertisement(announcement.mac, address)};
        }
        for (const Frame& frame : frames) {
            sockaddr_ll to{};
            to.sll_family = AF_PACKET;
            to.sll_ifindex = announcement.ifindex;
            to.sll_halen = ETH_ALEN;
            std::memcpy(to.sll_addr, frame.data(), ETH_ALEN);
            if (sendto(fd, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                       sizeof(to)) < 0) {
                failed = "announcing " + address.to_string() + ": " + std::strerror(errno);
            }
        }
    }
    close(fd);
    if (!failed.empty()) {
        return Error{failed};
    }
    return {};
}

struct Announcer::Burst {
    Burst(boost::asio::io_context& io, std::vector<Announcement> what)
        : announcements(std::move(what)), timer(io),
          started(boost::asio::steady_timer::clock_type::now()) {}
    std::vector<Announcement> announcements;
    boost::asio::steady_timer timer;
    boost::asio::steady_timer::time_point started;
    size_t round = 0;
};

void Announcer::announce(std::vector<Announcement> announcements) {
    std::erase_if(bursts_, [](const auto& burst) { return burst.expired(); });
    const auto burst = std::make_shared<Burst>(io_, std::move(announcements));
    bursts_.push_back(burst);
    next_round(burst);
}

// Touches only the burst, which its own timer keeps alive: the announcer may be gone.
void Announcer::next_round(const std::shared_ptr<Burst>& burst) {
    if (Expected<void> sent = announce_once(burst->announcements); !sent) {
        spdlog::warn("{}", sent.error().sentence);
    }
    burst->round++;
    if (burst->round == kRounds.size()) {
        return;
    }
    burst->timer.expires_at(burst->started + kRounds[burst->round]);
    burst->timer.async_wait([burst](const boost::system::error_code& ec) {
        if (!ec) {
            next_round(burst);
        }
    });
}

void Announcer::forget(const net::IpAddress& address) {
    for (const auto& weak : bursts_) {
        if (const auto burst = weak.lock()) {
            std::erase_if(burst->announcements, [&](const Announcement& announcement) {
                return announcement.address == address;
            });
        }
    }
}

} // namespace weir::control
