// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* From a flow hash to a Maglev slot or a worker, and from a SNAT port to a worker. */
#pragma once

#include "dataplane/forwarding/flow.h"

/* `hash` spread evenly over 0..count-1 without a division (Lemire, 2016). */
WEIR_INLINE uint32_t weir_scale(uint32_t hash, uint32_t count) {
    return (uint32_t)(((uint64_t)hash * count) >> 32);
}

WEIR_INLINE uint32_t weir_maglev_slot(uint64_t flow_hash, uint32_t slot_count) {
    return weir_scale(weir_hash_table_bits(flow_hash), slot_count);
}

/* A flow hash to a worker. */
WEIR_INLINE uint32_t weir_owner_of_flow(uint64_t flow_hash, uint32_t workers) {
    return weir_scale(weir_hash_owner_bits(flow_hash), workers);
}

/* SNAT ports are dealt out round: port by port to worker by worker. Host order. */
WEIR_INLINE uint32_t weir_snat_port_owner(uint16_t port, uint16_t first_port, uint32_t workers) {
    return (uint32_t)(port - first_port) % workers;
}
