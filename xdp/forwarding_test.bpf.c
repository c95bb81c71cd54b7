// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The whole decision in the verifier's eyes: parse, hash, match and every rewrite, run on single
 * packets by forwarding_bpf_test through BPF_PROG_TEST_RUN. */
#include "xdp/forwarding_test.h"
#include "xdp/tables.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, struct weir_test_parameters);
} parameters SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, struct weir_test_result);
} results SEC(".maps");

/* Verified once, with any packet (xdp/tables.bpf.h). The result goes by way of the map. */
__attribute__((noinline)) int weir_test_match(const struct weir_packet* packet) {
    uint32_t first = 0;
    struct weir_test_result* result = bpf_map_lookup_elem(&results, &first);
    struct weir_match_view table;
    if (!packet || !result || !weir_published_table(&table))
        return 0;
    struct weir_match match = weir_match_packet(&table, packet);
    result->match_kind = match.kind;
    result->match_index = match.index;
    return 1;
}

SEC("xdp")
int weir_decide(struct xdp_md* context) {
    uint32_t first = 0;
    const struct weir_test_parameters* wanted = bpf_map_lookup_elem(&parameters, &first);
    struct weir_test_result* result = bpf_map_lookup_elem(&results, &first);
    if (!wanted || !result)
        return XDP_ABORTED;
    __builtin_memset(result, 0, sizeof(*result));
    struct weir_packet packet;
    __builtin_memset(&packet, 0, sizeof(packet));
    uint8_t* data = (uint8_t*)(long)context->data;
    const uint8_t* end = (const uint8_t*)(long)context->data_end;
    if (!weir_test_parse(data, end, wanted, &packet, result))
        return XDP_DROP;
    if (!weir_test_match(&packet))
        return XDP_ABORTED;
    struct weir_match match = {result->match_kind, result->match_index};
    if (!weir_test_decide(data, end, wanted, &match, &packet, result))
        return XDP_DROP;
    if (result->head_change != 0 && bpf_xdp_adjust_head(context, -result->head_change) != 0)
        return XDP_ABORTED;
    data = (uint8_t*)(long)context->data;
    end = (const uint8_t*)(long)context->data_end;
    weir_test_leave(data, end, wanted, &packet, result);
    return XDP_TX;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
