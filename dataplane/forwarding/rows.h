// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The rows of ForwardingState: one struct is the snapshot's bytes, the DPDK worker's row and the
 * BPF map's value. The control process writes them; everything else only reads.
 *
 * Row ids of VIPs and backends are stable from generation to generation, because connection rows
 * hold them: the compiler keeps an id for as long as a connection could still name it.
 * Ports named weir_be16 are as in the packet; other integers are host order.
 */
#pragma once

#include "dataplane/forwarding/limits.h"
#include "dataplane/forwarding/packet.h"

#define WEIR_NO_ROW 0xffffffffu

/* --- match: what an (address, protocol, port) means to us ------------------------------------- */

enum weir_match_kind {
    WEIR_MATCH_EMPTY = 0,
    WEIR_MATCH_VIP,         /* index: VIP row */
    WEIR_MATCH_SNAT,        /* index: SNAT row (ranges only) */
    WEIR_MATCH_BACKEND,     /* as a source: replies of `nat` connections */
    WEIR_MATCH_LOCAL,       /* address row: one of the node's own addresses */
    WEIR_MATCH_VIP_ADDRESS, /* address row: a VIP's address */
    WEIR_MATCH_RANGES,      /* address and protocol row, port 0: see its ranges, then its default */
};

/* Keyed by address, protocol and port. Three sorts of rows:
 *   protocol and port set   exact: VIP or BACKEND
 *   protocol set, port 0    RANGES: ranges[range_first .. +range_count), then all other ports:
 *                           default_kind / index, or nothing when default_kind is EMPTY
 *   protocol 0, port 0      LOCAL or VIP_ADDRESS */
struct weir_match_row {
    struct weir_address address;
    weir_be16 port;
    uint8_t protocol;
    uint8_t kind; /* enum weir_match_kind; EMPTY: free */
    uint32_t index;
    uint16_t range_first;
    uint16_t range_count;
    uint8_t default_kind;
    uint8_t ranges_alone; /* RANGES: 1 when no exact row has its address and protocol */
    uint8_t reserved[2];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_match_row) == 32, "two match rows a cache line");

struct weir_range_row {
    uint16_t first_port; /* host order, both ends included */
    uint16_t last_port;
    uint8_t kind;
    uint8_t reserved[3];
    uint32_t index;
};
WEIR_STATIC_ASSERT(sizeof(struct weir_range_row) == 12, "range row layout");

enum weir_match_flag {
    WEIR_MATCH_HAS_NAT = 0x1, /* some VIP uses `nat`: look at sources too */
};

struct weir_match_header {
    uint32_t mask; /* rows - 1; rows is a power of two <= WEIR_MATCH_MAX_ROWS */
    uint32_t seed;
    uint32_t flags; /* enum weir_match_flag */
    uint32_t range_count;
    weir_be16 gue_port; /* of weir_node_row: what quotes of our tunnels are known by */
    uint8_t reserved[6];
};

/* The whole match table as one value of a BPF array. */
struct weir_match_block {
    struct weir_match_header header;
    struct weir_range_row range[WEIR_MAX_RANGES];
    struct weir_match_row row[WEIR_MATCH_MAX_ROWS];
};

/* --- VIPs, pools, backends ---------------------------------------------------------------------
 */

enum weir_forward_mode {
    WEIR_FORWARD_DSR_L2 = 1,
    WEIR_FORWARD_NAT = 2,
    WEIR_FORWARD_FULL_NAT = 3,
    WEIR_FORWARD_DSR_IPIP = 4,
    WEIR_FORWARD_DSR_GUE = 5,
};

/* Direct server return: the packet reaches the backend as the client sent it, replies do not pass
 * us. */
WEIR_INLINE bool weir_forward_is_dsr(uint8_t forward) {
    return forward != WEIR_FORWARD_NAT && forward != WEIR_FORWARD_FULL_NAT;
}

