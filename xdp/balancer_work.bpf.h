// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What is known of the packet in hand: written by one stage, read by the later ones. It lies in a
 * per-CPU map, and the stages are global functions that take a pointer to it: the verifier follows
 * each of them once, with any content, instead of once for each way through the ones before.
 *
 * A stage gives a verdict; WEIR_UNDECIDED: the next stage looks at the packet. */
#pragma once

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/rewrite.h"
#include "xdp/balancer_state.bpf.h"

struct weir_work {
    struct weir_packet packet;
    struct weir_translation translation; /* the tuple it leaves with */
    struct weir_match match;
    struct weir_connection_key key; /* of its connection */
    struct weir_reply_key reply_key;
    uint64_t tick; /* of the kernel's, at which the clock was read */
    uint64_t now_ns;
    uint64_t hash;
    uint32_t now_s;
    uint32_t half; /* of the state */
    uint32_t vip;  /* row, of replies too; or WEIR_NO_ROW */
    uint32_t backend;
    uint32_t oldest; /* backend of its slot before that changed of late, or WEIR_NO_ROW */
    uint32_t mtu;    /* of the way out, for the packet as it came; 0: not known */
    uint32_t frame_bytes;
    uint8_t source_mac[6];
    uint8_t in_interface; /* row */
    uint8_t out_interface;
    uint8_t to_mac[6]; /* of the way out, and its tag */
    uint8_t from_mac[6];
    uint16_t vlan_tci;
    uint16_t last_vlan_tci; /* where the connection's client is */
    uint8_t last_mac[6];
    uint8_t last_interface;
    uint8_t begins;   /* a flow begins with it, as far as one can see */
    uint8_t known;    /* where it goes is decided without the pool's choice */
    uint8_t state;    /* that a new connection begins in; FREE: it is not recorded */
    uint8_t snat_row; /* of a new full-nat connection */
    uint8_t forward;  /* enum weir_forward_mode of the way out */
    uint8_t tunnel;   /* it gets an outer header */
    uint8_t clamp;    /* and a SYN in it a smaller MSS */
};

WEIR_ARRAY(work_of_cpu, BPF_MAP_TYPE_PERCPU_ARRAY, struct weir_work, 1);

/* Global: verified by itself. */
#define WEIR_STAGE __attribute__((noinline)) int

#define WEIR_DATA(context) ((uint8_t*)(long)(context)->data)
#define WEIR_END(context) ((const uint8_t*)(long)(context)->data_end)

/* How long ago, by clocks that each CPU looks at for itself: one may be a tick behind another, and
 * what that one has just seen is no age. */
WEIR_INLINE uint64_t weir_age(uint64_t now, uint64_t then) {
    return now > then ? now - then : 0;
}

/* Packets that say nothing about their connection's state: what a router or the far end says of an
 * earlier packet, and what follows the fragment that had the header. */
WEIR_INLINE bool weir_is_bystander(const struct weir_packet* packet) {
    return packet->flags &
           (WEIR_PACKET_ICMP_ERROR | WEIR_PACKET_TUNNEL_ERROR | WEIR_PACKET_LATER_FRAGMENT);
}
