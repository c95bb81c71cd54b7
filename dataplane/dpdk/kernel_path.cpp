// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/kernel_path.hpp"

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/parse.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <poll.h>
#include <pthread.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

namespace weir::dpdk {
namespace {

constexpr std::uint32_t kBurst = 32;
constexpr std::uint64_t kMillisecond_ns = 1'000'000;
constexpr std::uint64_t kAlert_ns = 20 * kMillisecond_ns; // stay quick this long after a packet
constexpr long kShortWait_ns = 50'000;
constexpr long kLongWait_ns = 1'000'000;
constexpr std::uint32_t kMostSegments = 16;

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(now.tv_nsec);
}

weir_verdict class_of(const rte_mbuf* packet) {
    const auto* data = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    weir_packet parsed;
    if (weir_parse(data, data + rte_pktmbuf_data_len(packet), &parsed) != WEIR_UNDECIDED)
        return WEIR_PUNTED_OTHER;
    return weir_punt_class(&parsed);
}

// Writes a frame; 0 or the error number.
int write_frame(int tap, const rte_mbuf* packet) {
    std::array<iovec, kMostSegments> parts;
    std::uint32_t count = 0;
    for (const rte_mbuf* part = packet; part && count < kMostSegments; part = part->next)
        parts[count++] = {rte_pktmbuf_mtod(part, void*), rte_pktmbuf_data_len(part)};
    return ::writev(tap, parts.data(), static_cast<int>(count)) < 0 ? errno : 0;
}

weir_verdict verdict_of_error(int error) {
    switch (error) {
    case EINVAL: // shorter than an Ethernet header
        return WEIR_DROP_TRUNCATED;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return WEIR_DROP_PUNT_QUEUE_FULL;
    default: // the TAP is down or gone
        return WEIR_DROP_NOT_OURS;
    }
}

} // namespace

KernelPath::KernelPath(KernelPathSetup setup)
    : setup_(std::move(setup)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    for (std::atomic<int>& slot : arriving_)
        slot.store(-1);
}

void KernelPath::start() {
    thread_ = std::thread([this] { run(); });
}

void KernelPath::stop() {
    if (!thread_.joinable())
        return;
    stop_.store(true);
    ::eventfd_write(wake_.get(), 1);
    thread_.join();
}

void KernelPath::attach(std::uint32_t interface_row, channel::Descriptor tap) {
    const channel::Descriptor not_taken(arriving_[interface_row].exchange(tap.release()));
    ::eventfd_write(wake_.get(), 1);
}

void KernelPath::take_new_taps() {
    for (std::uint32_t row = 0; row < WEIR_MAX_INTERFACES; row++)
        if (arriving_[row].load(std::memory_order_relaxed) >= 0)
            taps_[row] = channel::Descriptor(arriving_[row].exchange(-1));
}

void KernelPath::run() {
    ::pthread_setname_np(::pthread_self(), "weir-kernel");
    rte_thread_register(); // an lcore id, for the buffer pool's cache; works without, slower
    rte_rcu_qsbr_thread_register(setup_.rcu, setup_.reader);
    rte_rcu_qsbr_thread_online(setup_.rcu, setup_.reader);
    std::uint64_t last_packet_ns = monotonic_ns();
    while (!stop_.load(std::memory_order_relaxed)) {
        const std::uint32_t moved = run_once();
        rte_rcu_qsbr_quiescent(setup_.rcu, setup_.reader);
        if (moved > 0)
            last_packet_ns = now_ns_;
        else
            wait(now_ns_ - last_packet_ns);
    }
    run_once();
    rte_rcu_qsbr_thread_offline(setup_.rcu, setup_.reader);
    rte_rcu_qsbr_thread_unregister(setup_.rcu, setup_.reader);
    rte_thread_unregister();
}

std::uint32_t KernelPath::run_once() {
    take_new_taps();
    now_ns_ = monotonic_ns();
    Tally tally;
    std::uint32_t moved = 0;
    const std::uint32_t most_data = rte_ring_get_capacity(setup_.punt_data);
    for (std::uint32_t data = 0; data < most_data; data += kBurst) {
        moved += punt(setup_.punt_control, rte_ring_get_capacity(setup_.punt_control), tally);
        const std::uint32_t burst = punt(setup_.punt_data, kBurst, tally);
        moved += burst;
        if (burst == 0)
            break;
    }
    for (std::uint32_t row = 0; row < WEIR_MAX_INTERFACES; row++)
        if (taps_[row])
            moved += read_tap(row, tally);
    book(tally);
    return moved;
}

std::uint32_t KernelPath::punt(rte_ring* ring, std::uint32_t most, Tally& tally) {
    std::uint32_t done = 0;
    while (done < most) {
        std::array<void*, kBurst> burst;
        const unsigned count = rte_ring_sc_dequeue_burst(ring, burst.data(), kBurst, nullptr);
        for (unsigned i = 0; i < count; i++)
            punt_one(static_cast<rte_mbuf*>(burst[i]), tally);
        done += count;
        if (count < kBurst)
            break;
    }
    return done;
}

