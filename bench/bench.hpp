// SPDX-License-Identifier: BSD-3-Clause
// What several groups of rows share: modes and families by name, the rig that the rows of one shape
// go on using, and the interleaved measurement.
#pragma once

#include "bench/rig.hpp"
#include "bench/row.hpp"

#include <array>
#include <string_view>

namespace weir::bench {

inline constexpr std::array kModes = {
    config::ForwardMode::kDsrL2, config::ForwardMode::kDsrIpip, config::ForwardMode::kDsrGue,
    config::ForwardMode::kNat,   config::ForwardMode::kFullNat,
};

inline std::string_view family_name(bool v6) {
    return v6 ? "v6" : "v4";
}

// The fields that say what is measured; the name is made of them.
Row row_of(const Shape& shape, std::uint64_t flows, std::string_view group, std::string_view kind,
           std::string_view remark = "");

// One worker that forwards by this shape and knows at least these flows' connections, in a table
// that is at most 80 % full. Kept for the next caller; one that needs another makes a new one.
Rig& rig_for(const Shape& shape, std::uint64_t flows);
// Gives its memory back.
void drop_rig();

// Batches of `run` and of the references by turns, for as long as the settings say. Medians of the
// repeats' medians.
struct Figures {
    double whole;   // ns a packet: `run` with all that is in it
    double io;      // source and sink alone
    double macswap; // the reference loop, source and sink included
};
// Ends in a batch that is ready to be received.
using Prepare = std::function<void(Rig&)>;
using Run = std::function<std::uint64_t(Rig&)>; // ticks of a batch, all of which it sends
Figures interleaved(Rig& rig, const Settings& settings, const Prepare& prepare,
                    const Run& run = &Rig::time_polls);
void take(Row& row, const Figures& figures);

} // namespace weir::bench
