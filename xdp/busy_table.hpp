// SPDX-License-Identifier: BSD-3-Clause
// For tests: a table in which the packets of test_corpus.hpp find all kinds of rows.
#pragma once

#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace weir::forwarding_test {

inline TestTable busy_table() {
    TestTable table(256, 77);
    for (const char* vip : {kVip4, kVip6}) {
        table.address(vip, WEIR_MATCH_VIP_ADDRESS);
        table.serve(vip, 6, 80, 3);
        table.ranges(vip, 17, {TestTable::range(1, 1023, WEIR_MATCH_VIP, 4)}, WEIR_MATCH_VIP, 5);
        table.ranges(vip, 6, {TestTable::range(8000, 8999, WEIR_MATCH_VIP, 6)});
    }
    table.backend("192.0.2.1", 6, 40000);
    table.backend(kClient6, 17, 40000);
    table.address("192.0.2.2", WEIR_MATCH_LOCAL);
    return table;
}

} // namespace weir::forwarding_test
