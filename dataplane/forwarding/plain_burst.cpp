// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/plain_burst.hpp"

#include "dataplane/forwarding/plain_burst_lanes.hpp"
#include "dataplane/forwarding/plain_burst_read.hpp"

namespace weir::forwarding {
namespace {

const PlainReader best_reader = has_avx512() ? read_plain_avx512 : read_plain_avx2;

} // namespace

void PlainBurst::read(const PlainFrames& frames) {
    best_reader(*this, frames);
}

PacketSet PlainBurst::same_to_v4(PacketSet among, std::uint32_t i, std::uint64_t mask) const {
    const Pairs wanted = Pairs{} + (to_v4[i] & mask);
    PacketSet same = 0;
    for (std::uint32_t at = 0; at < kPlainBurst; at += 4) {
        const Pairs four = *reinterpret_cast<const Pairs*>(&to_v4[at]);
        same |= pairs_where((PairTruths)((four & mask) == wanted)) << at;
    }
    return same & among;
}

PacketSet PlainBurst::same_to_v6(PacketSet among, std::uint32_t i) const {
    const EndV6 wanted = to_v6(i);
    PacketSet same = 0;
    for (std::uint32_t at = 0; at < kPlainBurst; at += 4) {
        const auto four = [&](std::uint32_t word) {
            return *reinterpret_cast<const Pairs*>(&flow_v6[word][at]);
        };
        const auto same_four =
            (four(2) == wanted[0]) & (four(3) == wanted[1]) & (four(4) >> 16 == wanted[2]);
        same |= pairs_where((PairTruths)same_four) << at;
    }
    return same & among;
}

} // namespace weir::forwarding
