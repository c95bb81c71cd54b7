// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Both ends of a veth on which the balancer in the kernel is measured live: what it is compared
 * with, and where the packets end. Of IPv4 only UDP is meant; probes and ARP pass. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

static __attribute__((always_inline)) struct ethhdr* udp_frame(struct xdp_md* context) {
    struct ethhdr* ethernet = (struct ethhdr*)(long)context->data;
    struct iphdr* ip = (struct iphdr*)(ethernet + 1);
    if ((void*)(ip + 1) > (void*)(long)context->data_end ||
        ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
        return 0;
    return ethernet;
}

/* The least that a program can do: swaps the addresses and sends the frame back. */
SEC("xdp/reflect") int weir_bench_reflect(struct xdp_md* context) {
    struct ethhdr* ethernet = udp_frame(context);
    if (!ethernet)
        return XDP_PASS;
    unsigned char kept[ETH_ALEN];
    __builtin_memcpy(kept, ethernet->h_dest, ETH_ALEN);
    __builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
    __builtin_memcpy(ethernet->h_source, kept, ETH_ALEN);
    return XDP_TX;
}

SEC("xdp/sink") int weir_bench_sink(struct xdp_md* context) {
    return udp_frame(context) ? XDP_DROP : XDP_PASS;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
