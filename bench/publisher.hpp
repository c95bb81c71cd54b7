// SPDX-License-Identifier: BSD-3-Clause
// What the channel does with a generation that control sends, without the channel.
#pragma once

#include "control/engine_link/generation.hpp"
#include "dataplane/dpdk/generations.hpp"

namespace weir::bench {

// Hands over the tables that `before` has not (null: all), then the root, and returns when every
// worker forwards by it: ns that it took. Throws when it is refused.
double publish(dpdk::Generations& generations, const control::Generation& next,
               const control::Generation* before);

} // namespace weir::bench
