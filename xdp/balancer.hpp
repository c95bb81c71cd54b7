// SPDX-License-Identifier: BSD-3-Clause
// The balancer program (xdp/balancer.bpf.c) with its maps: loads it, publishes ForwardingState to
// it, reads back what it counts and remembers, leaves its maps to the next control. Attaching it is
// attachments.hpp. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/lb/forwarding_state.hpp"
#include "xdp/balancer.h"
#include "xdp/match_blocks.hpp"
#include "xdp/slot_arena.hpp"

struct bpf_object;

namespace weir::xdp {

struct BalancerSizes {
    weir_balancer_capacities rows{};
    uint32_t connections = 1u << 20; // each of the two tables; the least recently used one goes
    bool injected = false;           // weir_balancer_injection instead of clock and devices
};

// An array map's values in this process's memory.
class Mapping {
public:
    static Expected<Mapping> of(int map, const char* name);
    Mapping() = default;
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();

    // Values lie `stride` bytes apart, a multiple of 8.
    std::byte* value(uint32_t index) const { return at_ + size_t{index} * stride_; }
    size_t stride() const { return stride_; }
    uint32_t values() const { return values_; }

private:
    std::byte* at_ = nullptr;
    size_t bytes_ = 0;
    size_t stride_ = 0;
    uint32_t values_ = 0;
};

// Closed books: each packet that came has one verdict, and each that left one that sends.
bool adds_up(const weir_balancer_counts& counts);

struct Swept {
    uint64_t expired = 0;
    uint64_t live = 0;
};

// A pass over the connection table, in steps.
struct SweepPass {
    std::optional<uint32_t> place; // where the next step begins; nothing: at the beginning
    std::vector<uint64_t> of_vip;  // counted so far
    std::vector<uint64_t> of_backend;
    int64_t half_open = 0; // exceptions on probation
    Swept swept;
};

// A generation as it lies in the maps. Valid until the next but one publication.
struct PublishedState {
    std::span<const std::byte> root;
    std::map<uint64_t, std::vector<uint16_t>> slot_tables; // by segment id
};

class Balancer {
public:
    static Expected<Balancer> load(const BalancerSizes& sizes);

    // A fresh program over the maps that pin() left in `directory`, with what is published and
    // remembered in them. An error also when they are another layout's.
    static Expected<Balancer> adopt(const std::string& directory);
    // REQUIRES: `directory` is on a BPF filesystem and empty.
    Expected<void> pin(const std::string& directory) const;

    int program() const { return program_; }
    const BalancerSizes& sizes() const { return sizes_; }
    uint64_t generation() const { return generation_; }   // 0: none is published
    uint64_t began_ns() const { return grace_began_ns_; } // of the first publication
    Expected<std::optional<PublishedState>> published() const;
    std::vector<uint32_t> devices() const; // of what is published, by interface row

    // Packets that arrive after it returned are judged by `state`, whole; when it returns an error,
    // by what was published before. `devices`: the ifindex of each interface row.
    Expected<void> publish(const lb::ForwardingState& state, std::span<const uint32_t> devices,
                           uint64_t now_ns);
    // Everything goes to the kernel again.
    Expected<void> withdraw();

    // Sums over the CPUs.
    Expected<weir_balancer_counts> counts() const;
    Expected<weir_balancer_row_counts> vip_counts(uint32_t row) const;
    Expected<weir_balancer_row_counts> backend_counts(uint32_t row) const;
    // Connections in the table, as quotas go by them: right up to what it has evicted since the
    // last sweep.
    uint64_t vip_recorded(uint32_t row) const { return count_in(vip_active_, row); }
    // The same with those that VIPs without a record of each are estimated to have.
    uint64_t vip_active(uint32_t row) const {
        return vip_recorded(row) + count_in(vip_unrecorded_, row);
    }
    uint64_t backend_active(uint32_t row) const {
        return count_in(backend_active_, row) + count_in(backend_unrecorded_, row);
    }

    // Calls `see` for every connection; one that packets make meanwhile may be missed.
    using See = std::function<void(const weir_connection_key&, const weir_connection&)>;
    Expected<void> for_each_connection(const See& see) const;
    // The same for about kStep of them from `place` on (nothing: the beginning). Says where to go
    // on; nothing: that was all.
    static constexpr uint32_t kStep = 1024;
    Expected<std::optional<uint32_t>> see_connections(std::optional<uint32_t> place,
                                                      const See& see) const;

