// SPDX-License-Identifier: BSD-3-Clause
// The two ends of the packet's way: receive and transmit.
#include "dataplane/dpdk/stages.hpp"

#include <cstring>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

namespace weir::dpdk {
namespace {

bool take_from_ring(Worker& worker, rte_ring* ring, Origin origin, Burst& burst) {
    begin(burst, origin);
    burst.count =
        rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void**>(burst.mbuf), kBurstSize, nullptr);
    worker.tally.handed_in += burst.count;
    return burst.count != 0;
}

// Packets that leave by one interface, in the order they came.
struct Outgoing {
    std::uint32_t count = 0;
    rte_mbuf* mbuf[kBurstSize];
    std::uint8_t verdict[kBurstSize];
};

// Runs of one verdict are added up before they are stored.
void tally_verdicts(Worker& worker, const std::uint8_t* verdict, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count;) {
        const std::uint32_t first = i;
        while (i < count && verdict[i] == verdict[first])
            i++;
        worker.tally.verdicts[verdict[first]] += i - first;
    }
}

// What the device does not take is dropped. How many it has taken.
std::uint32_t send(Worker& worker, const WorkerPort& port, rte_mbuf** mbuf, std::uint32_t count) {
    std::uint64_t bytes = 0; // now: a sent mbuf is not ours to read any more
    for (std::uint32_t i = 0; i < count; i++)
        bytes += rte_pktmbuf_pkt_len(mbuf[i]);
    const std::uint16_t sent =
        rte_eth_tx_burst(port.dpdk_port, port.queue, mbuf, static_cast<std::uint16_t>(count));
    for (std::uint32_t i = sent; i < count; i++) {
        bytes -= rte_pktmbuf_pkt_len(mbuf[i]);
        worker.tally.verdicts[WEIR_DROP_TX_FULL]++;
        rte_pktmbuf_free(mbuf[i]);
    }
    lb::PortCounters& counters = worker.tally.ports[port.interface_row];
    counters.tx_packets += sent;
    counters.tx_bytes += bytes;
    return sent;
}

void send(Worker& worker, const WorkerPort& port, Outgoing& outgoing) {
    const std::uint32_t sent = send(worker, port, outgoing.mbuf, outgoing.count);
    tally_verdicts(worker, outgoing.verdict, sent);
    outgoing.count = 0;
}

// Whether the first `count` bytes are alike.
bool are_alike(const std::uint8_t (&bytes)[kBurstSize], std::uint32_t count) {
    return std::memcmp(&bytes[0], &bytes[1], count - 1) == 0;
}

// The usual burst: all of it leaves, for the same reason and by one interface.
bool leaves_as_it_is(const Worker& worker, const Burst& burst) {
    return burst.generated_count == 0 && burst.count != 0 &&
           lb::class_of(burst.verdict[0]) == WEIR_CLASS_FORWARD &&
           burst.out_interface[0] < worker.context.interface_count &&
           are_alike(burst.verdict, burst.count) && are_alike(burst.out_interface, burst.count);
}

void put(Worker& worker, Outgoing* outgoing, std::uint8_t interface, rte_mbuf* mbuf,
         std::uint8_t verdict) {
    Outgoing& out = outgoing[interface];
    if (out.count == kBurstSize)
        send(worker, worker.context.ports[interface], out);
    out.mbuf[out.count] = mbuf;
    out.verdict[out.count++] = verdict;
}

// What was made of packet `i`, right behind it.
void put_generated(Worker& worker, Outgoing* outgoing, const Burst& burst, std::uint32_t i) {
    for (std::uint32_t k = 0; k < burst.generated_count; k++) {
        const Generated& made = burst.generated[k];
        if (made.of != i)
            continue;
        worker.tally.generated++;
        put(worker, outgoing, made.out_interface, made.mbuf,
            static_cast<std::uint8_t>(made.verdict));
    }
}

// Gives the packet to the kernel-path thread; the verdict it ends with.
weir_verdict punt(Worker& worker, rte_mbuf* mbuf, weir_verdict verdict) {
    if (mbuf->port >= worker.context.interface_count || !worker.context.ports[mbuf->port].bypassed)
        return WEIR_DROP_NOT_OURS;
    rte_ring* ring =
        verdict == WEIR_PUNTED_CONTROL ? worker.context.punt_control : worker.context.punt_data;
    return rte_ring_enqueue(ring, mbuf) == 0 ? verdict : WEIR_DROP_PUNT_QUEUE_FULL;
}

} // namespace

bool receive_from_port(Worker& worker, const WorkerPort& port, Burst& burst) {
    begin(burst, Origin::port);
    const std::uint32_t count =
        rte_eth_rx_burst(port.dpdk_port, port.queue, burst.mbuf, kBurstSize);
    const std::uint16_t interface_row = port.interface_row;
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < count; i++) {
        rte_mbuf* const mbuf = burst.mbuf[i];
        mbuf->port = interface_row;
        bytes += rte_pktmbuf_pkt_len(mbuf);
    }
    burst.count = count;
    lb::PortCounters& counters = worker.tally.ports[interface_row];
    counters.rx_packets += count;
    counters.rx_bytes += bytes;
    return count != 0;
}

bool receive_from_peers(Worker& worker, Burst& burst) {
    return take_from_ring(worker, worker.context.inbox, Origin::peer, burst);
}

bool receive_from_kernel(Worker& worker, Burst& burst) {
    if (!take_from_ring(worker, worker.context.from_kernel, Origin::from_kernel, burst))
        return false;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        burst.verdict[i] = WEIR_FROM_KERNEL;
        burst.out_interface[i] = static_cast<std::uint8_t>(burst.mbuf[i]->port);
    }
    return true;
}

void transmit(Worker& worker, Burst& burst) {
    if (leaves_as_it_is(worker, burst)) {
        const WorkerPort& port = worker.context.ports[burst.out_interface[0]];
        worker.tally.verdicts[burst.verdict[0]] += send(worker, port, burst.mbuf, burst.count);
        return;
    }
    Outgoing outgoing[WEIR_MAX_INTERFACES];
    for (std::uint32_t i = 0; i < burst.count; i++) {
        auto verdict = static_cast<weir_verdict>(burst.verdict[i]);
        weir_verdict_class verdict_class = lb::class_of(verdict);
        if (verdict_class == WEIR_CLASS_FORWARD &&
            burst.out_interface[i] >= worker.context.interface_count) {
            verdict = WEIR_DROP_NO_NEXT_HOP;
            verdict_class = WEIR_CLASS_DROP;
        }
        if (verdict_class == WEIR_CLASS_FORWARD) {
            put(worker, outgoing, burst.out_interface[i], burst.mbuf[i], burst.verdict[i]);
            if (burst.generated_count != 0) [[unlikely]]
                put_generated(worker, outgoing, burst, i);
            continue;
        }
        if (verdict_class == WEIR_CLASS_PUNT) {
            verdict = punt(worker, burst.mbuf[i], verdict);
            verdict_class = lb::class_of(verdict);
        }
        worker.tally.verdicts[verdict]++;
        if (verdict_class == WEIR_CLASS_DROP)
            rte_pktmbuf_free(burst.mbuf[i]);
        put_generated(worker, outgoing, burst, i);
    }
    burst.generated_count = 0;
    for (std::uint32_t row = 0; row < worker.context.interface_count; row++)
        if (outgoing[row].count != 0)
            send(worker, worker.context.ports[row], outgoing[row]);
}

} // namespace weir::dpdk
