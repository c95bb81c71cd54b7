// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/address_filter.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace weir::lb {
namespace {

weir_address v4(std::uint32_t n) {
    return weir_address_from_v4(weir_swap32(0xc6336400 + n));
}

weir_address v6(std::uint64_t n) {
    return {{0x0000'0000'b80d'0120, __builtin_bswap64(n)}};
}

TEST(AddressFilter, HasWhatWasAddedAndLittleElse) {
    const auto filter = std::make_unique<AddressFilter>();
    for (std::uint32_t n = 0; n < 1000; n++) {
        EXPECT_FALSE(filter->may_have(v4(0xffff + n)));
        filter->add(v4(n));
        filter->add(v6(n));
    }
    std::uint32_t for_nothing = 0;
    for (std::uint32_t n = 0; n < 1000; n++) {
        EXPECT_TRUE(filter->may_have(v4(n)));
        EXPECT_TRUE(filter->may_have(v6(n)));
        for_nothing += filter->may_have(v4(1000 + n)) + filter->may_have(v6(1000 + n));
    }
    EXPECT_LT(for_nothing, 200u); // of 2000; 2000 of 65536 bits are set at the most
}

} // namespace
} // namespace weir::lb
