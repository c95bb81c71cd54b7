// SPDX-License-Identifier: BSD-3-Clause
// The match table: what every (address, protocol, port) means. Pure; called by the compiler when
// the row ids are known.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config/expected.hpp"
#include "control/compile/inputs.hpp"
#include "control/compile/row_ids.hpp"
#include "dataplane/lb/state_builder.hpp"

namespace weir::control {

bool uses_full_nat(const config::Config& config);

Expected<lb::MatchTable> build_match_table(const config::Config& config, const VipRows& vips,
                                           const BackendRows& backends,
                                           std::span<const weir_snat_row> snat,
                                           const std::set<net::IpAddress>& own_addresses);

} // namespace weir::control
