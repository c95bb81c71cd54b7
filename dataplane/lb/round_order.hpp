// SPDX-License-Identifier: BSD-3-Clause
// The order of turns in one round of a pool that balances by turns (rr, wrr), or that draws from a
// round (lc, wlc): each backend as often as its weight says and its turns as far apart as they can
// be. The control process calls it; a pure function of the list of weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/forwarding/limits.h"

namespace weir::lb {

inline constexpr std::uint32_t kLongestRound = WEIR_MAGLEV_MAX_SIZE;

// Turns of each backend in one round, in the order of `weights`: the weights without their common
// divisor, or when those add up to more than kLongestRound, scaled down: each is then within half a
// turn of its exact share of (kLongestRound - number of backends) turns, but every backend with a
// weight has at least one. In sum at most kLongestRound.
// REQUIRES: fewer than kLongestRound / 2 weights.
std::vector<std::uint32_t> round_turns(std::span<const std::uint32_t> weights);

// The round itself: indices into `weights`. Empty when all weights are 0. After any number of steps
// a backend has had its exact share of them rounded up or down: the order is a feasible schedule of
// windows in the sense of Baruah et al., "Proportionate progress", Algorithmica 15 (1996), which
// serving the earliest deadline first finds for one server. Cost: length * log(backends).
std::vector<std::uint16_t> build_round_order(std::span<const std::uint32_t> weights);

} // namespace weir::lb
