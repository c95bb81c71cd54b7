// SPDX-License-Identifier: BSD-3-Clause
// Foresee: what the packets of new connections will read in the table is sent for while there is a
// whole burst of them, since each would otherwise wait for it alone. Nothing is decided here: what
// was foreseen in vain, because a packet before it in the burst opened the same connection, say, is
// not used.
#include "dataplane/dpdk/connection_steps.hpp"

#include <bit>
#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// Packets of the burst, a bit each.
using Packets = std::uint32_t;
static_assert(kBurstSize <= 32);

template <class Visit> void for_each(Packets packets, Visit visit) {
    for (; packets != 0; packets &= packets - 1)
        visit(static_cast<std::uint32_t>(std::countr_zero(packets)));
}

// Sends for the rows of what is known. Returns the packets whose flow is not in the table, or whose
// bucket alone cannot tell.
Packets look_ahead(const Worker& worker, Burst& burst) {
    Packets unknown = 0;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED || !burst.look_up[i])
            continue;
        burst.hint[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
        unknown |= Packets{burst.hint[i] >= lb::ConnectionIndex::kUndecided} << i;
    }
    return unknown;
}

// Those that are for a VIP and that a connection may begin with.
Packets beginnings(const Burst& burst, Packets unknown) {
    Packets result = 0;
    for_each(unknown, [&](std::uint32_t i) {
        const bool may_begin =
            burst.match[i].kind == WEIR_MATCH_VIP &&
            (burst.hint[i] == lb::kNoEntry || weir_packet_opens(&burst.packet[i]));
        result |= Packets{may_begin} << i;
    });
    return result;
}

void send_for_slots(const lb::ForwardingState& state, const Burst& burst, Packets unknown) {
    for_each(unknown, [&](std::uint32_t i) {
        const weir_pool_row& pool = state.pools()[state.vips()[burst.match[i].index].pool];
        if (pool.slot_count == 0)
            return;
        rte_prefetch0(state.slot_of(pool, burst.hash[i]));
        if (pool.elder_count != 0)
            rte_prefetch0(state.oldest_slot_of(pool, burst.hash[i]));
    });
}

// The backend's packets of the connection, as they would be. False: it has none of its own.
bool foresee_reply(Worker& worker, Burst& burst, std::uint32_t i, weir_flow& reply) {
    const lb::ForwardingState& state = *worker.state;
    const weir_vip_row& vip = state.vips()[burst.match[i].index];
    if (weir_forward_is_dsr(vip.forward))
        return false;
    const std::uint32_t row = backend_by_hash(worker, burst, i, vip);
    if (row == WEIR_NO_ROW)
        return false;
    const weir_backend_row& backend = state.backends()[row];
    const weir_be16 port = weir_backend_port(&backend, burst.packet[i].destination_port);
    Foreseen& foreseen = burst.foreseen[i];
    if (vip.forward == WEIR_FORWARD_NAT) {
        const weir_address client = weir_packet_source(&burst.packet[i]);
        weir_flow_set(&reply, &backend.address, &client, port, burst.packet[i].source_port,
                      burst.packet[i].protocol);
    } else {
        const auto proposal = propose_snat_port(worker, row, port);
        if (!proposal)
            return false;
        foreseen.port = *proposal;
        weir_flow_set(&reply, &backend.address, &state.snat()[proposal->address].address, port,
                      weir_swap16(proposal->port), burst.packet[i].protocol);
    }
    foreseen.backend = row;
    return true;
}

} // namespace

void foresee(Worker& worker, Burst& burst) {
    burst.was_foreseen = 0;
    const Packets unknown = look_ahead(worker, burst);
    if (unknown == 0) [[likely]]
        return;
    const Packets begin = beginnings(burst, unknown);
    send_for_slots(*worker.state, burst, begin);
    for_each(begin, [&](std::uint32_t i) {
        weir_flow reply;
        if (!foresee_reply(worker, burst, i, reply))
            return;
        if (reply.words == WEIR_FLOW_WORDS_V4)
            burst.flows_v4.add(i, reply);
        else
            burst.flows_v6.add(i, reply);
        burst.was_foreseen |= Packets{1} << i;
    });
    burst.flows_v4.compute(worker.state->hash_key(), burst.reply_hash, burst.count);
    burst.flows_v6.compute(worker.state->hash_key(), burst.reply_hash, burst.count);
    for_each(burst.was_foreseen, [&](std::uint32_t i) {
        worker.table.prefetch_index(lb::index_hash(burst.reply_hash[i]));
    });
}

} // namespace weir::dpdk
