// SPDX-License-Identifier: BSD-3-Clause
#include "bench/rig.hpp"

#include "dataplane/forwarding/owner.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstring>
#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::uint32_t kFirstNew = 1u << 27; // flow numbers that fill() does not reach

bool is_nat(const Shape& shape) {
    return !config::is_dsr(shape.mode);
}

} // namespace

Rig::Rig(const Shape& shape, Engine& engine, std::uint32_t worker)
    : shape_(shape), frames_(shape), wire_(machine().wire[worker]),
      context_(engine.context(worker)), worker_(context_, monotonic_ns()),
      next_new_(kFirstNew + worker * (kFirstNew / 2)) {
    dpdk::poll(worker_, burst_, monotonic_ns()); // takes the generation
}

void Rig::collect() {
    rte_pktmbuf_free_bulk(wire_.out.data(), static_cast<unsigned>(wire_.out.size()));
    wire_.out.clear();
}

void Rig::take_buffers() {
    wire_.in.resize(kBatch);
    wire_.next = 0;
    if (rte_pktmbuf_alloc_bulk(context_.pool, wire_.in.data(), kBatch) != 0)
        throw std::runtime_error("packet buffers are missing: somebody keeps them");
}

void Rig::expect_all_sent() const {
    if (wire_.out.size() != kBatch)
        throw std::runtime_error("of a batch of " + std::to_string(kBatch) + " packets only " +
                                 std::to_string(wire_.out.size()) + " were sent");
}

// By the rule of the DSR modes and of full-nat: the flow hash.
bool Rig::owns(std::uint32_t flow) const {
    const weir_packet packet = frames_.parsed(flow);
    const std::uint64_t hash = weir_flow_hash(&worker_.state->hash_key(), &packet.flow);
    return weir_owner_of_flow(hash, context_.workers) == context_.id;
}

void Rig::fill(std::uint64_t flows) {
    if (context_.workers > 1) {
        own_.reserve(flows + kBatch);
        while (own_.size() < flows + kBatch)
            if (const std::uint32_t candidate = next_candidate_++; owns(candidate))
                own_.push_back(candidate);
    }
    if (shape_.tracking == config::Tracking::kExceptions) {
        flows_ = flows; // nothing is recorded of a flow that goes by the table of slots
        return;
    }
    if (is_nat(shape_))
        back_.resize(flows);
    while (flows_ < flows) {
        const auto count =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(kBatch, flows - flows_));
        open(flows_, count);
        flows_ += count;
    }
    collect();
}

// The handshake, as the worker sees it in this mode. A short batch repeats its last flow.
void Rig::open(std::uint64_t first, std::uint32_t count) {
    const auto number = [&](std::uint32_t i) { return first + std::min(i, count - 1); };
    std::uint32_t i = 0;
    prepare([&](rte_mbuf* mbuf) { frames_.write(mbuf, own_flow(number(i++)), kSyn); });
    time_polls();
    expect_all_sent();
    if (is_nat(shape_)) {
        for (i = 0; i < count; i++)
            back_[first + i] = frames_.way_back(wire_.out[i]);
        i = 0;
        prepare([&](rte_mbuf* mbuf) {
            const std::uint64_t at = number(i++);
            frames_.write_reply(mbuf, own_flow(at), back_[at], kSynAck);
        });
        time_polls();
        expect_all_sent();
    }
    i = 0;
    prepare([&](rte_mbuf* mbuf) { frames_.write(mbuf, own_flow(number(i++)), kAck); });
    time_polls();
    expect_all_sent();
}

void Rig::reset_from(std::uint64_t first) {
    for (std::uint64_t flow = first; flow < flows_;) { // a short batch repeats the last one
        prepare([&](rte_mbuf* mbuf) {
            frames_.write(mbuf, own_flow(std::min(flow++, flows_ - 1)), kRst);
        });
        time_polls();
        expect_all_sent();
    }
    flows_ = first;
}

void Rig::prepare_hits() {
    prepare([&](rte_mbuf* mbuf) { frames_.write(mbuf, random_flow(), kAck); });
}

