// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/takeover.hpp"

#include "dataplane/forwarding/connection_state.h"

#include <algorithm>
#include <cstring>

namespace weir::lb {

Takeover::Numbers& Takeover::Numbers::operator+=(const Numbers& other) {
    adopted += other.adopted;
    moved += other.moved;
    refused += other.refused;
    half_open += other.half_open;
    given += other.given;
    return *this;
}

void Takeover::note_adopted(std::uint32_t worker, const WorkerMemory::Adopted& adopted) {
    shares_[worker].numbers.half_open += adopted.half_open;
    shares_[worker].numbers.refused += adopted.discarded;
}

bool Takeover::salvage(std::span<const std::byte> memory) {
    const auto left = ForeignMemory::open(memory);
    if (!left)
        return false;
    Numbers& numbers = shares_.front().numbers;
    std::uint32_t seen = 0;
    left->table.for_each([&](const ConnectionReader::Connection& found) {
        seen++;
        if ((found.row.flags & kRowProbation) != 0) {
            numbers.half_open++;
            return;
        }
        Saved saved{found.row, found.cold, {}, left->table.worker(), kNoEntry};
        if (found.row.last_hop != kNoLastHop)
            saved.hop = left->last_hops->at(static_cast<std::uint16_t>(found.row.last_hop));
        salvaged_.push_back(saved);
    });
    numbers.refused += std::max(left->table.entries(), seen) - seen; // rows that do not hold up
    networks_.push_back(std::make_unique<PersistenceTable>(*left->persistence));
    return true;
}

bool Takeover::same_key(const Now& now) const {
    return std::memcmp(&legend_.hash_key, &now.state.hash_key(), sizeof(legend_.hash_key)) == 0;
}

std::uint64_t Takeover::gap_s(const Now& now) const {
    return now.time_s - std::min(now.time_s, legend_.alive_s);
}

bool Takeover::too_old(std::uint16_t last_seen_s, const Now& now) const {
    constexpr std::uint16_t kAhead = 0xffff - 120; // a clock a little ahead of the main thread's
    const auto left_at = static_cast<std::uint16_t>(legend_.alive_s);
    const auto age = static_cast<std::uint16_t>(left_at - last_seen_s);
    return (age >= kAhead ? 0 : age) + gap_s(now) >= kLongestTimeout_s;
}

namespace {

// Whether the state has what the row's numbers name, and its VIP such connections.
bool has_rows(const ForwardingState& state, const HotRow& row) {
    if (row.state == kRowFree || row.state >= WEIR_STATE_COUNT || row.vip >= state.vips().size() ||
        row.backend >= state.backends().size())
        return false;
    const bool full_nat = state.vips()[row.vip].forward == WEIR_FORWARD_FULL_NAT;
    if (full_nat != (row.snat_port != 0))
        return false;
    return !full_nat || row.snat_address < state.snat().size();
}

ColdRow hashes_of(const ForwardingState& state, const HotRow& row) {
    ColdRow cold{};
    const weir_flow flow = forward_flow(state, row);
    cold.forward_hash = index_hash(weir_flow_hash(&state.hash_key(), &flow));
    if ((row.flags & kRowReplyIndexed) != 0) {
        const weir_flow reply = reply_flow(state, row);
        cold.reply_hash = index_hash(weir_flow_hash(&state.hash_key(), &reply));
    }
    return cold;
}

} // namespace

// Whether the numbers of the row name the same things as when it was written.
bool Takeover::still_means(const HotRow& row, const Now& now) const {
    const ForwardingState& state = now.state;
    if (!has_rows(state, row))
        return false;
    const weir_vip_row& vip = state.vips()[row.vip];
    if (legend_.vips[row.vip] == 0 || legend_.vips[row.vip] != fingerprint(vip) ||
        legend_.backends[row.backend] == 0 ||
        legend_.backends[row.backend] != fingerprint(state.backends()[row.backend]))
        return false;
    if (weir_forward_is_dsr(vip.forward) == ((row.flags & kRowReplyIndexed) != 0))
        return false;
    return vip.forward != WEIR_FORWARD_FULL_NAT ||
           legend_.snat[row.snat_address] == fingerprint(state.snat()[row.snat_address]);
}

// The hashes in the rows are only as good as the key they were made with.
bool Takeover::goes_on(const HotRow& row, const Now& now) const {
    return same_key(now) && still_means(row, now) && !too_old(row.last_seen_s, now);
}

bool Takeover::may_use(const LastHop& hop, const Now& now) const {
    return hop.interface < now.state.interfaces().size() &&
           legend_.interfaces[hop.interface] == fingerprint(now.state.interfaces()[hop.interface]);
}

std::uint8_t Takeover::flags_of(std::uint32_t worker, const HotRow& row, const Now& now) const {
    const bool stray = owner_of_replies(now.state, workers_of(now), row) != worker;
    return stray ? kRowStrayReplies : 0;
}

// The connection goes on with this worker.
void Takeover::account(std::uint32_t worker, const HotRow& row, const Now& now) {
    Share& share = shares_[worker];
    share.numbers.adopted++;
    now.counters.vip(worker, row.vip).connections_active++;
    add_active(now.counters.backend(worker, row.backend), 1);
    if ((row.flags & kRowStrayReplies) == 0)
        return;
    const weir_flow flow = reply_flow(now.state, row);
    share.strays.push_back({weir_flow_hash(&now.state.hash_key(), &flow), worker});
}

void Takeover::keep(std::uint32_t worker, EntryIndex entry, const Now& now) {
    WorkerMemory& memory = now.workers[worker];
    const HotRow& row = memory.table.row(entry);
    auto last_hop = static_cast<std::uint16_t>(row.last_hop);
    if (last_hop != kNoLastHop && may_use(memory.last_hops->at(last_hop), now))
        memory.last_hops->count_user(last_hop);
    else
        last_hop = kNoLastHop; // until the client's next packet
    const std::uint8_t flags = flags_of(worker, row, now);
    if (last_hop != row.last_hop || flags != (row.flags & kRowCallerFlags))
        memory.table.amend(entry, last_hop, flags);
    account(worker, row, now);
}

void Takeover::look_through(std::uint32_t worker, const Now& now) {
    WorkerMemory& memory = now.workers[worker];
    Share& share = shares_[worker];
    memory.last_hops->forget_users();
    for (EntryIndex entry = 0; entry < memory.table.capacity(); ++entry) {
        const HotRow& row = memory.table.row(entry);
        if (row.state == kRowFree)
            continue;
        if (!goes_on(row, now)) {
            share.numbers.refused++;
            memory.table.erase(entry);
        } else if (owner_of_row(now.state, workers_of(now), row) == worker) {
            keep(worker, entry, now);
        } else {
            Saved saved{row, memory.table.cold(entry), {}, worker, entry};
            if (row.last_hop != kNoLastHop)
                saved.hop = memory.last_hops->at(static_cast<std::uint16_t>(row.last_hop));
            share.leaving.push_back(saved);
        }
    }
    if (same_key(now))
        memory.persistence->adopt(static_cast<std::uint16_t>(legend_.alive_s), gap_s(now));
    else
        *memory.persistence = {};
}

bool Takeover::place(const Saved& saved, const Now& now) {
    const std::uint32_t owner = owner_of_row(now.state, workers_of(now), saved.row);
    WorkerMemory& memory = now.workers[owner];
    HotRow row = saved.row;
    row.last_hop = kNoLastHop;
    const bool hop_holds =
        saved.given ? saved.hop.interface < now.state.interfaces().size() : may_use(saved.hop, now);
    if (saved.row.last_hop != kNoLastHop && hop_holds)
        row.last_hop = memory.last_hops->acquire(mac_word(saved.hop.mac), saved.hop.vlan_tci,
                                                 saved.hop.interface) &
                       kNoLastHop;
    row.flags = ((row.flags & ~unsigned{kRowCallerFlags}) | flags_of(owner, row, now)) & 0xf;
    const bool placed = memory.table.restore(row, saved.cold).outcome == InsertOutcome::kInserted;
    if (placed) {
        account(owner, row, now);
        shares_[owner].numbers.moved += owner != saved.worker;
    } else {
        memory.last_hops->release(static_cast<std::uint16_t>(row.last_hop));
        shares_[owner].numbers.refused++;
    }
    if (saved.entry != kNoEntry)
        now.workers[saved.worker].table.erase(saved.entry);
    return placed;
}

// An entry that was accounted for and ends all the same.
void Takeover::give_way(std::uint32_t worker, EntryIndex entry, const Now& now) {
    WorkerMemory& memory = now.workers[worker];
    const HotRow row = memory.table.row(entry);
    Share& share = shares_[worker];
    share.numbers.adopted--;
    now.counters.vip(worker, row.vip).connections_active--;
    add_active(now.counters.backend(worker, row.backend), -1);
    if ((row.flags & kRowStrayReplies) != 0) {
        const weir_flow flow = reply_flow(now.state, row);
        const std::uint64_t hash = weir_flow_hash(&now.state.hash_key(), &flow);
        std::erase_if(share.strays, [&](const auto& stray) { return stray.reply_hash == hash; });
    }
    if (row.last_hop != kNoLastHop)
        memory.last_hops->release(static_cast<std::uint16_t>(row.last_hop));
    memory.table.erase(entry);
}

void Takeover::place_given(const GivenConnection& given, const Now& now) {
    if (!has_rows(now.state, given.row)) {
        shares_.front().numbers.refused++;
        return;
    }
    Saved saved{given.row, {}, given.hop, 0, kNoEntry, true};
    const bool dsr = weir_forward_is_dsr(now.state.vips()[saved.row.vip].forward);
    saved.row.flags = dsr ? 0 : kRowReplyIndexed;
    saved.cold = hashes_of(now.state, saved.row);
    saved.cold.life.created_s = saved.row.last_seen_s;
    saved.worker = owner_of_row(now.state, workers_of(now), saved.row);
    ConnectionTable& table = now.workers[saved.worker].table;
    const HotRow& row = saved.row;
    const EntryIndex same =
        table.find_forward(saved.cold.forward_hash,
                           forward_key(row.client, row.client_port, row.service_port, row.vip));
    if (same != kNoEntry) {
        const HotRow& before = table.row(same);
        if (before.backend == row.backend && before.snat_port == row.snat_port &&
            before.snat_address == row.snat_address) {
            table.update(same, static_cast<std::uint8_t>(row.state),
                         static_cast<std::uint16_t>(before.last_hop), row.last_seen_s);
            return;
        }
        give_way(saved.worker, same, now);
    }
    if (place(saved, now))
        shares_[saved.worker].numbers.given++;
}

// What was remembered of a client's network goes to every worker: the entry does not say whose it
// is now, and those who are never asked for it forget it in time.
void Takeover::spread_networks(const Now& now) {
    const auto now_s = static_cast<std::uint16_t>(now.time_s);
    if (same_key(now)) {
        for (const auto& networks : networks_) {
            networks->adopt(static_cast<std::uint16_t>(legend_.alive_s), gap_s(now));
            for (WorkerMemory& memory : now.workers)
                memory.persistence->absorb(*networks, now_s);
        }
    }
    for (const GivenNetwork& network : given_networks_)
        for (WorkerMemory& memory : now.workers)
            memory.persistence->learn(network, now_s);
}

Takeover::Numbers Takeover::publish(const Now& now, StrayReplies& strays) const {
    std::vector<StrayReplies::Stray> all;
    Numbers sum;
    for (std::uint32_t worker = 0; worker < now.workers.size(); worker++) {
        const Share& share = shares_[worker];
        all.insert(all.end(), share.strays.begin(), share.strays.end());
        WorkerCounters& block = now.counters.worker(worker);
        block.connections_adopted = share.numbers.adopted;
        block.connections_moved = share.numbers.moved;
        block.connections_refused = share.numbers.refused;
        sum += share.numbers;
    }
    strays.fill(all);
    return sum;
}

Takeover::Numbers Takeover::settle(const Now& now, StrayReplies& strays) {
    for (const Share& share : shares_)
        for (const Saved& saved : share.leaving)
            place(saved, now);
    for (const Saved& saved : salvaged_) {
        if (goes_on(saved.row, now))
            place(saved, now);
        else
            shares_.front().numbers.refused++;
    }
    for (const GivenConnection& given : given_)
        place_given(given, now);
    spread_networks(now);
    return publish(now, strays);
}

} // namespace weir::lb
