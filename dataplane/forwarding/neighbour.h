// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What a frame says about who has an address: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC
 * 4861). For who decides whether the kernel may be asked or may say so; the kernel itself answers.
 */
#pragma once

#include "dataplane/forwarding/packet.h"

#define WEIR_MOST_TAGS 2u /* in the frame itself */
/* Ethernet, tags, IPv6, and an advertisement or solicitation up to its target: what is looked at.
 */
#define WEIR_NEIGHBOUR_BYTES                                                                       \
    (WEIR_ETHERNET_BYTES + WEIR_MOST_TAGS * WEIR_VLAN_BYTES + WEIR_V6_BYTES + 24u)

#define WEIR_ARP_BYTES 28u /* of Ethernet and IPv4 */
#define WEIR_ARP_ETHERNET_V4 0x00010800u
#define WEIR_ARP_SIZES 0x0604u
#define WEIR_ARP_REQUEST 1u
#define WEIR_ND_BYTES 24u
#define WEIR_ND_SOLICITATION 135u
#define WEIR_ND_ADVERTISEMENT 136u

struct weir_neighbour {
    struct weir_address asked;   /* with `asks` */
    struct weir_address claimed; /* with `claims` */
    bool asks;   /* an ARP request or a neighbour solicitation for it: who has it is to answer */
    bool claims; /* who hears the frame takes its sender to have this address */
};

WEIR_INLINE bool weir_address_is_unspecified(const struct weir_address* address) {
    return address->word[0] == 0 &&
           (address->word[1] == 0 || address->word[1] == WEIR_V4_MAPPED_PREFIX);
}

WEIR_INLINE struct weir_address weir_address_at(const uint8_t* at) {
    struct weir_address address = {{weir_load64(at), weir_load64(at + 8)}};
    return address;
}

/* ARP's sender has its address whatever the operation: hosts learn from requests, too. A probe
 * (sender 0.0.0.0) claims nothing. */
WEIR_INLINE void weir_read_arp(const uint8_t* arp, struct weir_neighbour* found) {
    if (weir_swap32(weir_load32(arp)) != WEIR_ARP_ETHERNET_V4 ||
        weir_swap16(weir_load16(arp + 4)) != WEIR_ARP_SIZES)
        return;
    found->asks = weir_swap16(weir_load16(arp + 6)) == WEIR_ARP_REQUEST;
    found->asked = weir_address_from_v4(weir_load32(arp + 24));
    found->claimed = weir_address_from_v4(weir_load32(arp + 14));
    found->claims = !weir_address_is_unspecified(&found->claimed);
}

/* `header` has an IPv6 header and WEIR_ND_BYTES behind it. An advertisement claims its target; a
 * solicitation its own source, whose link-layer address it may carry (RFC 4861 section 7.2.3). */
WEIR_INLINE void weir_read_discovery(const uint8_t* header, struct weir_neighbour* found) {
    const uint8_t type = header[WEIR_V6_BYTES];
    const uint8_t* target = header + WEIR_V6_BYTES + 8;
    if (type == WEIR_ND_ADVERTISEMENT) {
        found->claimed = weir_address_at(target);
        found->claims = true;
    } else if (type == WEIR_ND_SOLICITATION) {
        found->asked = weir_address_at(target);
        found->asks = true;
        found->claimed = weir_address_at(header + 8);
        found->claims = !weir_address_is_unspecified(&found->claimed);
    }
}

/* Neither of the two unless the frame is ARP or neighbour discovery. Discovery behind extension
 * headers is passed over: hosts send none. */
WEIR_INLINE void weir_read_neighbour(const uint8_t* data, const uint8_t* end,
                                     struct weir_neighbour* found) {
    __builtin_memset(found, 0, sizeof(*found));
    uint32_t offset = WEIR_ETHERNET_BYTES;
    const uint8_t* at = weir_at(data, end, offset - 2, 2);
    for (uint32_t tags = 0; at && tags < WEIR_MOST_TAGS; tags++) {
        const uint16_t type = weir_swap16(weir_load16(at));
        if (type != WEIR_ETHERTYPE_VLAN && type != WEIR_ETHERTYPE_SERVICE_VLAN)
            break;
        offset += WEIR_VLAN_BYTES;
        at = weir_at(data, end, offset - 2, 2);
    }
    if (!at)
        return;
    const uint16_t type = weir_swap16(weir_load16(at));
    if (type == WEIR_ETHERTYPE_ARP) {
        const uint8_t* arp = weir_at(data, end, offset, WEIR_ARP_BYTES);
        if (arp)
            weir_read_arp(arp, found);
    } else if (type == WEIR_ETHERTYPE_V6) {
        const uint8_t* header = weir_at(data, end, offset, WEIR_V6_BYTES + WEIR_ND_BYTES);
        if (header && header[6] == WEIR_IP_ICMPV6)
            weir_read_discovery(header, found);
    }
}
