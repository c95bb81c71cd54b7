// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Select and record: a backend for packets without a connection, and the connection that remembers
 * it. Maglev and source-hash choose as the DPDK workers do, by the same table and hash. The others
 * share their state between CPUs (docs/xdp.md says what that changes):
 *   rr, wrr  one cursor a pool for all CPUs
 *   lc, wlc  the better of two random slots, as there; counts are those of the table, which lose
 *            sight of evicted connections until the next sweep
 * persistence is a bounded LRU map without the DPDK table's preference for confirmed clients. */
#pragma once

#include "dataplane/forwarding/select.h"
#include "xdp/balancer_connections.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, uint64_t);
    __type(value, struct weir_remembered);
} persistence SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, uint32_t);
    __type(value, struct weir_token_bucket);
} buckets SEC(".maps");

enum weir_bucket { WEIR_BUCKET_ANSWERS, WEIR_BUCKET_ICMP_ERRORS };

WEIR_INLINE bool weir_may_pass(uint32_t which, uint64_t now_ns, uint32_t pps) {
    struct weir_token_bucket* bucket = bpf_map_lookup_elem(&buckets, &which);
    return bucket && weir_bucket_take(bucket, now_ns, weir_bucket_share(pps, settings.processors));
}

WEIR_INLINE bool weir_pool_hashes(const struct weir_pool_row* pool) {
    return pool->scheduler == WEIR_SCHEDULE_MAGLEV || pool->scheduler == WEIR_SCHEDULE_SOURCE_HASH;
}

WEIR_INLINE bool weir_opens(const struct weir_packet* packet) {
    return !weir_is_bystander(packet) &&
           (packet->protocol != WEIR_IP_TCP || weir_packet_opens(packet));
}

WEIR_INLINE bool weir_has_room(const struct weir_backend_row* backend, uint32_t row) {
    return backend->max_connections == 0 ||
           weir_active(&backend_active, row) < backend->max_connections;
}

/* Whether a new connection loads backend `a` less than `b`: (connections + 1) / weight, compared
 * without a division. */
WEIR_INLINE bool weir_less_loaded(uint64_t a_connections, uint32_t a_weight, uint64_t b_connections,
                                  uint32_t b_weight) {
    return (a_connections + 1) * (b_weight ? b_weight : 1) <
           (b_connections + 1) * (a_weight ? a_weight : 1);
}

struct weir_choice {
    uint32_t backend;
    bool at_limit; /* there are backends, but none with room was found */
};

#define WEIR_LONGEST_WALK 64u /* slots looked at for a backend with room */
#define WEIR_REDRAWS 4

WEIR_INLINE uint32_t weir_random_slot(const struct weir_pool_row* pool) {
    return weir_scale(bpf_get_prandom_u32(), pool->slot_count);
}

WEIR_INLINE uint32_t weir_next_in_round(uint32_t pool_row, uint32_t slot_count) {
    uint64_t* cursor = bpf_map_lookup_elem(&round_cursors, &pool_row);
    if (!cursor || slot_count == 0)
        return 0;
    return (uint32_t)(__sync_fetch_and_add(cursor, 1) % slot_count);
}

/* Power of two choices (Mitzenmacher, 2001). */
WEIR_INLINE struct weir_choice weir_less_loaded_of_two(const struct weir_work* work,
                                                       const struct weir_pool_row* pool) {
    struct weir_choice choice = {WEIR_NO_ROW, false};
    uint32_t first = weir_backend_of_slot(work->half, pool, weir_random_slot(pool));
    uint32_t second = first;
    for (int draw = 0; draw <= WEIR_REDRAWS && second == first; draw++)
        second = weir_backend_of_slot(work->half, pool, weir_random_slot(pool));
    const struct weir_backend_row* a = weir_backend(work->half, first);
    const struct weir_backend_row* b = weir_backend(work->half, second);
    if (!a || !b) {
        choice.backend = a ? first : second;
        return choice;
    }
    bool a_may = weir_has_room(a, first), b_may = weir_has_room(b, second);
    if (!a_may && !b_may) {
        choice.at_limit = true;
        return choice;
    }
    if (a_may && b_may) {
        uint64_t a_has = weir_active(&backend_active, first);
        uint64_t b_has = weir_active(&backend_active, second);
        bool other = (pool->flags & WEIR_POOL_IGNORES_WEIGHTS)
                         ? b_has < a_has
                         : weir_less_loaded(b_has, b->weight, a_has, a->weight);
        choice.backend = other ? second : first;
        return choice;
    }
    choice.backend = a_may ? first : second;
    return choice;
}

