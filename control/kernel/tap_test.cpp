// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/tap.hpp"

#include <cstring>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "control/kernel/sysctl.hpp"
#include "control/kernel/test_namespace.hpp"

namespace weir::control {
namespace {

const net::MacAddress kMac = net::MacAddress::from_bytes({2, 0, 0, 0, 0, 0x55});

class TapTest : public NamespaceTest {
protected:
    void SetUp() override {
        NamespaceTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        if (access("/dev/net/tun", R_OK | W_OK) != 0) {
            GTEST_SKIP() << "needs /dev/net/tun";
        }
        socket_.emplace(NetlinkSocket::open().value());
    }
    Expected<Link> ensure() { return ensure_tap(*socket_, settings_); }

    // A queue as the dataplane opens it; -1 when it cannot.
    static int attach(const char* name, short flags) {
        const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        ifreq request{};
        request.ifr_flags = flags;
        std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
        if (ioctl(fd, TUNSETIFF, &request) != 0) {
            close(fd);
            return -1;
        }
        return fd;
    }
    static constexpr short kQueue = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;

    TapSettings settings_{.name = "weir-up", .mac = kMac, .mtu = 1400};
    std::optional<NetlinkSocket> socket_;
};

TEST_F(TapTest, IsMadeOnceAndFoundAgain) {
    const Expected<Link> made = ensure();
    ASSERT_TRUE(made) << made.error().sentence;
    EXPECT_TRUE(made->up);
    EXPECT_EQ(made->mac, kMac);
    EXPECT_EQ(made->mtu, 1400U);
    EXPECT_EQ(*read_sysctl("net/ipv6/conf/weir-up/accept_dad"), "0");
    run("ip address add 192.0.2.2/24 dev weir-up");
    const Expected<Link> found = ensure();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->index, made->index);
    run("ip address show dev weir-up | grep -q 192.0.2.2/24");
}

TEST_F(TapTest, TakesSeveralQueuesAndOutlivesThem) {
    ASSERT_TRUE(ensure());
    const int first = attach("weir-up", kQueue);
    const int second = attach("weir-up", kQueue);
    EXPECT_GE(first, 0);
    EXPECT_GE(second, 0);
    EXPECT_TRUE(find_link(*socket_, "weir-up")->carrier);
    EXPECT_TRUE(ensure()); // while the queues are in use
    close(first);
    close(second);
    EXPECT_TRUE(find_link(*socket_, "weir-up"));
    EXPECT_FALSE(find_link(*socket_, "weir-up")->carrier);
}

TEST_F(TapTest, NewSettingsAreApplied) {
    ASSERT_TRUE(ensure());
    settings_.mtu = 9000;
    settings_.mac = net::MacAddress::from_bytes({2, 0, 0, 0, 0, 0x66});
    const Expected<Link> changed = ensure();
    ASSERT_TRUE(changed) << changed.error().sentence;
    EXPECT_EQ(changed->mtu, 9000U);
    EXPECT_EQ(changed->mac, *settings_.mac);
}

TEST_F(TapTest, AnInterfaceOfAnotherKindIsRefused) {
    run("ip link add weir-up type veth peer name other");
    ASSERT_FALSE(ensure());
    run("ip link delete weir-up");
    run("ip tuntap add dev weir-up mode tap");
    const Expected<Link> single_queue = ensure();
    ASSERT_FALSE(single_queue);
    EXPECT_NE(single_queue.error().sentence.find("no multi-queue TAP"), std::string::npos);
}

TEST_F(TapTest, SomebodysPassingTapIsRefused) {
    const int fd = attach("weir-up", kQueue);
    ASSERT_GE(fd, 0);
    const Expected<Link> passing = ensure();
    ASSERT_FALSE(passing);
    EXPECT_NE(passing.error().sentence.find("not persistent"), std::string::npos);
    close(fd);
}

TEST_F(TapTest, IsRemoved) {
    ASSERT_TRUE(ensure());
    ASSERT_TRUE(remove_tap(*socket_, "weir-up"));
    EXPECT_FALSE(find_link(*socket_, "weir-up"));
    EXPECT_FALSE(remove_tap(*socket_, "weir-up"));
}

TEST_F(TapTest, ANameThatIsTooLongIsRefused) {
    settings_.name = "weir-uplink-number-one";
    const Expected<Link> refused = ensure();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().sentence.find("1 to 15 characters"), std::string::npos);
}

} // namespace
} // namespace weir::control
