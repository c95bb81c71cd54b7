// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Steering on a kernel-visible interface: what is ours goes to the AF_XDP socket of its queue,
 * everything else to the kernel, which therefore never depends on the dataplane.
 *
 * DPDK's AF_XDP driver loads this object (`xdp_prog=`), attaches its only program and puts its
 * sockets into xsks_map; control finds the other maps through the attached program and fills them.
 * Nothing is pinned: several nodes can live on one host.
 */
#include "dataplane/forwarding/parse.h"
#include "xdp/tables.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, WEIR_XSKS_MAP_SIZE);
    __type(key, uint32_t);
    __type(value, uint32_t);
} xsks_map SEC(".maps");

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

SEC("xdp")
int weir_steer(struct xdp_md* context) {
    struct weir_match_view table;
    if (!weir_published_table(&table))
        return pass(WEIR_STEER_UNPUBLISHED);
    const uint8_t* data = (const uint8_t*)(long)context->data;
    const uint8_t* end = (const uint8_t*)(long)context->data_end;
    struct weir_packet packet;
    if (weir_parse(data, end, &packet) != WEIR_UNDECIDED)
        return pass(WEIR_STEER_UNPARSED);
    struct weir_match match = weir_match_packet(&table, &packet);
    if (!weir_match_is_ours(&match, &packet))
        return pass(WEIR_STEER_PASSED);
    /* The flags are the answer for a queue without a socket: the dataplane is down. */
    int action = (int)bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_PASS);
    if (action != XDP_REDIRECT)
        return pass(WEIR_STEER_NO_SOCKET);
    weir_count(&steer_counts, WEIR_STEER_TO_SOCKET);
    return action;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
