// SPDX-License-Identifier: BSD-3-Clause
// Packets and bytes of VIPs and backends, as they leave.
#pragma once

#include "dataplane/dpdk/worker.hpp"

namespace weir::dpdk {

// What one VIP gets in a row is added up before it is stored: as many additions to one place in
// memory as a burst has packets would wait for each other.
template <std::uint64_t lb::VipCounters::*kPackets, std::uint64_t lb::VipCounters::*kBytes>
class RunOfVip {
public:
    explicit RunOfVip(Worker& worker) : counters_(&worker.vip_counters(0)) {}
    ~RunOfVip() { store(); }
    RunOfVip(const RunOfVip&) = delete;
    RunOfVip& operator=(const RunOfVip&) = delete;

    [[gnu::always_inline]] void add(std::uint32_t vip, std::uint64_t bytes) {
        if (vip != vip_) {
            store();
            vip_ = vip;
        }
        packets_++;
        bytes_ += bytes;
    }

private:
    // In line, so that the sums can be registers.
    [[gnu::always_inline]] void store() {
        if (packets_ == 0)
            return;
        counters_[vip_].*kPackets += packets_;
        counters_[vip_].*kBytes += bytes_;
        packets_ = bytes_ = 0;
    }

    lb::VipCounters* const counters_;
    std::uint32_t vip_ = WEIR_NO_ROW;
    std::uint64_t packets_ = 0;
    std::uint64_t bytes_ = 0;
};

// One burst's, or one sweep's.
class ForwardCounts {
public:
    explicit ForwardCounts(Worker& worker)
        : worker_(worker), backends_(&worker.backend_counters(0)), to_backends_(worker),
          to_clients_(worker) {}

    [[gnu::always_inline]] void add(std::uint32_t vip, std::uint32_t backend_row,
                                    weir_verdict verdict, std::uint64_t bytes) {
        lb::BackendCounters& backend = backends_[backend_row];
        if (verdict == WEIR_FORWARDED) {
            to_backends_.add(vip, bytes);
            backend.packets++;
            backend.bytes += bytes;
        } else if (verdict == WEIR_REPLIED) {
            to_clients_.add(vip, bytes);
            backend.reply_packets++;
            backend.reply_bytes += bytes;
        } else if (verdict != WEIR_ICMP_RELAYED) {
            worker_.vip_counters(vip).drops++;
        }
    }

private:
    Worker& worker_;
    lb::BackendCounters* const backends_; // kept, as KeptRows keeps rows
    RunOfVip<&lb::VipCounters::packets, &lb::VipCounters::bytes> to_backends_;
    RunOfVip<&lb::VipCounters::reply_packets, &lb::VipCounters::reply_bytes> to_clients_;
};

} // namespace weir::dpdk
