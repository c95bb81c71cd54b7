// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_owner.hpp"

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/owner.h"

namespace weir::lb {

weir_flow forward_flow(const ForwardingState& state, const HotRow& row) {
    const weir_vip_row& vip = state.vips()[row.vip];
    weir_flow flow;
    weir_flow_set(&flow, &row.client, &vip.address, row.client_port, row.service_port,
                  vip.protocol);
    return flow;
}

weir_flow reply_flow(const ForwardingState& state, const HotRow& row) {
    const weir_vip_row& vip = state.vips()[row.vip];
    const weir_backend_row& backend = state.backends()[row.backend];
    const bool translated = vip.forward == WEIR_FORWARD_FULL_NAT;
    const weir_address& to = translated ? state.snat()[row.snat_address].address : row.client;
    weir_flow flow;
    weir_flow_set(&flow, &backend.address, &to, weir_backend_port(&backend, row.service_port),
                  translated ? row.snat_port : row.client_port, vip.protocol);
    return flow;
}

std::uint32_t owner_of_row(const ForwardingState& state, const Workers& workers,
                           const HotRow& row) {
    if (workers.count == 1)
        return 0;
    const weir_vip_row& vip = state.vips()[row.vip];
    const weir_pool_row* pool = state.persistence_of_vip(row.vip);
    if (weir_pool_persists(pool))
        return weir_owner_of_network(&state.hash_key(), &row.client, pool, workers.count);
    if (vip.forward == WEIR_FORWARD_NAT)
        return weir_owner_of_client(&state.hash_key(), &row.client, row.client_port, vip.protocol,
                                    workers.count);
    const weir_flow flow = forward_flow(state, row);
    return workers.spread
               ? workers.spread->worker_of(flow)
               : weir_owner_of_flow(weir_flow_hash(&state.hash_key(), &flow), workers.count);
}

std::uint32_t owner_of_replies(const ForwardingState& state, const Workers& workers,
                               const HotRow& row) {
    if (state.vips()[row.vip].forward != WEIR_FORWARD_FULL_NAT || workers.count == 1)
        return owner_of_row(state, workers, row);
    if (workers.spread)
        return workers.spread->worker_of(reply_flow(state, row));
    const weir_snat_row& snat = state.snat()[row.snat_address];
    return weir_snat_port_owner(weir_swap16(row.snat_port), snat.first_port, workers.count);
}

} // namespace weir::lb
