// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* How large a configuration may be. Configuration, snapshot validator, connection rows and BPF maps
 * all take their bounds from here. */
#pragma once

#define WEIR_MAX_VIPS 16384u /* VIP row ids fit the 16 bits of a connection row */
#define WEIR_MAX_POOLS 4096u
#define WEIR_MAX_BACKENDS 131072u /* pool members; row ids fit the 20 bits of a connection row */
#define WEIR_MAX_NEXT_HOPS 65536u
#define WEIR_MAX_SNAT_ADDRESSES 256u /* 8 bits of a connection row */
#define WEIR_MAX_TUNNEL_SOURCES 256u /* outer source addresses, per family */
#define WEIR_MAX_INTERFACES 16u
#define WEIR_MAX_WORKERS 64u

#define WEIR_MATCH_MAX_ROWS 131072u /* power of two; 4 MB as one BPF array value */
#define WEIR_MATCH_MAX_PROBES 16u   /* the builder grows or reseeds until no key needs more */
#define WEIR_MAX_RANGES 1024u
#define WEIR_MAX_RANGES_PER_ADDRESS 16u /* per address and protocol */

#define WEIR_MAGLEV_DEFAULT_SIZE 65537u /* prime; Eisenbud et al., NSDI 2016, section 5.3 */
#define WEIR_MAGLEV_MAX_SIZE 65537u
#define WEIR_NO_MEMBER 0xffffu /* a slot of an empty pool */
