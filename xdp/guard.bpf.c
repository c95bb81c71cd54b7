// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The guard on the kernel-side interface (the NIC itself, or the TAP of a bypassed one): drops what
 * is ours before the kernel can answer for it. Without it, in each gap (dataplane down, program
 * swapped, takeover) the kernel would send RSTs and port-unreachables for live connections, and
 * forward the replies of `nat` backends untranslated.
 *
 * What the node itself is addressed by passes: ports that are not served, ICMP, ARP, and the
 * backends' answers to probes (their destination is one of the node's own addresses).
 */
#include "dataplane/forwarding/parse.h"
#include "xdp/our_kind.bpf.h"

#include <linux/pkt_cls.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, WEIR_GUARD_COUNTS);
    __type(key, uint32_t);
    __type(value, uint64_t);
} guard_counts SEC(".maps");

/* Headers lie within this many bytes of a frame: without extension headers, and with the longest
 * chain that the parser follows (4 of at most 2048 bytes). */
#define USUAL_HEADER_BYTES 128u
#define LONGEST_HEADER_BYTES (18u + 40u + 4u * 2048u + 20u)

/* An skb's payload may lie in pages. What the parser needs is pulled into data..data_end only when
 * it is not there: a pull copies. */
WEIR_INLINE void make_headers_linear(struct __sk_buff* skb) {
    uint32_t wanted =
        skb->protocol == weir_swap16(WEIR_ETHERTYPE_V4) ? USUAL_HEADER_BYTES : LONGEST_HEADER_BYTES;
    if (wanted > skb->len)
        wanted = skb->len;
    const uint8_t* data = (const uint8_t*)(long)skb->data;
    const uint8_t* end = (const uint8_t*)(long)skb->data_end;
    if ((uint64_t)(end - data) < wanted)
        bpf_skb_pull_data(skb, wanted);
}

WEIR_INLINE int finish(int action, enum weir_guard_count why) {
    weir_count(&guard_counts, why);
    return action;
}

/* A header chain that the parser gives up on: the kernel might still follow it and answer. */
WEIR_INLINE int judge_unreadable(const struct weir_match_view* table,
                                 const struct weir_packet* packet, enum weir_verdict verdict) {
    if (verdict == WEIR_DROP_EXTENSION_CHAIN) {
        struct weir_address destination = weir_packet_destination(packet);
        if (weir_match_address(table, &destination) == WEIR_MATCH_VIP_ADDRESS)
            return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_UNREADABLE);
    }
    return finish(TC_ACT_OK, WEIR_GUARD_PASSED);
}

SEC("tc")
int weir_guard_in(struct __sk_buff* skb) {
    struct weir_match_view table;
    if (!weir_published_table(&table))
        return finish(TC_ACT_OK, WEIR_GUARD_UNPUBLISHED);
    make_headers_linear(skb);
    const uint8_t* data = (const uint8_t*)(long)skb->data;
    const uint8_t* end = (const uint8_t*)(long)skb->data_end;
    struct weir_packet packet;
    __builtin_memset(&packet, 0, sizeof(packet));
    enum weir_verdict verdict = weir_parse_beginning(data, end, skb->len, &packet);
    if (verdict != WEIR_UNDECIDED)
        return judge_unreadable(&table, &packet, verdict);
    switch (weir_our_kind(&packet)) {
    case WEIR_MATCH_EMPTY:
        return finish(TC_ACT_OK, WEIR_GUARD_PASSED);
    case WEIR_MATCH_SNAT:
        return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_SNAT);
    case WEIR_MATCH_BACKEND:
        return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_BACKEND);
    default:
        return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_VIP);
    }
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
