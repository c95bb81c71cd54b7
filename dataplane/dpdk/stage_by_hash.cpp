// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that nothing but their hash decides: plain ones to a VIP that records
// exceptions only, in whose pool no slot has changed of late. They leave as match(), track() and
// rewrite() would have them leave, but a packet is read once, in four sweeps over the burst, and
// only what those need is kept of it. What a sweep does not like stays undecided and unchanged for
// the stages that follow.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/forward_counts.hpp"
#include "dataplane/forwarding/parse_plain.h"

#include <rte_mbuf.h>
#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// Whom packets are for, when the slots of its pool decide.
struct Destination {
    std::uint32_t row = WEIR_NO_ROW;
    const weir_vip_row* vip = nullptr;
    const weir_pool_row* pool = nullptr; // null: it is not such a one
};

// The packets that are still on this way.
struct Candidates {
    std::uint32_t count = 0;
    std::uint8_t of[kBurstSize]; // packet of the burst
    const weir_pool_row* pool[kBurstSize];
    // By packet of the burst: more than a link header is to be written, or a connection begins or
    // ends. Then burst.packet[] has all of it, else its length alone and, for several workers, its
    // flow.
    bool whole[kBurstSize];

    void add(std::uint32_t i, const Destination& to) {
        of[count] = static_cast<std::uint8_t>(i);
        pool[count++] = to.pool;
    }
};

Destination find(const lb::ForwardingState& state, const weir_packet& packet) {
    const weir_match match = weir_match_packet(&state.match(), &packet);
    const weir_pool_row* pool = settled_pool(state, match);
    if (!pool || !weir_has_slots_of_flows(pool))
        return {};
    return {match.index, &state.vips()[match.index], pool};
}

// The first sweep. Most packets are for what those before them were for, which takes a glance.
class Reader {
public:
    Reader(const Worker& worker, Burst& burst, Candidates& found)
        : worker_(worker), burst_(burst), found_(found) {}

    void read(std::uint32_t i) {
        const auto* data = rte_pktmbuf_mtod(burst_.mbuf[i], const std::uint8_t*);
        const std::uint32_t bytes = rte_pktmbuf_data_len(burst_.mbuf[i]);
        if (!glance(i, data, bytes))
            look(i, data, bytes);
    }

private:
    // False: it has to be looked at properly.
    bool glance(std::uint32_t i, const std::uint8_t* data, std::uint32_t bytes) {
        if (!expected_.pool || !weir_plain_key_fits(&key_, data, bytes))
            return false;
        weir_packet packet; // of which the compiler leaves out what is not asked for
        weir_read_plain_v4(data, &packet);
        if (!weir_says_nothing(&packet, expected_.vip))
            return false;
        burst_.flows_v4.add(i, packet.flow);
        burst_.packet[i].l3_length = packet.l3_length;
        if (worker_.context.workers > 1)
            burst_.packet[i].flow = packet.flow;
        burst_.vip[i] = expected_.row;
        found_.whole[i] = false;
        found_.add(i, expected_);
        return true;
    }

    void look(std::uint32_t i, const std::uint8_t* data, std::uint32_t bytes) {
        weir_packet& packet = burst_.packet[i];
        if (!weir_parse_plain(data, data + bytes, &packet))
            return;
        if (!weir_same_endpoint(&packet.flow, &last_flow_)) {
            last_flow_ = packet.flow;
            last_ = find(*worker_.state, packet);
        }
        if (!last_.pool)
            return;
        const bool tunnel = weir_forward_encapsulates(last_.vip->forward);
        const bool noteworthy = !weir_says_nothing(&packet, last_.vip);
        if (noteworthy && tunnel)
            return; // where it comes from is to be remembered
        if (packet.family == 4) {
            burst_.flows_v4.add(i, packet.flow);
            if (!expected_.pool && !tunnel) {
                expected_ = last_;
                weir_plain_key_of(data, &key_);
            }
        } else {
            burst_.flows_v6.add(i, packet.flow);
        }
        burst_.vip[i] = last_.row;
        found_.whole[i] = noteworthy || tunnel;
        found_.add(i, last_);
    }

