// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The AF_XDP sockets of an interface, by queue. DPDK's driver looks for the map by this name in
 * whatever program it loads, and fills it. */
#pragma once

#include <linux/bpf.h>
#include <stdint.h>

#include <bpf/bpf_helpers.h>

#include "xdp/maps.h"

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, WEIR_XSKS_MAP_SIZE);
    __type(key, uint32_t);
    __type(value, uint32_t);
} xsks_map SEC(".maps");
