// SPDX-License-Identifier: BSD-3-Clause
// Leases that the guards of all interfaces heed (xdp/guard.bpf.c): which addresses are under which,
// and until when each runs. The maps live as long as this or a guard that was loaded with them: a
// guard that outlives control goes on with the last deadlines. Control's main thread only, except
// for the deadlines themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>

#include "config/expected.hpp"
#include "dataplane/forwarding/base.h"
#include "xdp/library.hpp"
#include "xdp/maps.h"

namespace weir::xdp {

struct LeasedAddress {
    weir_address address{};
    uint32_t lease = 0; // below WEIR_MAX_LEASES
};

class Leases {
public:
    static Expected<Leases> make();

    // Exactly these are on loan from now on; all others are the kernel's to answer for at any time.
    // On an error some are and some are not.
    Expected<void> assign(std::span<const LeasedAddress> addresses);

    // Where a lease's deadline is: CLOCK_MONOTONIC in nanoseconds, in memory that the guards read.
    // 0 (as after make()): it has not begun, or is over. Each has one writer, of any thread; a
    // store is no system call.
    uint64_t* deadline(uint32_t lease) const { return deadlines_.get() + lease; }

    const Descriptor& addresses_map() const { return addresses_map_; }
    const Descriptor& deadlines_map() const { return deadlines_map_; }

private:
    struct Unmap {
        void operator()(uint64_t* memory) const;
    };
    using Memory = std::unique_ptr<uint64_t, Unmap>;
    Leases(Descriptor addresses, Descriptor deadlines, Memory memory);

    struct HashAddress {
        size_t operator()(const weir_address& address) const;
    };
    struct SameAddress {
        bool operator()(const weir_address& a, const weir_address& b) const;
    };

    Descriptor addresses_map_;
    Descriptor deadlines_map_;
    Memory deadlines_;
    std::unordered_map<weir_address, uint32_t, HashAddress, SameAddress> assigned_;
};

} // namespace weir::xdp
