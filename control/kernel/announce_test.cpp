// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/announce.hpp"

#include <algorithm>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sys/socket.h>

#include "control/kernel/test_namespace.hpp"

namespace weir::control {
namespace {

const net::MacAddress kMac = net::MacAddress::from_bytes({2, 0, 0, 0, 0, 2});

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}

TEST(GratuitousArp, BothForms) {
    const Frame request{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,   0, 0,   0,  0, 2, // Ethernet
                        8,    6,    0,    1,    8,    0,    6,   4, 0,   1,        // ARP request
                        2,    0,    0,    0,    0,    2,    203, 0, 113, 10,       // sender
                        0,    0,    0,    0,    0,    0,    203, 0, 113, 10};      // target
    EXPECT_EQ(gratuitous_arp(kMac, ip("203.0.113.10"), ArpForm::kRequest), request);
    Frame reply = request;
    reply[21] = 2;
    std::fill_n(reply.begin() + 32, 6, static_cast<uint8_t>(0xff));
    EXPECT_EQ(gratuitous_arp(kMac, ip("203.0.113.10"), ArpForm::kReply), reply);
}

TEST(UnsolicitedAdvertisement, Bytes) {
    const Frame frame = unsolicited_advertisement(kMac, ip("2001:db8::10"));
    const Frame expected{
        0x33, 0x33, 0,    0,    0,   1,  2,    0,    0,    0, 0, 2, 0x86, 0xdd, // Ethernet
        0x60, 0,    0,    0,    0,   32, 58,   255,                             // IPv6
        0x20, 0x01, 0x0d, 0xb8, 0,   0,  0,    0,    0,    0, 0, 0, 0,    0,
        0,    0x10, 0xff, 0x02, 0,   0,  0,    0,    0,    0, 0, 0, 0,    0,
        0,    0,    0,    1,    136, 0,  0xf9, 0x0b, 0x20, 0, 0, 0, // ICMPv6, override
        0x20, 0x01, 0x0d, 0xb8, 0,   0,  0,    0,    0,    0, 0, 0, 0,    0,
        0,    0x10, 2,    1,    2,   0,  0,    0,    0,    2}; // target link-layer address
    EXPECT_EQ(frame, expected);
}

class AnnounceTest : public NamespaceTest {
protected:
    void SetUp() override {
        NamespaceTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        run("ip address add 192.0.2.2/24 dev lb0");
        run("ip address add 2001:db8::2/64 dev lb0 nodad");
        in_peer([this] {
            run("ip address add 192.0.2.11/24 dev peer0");
            run("ip address add 2001:db8::11/64 dev peer0 nodad");
            sniffer_ = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
        });
    }
    void TearDown() override {
        if (sniffer_ >= 0) {
            close(sniffer_);
        }
        NamespaceTest::TearDown();
    }
    Announcement announcement(const char* address) const {
        return {static_cast<int>(if_nametoindex("lb0")), kMac, ip(address)};
    }
    // How often exactly this frame has come in since the start.
    size_t seen(const Frame& frame) {
        uint8_t buffer[2048];
        ssize_t got = 0;
        while ((got = recv(sniffer_, buffer, sizeof(buffer), 0)) > 0) {
            frames_.emplace_back(buffer, buffer + got);
        }
        return static_cast<size_t>(std::count(frames_.begin(), frames_.end(), frame));
    }

    boost::asio::io_context io_;
    Announcer announcer_{io_};
    int sniffer_ = -1;
    std::vector<Frame> frames_;
};

TEST_F(AnnounceTest, ComesInThreeTimesInEveryForm) {
    const std::vector<Frame> expected{gratuitous_arp(kMac, ip("203.0.113.10"), ArpForm::kRequest),
                                      gratuitous_arp(kMac, ip("203.0.113.10"), ArpForm::kReply),
                                      unsolicited_advertisement(kMac, ip("2001:db8::10"))};
    announcer_.announce({announcement("203.0.113.10"), announcement("2001:db8::10")});
    for (const Frame& frame : expected) {
        EXPECT_EQ(seen(frame), 1U); // the first round does not wait for the loop
    }
    for (const Frame& frame : expected) {
        EXPECT_TRUE(run_until(io_, [&] { return seen(frame) == Announcer::kRounds.size(); }));
    }
    io_.restart();
    EXPECT_EQ(io_.run(), 0U); // nothing more is planned
}

// A receiver that has the address elsewhere in its table believes the announcement: so the frames,
// with their checksum, are what a kernel accepts.
TEST_F(AnnounceTest, TheOtherKernelBelievesIt) {
    in_peer([] {
        run("echo 1 > /proc/sys/net/ipv4/conf/peer0/arp_accept");
        run("ip neighbour add 192.0.2.10 dev peer0 lladdr 02:00:00:00:00:99 nud stale");
        run("ip neighbour add 2001:db8::10 dev peer0 lladdr 02:00:00:00:00:99 nud stale");
        // The kernel holds new entries for a moment against flapping (locktime).
        run("echo 0 > /proc/sys/net/ipv4/neigh/peer0/locktime");
    });
    ASSERT_TRUE(announce_once({announcement("192.0.2.10"), announcement("2001:db8::10")}));
    in_peer([] {
        run("ip neighbour show 192.0.2.10 dev peer0 | grep -q 02:00:00:00:00:02");
        run("ip neighbour show 2001:db8::10 dev peer0 | grep -q 02:00:00:00:00:02");
    });
}

TEST_F(AnnounceTest, ForgottenIsNotRepeated) {
    announcer_.announce({announcement("203.0.113.10"), announcement("203.0.113.11")});
    announcer_.forget(ip("203.0.113.10"));
    const Frame kept = gratuitous_arp(kMac, ip("203.0.113.11"), ArpForm::kRequest);
    ASSERT_TRUE(run_until(io_, [&] { return seen(kept) == Announcer::kRounds.size(); }));
    EXPECT_EQ(seen(gratuitous_arp(kMac, ip("203.0.113.10"), ArpForm::kRequest)), 1U);
}

TEST_F(AnnounceTest, AnInterfaceThatIsNotThereIsAnError) {
    EXPECT_FALSE(announce_once({{4711, kMac, ip("203.0.113.10")}}));
}

} // namespace
} // namespace weir::control
