// SPDX-License-Identifier: BSD-3-Clause
// Copies of packets for `weirctl capture`, taken where a worker has decided and still has the
// packet in hand. Runs only while a capture is ordered.
//
// Looking at a burst costs every burst, so it is kept to a few instructions a packet; copying is
// what the producer's budget is for (lb/capture_ring.hpp).
#include "dataplane/dpdk/stages.hpp"

#include <rte_mbuf.h>

#include <ctime>

namespace weir::dpdk {
namespace {

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now); // vDSO, no system call
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// transmit() drops what is punted where the kernel has no side to take it.
std::uint32_t final_verdict(const Worker& worker, const Burst& burst, std::uint32_t i) {
    const std::uint32_t verdict = burst.verdict[i];
    if (lb::class_of(verdict) == WEIR_CLASS_PUNT &&
        !worker.context.ports[burst.mbuf[i]->port].bypassed)
        return WEIR_DROP_NOT_OURS;
    return verdict;
}

std::uint32_t vip_of(const Burst& burst, std::uint32_t i) {
    if (burst.vip[i] == WEIR_NO_ROW && burst.match[i].kind == WEIR_MATCH_VIP)
        return burst.match[i].index; // refused before its connection was looked for
    return burst.vip[i];
}

lb::CaptureFacts facts_of(const Worker& worker, const Burst& burst, std::uint32_t i,
                          std::uint64_t now_ns) {
    const weir_verdict_class verdict_class = lb::class_of(burst.verdict[i]);
    lb::CaptureFacts facts;
    facts.time_ns = now_ns;
    facts.original_length = rte_pktmbuf_pkt_len(burst.mbuf[i]);
    facts.vip = vip_of(burst, i);
    facts.backend = burst.backend[i];
    facts.verdict = static_cast<std::uint8_t>(final_verdict(worker, burst, i));
    facts.outbound = verdict_class == WEIR_CLASS_FORWARD;
    facts.interface =
        facts.outbound ? burst.out_interface[i] : static_cast<std::uint8_t>(burst.mbuf[i]->port);
    return facts;
}

} // namespace

void clear_rows(Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++) {
        burst.vip[i] = WEIR_NO_ROW;
        burst.backend[i] = WEIR_NO_ROW;
        burst.match[i].kind = WEIR_MATCH_EMPTY;
    }
}

void capture(Worker& worker, const Burst& burst) {
    lb::CaptureProducer& producer = worker.capture;
    const lb::CaptureFilter& filter = producer.filter();
    static const lb::VerdictSet kPunts = lb::verdicts_of_class(WEIR_CLASS_PUNT);
    std::uint8_t hits[kBurstSize];
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        const std::uint32_t verdict = burst.verdict[i];
        bool hit = (filter.verdicts >> verdict & 1) != 0;
        if ((kPunts >> verdict & 1) != 0) [[unlikely]]
            hit = (filter.verdicts >> final_verdict(worker, burst, i) & 1) != 0;
        if (filter.vip != lb::kCaptureAnyVip)
            hit = hit && vip_of(burst, i) == filter.vip;
        hits[count] = static_cast<std::uint8_t>(i);
        count += hit;
    }
    if (count == 0)
        return;
    producer.count_matches(count);
    if (!producer.has_budget())
        return;
    const std::uint64_t now_ns = monotonic_ns();
    for (std::uint32_t k = 0; k < count; k++) {
        const std::uint32_t i = hits[k];
        const auto* data = rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*);
        producer.put(facts_of(worker, burst, i, now_ns),
                     {data, rte_pktmbuf_data_len(burst.mbuf[i])});
    }
    producer.charge(monotonic_ns() - now_ns);
}

} // namespace weir::dpdk
