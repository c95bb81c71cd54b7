// SPDX-License-Identifier: BSD-3-Clause
// What is claimed, by what drivers say; and that a driver gets the key and the table, on net_null,
// which keeps them (and does not spread, so that control of it is not claimed).
#include "dataplane/dpdk/rss.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace weir::dpdk {
namespace {

rte_eth_dev_info capable() {
    rte_eth_dev_info info{};
    info.flow_type_rss_offloads = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
    info.hash_key_size = 52;
    info.reta_size = 512;
    return info;
}

TEST(Rss, ClaimsWhatCanBeControlled) {
    rte_eth_dev_info info = capable();
    EXPECT_EQ(controllable_entries(info, true, 8), 512u);
    EXPECT_EQ(controllable_entries(info, false, 8), 0u) << "software that does not hash";
    info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_RSS_HASH;
    EXPECT_EQ(controllable_entries(info, false, 8), 512u);
    info.hash_key_size = 40;
    info.reta_size = 64;
    EXPECT_EQ(controllable_entries(info, true, 64), 64u);
    EXPECT_EQ(controllable_entries(info, true, 65), 0u) << "workers without an entry";
    info.reta_size = 4096;
    EXPECT_EQ(controllable_entries(info, true, 8), lb::kMaxSpreadEntries);
}

TEST(Rss, ClaimsNothingElse) {
    const auto entries_with = [](auto change) {
        rte_eth_dev_info info = capable();
        change(info);
        return controllable_entries(info, true, 4);
    };
    using Info = rte_eth_dev_info;
    EXPECT_EQ(entries_with([](Info& i) { i.hash_key_size = 0; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) { i.hash_key_size = 39; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) { i.hash_key_size = 64; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) { i.reta_size = 0; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) { i.reta_size = 32; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) { i.reta_size = 192; }), 0u);
    EXPECT_EQ(entries_with([](Info& i) {
                  i.flow_type_rss_offloads &= ~std::uint64_t{RTE_ETH_RSS_NONFRAG_IPV6_UDP};
              }),
              0u)
        << "UDP over IPv6 would be spread by addresses alone";
}

// A net_null port with four queues, RSS on or off.
class NullPort {
public:
    explicit NullPort(bool rss) {
        static rte_mempool* pool = [] {
            const char* args[] = {"rss_test", "--no-shconf", "--no-huge",         "--no-pci",
                                  "-m",       "64",          "--log-level=error", "--no-telemetry"};
            if (rte_eal_init(std::size(args), const_cast<char**>(args)) < 0)
                std::abort();
            return rte_pktmbuf_pool_create("rss", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
        }();
        EXPECT_EQ(rte_eal_hotplug_add("vdev", kName, ""), 0);
        EXPECT_EQ(rte_eth_dev_get_port_by_name(kName, &id), 0);
        rte_eth_dev_info_get(id, &info);
        rte_eth_conf conf{};
        if (rss) {
            conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = spread_by(info);
        }
        EXPECT_EQ(rte_eth_dev_configure(id, 4, 4, &conf), 0);
        for (std::uint16_t queue = 0; queue < 4; queue++) {
            rte_eth_rx_queue_setup(id, queue, 64, 0, nullptr, pool);
            rte_eth_tx_queue_setup(id, queue, 64, 0, nullptr);
        }
        EXPECT_EQ(rte_eth_dev_start(id), 0);
    }
    ~NullPort() {
        rte_eth_dev_stop(id);
        rte_eal_hotplug_remove("vdev", kName);
    }

    std::uint16_t id = 0;
    rte_eth_dev_info info{};

private:
    static constexpr const char* kName = "net_null_rss";
};

TEST(Rss, TheDriverGetsKeyAndTable) {
    const NullPort port(true);
    EXPECT_EQ(controllable_entries(port.info, false, 4), 0u);
    const auto spread = *lb::Spread::make(lb::rss_key_of({1, 2}), 64, 3);
    const auto applied = apply_spread(port.id, spread);
    ASSERT_TRUE(applied) << applied.error().sentence;

    std::uint8_t key[WEIR_RSS_KEY_BYTES] = {};
    rte_eth_rss_conf conf{};
    conf.rss_key = key;
    conf.rss_key_len = port.info.hash_key_size;
    ASSERT_EQ(rte_eth_dev_rss_hash_conf_get(port.id, &conf), 0);
    EXPECT_EQ(std::memcmp(key, spread.key().byte, port.info.hash_key_size), 0);

    ASSERT_EQ(port.info.reta_size, 128u) << "larger than the spread's";
    rte_eth_rss_reta_entry64 table[2] = {};
    table[0].mask = table[1].mask = ~std::uint64_t{0};
    ASSERT_EQ(rte_eth_dev_rss_reta_query(port.id, table, 128), 0);
    for (std::uint32_t entry = 0; entry < 128; entry++)
        EXPECT_EQ(table[entry / 64].reta[entry % 64], entry % 64 % 3) << entry;
}

TEST(Rss, ADriverThatRefusesIsSaid) {
    const NullPort port(false);
    const auto applied = apply_spread(port.id, *lb::Spread::make(lb::rss_key_of({1, 2}), 64, 3));
    ASSERT_FALSE(applied);
    EXPECT_NE(applied.error().sentence.find("the driver refuses the "), std::string::npos);
}

} // namespace
} // namespace weir::dpdk
