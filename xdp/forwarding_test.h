// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* One packet through the whole decision, in two steps around the plane's own: moving the packet's
 * head. Compiled into forwarding_test.bpf.c and into its native test, which compares what the two
 * builds make of the same packet. */
#pragma once

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/rewrite.h"
#include "dataplane/forwarding/select.h"

enum weir_test_mode {
    WEIR_TEST_DSR_L2,
    WEIR_TEST_NAT,       /* destination becomes `there` */
    WEIR_TEST_NAT_REPLY, /* source becomes `here` */
    WEIR_TEST_FULL_NAT,  /* both; the way there and the way back look alike */
    WEIR_TEST_MODES,
};

struct weir_test_parameters {
    struct weir_hash_key key;
    struct weir_address here[2], there[2]; /* IPv4, IPv6 */
    weir_be16 here_port, there_port;
    uint16_t vlan_tci; /* the tag to leave with, or WEIR_NO_VLAN */
    uint8_t mode;      /* enum weir_test_mode */
    uint8_t reserved;
    uint8_t destination_mac[6], source_mac[6];
    uint8_t padding[4];
};

struct weir_test_result {
    struct weir_packet packet;
    uint64_t hash;
    uint32_t parse_verdict, verdict; /* enum weir_verdict */
    uint32_t match_kind, match_index;
    uint32_t slot;
    int32_t head_change; /* bytes the head must grow */
};

WEIR_INLINE void weir_test_target(const struct weir_test_parameters* parameters,
                                  const struct weir_packet* packet, struct weir_translation* to) {
    weir_translation_of(packet, to);
    bool six = packet->family == 6;
    if (parameters->mode != WEIR_TEST_NAT_REPLY) {
        to->destination = six ? parameters->there[1] : parameters->there[0];
        to->destination_port = parameters->there_port;
    }
    if (parameters->mode != WEIR_TEST_NAT) {
        to->source = six ? parameters->here[1] : parameters->here[0];
        to->source_port = parameters->here_port;
    }
}

/* Parse and hash. `result` is zero. True: match the packet and go on with weir_test_decide. */
WEIR_INLINE bool weir_test_parse(const uint8_t* data, const uint8_t* end,
                                 const struct weir_test_parameters* parameters,
                                 struct weir_packet* packet, struct weir_test_result* result) {
    result->parse_verdict = weir_parse(data, end, packet);
    result->packet = *packet;
    result->verdict = result->parse_verdict;
    if (result->parse_verdict != WEIR_UNDECIDED)
        return false;
    result->hash = weir_flow_hash(&parameters->key, &packet->flow);
    result->slot = weir_maglev_slot(result->hash, 65537);
    return true;
}

/* Admit and translate. True: go on with weir_test_leave. */
WEIR_INLINE bool weir_test_decide(uint8_t* data, const uint8_t* end,
                                  const struct weir_test_parameters* parameters,
                                  const struct weir_match* match, struct weir_packet* packet,
                                  struct weir_test_result* result) {
    result->match_kind = match->kind;
    result->match_index = match->index;
    result->verdict = weir_admit(packet, match);
    if (result->verdict != WEIR_UNDECIDED)
        return false;
    if (parameters->mode != WEIR_TEST_DSR_L2) {
        struct weir_translation to;
        weir_test_target(parameters, packet, &to);
        result->verdict = weir_translate(data, end, packet, &to);
        if (result->verdict != WEIR_UNDECIDED)
            return false;
    }
    result->head_change = weir_head_change(packet, parameters->vlan_tci);
    return true;
}

/* The head has moved; data and end are the new ones. */
WEIR_INLINE void weir_test_leave(uint8_t* data, const uint8_t* end,
                                 const struct weir_test_parameters* parameters,
                                 struct weir_packet* packet, struct weir_test_result* result) {
    weir_packet_moved(packet, result->head_change, parameters->vlan_tci);
    struct weir_link link;
    link.destination_mac = parameters->destination_mac;
    link.source_mac = parameters->source_mac;
    link.vlan_tci = parameters->vlan_tci;
    result->verdict = weir_write_ethernet(data, end, packet, &link);
    if (result->verdict == WEIR_UNDECIDED)
        result->verdict = WEIR_FORWARDED;
}
