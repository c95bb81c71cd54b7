// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Gives a program under BPF_PROG_TEST_RUN another flow's packet with every repetition. The kernel
 * repeats with the frame that the program left behind; so each run first takes back how far the
 * head was moved, writes the whole frame anew from a template, puts a flow's endpoints in, and tail
 * calls what is measured. The same with a target that does nothing is what there is to subtract.
 * The move of the head back is not in that, and stays on the account of who moved it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bench/xdp_harness.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, uint32_t);
    __type(value, struct weir_bench_plan);
} plans SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, uint32_t);
    __type(value, struct weir_bench_way_back);
} ways_back SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, WEIR_BENCH_TARGETS);
    __uint(key_size, sizeof(uint32_t));
    __uint(value_size, sizeof(uint32_t));
} targets SEC(".maps");

#define INLINE static __attribute__((always_inline))

/* xorshift64* (Vigna, 2014). */
INLINE uint32_t next_flow(struct weir_bench_plan* plan) {
    if (plan->flows == 0)
        return plan->next++;
    uint64_t state = plan->state;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    plan->state = state;
    return (uint32_t)(((state * 2685821657736338717u >> 32) * plan->flows) >> 32);
}

/* The frame, whole and from the template; null when it cannot be. */
INLINE uint8_t* renewed(struct xdp_md* context, const struct weir_bench_plan* plan,
                        uint32_t bytes) {
    int moved = (int)(context->data_end - context->data) - (int)bytes;
    if (moved != 0 && bpf_xdp_adjust_head(context, moved) != 0)
        return 0;
    uint8_t* frame = (uint8_t*)(long)context->data;
    if (frame + bytes > (uint8_t*)(long)context->data_end)
        return 0;
    for (uint32_t at = 0; at < bytes; at += 8)
        *(uint64_t*)(frame + at) = *(const uint64_t*)(plan->frame + at);
    return frame;
}

INLINE void put_checksum(uint8_t* frame, uint64_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    *(uint16_t*)(frame + 24) = (uint16_t)~sum;
}

INLINE uint64_t halves(uint32_t word) {
    return (uint64_t)(word & 0xffff) + (word >> 16);
}

INLINE uint16_t port_of(uint32_t flow) {
    return __builtin_bswap16(
        (uint16_t)(WEIR_BENCH_FIRST_PORT + (flow & 15) * WEIR_BENCH_PORT_STEP));
}

SEC("xdp")
int weir_bench_v4(struct xdp_md* context) {
    uint32_t first = 0;
    struct weir_bench_plan* plan = bpf_map_lookup_elem(&plans, &first);
    uint8_t* frame = plan ? renewed(context, plan, WEIR_BENCH_V4_BYTES) : 0;
    if (!frame)
        return XDP_ABORTED;
    uint32_t flow = next_flow(plan);
    uint32_t client = __builtin_bswap32(0x64000000u + (flow >> 4));
    *(uint32_t*)(frame + 26) = client;
    *(uint16_t*)(frame + 34) = port_of(flow);
    put_checksum(frame, plan->sum + halves(client));
    bpf_tail_call(context, &targets, plan->target);
    return XDP_ABORTED;
}

SEC("xdp")
int weir_bench_v6(struct xdp_md* context) {
    uint32_t first = 0;
    struct weir_bench_plan* plan = bpf_map_lookup_elem(&plans, &first);
    uint8_t* frame = plan ? renewed(context, plan, WEIR_BENCH_V6_BYTES) : 0;
    if (!frame)
        return XDP_ABORTED;
    uint32_t flow = next_flow(plan);
    *(uint32_t*)(frame + 34) = __builtin_bswap32(flow >> 4);
    *(uint16_t*)(frame + 54) = port_of(flow);
    bpf_tail_call(context, &targets, plan->target);
    return XDP_ABORTED;
}

/* What a full-nat backend answers. */
SEC("xdp")
int weir_bench_reply(struct xdp_md* context) {
    uint32_t first = 0;
    struct weir_bench_plan* plan = bpf_map_lookup_elem(&plans, &first);
    uint8_t* frame = plan ? renewed(context, plan, WEIR_BENCH_V4_BYTES) : 0;
    if (!frame)
        return XDP_ABORTED;
    uint32_t flow = next_flow(plan);
    const struct weir_bench_way_back* way = bpf_map_lookup_elem(&ways_back, &flow);
    if (!way)
        return XDP_ABORTED;
    *(uint32_t*)(frame + 26) = way->backend;
    *(uint32_t*)(frame + 30) = way->snat;
    *(uint16_t*)(frame + 36) = way->snat_port;
    put_checksum(frame, plan->sum + halves(way->backend) + halves(way->snat));
    bpf_tail_call(context, &targets, plan->target);
    return XDP_ABORTED;
}

SEC("xdp")
int weir_bench_nothing(struct xdp_md* context) {
    (void)context;
    return XDP_TX;
}

SEC("xdp")
int weir_bench_macswap(struct xdp_md* context) {
    uint8_t* frame = (uint8_t*)(long)context->data;
    if (frame + 14 > (uint8_t*)(long)context->data_end)
        return XDP_ABORTED;
    uint16_t* mac = (uint16_t*)frame;
    for (int i = 0; i < 3; i++) {
        uint16_t half = mac[i];
        mac[i] = mac[i + 3];
        mac[i + 3] = half;
    }
    return XDP_TX;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
