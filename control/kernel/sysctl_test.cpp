// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/sysctl.hpp"

#include "control/kernel/test_namespace.hpp"

namespace weir::control {
namespace {

std::string merged(const char* present, uint16_t first, uint16_t last) {
    const Expected<std::string> result = merge_port_lists(present, {first, last});
    return result ? *result : "refused: " + result.error().sentence;
}

TEST(MergePortLists, KeepsWhatIsThere) {
    EXPECT_EQ(merged("", 40000, 59999), "40000-59999");
    EXPECT_EQ(merged("8080,9000-9010", 40000, 59999), "8080,9000-9010,40000-59999");
    EXPECT_EQ(merged("65535", 1, 1), "1,65535");
}

TEST(MergePortLists, JoinsWhatOverlapsOrTouches) {
    EXPECT_EQ(merged("30000-45000", 40000, 59999), "30000-59999");
    EXPECT_EQ(merged("39999,60000", 40000, 59999), "39999-60000");
    EXPECT_EQ(merged("41000,42000-43000", 40000, 59999), "40000-59999");
    EXPECT_EQ(merged("40000-59999", 40000, 59999), "40000-59999");
}

TEST(MergePortLists, RefusesToLoseWhatItCannotRead) {
    for (const char* present : {"x", "1-", "-1", "5-4", "70000", "1,,2", "1 2"}) {
        EXPECT_EQ(merged(present, 1, 2).rfind("refused: ", 0), 0U) << present;
    }
}

class SysctlTest : public NamespaceTest {};

TEST_F(SysctlTest, PreparesAnInterface) {
    run("echo 1 > /proc/sys/net/ipv4/conf/all/send_redirects");
    const Expected<void> done = prepare_interface("lb0");
    ASSERT_TRUE(done) << done.error().sentence;
    EXPECT_EQ(*read_sysctl("net/ipv4/conf/lb0/arp_ignore"), "1");
    EXPECT_EQ(*read_sysctl("net/ipv4/conf/lb0/arp_announce"), "2");
    EXPECT_EQ(*read_sysctl("net/ipv4/conf/lb0/send_redirects"), "0");
    EXPECT_EQ(*read_sysctl("net/ipv4/conf/all/send_redirects"), "0");
    ASSERT_TRUE(disable_dad("lb0"));
    EXPECT_EQ(*read_sysctl("net/ipv6/conf/lb0/accept_dad"), "0");
    EXPECT_FALSE(prepare_interface("lb7"));
}

TEST_F(SysctlTest, ReservesPortsBesideThoseReserved) {
    run("echo 8080,50000 > /proc/sys/net/ipv4/ip_local_reserved_ports");
    ASSERT_TRUE(reserve_local_ports({40000, 59999}));
    ASSERT_TRUE(reserve_local_ports({40000, 59999}));
    EXPECT_EQ(*read_sysctl("net/ipv4/ip_local_reserved_ports"), "8080,40000-59999");
}

} // namespace
} // namespace weir::control
