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
    explicit RunOfVip(Worker& worker) : worker_(worker) {}
    ~RunOfVip() { store(); }
    RunOfVip(const RunOfVip&) = delete;
    RunOfVip& operator=(const RunOfVip&) = delete;

    void add(std::uint32_t vip, std::uint64_t bytes) {
        if (vip != vip_) {
            store();
            vip_ = vip;
        }
        packets_++;
        bytes_ += bytes;
    }

private:
    void store() {
        if (packets_ == 0)
            return;
        worker_.vip_counters(vip_).*kPackets += packets_;
        worker_.vip_counters(vip_).*kBytes += bytes_;
        packets_ = bytes_ = 0;
    }

    Worker& worker_;
    std::uint32_t vip_ = WEIR_NO_ROW;
    std::uint64_t packets_ = 0;
    std::uint64_t bytes_ = 0;
};
using VipRun = RunOfVip<&lb::VipCounters::packets, &lb::VipCounters::bytes>; // to backends
using VipReplies = RunOfVip<&lb::VipCounters::reply_packets, &lb::VipCounters::reply_bytes>;

[[gnu::always_inline]] inline void count_rewritten(Worker& worker, VipRun& run, std::uint32_t vip,
                                                   std::uint32_t backend_row, weir_verdict verdict,
                                                   std::uint64_t bytes) {
    lb::BackendCounters& backend = worker.backend_counters(backend_row);
    if (verdict == WEIR_FORWARDED) {
        run.add(vip, bytes);
        backend.packets++;
        backend.bytes += bytes;
    } else if (verdict == WEIR_REPLIED) {
        worker.vip_counters(vip).reply_packets++;
        worker.vip_counters(vip).reply_bytes += bytes;
        backend.reply_packets++;
        backend.reply_bytes += bytes;
    } else if (verdict != WEIR_ICMP_RELAYED) {
        worker.vip_counters(vip).drops++;
    }
}

} // namespace weir::dpdk
