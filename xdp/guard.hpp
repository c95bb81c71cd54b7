// SPDX-License-Identifier: BSD-3-Clause
// The guard (xdp/guard.bpf.c) on one kernel-side interface: loads it, publishes match tables to it,
// puts it on clsact ingress in place of an older one. It stays attached when control ends, whatever
// the reason, so that the kernel never answers for us in between. Control's main thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "xdp/match_blocks.hpp"

struct bpf_object;

namespace weir::xdp {

struct GuardCounters { // packets since this guard was loaded
    uint64_t dropped_vip = 0;
    uint64_t dropped_snat = 0;
    uint64_t dropped_backend = 0;
    uint64_t dropped_unreadable = 0;
    uint64_t passed = 0;
    uint64_t unpublished = 0;
};

class Guard {
public:
    // Loads the program; nothing on the interface changes yet.
    static Expected<Guard> load(unsigned ifindex);

    Expected<void> publish(const MatchTableView& table, uint64_t generation);

    // Replaces, atomically, whatever guard an earlier control left on the interface; harmless when
    // this one is attached. REQUIRES: something was published (else an error): a guard that knows
    // no table must not take the place of one that does.
    Expected<void> attach();

    // Takes any guard of Weir's off the interface. Other filters there stay.
    static Expected<void> detach(unsigned ifindex);

    // Is this very program on the interface? False when it was removed or replaced from outside.
    Expected<bool> attached() const;

    Expected<uint64_t> generation() const { return blocks_.generation(); }
    Expected<GuardCounters> counters() const;

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    using Object = std::unique_ptr<bpf_object, CloseObject>;
    Guard(unsigned ifindex, Object object, int program, MatchBlocks blocks, Descriptor counts);

    unsigned ifindex_;
    Object object_;
    int program_; // owned by object_
    MatchBlocks blocks_;
    Descriptor counts_;
};

} // namespace weir::xdp
