// SPDX-License-Identifier: BSD-3-Clause
// The guard (xdp/guard.bpf.c) on one kernel-side interface: loads it, publishes match tables to it,
// puts it on clsact (ingress and egress) in place of an older one. It stays attached when control
// ends, whatever the reason, so that the kernel never answers for us in between. Control's main
// thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "xdp/leases.hpp"
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
    uint64_t dropped_question = 0; // for an address whose lease has lapsed
    uint64_t dropped_claim = 0;    // to have such an address
};

class Guard {
public:
    // Loads the programs; nothing on the interface changes yet. `leases`, which is needed for the
    // call only, may be shared by many guards; without it no address is on loan.
    static Expected<Guard> load(unsigned ifindex, const Leases* leases = nullptr);

    Expected<void> publish(const MatchTableView& table, uint64_t generation);

    // Replaces, atomically, whatever guard an earlier control left on the interface; harmless when
    // this one is attached. REQUIRES: something was published (else an error): a guard that knows
    // no table must not take the place of one that does.
    Expected<void> attach();

    // Takes any guard of Weir's off the interface. Other filters there stay.
    static Expected<void> detach(unsigned ifindex);

    // Are these very programs on the interface? False when one was removed or replaced from
    // outside.
    Expected<bool> attached() const;

    Expected<uint64_t> generation() const { return blocks_.generation(); }
    Expected<GuardCounters> counters() const;
    // The descriptor of "weir_guard_in" or "weir_guard_out", for test runs; it stays the guard's.
    int program(const char* name) const;

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    using Object = std::unique_ptr<bpf_object, CloseObject>;
    Guard(unsigned ifindex, Object object, MatchBlocks blocks, Descriptor counts);

    unsigned ifindex_;
    Object object_;
    MatchBlocks blocks_;
    Descriptor counts_;
};

} // namespace weir::xdp
