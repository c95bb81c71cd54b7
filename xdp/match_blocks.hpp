// SPDX-License-Identifier: BSD-3-Clause
// Publishes match tables to one BPF program: two blocks, one of them active, flipped when the other
// is complete. Owned by Steering and Guard; called by control's main thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "config/expected.hpp"
#include "dataplane/forwarding/rows.h"
#include "xdp/library.hpp"
#include "xdp/maps.h"

namespace weir::xdp {

// A generation's match table, borrowed for the call.
struct MatchTableView {
    weir_match_header header{};
    std::span<const weir_range_row> ranges; // header.range_count of them
    std::span<const weir_match_row> rows;   // header.mask + 1 of them
};

class MatchBlocks {
public:
    // REQUIRES: the descriptors of a program's match_blocks and steer_state maps.
    static Expected<MatchBlocks> open(Descriptor blocks, Descriptor state);

    // When it returns a value, packets that arrive from now on are judged by `table`; when it
    // returns an error, by what was published before. Takes milliseconds: it first waits until no
    // processor still runs the program with the block that it overwrites. Of a table that is in
    // force already only the generation is written.
    Expected<void> publish(const MatchTableView& table, uint64_t generation);

    // Waits until no processor runs the program with the block that publish() writes next, and says
    // which that is: what belongs to the table in other maps can then be written, too.
    Expected<uint32_t> prepare() const;
    // publish() without the wait. REQUIRES: prepare() said `block`, and nothing was published
    // since.
    Expected<void> publish_prepared(uint32_t block, const MatchTableView& table,
                                    uint64_t generation);

    // Back to where nothing is published.
    Expected<void> withdraw();

    // Which block programs read, and the generation in it.
    Expected<weir_steer_state> read_state() const;
    // 0: nothing has been published to these maps, by anyone.
    Expected<uint64_t> generation() const;

private:
    MatchBlocks(Descriptor blocks, Descriptor state, Descriptor waiter);
    Expected<void> wait_for_readers() const;
    bool is_in_force(const MatchTableView& table, uint64_t active_generation) const;
    Expected<void> activate(uint32_t block, uint64_t generation);

    Descriptor blocks_;
    Descriptor state_;
    Descriptor waiter_; // array of maps: writing to it waits for running programs to end
    std::unique_ptr<weir_match_block> scratch_;
    uint64_t in_scratch_ = 0; // the generation whose table scratch_ has; 0: none of this object's
    bool withdrawn_ = false;  // a program may still read a block although nothing is published
};

// Sums of a per-CPU array of uint64_t, one per entry.
Expected<std::vector<uint64_t>> read_counts(const Descriptor& counts, uint32_t entries);

} // namespace weir::xdp
