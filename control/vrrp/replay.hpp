// SPDX-License-Identifier: BSD-3-Clause
// Refuses signed adverts that were heard before. Pure.
//
// One clock for all nodes of a group, as Lamport's: each advert is sent with a sequence above every
// one seen so far, from whomever. A node that was restarted, and knows nothing any more, is above
// its own past as soon as it has heard one advert of the others; nothing is kept on disk, and no
// wall clock is asked. Until then its adverts are refused, which only keeps the others in place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "config/address.hpp"

namespace weir::control::vrrp {

class Replay {
public:
    // The sequence of the next advert of ours.
    std::uint64_t next() { return ++clock_; }

    // False: refuse it. `source` is authentic, the signature covers it.
    bool accept(const net::IpAddress& source, std::uint64_t sequence) {
        std::uint64_t& last = heard_[source];
        if (sequence <= last)
            return false;
        last = sequence;
        clock_ = std::max(clock_, sequence);
        return true;
    }

private:
    std::uint64_t clock_ = 0;
    std::map<net::IpAddress, std::uint64_t> heard_; // only holders of the secret get in here
};

} // namespace weir::control::vrrp
