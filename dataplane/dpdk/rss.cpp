// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/rss.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <string>
#include <vector>

namespace weir::dpdk {
namespace {

constexpr std::uint64_t kByPorts = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |
                                   RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
constexpr std::uint32_t kLeastKeyBytes = WEIR_RSS_V6_BYTES + 4; // a 32-bit window at each bit

using Table = std::vector<rte_eth_rss_reta_entry64>;

Table table_of(std::uint32_t size) {
    Table table(size / RTE_ETH_RETA_GROUP_SIZE);
    for (rte_eth_rss_reta_entry64& group : table)
        group.mask = ~std::uint64_t{0};
    return table;
}

Error refused(const char* what, int error) {
    return Error{std::string("the driver refuses the ") + what + ": " + rte_strerror(-error)};
}

Expected<void> apply_key(std::uint16_t port, const rte_eth_dev_info& info,
                         const weir_rss_key& wanted) {
    std::array<std::uint8_t, WEIR_RSS_KEY_BYTES> key{};
    std::memcpy(key.data(), wanted.byte, key.size());
    rte_eth_rss_conf conf{};
    conf.rss_key = key.data();
    conf.rss_key_len = info.hash_key_size;
    conf.rss_hf = spread_by(info);
    if (int error = rte_eth_dev_rss_hash_update(port, &conf); error != 0)
        return refused("key", error);
    std::array<std::uint8_t, 256> read{};
    conf.rss_key = read.data();
    conf.rss_key_len = info.hash_key_size;
    if (rte_eth_dev_rss_hash_conf_get(port, &conf) != 0)
        return {}; // not every driver can say
    if (std::memcmp(read.data(), wanted.byte, info.hash_key_size) != 0)
        return Error{"the driver took the key and shows another"};
    if ((conf.rss_hf & kByPorts) != kByPorts)
        return Error{"the driver does not hash all of TCP and UDP by their ports"};
    return {};
}

Expected<void> apply_table(std::uint16_t port, const rte_eth_dev_info& info,
                           const lb::Spread& spread) {
    Table table = table_of(info.reta_size);
    for (std::uint32_t entry = 0; entry < info.reta_size; entry++)
        table[entry / RTE_ETH_RETA_GROUP_SIZE].reta[entry % RTE_ETH_RETA_GROUP_SIZE] =
            static_cast<std::uint16_t>(spread.worker_of_entry(entry & (spread.entries() - 1)));
    if (int error = rte_eth_dev_rss_reta_update(port, table.data(), info.reta_size); error != 0)
        return refused("table", error);
    Table read = table_of(info.reta_size);
    if (rte_eth_dev_rss_reta_query(port, read.data(), info.reta_size) != 0)
        return {};
    for (std::size_t group = 0; group < table.size(); group++)
        if (!std::equal(std::begin(table[group].reta), std::end(table[group].reta),
                        std::begin(read[group].reta)))
            return Error{"the driver took the table and shows another"};
    return {};
}

} // namespace

std::uint64_t spread_by(const rte_eth_dev_info& info) {
    return info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
}

std::uint32_t controllable_entries(const rte_eth_dev_info& info, bool hardware,
                                   std::uint32_t workers) {
    if (!hardware && (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH) == 0)
        return 0;
    if ((info.flow_type_rss_offloads & kByPorts) != kByPorts)
        return 0;
    if (info.hash_key_size < kLeastKeyBytes || info.hash_key_size > WEIR_RSS_KEY_BYTES)
        return 0;
    // Drivers take the table in groups of 64; NICs index it by the hash's lowest bits.
    const std::uint32_t size = info.reta_size;
    if (!std::has_single_bit(size) || size < RTE_ETH_RETA_GROUP_SIZE || size < workers)
        return 0;
    return std::min(size, lb::kMaxSpreadEntries);
}

Expected<void> apply_spread(std::uint16_t port, const lb::Spread& spread) {
    rte_eth_dev_info info{};
    if (int error = rte_eth_dev_info_get(port, &info); error != 0)
        return refused("question what it can do", error);
    if (auto applied = apply_key(port, info, spread.key()); !applied)
        return applied;
    return apply_table(port, info, spread);
}

} // namespace weir::dpdk
