// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The parser's short way (dataplane/forwarding/parse_plain.h) with the bounds that the verifier
 * asks for. `family` is a constant of the caller, 4 or 6, and with it all offsets. */
#pragma once

#include <linux/bpf.h>

#include "dataplane/forwarding/parse_plain.h"

/* To the end of a TCP header. */
#define WEIR_PLAIN_V4_BYTES (WEIR_ETHERNET_BYTES + WEIR_V4_BYTES + 20u)
#define WEIR_PLAIN_V6_BYTES (WEIR_ETHERNET_BYTES + WEIR_V6_BYTES + 20u)

/* The frame's begin, or null when it is too short to be asked. */
WEIR_INLINE uint8_t* weir_plain_frame(const struct xdp_md* context, uint8_t family) {
    uint8_t* data = (uint8_t*)(long)context->data;
    const uint32_t bytes = family == 4 ? WEIR_PLAIN_V4_BYTES : WEIR_PLAIN_V6_BYTES;
    return data + bytes > (uint8_t*)(long)context->data_end ? NULL : data;
}

/* `frame`: of weir_plain_frame(). */
WEIR_INLINE bool weir_plain_parse(const uint8_t* frame, uint32_t frame_bytes, uint8_t family,
                                  struct weir_packet* packet) {
    if (family == 4)
        return weir_parse_plain_v4(frame, frame_bytes, packet);
    return weir_is_untagged_v6(frame) && weir_parse_plain_v6(frame, frame_bytes, packet);
}