/* The first backend with room from `slot` on, in work->backend: 1 when it is one. 0: none has room,
 * or (backend WEIR_NO_ROW) the pool has none. A global function: the verifier would follow its loop
 * anew from every state of its caller. */
WEIR_STAGE weir_stage_walk(struct weir_work* work, uint32_t slot) {
    const struct weir_vip_row* vip = work ? weir_vip(work->half, work->vip) : NULL;
    const struct weir_pool_row* pool = vip ? weir_pool(work->half, vip->pool) : NULL;
    if (!work || !pool || pool->slot_count == 0)
        return 0;
    for (uint32_t i = 0; i < WEIR_LONGEST_WALK; i++) {
        uint32_t row = weir_backend_of_slot(work->half, pool, (slot + i) % pool->slot_count);
        const struct weir_backend_row* backend = weir_backend(work->half, row);
        work->backend = row;
        if (!backend || weir_has_room(backend, row))
            return backend != NULL;
    }
    return 0;
}

/* By the hash's slot: its oldest backend for a flow that may be older than the slot's last change,
 * while flows of that time are waited for. */
WEIR_INLINE uint32_t weir_backend_by_slot(struct weir_work* work, const struct weir_vip_row* vip,
                                          const struct weir_pool_row* pool, uint32_t slot,
                                          bool begins) {
    work->oldest = weir_oldest_of_slot(work->half, pool, slot);
    const struct weir_backend_row* oldest = weir_backend(work->half, work->oldest);
    if (!begins && oldest && weir_oldest_serves(vip, oldest))
        return work->oldest;
    return weir_backend_of_slot(work->half, pool, slot);
}

/* By the pool's scheduler and under its backends' limits. What a backend knows but we do not is no
 * new connection: it is found again by hash, whether or not the backend has room. */
WEIR_INLINE struct weir_choice weir_schedule(struct weir_work* work, const struct weir_vip_row* vip,
                                             const struct weir_pool_row* pool) {
    struct weir_choice choice = {WEIR_NO_ROW, false};
    const struct weir_balancer_head* head = weir_head(work->half);
    if (!head || pool->slot_count == 0)
        return choice;
    const bool opens = weir_opens(&work->packet);
    if (opens && pool->scheduler == WEIR_SCHEDULE_LEAST) {
        choice = weir_less_loaded_of_two(work, pool);
        if (!choice.at_limit)
            return choice;
    }
    uint32_t slot;
    if (opens && pool->scheduler == WEIR_SCHEDULE_ROUND_ROBIN) {
        slot = weir_next_in_round(vip->pool, pool->slot_count);
    } else if (opens && pool->scheduler == WEIR_SCHEDULE_LEAST) {
        slot = weir_random_slot(pool);
    } else {
        struct weir_address client = weir_packet_source(&work->packet);
        slot = weir_maglev_slot(weir_slot_hash(pool, &head->hash_key, &client, work->hash),
                                pool->slot_count);
        if (!opens || (vip->flags & WEIR_VIP_EXCEPTIONS)) {
            choice.backend = weir_backend_by_slot(work, vip, pool, slot, work->begins);
            return choice;
        }
    }
    if (opens && (pool->flags & WEIR_POOL_HAS_LIMITS)) {
        bool found = weir_stage_walk(work, slot);
        choice.at_limit = !found && work->backend != WEIR_NO_ROW;
        choice.backend = found ? work->backend : WEIR_NO_ROW;
        return choice;
    }
    choice.backend = weir_backend_of_slot(work->half, pool, slot);
    return choice;
}

/* The backend that the client's network went to, if it takes new connections. Draining ends
 * persistence: a backend that is to run empty would not. */
