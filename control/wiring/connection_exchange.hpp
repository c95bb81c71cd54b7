// SPDX-License-Identifier: BSD-3-Clause
// A connection, or what is remembered of a client's network, in the form of the dataplane's tables
// and in that of the balancer's maps: one as the other. Row numbers mean the same in both.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/lb/connection_reader.hpp"
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/given.hpp"
#include "xdp/balancer.hpp"

namespace weir::control {

// For views; without a last hop.
lb::HotRow row_of(const weir_connection_key& key, const weir_connection& connection);

// Nothing: half-open, too old by `state`'s timeouts, or of no VIP of it. `now_s`: monotonic clock.
std::optional<xdp::Balancer::Given>
given_to_balancer(const lb::ConnectionReader::Connection& connection, const lb::LastHops& hops,
                  const lb::ForwardingState& state, std::uint32_t now_s);

lb::GivenConnection given_to_dataplane(const weir_connection_key& key,
                                       const weir_connection& connection);

// Nothing: free, too old for every timeout, or of a backend that is no more.
std::optional<xdp::Balancer::Network> network_to_balancer(const lb::PersistenceTable::Entry& entry,
                                                          const lb::ForwardingState& state,
                                                          std::uint32_t now_s);

lb::GivenNetwork network_to_dataplane(const xdp::Balancer::Network& network);

} // namespace weir::control
