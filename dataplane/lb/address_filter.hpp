// SPDX-License-Identifier: BSD-3-Clause
// Which addresses a match table may know, in 8 kB: most packets of backends in `nat` are for
// clients, and that nobody here has their addresses should not take three look-ups a packet. A bit
// may be set for an address that is not there; it is never clear for one that is. Written before
// its generation is published, then only read.
#pragma once

#include "dataplane/forwarding/base.h"

#include <array>
#include <cstdint>

namespace weir::lb {

class AddressFilter {
public:
    void add(const weir_address& address) {
        const std::uint32_t place = place_of(address);
        words_[place / 64] |= bit_of(place);
    }

    [[nodiscard]] bool may_have(const weir_address& address) const {
        const std::uint32_t place = place_of(address);
        return (words_[place / 64] & bit_of(place)) != 0;
    }

private:
    static constexpr std::uint32_t kBits = 1 << 16;

    static std::uint32_t place_of(const weir_address& address) {
        const std::uint64_t mixed = address.word[0] * 0xd6e8feb86659fd93 + address.word[1];
        return static_cast<std::uint32_t>(mixed * 0x9e3779b97f4a7c15 >> 48);
    }
    static std::uint64_t bit_of(std::uint32_t place) { return std::uint64_t{1} << place % 64; }

    std::array<std::uint64_t, kBits / 64> words_{};
};

} // namespace weir::lb