WEIR_INLINE uint32_t weir_recall(const struct weir_work* work, uint32_t pool_row,
                                 const struct weir_pool_row* pool, uint64_t key) {
    const struct weir_remembered* entry = bpf_map_lookup_elem(&persistence, &key);
    if (!entry || weir_age(work->now_s, entry->seen_s) >= pool->persistence_s)
        return WEIR_NO_ROW;
    uint32_t row = entry->backend;
    const struct weir_backend_row* backend = weir_backend(work->half, row);
    if (!backend || backend->state != WEIR_BACKEND_UP || backend->weight == 0 ||
        backend->pool != pool_row || backend->identity != entry->identity ||
        !weir_has_room(backend, row))
        return WEIR_NO_ROW;
    return row;
}

WEIR_STAGE weir_stage_choose(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_pool_row* pool = vip ? weir_pool(work->half, vip->pool) : NULL;
    if (!vip || !head || !pool)
        return WEIR_DROP_NO_BACKEND;
    const uint32_t pool_row = vip->pool;
    uint64_t key = 0;
    struct weir_choice choice = {WEIR_NO_ROW, false};
    if (pool->persistence_s != 0) {
        struct weir_address client = weir_packet_source(&work->packet);
        key = weir_persistence_key(&head->hash_key, &client, pool);
        choice.backend = weir_recall(work, pool_row, pool, key);
    }
    if (choice.backend == WEIR_NO_ROW)
        choice = weir_schedule(work, vip, pool);
    work->backend = choice.backend;
    const struct weir_backend_row* backend = weir_backend(work->half, choice.backend);
    if (!backend)
        return choice.at_limit ? WEIR_DROP_BACKEND_LIMIT : WEIR_DROP_NO_BACKEND;
    if (pool->persistence_s != 0 && !weir_is_bystander(&work->packet)) {
        struct weir_remembered entry = {backend->identity, choice.backend, work->now_s};
        bpf_map_update_elem(&persistence, &key, &entry, BPF_ANY);
    }
    return WEIR_UNDECIDED;
}

/* An error about a tunnel, whose client is not recorded. */
WEIR_INLINE enum weir_verdict weir_to_some_client(struct weir_work* work,
                                                  const struct weir_balancer_head* head) {
    if (!weir_take_recent_hop(work))
        return WEIR_DROP_ICMP_NO_CONNECTION;
    if (!weir_may_pass(WEIR_BUCKET_ICMP_ERRORS, work->now_ns, head->node.icmp_pps))
        return WEIR_DROP_ICMP_RATE;
    work->known = 1;
    return WEIR_UNDECIDED;
}

/* Does a flow begin with the packet? Where every flow is recorded an unknown datagram begins one;
 * where only exceptions are, it mostly does not. */
WEIR_STAGE weir_stage_begins(struct xdp_md* context, struct weir_work* work) {
    const struct weir_vip_row* vip = work ? weir_vip(work->half, work->vip) : NULL;
    if (!work || !vip)
        return 0;
    if (vip->flags & WEIR_VIP_EXCEPTIONS)
        return weir_flow_begins(WEIR_DATA(context), WEIR_END(context), &work->packet);
    return weir_opens(&work->packet);
}

/* A packet to a VIP whose connection is not known. */
WEIR_STAGE weir_stage_select(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_pool_row* pool = vip ? weir_pool(work->half, vip->pool) : NULL;
    if (!vip || !head || !pool)
        return WEIR_DROP_NO_BACKEND;
    if (weir_active(&vip_held, work->vip) != 0)
        return WEIR_DROP_STANDING_IN;
    if ((vip->flags & WEIR_VIP_EXCEPTIONS) && (work->packet.flags & WEIR_PACKET_TUNNEL_ERROR))
        return weir_to_some_client(work, head);
    enum weir_verdict verdict = weir_admit_new(&work->packet, vip);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    /* Nothing recorded vouches for it, so anybody could have sent it. */
    if ((work->packet.flags & WEIR_PACKET_ICMP_ERROR) &&
        !weir_may_pass(WEIR_BUCKET_ICMP_ERRORS, work->now_ns, head->node.icmp_pps))
        return WEIR_DROP_ICMP_RATE;
    if (!weir_pool_hashes(pool) && !weir_opens(&work->packet)) /* never to one picked anew */
        return WEIR_DROP_NO_CONNECTION;
    return weir_stage_choose(work);
}
