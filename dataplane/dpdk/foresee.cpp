// SPDX-License-Identifier: BSD-3-Clause
// Foresee: what the packets of new connections will read in the table is sent for while there is a
// whole burst of them, since each would otherwise wait for it alone. Nothing is decided here: what
// was foreseen in vain, because a packet before it in the burst opened the same connection, say, is
// not used.
#include "dataplane/dpdk/connection_steps.hpp"

#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// Sends for the rows of what is known. Returns the packets whose flow is not in the table, or whose
// bucket alone cannot tell.
PacketSet look_ahead(const Worker& worker, Burst& burst) {
    PacketSet unknown = 0;
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED || !burst.look_up[i])
            continue;
        burst.hint[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
        unknown |= PacketSet{burst.hint[i] >= lb::ConnectionIndex::kUndecided} << i;
    }
    return unknown;
}

// Those that are for a VIP and that a connection may begin with.
PacketSet beginnings(const Burst& burst, PacketSet unknown) {
    PacketSet result = 0;
    for_each(unknown, [&](std::uint32_t i) {
        const bool may_begin =
            burst.match[i].kind == WEIR_MATCH_VIP &&
            (burst.hint[i] == lb::kNoEntry || weir_packet_opens(&burst.packet[i]));
        result |= PacketSet{may_begin} << i;
    });
    return result;
}

void send_for_slots(const lb::ForwardingState& state, const Burst& burst, PacketSet unknown) {
    for_each(unknown, [&](std::uint32_t i) {
        const weir_pool_row& pool = state.pools()[state.vips()[burst.match[i].index].pool];
        if (pool.slot_count == 0)
            return;
        rte_prefetch0(state.slot_of(pool, burst.hash[i]));
        if (pool.elder_count != 0)
            rte_prefetch0(state.oldest_slot_of(pool, burst.hash[i]));
    });
}

// In line, as in connection_index.hpp: what only prefetches has no effect that GCC sees.
[[gnu::always_inline]] inline void send_for_room(const Worker& worker, const std::uint64_t* hash,
                                                 PacketSet packets) {
    for (; packets != 0; packets &= packets - 1)
        worker.table.prefetch_room(lb::index_hash(hash[first_of(packets)]));
}

lb::SnatSteps& steps_towards(Burst& burst, const weir_backend_row& backend) {
    return backend.family == 4 ? burst.snat_v4 : burst.snat_v6;
}

// Which backend each would go to, and the next step of the walk that looks for its source port.
// Returns those that will have packets from their backend.
PacketSet foresee_backends(Worker& worker, Burst& burst, PacketSet begin) {
    const lb::ForwardingState& state = *worker.state;
    PacketSet foreseen = 0;
    burst.snat_v4.clear();
    burst.snat_v6.clear();
    for_each(begin, [&](std::uint32_t i) {
        const weir_vip_row& vip = state.vips()[burst.match[i].index];
        if (weir_forward_is_dsr(vip.forward))
            return;
        const std::uint32_t row = backend_by_hash(worker, burst, i, vip);
        if (row == WEIR_NO_ROW)
            return;
        Foreseen& to = burst.foreseen[i];
        to.backend = row;
        if (vip.forward == WEIR_FORWARD_FULL_NAT) {
            const weir_backend_row& backend = state.backends()[row];
            lb::SnatPorts& ports = ports_towards(worker, backend);
            if (ports.places() == 0)
                return;
            to.snat_step = ports.step(row, steps_towards(burst, backend));
        }
        foreseen |= set_of(i);
    });
    worker.snat_v4.find(burst.snat_v4);
    worker.snat_v6.find(burst.snat_v6);
    return foreseen;
}

// Where the backend's packets will go. False: the step has led to no port.
bool reply_to(Worker& worker, Burst& burst, std::uint32_t i, const weir_backend_row& backend,
              weir_be16 backend_port, weir_address& address, weir_be16& port) {
    const lb::ForwardingState& state = *worker.state;
    const weir_packet& packet = burst.packet[i];
    if (state.vips()[burst.match[i].index].forward == WEIR_FORWARD_NAT) {
        address = weir_packet_source(&packet);
        port = packet.source_port;
        return true;
    }
    Foreseen& foreseen = burst.foreseen[i];
    const lb::SnatPort found = ports_towards(worker, backend)
                                   .port(steps_towards(burst, backend), foreseen.snat_step,
                                         reply_part(worker, backend, backend_port));
    if (!found)
        return false;
    foreseen.port = found;
    address = state.snat()[found.address()].address;
    port = weir_swap16(found.port());
    return true;
}

// The hashes of the backends' packets.
void foresee_replies(Worker& worker, Burst& burst, PacketSet foreseen) {
    for_each(foreseen, [&](std::uint32_t i) {
        const weir_packet& packet = burst.packet[i];
        const weir_backend_row& backend = worker.state->backends()[burst.foreseen[i].backend];
        const weir_be16 backend_port = weir_backend_port(&backend, packet.destination_port);
        weir_address to;
        weir_be16 to_port;
        if (!reply_to(worker, burst, i, backend, backend_port, to, to_port))
            return;
        weir_flow reply;
        weir_flow_set(&reply, &backend.address, &to, backend_port, to_port, packet.protocol);
        if (reply.words == WEIR_FLOW_WORDS_V4)
            burst.flows_v4.add(i, reply);
        else
            burst.flows_v6.add(i, reply);
        burst.was_foreseen |= set_of(i);
    });
    burst.flows_v4.compute(worker.state->hash_key(), burst.reply_hash, burst.count);
    burst.flows_v6.compute(worker.state->hash_key(), burst.reply_hash, burst.count);
}

} // namespace

void foresee(Worker& worker, Burst& burst) {
    burst.was_foreseen = 0;
    const PacketSet unknown = look_ahead(worker, burst);
    if (unknown == 0) [[likely]]
        return;
    const PacketSet begin = beginnings(burst, unknown);
    send_for_slots(*worker.state, burst, begin);
    send_for_room(worker, burst.hash, begin);
    const PacketSet foreseen = foresee_backends(worker, burst, begin);
    if (foreseen == 0)
        return;
    foresee_replies(worker, burst, foreseen);
    for_each(burst.was_foreseen, [&](std::uint32_t i) {
        worker.table.prefetch_index(lb::index_hash(burst.reply_hash[i]));
    });
    send_for_room(worker, burst.reply_hash, burst.was_foreseen);
}

} // namespace weir::dpdk
