// SPDX-License-Identifier: BSD-3-Clause
// How NICs spread packets over the workers when we control them: the Toeplitz hash of a packet's
// tuple picks an entry of a table (RETA), the entry names the worker. The owner of a connection's
// packets is then whom the NIC gives them to, and a full-nat reply can be brought to the worker
// that opened the connection by the choice of its SNAT port.
//
// One object an engine, made before the workers use it, and not changed any more: any thread reads.
//
// The hash is linear (forwarding/toeplitz.h), so what a port adds to it does not depend on the
// rest. With a table of 2^b entries, b bits of that matter, and `make` takes only keys for which
// the lowest b bits of a port reach each of their 2^b values: then every aligned block of 2^b ports
// has exactly one port for each entry, and finding it is two table look-ups.
#pragma once

#include "dataplane/forwarding/toeplitz.h"

#include <array>
#include <cstdint>
#include <optional>

namespace weir::lb {

// Tables of NICs: 64 to 2048 entries, always a power of two.
inline constexpr std::uint32_t kMaxSpreadEntries = 2048;

// The key for NICs, from the secret of the flow hash, so that nobody outside can aim packets at one
// queue, and so that it is the same after a restart. `Spread::make` accepts it for any size.
weir_rss_key rss_key_of(const weir_hash_key& secret);

// The worker, and so the queue, of a table's entry.
inline std::uint32_t spread_worker(std::uint32_t entry, std::uint32_t workers) {
    return entry % workers;
}

class Spread {
public:
    // Nothing when it cannot be: no power of two, more workers than entries, or a key that does not
    // reach every entry by the port alone, in either family.
    static std::optional<Spread> make(const weir_rss_key& key, std::uint32_t entries,
                                      std::uint32_t workers);

    const weir_rss_key& key() const { return key_; }
    std::uint32_t entries() const { return mask_ + 1; }
    std::uint32_t workers() const { return workers_; }

    // Who gets TCP and UDP packets of this flow, fragments apart.
    std::uint32_t entry_of(const weir_flow& flow) const {
        return (flow.words == WEIR_FLOW_WORDS_V4 ? sum<WEIR_RSS_V4_BYTES>(flow)
                                                 : sum<WEIR_RSS_V6_BYTES>(flow)) &
               mask_;
    }
    std::uint32_t worker_of(const weir_flow& flow) const { return worker_[entry_of(flow)]; }
    std::uint32_t worker_of_entry(std::uint32_t entry) const { return worker_[entry]; }

    // Parts of a flow's hash; the entry is the lowest bits of their xor.
    std::uint32_t source_part(const weir_address& address, weir_be16 port) const;
    std::uint32_t destination_part(const weir_address& address) const;
    std::uint32_t destination_port_part(bool v6, std::uint32_t port) const { // host order
        const std::uint32_t at = (v6 ? WEIR_RSS_V6_BYTES : WEIR_RSS_V4_BYTES) - 2;
        return byte_[at][port >> 8] ^ byte_[at + 1u][port & 0xff];
    }

    // The one destination port of the block [port, port + entries) that adds `part` to the hash, as
    // far as its lowest bits go. REQUIRES: port is a multiple of entries.
    std::uint32_t port_in_block(bool v6, std::uint32_t port, std::uint32_t part) const {
        return port | low_bits_[v6][(part ^ destination_port_part(v6, port)) & mask_];
    }

private:
    Spread(const weir_rss_key& key, std::uint32_t entries, std::uint32_t workers);
    bool fill_low_bits(bool v6);
    std::uint32_t address_part(const weir_address& address, std::uint32_t at_v4,
                               std::uint32_t at_v6) const;

    template <std::uint32_t Bytes> std::uint32_t sum(const weir_flow& flow) const {
        const auto* input = reinterpret_cast<const std::uint8_t*>(flow.word); // weir_rss_input()
        std::uint32_t hash = 0;
        for (std::uint32_t i = 0; i < Bytes; i++)
            hash ^= byte_[i][input[i]];
        return hash;
    }

    // What a byte of the input adds, as far as a table of kMaxSpreadEntries looks at it.
    std::array<std::array<std::uint16_t, 256>, WEIR_RSS_V6_BYTES> byte_{};
    std::array<std::array<std::uint16_t, kMaxSpreadEntries>, 2> low_bits_{}; // of a port, by part
    std::array<std::uint8_t, kMaxSpreadEntries> worker_{};                   // by entry
    std::uint32_t mask_ = 0;
    std::uint32_t workers_ = 1;
    weir_rss_key key_{};
};

} // namespace weir::lb
