// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What is attached to a kernel-visible interface while DPDK drives it: asks the sorter
 * (sorter.bpf.c) whose a packet is, and gives what is ours to the AF_XDP socket of its queue, or
 * where there is none, because the dataplane is gone, to the balancer (balancer.bpf.c), which
 * balances it in place.
 *
 * DPDK's AF_XDP driver loads this object (`xdp_prog=`), attaches its only program and puts its
 * sockets into xsks_map. Sorter and balancer are control's and outlive dataplanes: control finds
 * steer_programs through the attached program and enters them. So there is next to nothing here
 * that the kernel would have to verify while a dataplane starts.
 *
 * Nothing is pinned by its name here: several nodes can live on one host. Control pins
 * steer_programs in its node's directory.
 */
#include "dataplane/forwarding/base.h"
#include "xdp/sockets.bpf.h"

/* A map of programs forgets them when no process and no pin holds it any more. Control's do. */
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, WEIR_STEER_PROGRAMS);
    __type(key, uint32_t);
    __type(value, uint32_t);
} steer_programs SEC(".maps");

/* A call of a function that ends in another program comes back here with what that one returned.
 * Global, and opaque to the compiler, so that nobody takes the value below for the only one. */
__attribute__((noinline)) int weir_ask_sorter(struct xdp_md* context) {
    uint64_t answer = XDP_PASS;
    bpf_tail_call(context, &steer_programs, WEIR_STEER_SORTER);
    WEIR_OPAQUE(answer);
    return (int)answer; /* control has not entered it yet */
}

SEC("xdp")
int weir_steer(struct xdp_md* context) {
    int way = weir_ask_sorter(context);
    if (way == WEIR_STEER_TO_ENGINE) {
        int action = (int)bpf_redirect_map(&xsks_map, context->rx_queue_index, XDP_PASS);
        if (action == XDP_REDIRECT)
            return action;
        way = WEIR_STEER_IN_PLACE;
    }
    if (way == WEIR_STEER_IN_PLACE)
        bpf_tail_call(context, &steer_programs, WEIR_STEER_BALANCER);
    return XDP_PASS; /* what is ours and meets no balancer ends at the guard */
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