    const Worker& worker_;
    Burst& burst_;
    Candidates& found_;
    Destination expected_; // what the key is of
    weir_plain_key key_{};
    Destination last_; // of what was looked at
    weir_flow last_flow_{};
};

void read(const Worker& worker, Burst& burst, Candidates& found) {
    Reader reader(worker, burst, found);
    for (std::uint32_t i = 0; i < burst.count; i++)
        reader.read(i);
    burst.flows_v4.compute(worker.state->hash_key(), burst.hash, burst.count);
    burst.flows_v6.compute(worker.state->hash_key(), burst.hash, burst.count);
}

bool is_ours(const Worker& worker, const Burst& burst, std::uint32_t i) {
    return worker.context.workers == 1 ||
           owner_of_flow(worker, burst.packet[i].flow, burst.hash[i]) == worker.context.id;
}

void find_slots(const Worker& worker, Burst& burst, Candidates& found) {
    std::uint32_t kept = 0;
    for (std::uint32_t k = 0; k < found.count; k++) {
        const std::uint32_t i = found.of[k];
        if (worker.exceptions->may_have(burst.hash[i]) || !is_ours(worker, burst, i))
            continue;
        burst.slot[i] = worker.state->slot_of(*found.pool[k], burst.hash[i]);
        rte_prefetch0(burst.slot[i]);
        found.of[kept] = found.of[k];
        found.pool[kept++] = found.pool[k];
    }
    found.count = kept;
}

void find_backends(Worker& worker, Burst& burst, const Candidates& found) {
    for (std::uint32_t k = 0; k < found.count; k++) {
        const std::uint32_t i = found.of[k];
        burst.backend[i] = worker.state->member_in(*found.pool[k], *burst.slot[i]);
        if (burst.backend[i] == WEIR_NO_ROW)
            continue;
        rte_prefetch0(&worker.state->backends()[burst.backend[i]]);
        rte_prefetch0(&worker.backend_counters(burst.backend[i]));
    }
}

weir_verdict send_as_it_is(const Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_next_hop_row* hop =
        plain_way(*worker.state, burst.backend[i], burst.packet[i].l3_length);
    if (!hop)
        return WEIR_UNDECIDED;
    burst.out_interface[i] = hop->interface;
    weir_write_macs(rte_pktmbuf_mtod(burst.mbuf[i], std::uint8_t*), hop->destination_mac,
                    hop->source_mac);
    return WEIR_FORWARDED;
}

// The number of packets that leave.
std::uint32_t send_off(Worker& worker, Burst& burst, const Candidates& found) {
    std::uint32_t gone = 0;
    VipRun run(worker, burst.vip[found.of[0]]);
    for (std::uint32_t k = 0; k < found.count; k++) {
        const std::uint32_t i = found.of[k];
        if (burst.backend[i] == WEIR_NO_ROW)
            continue;
        const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
        const weir_verdict verdict =
            found.whole[i] ? quick_to_backend(worker, burst, i) : send_as_it_is(worker, burst, i);
        if (verdict == WEIR_UNDECIDED)
            continue;
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        count_rewritten(worker, run, burst.vip[i], burst.backend[i], verdict, bytes);
        if (verdict != WEIR_FORWARDED)
            continue;
        const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
        if (found.whole[i] && !weir_says_nothing(&burst.packet[i], &vip))
            note_unrecorded(worker, burst, i, vip);
        gone++;
    }
    return gone;
}

} // namespace

bool forward_by_hash(Worker& worker, Burst& burst) {
    if (!worker.state || !worker.hash_decides || burst.origin != Origin::port ||
        worker.capture.on())
        return false;
    for (std::uint32_t i = 0; i < burst.count; i++)
        rte_prefetch0(rte_pktmbuf_mtod(burst.mbuf[i], const void*));
    Candidates found;
    read(worker, burst, found);
    find_slots(worker, burst, found);
    find_backends(worker, burst, found);
    const std::uint32_t gone = found.count == 0 ? 0 : send_off(worker, burst, found);
    worker.hash_decides = 2 * gone >= burst.count;
    return gone == burst.count;
}

} // namespace weir::dpdk
