// SPDX-License-Identifier: BSD-3-Clause
// Which SNAT address and port a worker tries next for a new full-nat connection. One object a
// worker and address family; only that worker calls it; no allocation after configure().
//
// A port is in use towards one backend only: (SNAT address, port, backend, protocol) is what must
// be unique, and the connection table's reply index is what knows it. So nothing is kept here per
// port and nothing can leak: the allocator proposes, the caller looks the reply tuple up.
//
// Proposals walk through a secret permutation of all {address, port} pairs the worker owns, with a
// cursor per group of backends. Hence, in the spirit of RFC 6056: ports cannot be foretold from
// outside; they are uniformly used; no proposal is repeated within a walk; and a port that was
// just released is the last to come up again towards its backend.
//
// Exhausted means: kSnatTries proposals in a row (all of them, when the worker owns no more) are in
// use towards this backend. With a share u of the ports in use by long-lived connections that
// happens with probability u^kSnatTries; the next attempt goes on with the next proposals.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/forwarding/limits.h"
#include "dataplane/forwarding/select.h"

namespace weir::lb {

inline constexpr std::uint32_t kSnatTries = 32;
inline constexpr std::uint32_t kSnatCursors = 1024; // groups of backends, power of two

struct SnatRange {
    std::uint8_t address;     // row of the SNAT address
    std::uint16_t first_port; // host order, both ends included
    std::uint16_t last_port;
};

struct SnatPort {
    std::uint8_t address;
    std::uint16_t port; // host order
    bool operator==(const SnatPort&) const = default;
};

class SnatPorts {
public:
    SnatPorts() = default;

    // Ports of all ranges for which weir_snat_port_owner() names this worker. At most
    // WEIR_MAX_SNAT_ADDRESSES ranges, of one family, each first_port <= last_port. `secret` is
    // random and differs between workers.
    void configure(std::span<const SnatRange> ranges, std::uint32_t worker, std::uint32_t workers,
                   std::uint64_t secret);

    std::uint32_t owned() const { return owned_; } // {address, port} pairs

    // The first proposal for which `is_free(SnatPort)` holds, or nothing: exhausted.
    template <class IsFree>
    std::optional<SnatPort> allocate(std::uint32_t backend, IsFree is_free) {
        const std::uint32_t tries = owned_ < kSnatTries ? owned_ : kSnatTries;
        for (std::uint32_t attempt = 0; attempt < tries; ++attempt) {
            const SnatPort port = next(backend);
            if (is_free(port))
                return port;
        }
        return std::nullopt;
    }

    // The next proposal, whatever became of the last. REQUIRES: owned() > 0.
    SnatPort next(std::uint32_t backend);

private:
    struct Owned {
        SnatRange range;
        std::uint16_t first_port; // the worker's first
        std::uint32_t before;     // pairs in the ranges before this one
    };

    std::uint32_t permuted(std::uint32_t index, std::uint64_t key) const;
    SnatPort pair_at(std::uint32_t index) const;

    std::array<Owned, WEIR_MAX_SNAT_ADDRESSES> ranges_{};
    std::uint32_t range_count_ = 0;
    std::uint32_t owned_ = 0;
    std::uint32_t workers_ = 1;
    std::uint32_t columns_ = 1; // the permutation works on a grid of columns x rows >= owned
    std::uint32_t rows_ = 1;
    std::uint64_t secret_ = 0;
    std::array<std::uint32_t, kSnatCursors> cursor_{};
};

} // namespace weir::lb
