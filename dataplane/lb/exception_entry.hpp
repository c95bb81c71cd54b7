// SPDX-License-Identifier: BSD-3-Clause
// What a round through a connection table asks about the entries of VIPs that record exceptions
// only (dataplane/forwarding/exceptions.h). Both engines' sweeps go by it. Pure functions.
#pragma once

#include "dataplane/forwarding/exceptions.h"
#include "dataplane/lb/forwarding_state.hpp"

#include <cstdint>

namespace weir::lb {

// The flow hash of a client's packets to this VIP.
inline std::uint64_t client_flow_hash(const ForwardingState& state, const weir_vip_row& vip,
                                      const weir_address& client, weir_be16 client_port,
                                      weir_be16 service_port) {
    weir_flow flow;
    weir_flow_set(&flow, &client, &vip.address, client_port, service_port, vip.protocol);
    return weir_flow_hash(&state.hash_key(), &flow);
}

// The entry says no more than the table does, now that its slot's window is closed. REQUIRES: the
// VIP records exceptions only.
inline bool is_superfluous(const ForwardingState& state, const weir_vip_row& vip,
                           const weir_address& client, std::uint64_t flow_hash,
                           std::uint32_t backend) {
    if (vip.pool >= state.pools().size())
        return false;
    const weir_pool_row& pool = state.pools()[vip.pool];
    const std::uint64_t slot_hash = weir_slot_hash(&pool, &state.hash_key(), &client, flow_hash);
    return state.oldest(pool, slot_hash) == WEIR_NO_ROW && state.select(pool, slot_hash) == backend;
}

} // namespace weir::lb
