// SPDX-License-Identifier: BSD-3-Clause
// The sorter (xdp/sorter.bpf.c), one for the kernel-visible interfaces of a node: loads it,
// publishes match tables to it, says where what is ours goes. Steering puts it on interfaces.
// Control's main thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "xdp/match_blocks.hpp"

struct bpf_object;

namespace weir::xdp {

struct SorterCounters { // packets since it was loaded
    uint64_t ours = 0;
    uint64_t passed = 0;
    uint64_t unparsed = 0;
    uint64_t unpublished = 0;
};

class Sorter {
public:
    static Expected<Sorter> load();

    Expected<void> publish(const MatchTableView& table, uint64_t generation) {
        return blocks_.publish(table, generation);
    }
    Expected<uint64_t> generation() const { return blocks_.generation(); }

    // From the return on what is ours is balanced in place (true) or goes to the sockets of the
    // engine, and in place only where there are none (false, as in the beginning).
    Expected<void> balance_in_place(bool in_place);

    Expected<SorterCounters> counters() const;
    int program() const { return program_; } // stays the sorter's

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    using Object = std::unique_ptr<bpf_object, CloseObject>;
    Sorter(Object object, MatchBlocks blocks, Descriptor counts);

    Object object_;
    MatchBlocks blocks_;
    Descriptor counts_;
    int program_;
};

} // namespace weir::xdp