void Rig::prepare_replies() {
    prepare([&](rte_mbuf* mbuf) {
        const std::uint64_t at = random_() % flows_;
        frames_.write_reply(mbuf, own_flow(at), back_[at], kAck);
    });
}

void Rig::prepare_new() {
    keep_open_few();
    prepare([&](rte_mbuf* mbuf) {
        opened_.push_back(next_new_);
        frames_.write(mbuf, next_new_++, kSyn);
    });
}

void Rig::prepare_mixed() {
    keep_open_few();
    prepare([&](rte_mbuf* mbuf) {
        if (random_() % 100 != 0)
            return frames_.write(mbuf, random_flow(), kAck);
        opened_.push_back(next_new_);
        frames_.write(mbuf, next_new_++, kSyn);
    });
}

// New connections stay on probation; well below its limit, so that none has to give way.
void Rig::keep_open_few() {
    constexpr std::size_t kMostOpened = 131'072;
    if (opened_.size() >= kMostOpened)
        close_new();
}

// In an order of their own, so that the rows that are free next lie anywhere, as in a table that
// has been in use for long.
void Rig::close_new() {
    std::shuffle(opened_.begin(), opened_.end(), random_);
    const lb::ForwardingState& state = *worker_.state;
    for (const std::uint32_t flow : opened_) {
        const weir_packet packet = frames_.parsed(flow);
        const weir_match match = weir_match_packet(&state.match(), &packet);
        const auto key =
            lb::forward_key(weir_packet_source(&packet), packet.source_port,
                            packet.destination_port, static_cast<std::uint16_t>(match.index));
        const lb::EntryIndex entry = worker_.table.find_forward(
            lb::index_hash(weir_flow_hash(&state.hash_key(), &packet.flow)), key);
        if (entry == lb::kNoEntry)
            continue; // has given way to a newer one
        worker_.forget(worker_.table.row(entry));
        worker_.table.erase(entry);
    }
    opened_.clear();
}

// As testpmd's macswap does: headers on their way first, then flags and addresses written.
std::uint16_t macswap_burst(std::uint16_t port, std::uint16_t queue, rte_mbuf** mbufs) {
    const std::uint16_t count = rte_eth_rx_burst(port, queue, mbufs, dpdk::kBurstSize);
    for (std::uint16_t i = 0; i < count; i++)
        rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
    for (std::uint16_t i = 0; i < count; i++) {
        auto* frame = rte_pktmbuf_mtod(mbufs[i], std::uint8_t*);
        std::uint8_t mac[6];
        std::memcpy(mac, frame, 6);
        std::memcpy(frame, frame + 6, 6);
        std::memcpy(frame + 6, mac, 6);
        mbufs[i]->ol_flags = 0;
        mbufs[i]->l2_len = RTE_ETHER_HDR_LEN;
        mbufs[i]->l3_len = 20;
    }
    return rte_eth_tx_burst(port, queue, mbufs, count);
}

std::uint64_t Rig::time_polls() {
    const std::uint64_t begin = rte_rdtsc_precise();
    for (std::uint32_t i = 0; i < kBatchBursts; i++)
        dpdk::poll(worker_, burst_, monotonic_ns());
    return rte_rdtsc_precise() - begin;
}

void Rig::time_each_poll(std::vector<std::uint64_t>& ticks) {
    for (std::uint32_t i = 0; i < kBatchBursts; i++) {
        const std::uint64_t begin = rte_rdtsc_precise();
        dpdk::poll(worker_, burst_, monotonic_ns());
        ticks.push_back(rte_rdtsc_precise() - begin);
    }
}

std::uint64_t Rig::time_macswap() {
    rte_mbuf* mbufs[dpdk::kBurstSize];
    const auto queue = static_cast<std::uint16_t>(context_.id);
    const std::uint64_t begin = rte_rdtsc_precise();
    for (std::uint32_t round = 0; round < kBatchBursts; round++)
        macswap_burst(machine().port, queue, mbufs);
    return rte_rdtsc_precise() - begin;
}

} // namespace weir::bench
