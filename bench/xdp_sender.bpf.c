// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* A generator in the kernel: run by BPF_PROG_TEST_RUN with live frames it sends one UDP frame out
 * of a device, from one port after another. The kernel uses pages again as they come back, with
 * what others have written into them, so each frame is written anew. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "bench/xdp_sender.h"

const volatile struct weir_bench_sending weir_bench_sending = {};

static uint32_t next = 0;

SEC("xdp") int weir_bench_send(struct xdp_md* context) {
    uint8_t* frame = (uint8_t*)(long)context->data;
    struct udphdr* udp = (struct udphdr*)(frame + ETH_HLEN + sizeof(struct iphdr));
    if (frame + WEIR_BENCH_FRAME_BYTES > (uint8_t*)(long)context->data_end)
        return XDP_ABORTED;
    for (uint32_t at = 0; at < WEIR_BENCH_FRAME_BYTES; at++)
        frame[at] = weir_bench_sending.frame[at];
    uint32_t port = weir_bench_sending.first_port + next++ % weir_bench_sending.flows;
    udp->source = bpf_htons((uint16_t)port);
    return (int)bpf_redirect((uint32_t)weir_bench_sending.device, 0);
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
