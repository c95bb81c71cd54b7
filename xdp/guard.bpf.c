// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The guard on the kernel-side interface (the NIC itself, or the TAP of a bypassed one): drops what
 * is ours before the kernel can answer for it. Without it, in each gap (dataplane down, program
 * swapped, takeover) the kernel would send RSTs and port-unreachables for live connections, and
 * forward the replies of `nat` backends untranslated.
 *
 * What the node itself is addressed by passes: ports that are not served, ICMP, and the backends'
 * answers to probes (their destination is one of the node's own addresses).
 *
 * And a VIP that is on loan to this node (ownership by VRRP) is the kernel's to answer for only
 * while control renews the lease: after that nobody is told any more that it is here, in either
 * direction, whatever addresses the interface still has. What is forwarded is not touched.
 */
#include "dataplane/forwarding/neighbour.h"
#include "dataplane/forwarding/parse.h"
#include "xdp/our_kind.bpf.h"

#include <linux/pkt_cls.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, WEIR_GUARD_COUNTS);
    __type(key, uint32_t);
    __type(value, uint64_t);
} guard_counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, WEIR_MAX_LEASED_ADDRESSES);
    __type(key, struct weir_address);
    __type(value, uint32_t);
} lease_addresses SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, WEIR_MAX_LEASES);
    __type(key, uint32_t);
    __type(value, uint64_t);
} lease_deadlines SEC(".maps");

/* Headers lie within this many bytes of a frame: without extension headers, and with the longest
 * chain that the parser follows (4 of at most 2048 bytes). */
#define USUAL_HEADER_BYTES 128u
#define LONGEST_HEADER_BYTES (18u + 40u + 4u * 2048u + 20u)

/* An skb's payload may lie in pages. What the parser needs is pulled into data..data_end only when
 * it is not there: a pull copies. */
WEIR_INLINE void make_linear(struct __sk_buff* skb, uint32_t wanted) {
    if (wanted > skb->len)
        wanted = skb->len;
    const uint8_t* data = (const uint8_t*)(long)skb->data;
    const uint8_t* end = (const uint8_t*)(long)skb->data_end;
    if ((uint64_t)(end - data) < wanted)
        bpf_skb_pull_data(skb, wanted);
}

WEIR_INLINE void make_headers_linear(struct __sk_buff* skb) {
    make_linear(skb, skb->protocol == weir_swap16(WEIR_ETHERTYPE_V4) ? USUAL_HEADER_BYTES
                                                                     : LONGEST_HEADER_BYTES);
}

/* The address is on loan, and the time is over. */
WEIR_INLINE bool has_lapsed(const struct weir_address* address) {
    const uint32_t* lease = bpf_map_lookup_elem(&lease_addresses, address);
    if (!lease)
        return false;
    uint32_t number = *lease;
    const volatile uint64_t* deadline = bpf_map_lookup_elem(&lease_deadlines, &number);
    return deadline && *deadline <= bpf_ktime_get_ns();
}

WEIR_INLINE void read_neighbour(struct __sk_buff* skb, struct weir_neighbour* found) {
    weir_read_neighbour((const uint8_t*)(long)skb->data, (const uint8_t*)(long)skb->data_end,
                        found);
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
    struct weir_neighbour neighbour;
    read_neighbour(skb, &neighbour);
    if (neighbour.asks && has_lapsed(&neighbour.asked))
        return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_QUESTION);
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

/* What the kernel itself sends; forwarded packets do not come this way. */
SEC("tc")
int weir_guard_out(struct __sk_buff* skb) {
    if (skb->protocol == weir_swap16(WEIR_ETHERTYPE_V4))
        return TC_ACT_OK;
    make_linear(skb, WEIR_NEIGHBOUR_BYTES);
    struct weir_neighbour neighbour;
    read_neighbour(skb, &neighbour);
    if (neighbour.claims && has_lapsed(&neighbour.claimed))
        return finish(TC_ACT_SHOT, WEIR_GUARD_DROPPED_CLAIM);
    return TC_ACT_OK;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