void KernelPath::punt_one(rte_mbuf* packet, Tally& tally) {
    tally.handed_in++;
    const std::uint32_t row = packet->port;
    const weir_verdict punt_verdict = class_of(packet);
    const PuntClass punt_class = punt_verdict == WEIR_PUNTED_CONTROL ? kControl
                                 : punt_verdict == WEIR_PUNTED_ECHO  ? kEcho
                                                                     : kOther;
    if (row >= WEIR_MAX_INTERFACES || !taps_[row]) {
        tally.verdicts[WEIR_DROP_NOT_OURS]++;
    } else if (!within_limit(row, punt_class)) {
        tally.verdicts[WEIR_DROP_PUNT_RATE]++;
    } else if (int error = write_frame(taps_[row].get(), packet); error != 0) {
        tally.verdicts[verdict_of_error(error)]++;
    } else {
        tally.tx_packets++;
        tally.tx_bytes += rte_pktmbuf_pkt_len(packet);
    }
    rte_pktmbuf_free(packet);
}

bool KernelPath::within_limit(std::uint32_t row, PuntClass punt_class) {
    const lb::ForwardingState* state = setup_.state->load(std::memory_order_acquire);
    std::array<std::uint32_t, kClasses> limits{};
    if (state && row < state->interfaces().size()) {
        const weir_interface_row& interface = state->interfaces()[row];
        limits = {interface.punt_control_pps, interface.punt_echo_pps, interface.punt_other_pps};
    } else if (row < setup_.limits.size()) {
        const config::PuntLimits& given = setup_.limits[row];
        limits = {given.control_pps, given.echo_pps, given.other_pps};
    }
    return buckets_[row][punt_class].take(now_ns_, limits[punt_class]);
}

std::uint32_t KernelPath::read_tap(std::uint32_t row, Tally& tally) {
    std::uint32_t count = 0;
    for (; count < kBurst; count++) {
        rte_mbuf* packet = rte_pktmbuf_alloc(setup_.pool);
        if (!packet)
            break; // the frame waits in the TAP's own queue
        const ssize_t length =
            ::read(taps_[row].get(), rte_pktmbuf_mtod(packet, void*), rte_pktmbuf_tailroom(packet));
        if (length <= 0) {
            rte_pktmbuf_free(packet);
            if (length < 0 && errno == EBADFD) // the TAP was deleted
                taps_[row] = {};
            break;
        }
        packet->data_len = static_cast<std::uint16_t>(length);
        packet->pkt_len = static_cast<std::uint32_t>(length);
        packet->port = static_cast<std::uint16_t>(row);
        tally.rx_packets++;
        tally.rx_bytes += static_cast<std::uint64_t>(length);
        if (rte_ring_sp_enqueue(setup_.from_kernel, packet) == 0) {
            tally.verdicts[WEIR_HANDED_OVER]++;
        } else {
            tally.verdicts[WEIR_DROP_RING_FULL]++;
            rte_pktmbuf_free(packet);
        }
    }
    return count;
}

void KernelPath::book(const Tally& tally) {
    lb::WorkerCounters& block = *setup_.counters;
    lb::begin_write(block);
    block.handed_in += tally.handed_in;
    lb::PortCounters& side = block.ports[WEIR_MAX_INTERFACES];
    side.tx_packets += tally.tx_packets;
    side.tx_bytes += tally.tx_bytes;
    side.rx_packets += tally.rx_packets;
    side.rx_bytes += tally.rx_bytes;
    for (std::size_t verdict = 0; verdict < tally.verdicts.size(); verdict++)
        block.verdicts[verdict] += tally.verdicts[verdict];
    const lb::ForwardingState* state = setup_.state->load(std::memory_order_acquire);
    block.generation = state ? state->generation() : 0;
    block.bursts += tally.handed_in + tally.rx_packets > 0 ? 1 : 0;
    block.polls++;
    block.heartbeat_ns = now_ns_;
    lb::end_write(block);
}

// A frame from the kernel ends the wait at once; one from a worker waits at most its length.
void KernelPath::wait(std::uint64_t idle_ns) {
    std::array<pollfd, WEIR_MAX_INTERFACES + 1> watched{};
    nfds_t count = 0;
    watched[count++] = {wake_.get(), POLLIN, 0};
    for (const channel::Descriptor& tap : taps_)
        if (tap)
            watched[count++] = {tap.get(), POLLIN, 0};
    const timespec length{0, idle_ns < kAlert_ns ? kShortWait_ns : kLongWait_ns};
    rte_rcu_qsbr_thread_offline(setup_.rcu, setup_.reader);
    if (::ppoll(watched.data(), count, &length, nullptr) > 0 && (watched[0].revents & POLLIN)) {
        eventfd_t ignored;
        ::eventfd_read(wake_.get(), &ignored);
    }
    rte_rcu_qsbr_thread_online(setup_.rcu, setup_.reader);
}

} // namespace weir::dpdk
