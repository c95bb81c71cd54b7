// SPDX-License-Identifier: BSD-3-Clause
// The balancer's connection table from outside: seeing it, sweeping it. In batches: a call a
// connection would cost ten times as much.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "dataplane/lb/exception_entry.hpp"

namespace weir::xdp {
namespace {

constexpr uint32_t kLargestBatch = 1u << 16;

// An entry that says no more than the table of slots does.
struct Superfluous {
    weir_connection_key key;
    uint32_t backend;
    bool goes_on; // a connection, without an entry from now on
};

void add_to(const Mapping& counts, uint32_t row, int64_t change) {
    if (row < counts.values())
        std::atomic_ref(*reinterpret_cast<int64_t*>(counts.value(row)))
            .fetch_add(change, std::memory_order_relaxed);
}

void fill(uint64_t (&words)[WEIR_EXCEPTION_WORDS], uint64_t with) {
    for (uint64_t& word : words)
        std::atomic_ref(word).store(with, std::memory_order_relaxed);
}

} // namespace

Expected<std::optional<uint32_t>> Balancer::see_connections(std::optional<uint32_t> place,
                                                            const See& see) const {
    std::vector<weir_connection_key> keys;
    std::vector<weir_connection> connections;
    // A step is whole buckets of the table. One that does not fit is no error yet.
    for (uint32_t room = kStep; room <= kLargestBatch; room *= 2) {
        keys.resize(room);
        connections.resize(room);
        uint32_t count = room;
        uint32_t next = 0;
        const int error = bpf_map_lookup_batch(map("connections"), place ? &*place : nullptr, &next,
                                               keys.data(), connections.data(), &count, nullptr);
        if (error == -ENOSPC)
            continue;
        if (error != 0 && error != -ENOENT)
            return kernel_error("read the balancer's connections", -error);
        for (uint32_t i = 0; i < count; i++)
            see(keys[i], connections[i]);
        return error == -ENOENT ? std::nullopt : std::optional(next);
    }
    return Error{"the balancer's connections lie in one bucket of their table"};
}

Expected<void> Balancer::for_each_connection(const See& see) const {
    std::optional<uint32_t> place;
    do {
        auto next = see_connections(place, see);
        if (!next)
            return next.error();
        place = *next;
    } while (place);
    return {};
}

Expected<bool> Balancer::sweep_step(SweepPass& pass, const lb::ForwardingState& state,
                                    uint64_t now_ns) {
    const auto now_s = static_cast<uint32_t>(now_ns / 1'000'000'000);
    const std::span<const weir_vip_row> vips = state.vips();
    pass.of_vip.resize(vip_active_.values());
    pass.of_backend.resize(backend_active_.values());
    std::vector<weir_connection_key> old;
    std::vector<Superfluous> superfluous;
    auto next = see_connections(pass.place, [&](const weir_connection_key& key,
                                                const weir_connection& connection) {
        // A packet may have renewed it after we looked at the clock.
        const auto age = static_cast<int32_t>(now_s - connection.last_seen_s);
        if (key.vip >= vips.size() || connection.backend >= pass.of_backend.size() ||
            age >= static_cast<int32_t>(weir_entry_timeout_s(&vips[key.vip], connection.state))) {
            old.push_back(key);
            return;
        }
        if ((vips[key.vip].flags & WEIR_VIP_EXCEPTIONS) != 0) {
            const uint64_t hash = flow_hash_of(state, key);
            if (lb::is_superfluous(state, vips[key.vip], key.client, hash, connection.backend)) {
                superfluous.push_back(
                    {key, connection.backend, weir_goes_on_unrecorded(connection.state)});
                return;
            }
            note_exception(hash);
            pass.half_open += !weir_state_confirmed(connection.state);
        }
        pass.of_vip[key.vip]++;
        pass.of_backend[connection.backend]++;
        pass.swept.live++;
    });
    if (!next)
        return next.error();
    for (const weir_connection_key& key : old)
        pass.swept.expired += bpf_map_delete_elem(map("connections"), &key) == 0;
    for (const Superfluous& entry : superfluous) {
        if (bpf_map_delete_elem(map("connections"), &entry.key) != 0)
            continue; // a packet was first
        pass.swept.expired++;
        if (!entry.goes_on)
            continue;
        add_to(vip_unrecorded_, entry.key.vip, 1);
        add_to(backend_unrecorded_, entry.backend, 1);
    }
    pass.place = *next;
    if (pass.place)
        return false;
    end_pass(pass, state);
    return true;
}

void Balancer::end_pass(const SweepPass& pass, const lb::ForwardingState& state) {
    for (uint32_t row = 0; row < pass.of_vip.size(); row++)
        std::memcpy(vip_active_.value(row), &pass.of_vip[row], sizeof(uint64_t));
    for (uint32_t row = 0; row < pass.of_backend.size(); row++)
        std::memcpy(backend_active_.value(row), &pass.of_backend[row], sizeof(uint64_t));
    std::atomic_ref(exceptions().half_open).store(pass.half_open, std::memory_order_relaxed);
    turn_exceptions();
    // Where every connection is recorded now, nothing is estimated any more.
    std::vector<bool> estimates(state.pools().size());
    for (uint32_t row = 0; row < state.vips().size(); row++) {
        const weir_vip_row& vip = state.vips()[row];
        if ((vip.flags & WEIR_VIP_EXCEPTIONS) == 0)
            std::memset(vip_unrecorded_.value(row), 0, sizeof(int64_t));
        else if (vip.pool < estimates.size())
            estimates[vip.pool] = true;
    }
    for (uint32_t row = 0; row < state.backends().size(); row++)
        if (const uint32_t pool = state.backends()[row].pool;
            pool >= estimates.size() || !estimates[pool])
            std::memset(backend_unrecorded_.value(row), 0, sizeof(int64_t));
}

Expected<Swept> Balancer::sweep(const lb::ForwardingState& state, uint64_t now_ns) {
    SweepPass pass;
    for (;;) {
        const auto done = sweep_step(pass, state, now_ns);
        if (!done)
            return done.error();
        if (*done)
            return pass.swept;
    }
}

// --- exceptions ----------------------------------------------------------------------------------

weir_exceptions& Balancer::exceptions() const {
    return *reinterpret_cast<weir_exceptions*>(exceptions_.value(0));
}

uint64_t Balancer::flow_hash_of(const lb::ForwardingState& state, const weir_connection_key& key) {
    return lb::client_flow_hash(state, state.vips()[key.vip], key.client, key.client_port,
                                key.service_port);
}

// In the words that are not looked at; programs set bits there, too.
void Balancer::note_exception(uint64_t flow_hash) {
    weir_exceptions& all = exceptions();
    uint64_t& word = all.words[1 - (all.live & 1)][weir_exception_word(flow_hash)];
    std::atomic_ref(word).fetch_or(weir_exception_bit(flow_hash), std::memory_order_relaxed);
}

void Balancer::forget_noted_exceptions() {
    fill(exceptions().words[1 - (exceptions().live & 1)], 0);
}

// Does a VIP that recorded everything record exceptions only from now on?
bool Balancer::starts_exceptions(const lb::ForwardingState& next) const {
    const auto running = blocks_.read_state();
    if (!running || running->generation == 0)
        return false;
    const uint32_t half = running->active;
    const size_t common = std::min<size_t>(in_use_[half][kVips], next.vips().size());
    for (uint32_t row = 0; row < common; row++) {
        weir_vip_row before;
        std::memcpy(&before, rows_[kVips].value(half * sizes_.rows.vips + row), sizeof(before));
        if ((next.vips()[row].flags & ~before.flags & WEIR_VIP_EXCEPTIONS) != 0)
            return true;
    }
    return false;
}

// Entries are there that were never marked: every flow may have one until a whole pass, which the
// one under way is not, has visited them.
void Balancer::assume_exceptions() {
    weir_exceptions& all = exceptions();
    fill(all.words[all.live & 1], ~uint64_t{0});
    all.rounds_to_wait = 1;
}

// A pass has ended: what it did not visit has no entry.
void Balancer::turn_exceptions() {
    weir_exceptions& all = exceptions();
    if (all.rounds_to_wait != 0)
        all.rounds_to_wait--;
    else
        std::atomic_ref(all.live).store(1 - (all.live & 1), std::memory_order_release);
    forget_noted_exceptions();
}

} // namespace weir::xdp
