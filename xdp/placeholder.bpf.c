// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What DPDK's AF_XDP driver loads for every port of an interface but the last, where the interface
 * takes one port for each queue: each port attaches a program of its own in place of the one
 * before, and only the last one stays, with the sockets of all. Until then everything is the
 * kernel's, as with the steering program (steer.bpf.c, whose name this has, so that it is known as
 * ours) before control has published. The kernel verifies these two instructions in no time at all;
 * the steering program takes it a hundred milliseconds of a restart.
 */
#include "xdp/sockets.bpf.h"

SEC("xdp")
int weir_steer(struct xdp_md* context) {
    (void)context;
    return XDP_PASS;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
