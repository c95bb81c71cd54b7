// SPDX-License-Identifier: BSD-3-Clause
// For tests on an interface: a table of two VIPs and the node's own SNAT range.
#pragma once

#include <cstdint>

#include "dataplane/forwarding/test_table.hpp"
#include "xdp/match_blocks.hpp"

namespace weir::xdp_test {

using forwarding_test::TestTable;

inline constexpr const char* kVip = "198.51.100.10";
inline constexpr const char* kVip6 = "2001:db8:1::10";
inline constexpr const char* kNode = "192.0.2.2";
inline constexpr uint8_t kTcp = 6, kUdp = 17;

inline TestTable served_table() {
    TestTable table;
    for (const char* vip : {kVip, kVip6}) {
        table.address(vip, WEIR_MATCH_VIP_ADDRESS);
        table.serve(vip, kTcp, 80, 0);
        table.serve(vip, kUdp, 53, 1);
    }
    table.address(kNode, WEIR_MATCH_LOCAL);
    table.ranges(kNode, kTcp, {TestTable::range(40000, 59999, WEIR_MATCH_SNAT, 0)});
    return table;
}

inline xdp::MatchTableView view_of(const TestTable& table) {
    return {table.header(), table.range_rows(), table.rows()};
}

} // namespace weir::xdp_test
