// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/recent_destinations.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace weir::dpdk {
namespace {

template <class Key> Key key_of(std::uint32_t n);
template <> std::uint64_t key_of(std::uint32_t n) {
    return 0x0006'5000'0000'0000 | weir_swap32(0xcb007100 + n); // 203.0.113.n, port 80, TCP
}
template <> PlainBurst::EndV6 key_of(std::uint32_t n) {
    return {0xb80d'0120, std::uint64_t{weir_swap32(n)} << 32, 0x0006'5000};
}

Destination destination(std::uint32_t vip) {
    Destination to{};
    to.match = {WEIR_MATCH_VIP, vip};
    return to;
}

template <class Key> class PlacesTest : public ::testing::Test {
protected:
    // Of the first `count`, those that are found; each is what was put.
    std::uint32_t found(std::uint32_t count) const {
        std::uint32_t found = 0;
        for (std::uint32_t n = 0; n < count; n++)
            if (const Destination* to = places->find(key_of<Key>(n))) {
                EXPECT_EQ(to->match.index, n);
                found++;
            }
        return found;
    }
    void put(std::uint32_t count) {
        for (std::uint32_t n = 0; n < count; n++)
            places->put(key_of<Key>(n), destination(n));
    }

    std::unique_ptr<Places<Key>> places = std::make_unique<Places<Key>>();
};
using Keys = ::testing::Types<std::uint64_t, PlainBurst::EndV6>;
TYPED_TEST_SUITE(PlacesTest, Keys);

TYPED_TEST(PlacesTest, KeepsHundredsAndForgetsThemAll) {
    EXPECT_EQ(this->found(300), 0u);
    this->put(300);
    EXPECT_GT(this->found(300), 285u);
    EXPECT_EQ(this->places->find(key_of<TypeParam>(300)), nullptr);
    this->places->forget();
    EXPECT_EQ(this->found(300), 0u);
}

TYPED_TEST(PlacesTest, TheLastOfAKeyCounts) {
    this->places->put(key_of<TypeParam>(7), destination(1));
    this->places->put(key_of<TypeParam>(7), destination(7));
    EXPECT_EQ(this->found(8), 1u);
}

// More than it has room for.
TYPED_TEST(PlacesTest, GoesOnWithMoreThanItKeeps) {
    this->put(5000);
    EXPECT_NE(this->places->find(key_of<TypeParam>(4999)), nullptr);
    EXPECT_GT(this->found(5000), 500u);
    this->places->forget();
    EXPECT_EQ(this->found(5000), 0u);
}

} // namespace
} // namespace weir::dpdk
