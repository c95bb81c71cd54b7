// SPDX-License-Identifier: BSD-3-Clause
// What is left when a worker does only what no balancer with these tables can do without: frames
// read, flows hashed under a key, the slot or the connection fetched, MAC addresses written. One
// VIP is taken for granted; nothing is checked, counted, aged or translated. It uses the workers'
// own parts in their own order, so the rest of a pipeline row is what the worker adds to them.
#include "bench/bench.hpp"

#include "dataplane/forwarding/plain_burst.hpp"

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <stdexcept>
#include <utility>

namespace weir::bench {
namespace {

class Floor {
public:
    explicit Floor(Rig& rig)
        : state_(*rig.worker().state), pool_(state_.pools()[0]), table_(rig.worker().table),
          rows_(table_.rows()) {}

    void by_slot(rte_mbuf** mbufs, std::uint32_t count) {
        read(mbufs, count);
        const std::uint16_t* slot[dpdk::kBurstSize];
        for (std::uint32_t i = 0; i < count; i++) {
            slot[i] = state_.slot_of(pool_, hash_[i]);
            rte_prefetch0(slot[i]);
        }
        for (std::uint32_t i = 0; i < count; i++)
            send(i, state_.member_in(pool_, *slot[i]));
    }

    void by_connection(rte_mbuf** mbufs, std::uint32_t count) {
        read(mbufs, count);
        for (std::uint32_t i = 0; i < count; i++)
            table_.prefetch_index(lb::index_hash(hash_[i]));
        lb::EntryIndex hint[dpdk::kBurstSize];
        for (std::uint32_t i = 0; i < count; i++)
            hint[i] = table_.prefetch_row(lb::index_hash(hash_[i]));
        for (std::uint32_t i = 0; i < count; i++) {
            const std::uint32_t ports = plain_.ports_v4(i);
            const lb::ForwardKey key =
                lb::forward_key(plain_.source_v4(i), static_cast<weir_be16>(ports),
                                static_cast<weir_be16>(ports >> 16), 0);
            const lb::EntryIndex entry =
                table_.find_forward(lb::index_hash(hash_[i]), key, hint[i]);
            if (entry == lb::kNoEntry)
                throw std::runtime_error("a connection of the bench's own is not in the table");
            send(i, lb::RowTail(rows_[entry]).backend());
        }
    }

private:
    void read(rte_mbuf** mbufs, std::uint32_t count) {
        frames_.count = count;
        for (std::uint32_t i = 0; i < dpdk::kBurstSize; i++) {
            frames_.bytes[i] = i < count ? rte_pktmbuf_data_len(mbufs[i]) : 0;
            if (i >= count)
                continue;
            frames_.data[i] = rte_pktmbuf_mtod(mbufs[i], std::uint8_t*);
            rte_prefetch0(frames_.data[i]);
        }
        plain_.read(frames_);
        if (plain_.v4 != forwarding::set_of_first(count))
            throw std::runtime_error("a frame of the bench's own is not plain");
        lb::flow_hashes_v4(state_.hash_key(), plain_.flow_v4, hash_, count);
    }

    void send(std::uint32_t i, std::uint32_t backend) {
        const weir_next_hop_row& hop = state_.next_hops()[state_.backends()[backend].next_hop];
        weir_write_hop_macs(frames_.data[i], &hop);
    }

    const lb::ForwardingState& state_;
    const weir_pool_row& pool_;
    const lb::ConnectionTable& table_;
    const lb::ConnectionTable::Rows rows_;
    forwarding::PlainFrames frames_{};
    forwarding::PlainBurst plain_;
    alignas(64) std::uint64_t hash_[dpdk::kBurstSize];
};

using Work = void (Floor::*)(rte_mbuf**, std::uint32_t);

void measure(Row& row, const Settings& settings, const Shape& shape, Work work) {
    Rig& rig = rig_for(shape, row.flows);
    Floor floor(rig);
    take(row, interleaved(rig, settings, &Rig::prepare_hits, [&](Rig& timed) {
             return timed.time_bursts(
                 [&](rte_mbuf** mbufs, std::uint32_t count) { (floor.*work)(mbufs, count); });
         }));
}

} // namespace

void add_floor_rows(Rows& rows) {
    for (const auto& [tracking, work] : {std::pair{config::Tracking::kExceptions, &Floor::by_slot},
                                         {config::Tracking::kFull, &Floor::by_connection}})
        for (const std::uint64_t flows : {1000, 1'000'000}) {
            Shape shape;
            shape.tracking = tracking;
            rows.push_back({row_of(shape, flows, "floor", "hit"),
                            [shape, work = work](Row& row, const Settings& settings) {
                                measure(row, settings, shape, work);
                            }});
        }
}

} // namespace weir::bench
