// SPDX-License-Identifier: BSD-3-Clause
// How the connections of a dataplane that is gone become those of the one that follows it.
//
// What it left is found at the start, the generation it is judged by comes later, with control. So
// first the memory is adopted (WorkerMemory::adopt) or, where the workers or their tables are
// others now, read out: salvage(). Then, with the first generation and before any worker has seen
// it: look_through() every worker's table, each by a thread of its own if one likes, and settle().
//
// A connection goes on if its row says the same as before: its VIP, backend and SNAT address are
// still what the legend calls them, and it is not too old for any timeout. It goes on with the
// worker that owns it now. What another engine has made in the meantime (give()) is newer than
// anything that was left, and named by the first generation's own numbers. Everything is done so
// that a process killed in the middle of it leaves what the next one can adopt: a connection is
// first put where it belongs, then taken away where it was, and the legend is not rewritten before
// all is done.
#pragma once

#include "dataplane/lb/connection_owner.hpp"
#include "dataplane/lb/counters.hpp"
#include "dataplane/lb/given.hpp"
#include "dataplane/lb/row_legend.hpp"
#include "dataplane/lb/stray_replies.hpp"
#include "dataplane/lb/worker_memory.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace weir::lb {

class Takeover {
public:
    struct Numbers {
        std::uint64_t adopted = 0;   // connections that go on
        std::uint64_t moved = 0;     // of them, those of another worker than before
        std::uint64_t refused = 0;   // damaged, doubled, too old, or no longer meaning the same
        std::uint64_t half_open = 0; // let go: their client will try again
        std::uint64_t given = 0;     // of the adopted, those of another engine
        Numbers& operator+=(const Numbers& other);
    };

    // For so many workers. `legend`: of what is taken over; outlives this object.
    Takeover(const RowLegend& legend, std::uint32_t workers) : legend_(legend), shares_(workers) {}

    // A worker's memory was adopted where it lies.
    void note_adopted(std::uint32_t worker, const WorkerMemory::Adopted& adopted);
    // Reads out a former worker's memory, of any geometry. False: it holds nothing that we know.
    bool salvage(std::span<const std::byte> memory);

    // Another engine's connections and remembered networks, which stay the caller's until settle().
    void give(std::span<const GivenConnection> connections,
              std::span<const GivenNetwork> networks = {}) {
        given_ = connections;
        given_networks_ = networks;
    }

    // REQUIRES: no worker runs by a generation yet. look_through() once for each worker.
    struct Now {
        const ForwardingState& state;
        const Spread* spread;
        std::uint64_t time_s; // of the monotonic clock
        std::span<WorkerMemory> workers;
        CountersView counters;
    };
    void look_through(std::uint32_t worker, const Now& now);
    Numbers settle(const Now& now, StrayReplies& strays);

private:
    struct Saved { // a connection on its way to another table
        HotRow row;
        ColdRow cold;
        LastHop hop; // what row.last_hop named, if anything
        std::uint32_t worker;
        EntryIndex entry; // kNoEntry: of memory that was read out
        bool given = false;
    };
    struct Share { // of one worker
        Numbers numbers;
        std::vector<Saved> leaving;
        std::vector<StrayReplies::Stray> strays;
    };

    bool same_key(const Now& now) const;
    std::uint64_t gap_s(const Now& now) const; // nobody's packets were seen
    bool goes_on(const HotRow& row, const Now& now) const;
    bool still_means(const HotRow& row, const Now& now) const;
    bool too_old(std::uint16_t last_seen_s, const Now& now) const;
    bool may_use(const LastHop& hop, const Now& now) const;
    void keep(std::uint32_t worker, EntryIndex entry, const Now& now);
    bool place(const Saved& saved, const Now& now);
    void place_given(const GivenConnection& given, const Now& now);
    void give_way(std::uint32_t worker, EntryIndex entry, const Now& now);
    void account(std::uint32_t worker, const HotRow& row, const Now& now);
    std::uint8_t flags_of(std::uint32_t worker, const HotRow& row, const Now& now) const;
    void spread_networks(const Now& now);
    Numbers publish(const Now& now, StrayReplies& strays) const;
    [[nodiscard]] Workers workers_of(const Now& now) const {
        return {static_cast<std::uint32_t>(now.workers.size()), now.spread};
    }

    const RowLegend& legend_;
    std::vector<Share> shares_;
    std::vector<Saved> salvaged_;
    std::span<const GivenConnection> given_;
    std::span<const GivenNetwork> given_networks_;
    std::vector<std::unique_ptr<PersistenceTable>> networks_; // of memory that was read out
};

} // namespace weir::lb
