// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* For the other end of a veth that an XDP program sends on: it takes frames of XDP_TX and redirects
 * only while it has a program itself. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp") int weir_lab_pass(struct xdp_md* context) {
    (void)context;
    return XDP_PASS;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
