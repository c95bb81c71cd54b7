// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Sorts packets on the kernel-visible interfaces of a node: ours, or the kernel's, which therefore
 * never depends on the dataplane. steer.bpf.c calls it and does what it says. One for all
 * interfaces; control loads it and publishes match tables to it.
 */
#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/tunnel_error.h"
#include "xdp/our_kind.bpf.h"
#include "xdp/plain.bpf.h"

/* Datagrams whose first fragment was ours. A later fragment to one of the node's own addresses (a
 * reply in full-nat) or from a backend (in nat) shows nothing else that tells it from the kernel's.
 * One that overtakes its first goes to the kernel, which waits for it in vain. */
struct weir_datagram {
    struct weir_address source, destination;
    weir_be32 id;
    uint32_t protocol;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, struct weir_datagram);
    __type(value, uint8_t);
} our_datagrams SEC(".maps");

/* An enum weir_steer_way, where ours go. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint32_t);
} steer_way SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, WEIR_STEER_COUNTS);
    __type(key, uint32_t);
    __type(value, uint64_t);
} steer_counts SEC(".maps");

WEIR_INLINE int pass(enum weir_steer_count why) {
    weir_count(&steer_counts, why);
    return XDP_PASS;
}

/* Is an ICMP error about a packet in one of our tunnels? Global for the verifier's sake, like
 * weir_our_kind: the second parse would multiply all that the first costs. */
__attribute__((noinline)) int weir_is_about_our_tunnel(struct xdp_md* context) {
    struct weir_match_view table;
    struct weir_packet packet;
    __builtin_memset(&packet, 0, sizeof(packet));
    const uint8_t* data = (const uint8_t*)(long)context->data;
    const uint8_t* end = (const uint8_t*)(long)context->data_end;
    if (!weir_published_table(&table) || weir_parse(data, end, &packet) != WEIR_UNDECIDED ||
        !weir_parse_tunnel_error(data, end, &packet, table.gue_port))
        return 0;
    return weir_our_kind(&packet) != WEIR_MATCH_EMPTY;
}

/* Is a fragment of a datagram that is ours? Remembers what its first fragment says. */
__attribute__((noinline)) int weir_is_our_fragment(const struct weir_packet* packet) {
    if (!packet)
        return 0;
    struct weir_datagram datagram;
    datagram.source = weir_packet_source(packet);
    datagram.destination = weir_packet_destination(packet);
    datagram.id = packet->fragment_id;
    datagram.protocol = packet->protocol;
    uint8_t yes = 1;
    if (weir_our_kind(packet) == WEIR_MATCH_EMPTY)
        return bpf_map_lookup_elem(&our_datagrams, &datagram) != NULL;
    if (!(packet->flags & WEIR_PACKET_LATER_FRAGMENT))
        bpf_map_update_elem(&our_datagrams, &datagram, &yes, BPF_ANY);
    return 1;
}

WEIR_INLINE bool is_ours(struct xdp_md* context, const struct weir_packet* packet) {
    if (packet->flags & WEIR_PACKET_FRAGMENT)
        return weir_is_our_fragment(packet) != 0;
    if (weir_our_kind(packet) != WEIR_MATCH_EMPTY)
        return true;
    return packet->quoted_offset != 0 && weir_is_about_our_tunnel(context) != 0;
}

WEIR_INLINE int keep(void) {
    weir_count(&steer_counts, WEIR_STEER_OURS);
    uint32_t first = 0;
    const uint32_t* way = bpf_map_lookup_elem(&steer_way, &first);
    return way && *way == WEIR_STEER_IN_PLACE ? WEIR_STEER_IN_PLACE : WEIR_STEER_TO_ENGINE;
}

/* Sorts what nearly every packet is; WEIR_STEER_COUNTS: it is something else. */
WEIR_INLINE int sort_plain(const struct xdp_md* context, const struct weir_match_view* table,
                           uint8_t family) {
    const uint8_t* frame = weir_plain_frame(context, family);
    struct weir_packet packet;
    if (!frame ||
        !weir_plain_parse(frame, (uint32_t)(context->data_end - context->data), family, &packet))
        return WEIR_STEER_COUNTS;
    const struct weir_match match = weir_match_packet(table, &packet);
    return weir_match_is_ours(&match, &packet) ? keep() : pass(WEIR_STEER_PASSED);
}

/* Sorts everything else. */
__attribute__((noinline)) int weir_sort_any(struct xdp_md* context) {
    struct weir_packet packet;
    __builtin_memset(&packet, 0, sizeof(packet));
    const uint8_t* data = (const uint8_t*)(long)context->data;
    const uint8_t* end = (const uint8_t*)(long)context->data_end;
    if (weir_parse(data, end, &packet) != WEIR_UNDECIDED)
        return pass(WEIR_STEER_UNPARSED);
    return is_ours(context, &packet) ? keep() : pass(WEIR_STEER_PASSED);
}

SEC("xdp")
int weir_sort(struct xdp_md* context) {
    struct weir_match_view table;
    if (!weir_published_table(&table))
        return pass(WEIR_STEER_UNPUBLISHED);
    int way = sort_plain(context, &table, 4);
    if (way == WEIR_STEER_COUNTS)
        way = sort_plain(context, &table, 6);
    return way != WEIR_STEER_COUNTS ? way : weir_sort_any(context);
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