WEIR_INLINE bool weir_forward_encapsulates(uint8_t forward) {
    return forward == WEIR_FORWARD_DSR_IPIP || forward == WEIR_FORWARD_DSR_GUE;
}

enum weir_vip_flag {
    WEIR_VIP_SERVED = 0x1,          /* clear: the id is kept for old connections, nothing matches */
    WEIR_VIP_HASH_RECOVERS = 0x2,   /* an unknown non-SYN finds its backend by hash */
    WEIR_VIP_DROP_ALL_DOWN = 0x4,   /* on_all_down = drop or reject (clear: open) */
    WEIR_VIP_REJECT_ALL_DOWN = 0x8, /* on_all_down = reject: answered, not dropped silently */
    WEIR_VIP_REJECT_AT_LIMIT = 0x10, /* on_limit = reject */
    WEIR_VIP_CLAMP_MSS = 0x20,       /* SYNs through a tunnel get an MSS that fits */
    WEIR_VIP_ANSWER_TOO_BIG = 0x40,  /* oversized packets that may not be fragmented: PTB */
    WEIR_VIP_EXCEPTIONS = 0x80,      /* only what the hash cannot remember is recorded */
};

/* What happens to the connections of a backend that went down. */
enum weir_backend_down_policy {
    WEIR_BACKEND_DOWN_RESET = 1,
    WEIR_BACKEND_DOWN_RESELECT = 2,
    WEIR_BACKEND_DOWN_KEEP = 3,
};

struct weir_timeouts { /* seconds */
    uint16_t syn;
    uint16_t established;
    uint16_t fin;
    uint16_t rst;
    uint16_t udp;
};

struct weir_vip_row {
    struct weir_address address;
    weir_be16 port;      /* first port of a range; 0: all ports */
    weir_be16 last_port; /* equal to port for a single port */
    uint8_t protocol;
    uint8_t family;           /* 4 or 6 */
    uint8_t forward;          /* enum weir_forward_mode */
    uint8_t flags;            /* enum weir_vip_flag */
    uint32_t pool;            /* pool row */
    uint32_t max_connections; /* table entries of this VIP per worker; 0: no limit of its own */
    struct weir_timeouts timeouts;
    uint8_t on_backend_down; /* enum weir_backend_down_policy */
    uint8_t reserved[5];
    uint64_t identity; /* hash of the VIP's name: lets a restarted control find its ids again */
    uint64_t reserved_tail;
};
WEIR_STATIC_ASSERT(sizeof(struct weir_vip_row) == 64, "one VIP row a cache line");

enum weir_scheduler {
    WEIR_SCHEDULE_MAGLEV = 0,      /* slots: a Maglev table, looked up by the flow hash */
    WEIR_SCHEDULE_SOURCE_HASH = 1, /* the same, looked up by a hash of the client's address */
    WEIR_SCHEDULE_ROUND_ROBIN =
        2,                   /* rr, wrr. slots: one round in smooth order (slot_count steps) */
    WEIR_SCHEDULE_LEAST = 3, /* lc, wlc: the better of two slots drawn from such a round */
};

struct weir_pool_row {
    uint32_t segment;      /* index into the segment list: slot_count x uint16_t */
    uint32_t slot_count;   /* 0: the pool has no table (no backend) */
    uint32_t member_first; /* members[member_first + slot] is a backend row id */
    uint32_t member_count;
    uint64_t identity; /* hash of the pool's name */
    uint8_t scheduler; /* enum weir_scheduler */
    /* Stickiness by client network: a client whose network was seen within persistence_s goes where
     * it went before. 0 seconds: none. */
    uint8_t persistence_prefix_v4; /* 1..32 */
    uint8_t persistence_prefix_v6; /* 1..128 */
    uint8_t flags;                 /* enum weir_pool_flag */
    uint16_t persistence_s;
    uint16_t reserved;
    /* Slots that have changed of late (exceptions.h); while there is none elder_count is 0 and
     * there is no segment of them. Else slot_count x uint16_t, each WEIR_NO_MEMBER or e: members[
     * member_first + member_count + e] is the backend the slot had before. */
    uint32_t elder_count;
    uint32_t oldest_segment;
    uint8_t reserved_tail[24];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_pool_row) == 64, "one pool row a cache line");