    // Removes connections that are too old by `state`'s timeouts, and of VIPs that record
    // exceptions only those that have become superfluous, and counts the others anew for quotas and
    // least connections: the program does not see what the table evicts. REQUIRES: `state` is
    // published.
    Expected<Swept> sweep(const lb::ForwardingState& state, uint64_t now_ns);
    // About kStep connections of a pass. True: the pass is done, and what it counted holds.
    Expected<bool> sweep_step(SweepPass& pass, const lb::ForwardingState& state, uint64_t now_ns);

    // Forgets connections, clients and counts.
    Expected<void> forget_all();

    // --- taking over from another engine, and giving back (balancer_given.cpp) ------------------

    // While held, packets of a VIP that belong to no known connection are dropped by name.
    // REQUIRES: row < sizes().rows.vips.
    void hold(uint32_t vip_row, bool held);
    // From here to the end every flow of VIPs that record exceptions only may have an entry and is
    // looked for; afterwards those may that give() has put in.
    void begin_giving();
    void end_giving();
    // Returns when no program runs any more that has begun before the call.
    Expected<void> wait_for_programs() const;

    struct Given {
        weir_connection_key key;
        weir_connection connection;
    };
    // Puts another engine's connections in, in place of entries of the same client. What `state`
    // has no VIP, backend or SNAT address for is left out. Says how many went in.
    // REQUIRES: `state` is published.
    Expected<uint64_t> give(std::span<const Given> connections, const lb::ForwardingState& state);

    // A client's network and where it went (`persistence`).
    struct Network {
        uint64_t key;
        weir_remembered remembered;
    };
    // Puts what another engine remembers in the place of what is remembered of the same networks.
    Expected<void> give_networks(std::span<const Network> networks);
    // All that are remembered, as far as packets do not change them meanwhile.
    Expected<std::vector<Network>> networks() const;

    volatile weir_balancer_injection& injection() const;

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    using Object = std::unique_ptr<bpf_object, CloseObject>;
    // Halved arrays of rows, in the order of kRowMaps (balancer.cpp).
    enum Rows { kVips, kPools, kMembers, kBackends, kNextHops, kRowMaps };

    Balancer(Object object, const BalancerSizes& sizes, MatchBlocks blocks);
    static Expected<Object> open_object();
    // Loads an object whose maps have their sizes.
    static Expected<Balancer> start(Object object, const BalancerSizes& sizes);
    Expected<void> map_rows();
    Expected<void> take_up();
    int map(const char* name) const;
    static uint64_t count_in(const Mapping& counts, uint32_t row); // 0 for one below it
    weir_exceptions& exceptions() const;
    bool starts_exceptions(const lb::ForwardingState& next) const;
    void assume_exceptions();
    void turn_exceptions();
    void note_exception(uint64_t flow_hash);
    void forget_noted_exceptions();
    static uint64_t flow_hash_of(const lb::ForwardingState& state, const weir_connection_key& key);
    void end_pass(const SweepPass& pass, const lb::ForwardingState& state);
    std::span<std::byte> root_in(uint32_t half) const;
    Expected<void> fits(const lb::ForwardingState& state) const;
    void write_rows(uint32_t half, Rows which, std::span<const std::byte> rows, size_t row_bytes);
    Expected<uint32_t> place_slots(uint32_t half, uint64_t id, std::span<const uint16_t> slots);
    Expected<void> write_slots(uint32_t half, const lb::ForwardingState& state);
    Expected<void> write_root(uint32_t half, const lb::ForwardingState& state);
    Expected<void> write_head(uint32_t half, const lb::ForwardingState& state,
                              std::span<const uint32_t> devices);
    Expected<void> clear(const char* name) const;
    template <class Value> Expected<Value> sum(const char* name, uint32_t row) const;

    Object object_;
    BalancerSizes sizes_;
    MatchBlocks blocks_;
    int program_ = -1; // owned by object_
    std::array<Mapping, kRowMaps> rows_;
    std::array<std::array<uint32_t, kRowMaps>, 2> in_use_{}; // rows written last, by half
    Mapping slots_, roots_, vip_active_, vip_held_, backend_active_, cursors_, injection_;
    Mapping exceptions_, vip_unrecorded_, backend_unrecorded_;
    SlotArena arena_;
    uint64_t grace_began_ns_ = 0;
    uint64_t generation_ = 0;
};

} // namespace weir::xdp