enum weir_pool_flag {
    WEIR_POOL_HAS_LIMITS = 0x1,      /* some backend has max_connections */
    WEIR_POOL_IGNORES_WEIGHTS = 0x2, /* lc: connections compare as they are, not by weight */
};

enum weir_backend_state {
    WEIR_BACKEND_FREE = 0, /* the id is unused */
    WEIR_BACKEND_UP,
    WEIR_BACKEND_DRAINING, /* old connections only; removed from the configuration, too */
    WEIR_BACKEND_DOWN,
};

struct weir_backend_row {
    struct weir_address address;
    weir_be16 port; /* 0: the port the client used */
    uint8_t state;  /* enum weir_backend_state */
    uint8_t family;
    uint32_t next_hop; /* next-hop row, or WEIR_NO_ROW */
    uint32_t pool;     /* pool row; WEIR_NO_ROW once its pool is gone */
    uint32_t weight;
    uint64_t identity;        /* hash of address, port and pool name */
    uint32_t max_connections; /* of all workers together; 0: no limit */
    uint8_t reserved[20];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_backend_row) == 64, "one backend row a cache line");

/* --- the way out -------------------------------------------------------------------------------
 */

struct weir_next_hop_row {
    uint8_t destination_mac[6];
    uint8_t source_mac[6];
    uint16_t vlan_tci; /* host order, or WEIR_NO_VLAN */
    uint16_t mtu;      /* largest IP packet, bytes */
    uint8_t interface; /* interface row */
    uint8_t resolved;  /* 0: no neighbour yet, packets are dropped as no_next_hop */
    uint8_t reserved[14];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_next_hop_row) == 32, "next-hop row layout");

/* A source address for full-nat, with the ports this node may use on it. */
struct weir_snat_row {
    struct weir_address address;
    uint16_t first_port; /* host order, both ends included */
    uint16_t last_port;
    uint8_t family;
    uint8_t reserved[11];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_snat_row) == 32, "SNAT row layout");

enum weir_interface_flag {
    WEIR_INTERFACE_BYPASSED = 0x1, /* the kernel sees it only through a TAP: punt there */
};

struct weir_interface_row {
    uint8_t mac[6];
    uint16_t mtu;
    uint16_t vlan_tci; /* host order, or WEIR_NO_VLAN */
    uint8_t flags;     /* enum weir_interface_flag */
    uint8_t reserved;
    uint32_t punt_control_pps; /* per class, all workers together */
    uint32_t punt_echo_pps;
    uint32_t punt_other_pps;
    uint64_t identity; /* hash of the interface's name */
};
WEIR_STATIC_ASSERT(sizeof(struct weir_interface_row) == 32, "interface row layout");

/* --- the node ----------------------------------------------------------------------------------
 */

/* What holds for all VIPs. Outer sources: `count` addresses from `source` on, a power of two; 0:
 * the node has none in that family and cannot encapsulate into it. */
struct weir_node_row {
    struct weir_address tunnel_source_v4;
    struct weir_address tunnel_source_v6;
    uint32_t tunnel_source_v4_count;
    uint32_t tunnel_source_v6_count;
    weir_be16 gue_port;     /* UDP destination port of dsr-gue */
    uint16_t reset_grace_s; /* after a worker's start unknown TCP packets are dropped silently */
    uint32_t answers_pps;   /* resets and ICMP errors of our own, all workers together */
    uint32_t icmp_pps;      /* ICMP errors relayed without a recorded connection, likewise */
    uint8_t reserved[12];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_node_row) == 64, "node row layout");
