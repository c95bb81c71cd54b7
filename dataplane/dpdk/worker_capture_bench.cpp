// SPDX-License-Identifier: BSD-3-Clause
// What a capture costs a worker: nanoseconds a packet of whole bursts (all stages, a ring instead
// of a device) of known connections, without a capture, with one that wants every packet, and with
// one that wants none of them. A thread reads the ring as control does. What the loop itself needs
// is measured too and taken off. The thread's own CPU time, median of interleaved rounds: others on
// the machine disturb little. Not a test: it asserts nothing about time.
#include "dataplane/dpdk/worker_lab.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

namespace weir::dpdk {
namespace {

constexpr int kRounds = 31;
constexpr std::uint32_t kBursts = 10'000;
constexpr std::uint32_t kFlows = 1024;

std::uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

enum class Kind : std::uint8_t { nothing, off, all, none };
constexpr std::array kKinds = {Kind::nothing, Kind::off, Kind::all, Kind::none};

class Bench {
public:
    Bench(weir_forward_mode mode, std::size_t frame_bytes) : lab_({mode}) {
        for (std::uint32_t flow = 0; flow < kFlows; flow++) {
            const auto port = static_cast<std::uint16_t>(flow + 1024);
            lab_.send(build(from_client(lab_.plan(), 0x02, port)));
            PacketPlan packet = from_client(lab_.plan(), 0x10, port);
            packet.payload.assign(frame_bytes - 54, 0x5a);
            frames_.push_back(build(packet));
        }
        for (rte_mbuf*& mbuf : mbufs_)
            mbuf = rte_pktmbuf_alloc(start_eal());
        reader_ = std::thread([this] { read(); });
    }
    ~Bench() {
        done_.store(true);
        reader_.join();
        for (rte_mbuf* mbuf : mbufs_)
            rte_pktmbuf_free(mbuf);
    }

    double round(Kind kind) {
        order(kind);
        Worker& worker = lab_.worker(0);
        const std::uint64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        for (std::uint32_t burst = 0; burst < kBursts; burst++) {
            fill();
            worker.capture.follow(clock_ns(CLOCK_MONOTONIC));
            if (kind == Kind::nothing)
                rte_ring_enqueue_bulk(lab_.sent_by(0), reinterpret_cast<void**>(burst_.mbuf),
                                      kBurstSize, nullptr);
            else
                process(worker, burst_);
            const unsigned back = rte_ring_dequeue_burst(
                lab_.sent_by(0), reinterpret_cast<void**>(mbufs_.data()), kBurstSize, nullptr);
            if (back != kBurstSize)
                std::abort(); // something was dropped: this is not what is to be measured
        }
        return static_cast<double>(clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / kBursts /
               kBurstSize;
    }
    std::uint64_t copied() const { return copied_.load(); }

private:
    void order(Kind kind) {
        lab_.capture_order().stop();
        lb::CaptureFilter filter{~lb::VerdictSet{0}};
        if (kind == Kind::none)
            filter.verdicts = lb::verdict_bit(WEIR_DROP_LAND);
        if (kind == Kind::all || kind == Kind::none)
            lab_.capture_order().start(++session_, filter, UINT64_MAX);
    }

    // The next frames into the buffers, as a device would have put them there.
    void fill() {
        begin(burst_, Origin::port);
        burst_.count = kBurstSize;
        for (std::uint32_t i = 0; i < kBurstSize; i++) {
            const Bytes& frame = frames_[next_++ % kFlows];
            rte_mbuf* mbuf = mbufs_[i];
            rte_pktmbuf_reset(mbuf);
            std::memcpy(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size())),
                        frame.data(), 64); // what a stage reads or writes
            mbuf->port = 0;
            burst_.mbuf[i] = mbuf;
        }
    }

    void read() {
        lb::CaptureReader reader = lab_.capture_reader(0);
        std::uint32_t session = 0;
        std::vector<lb::CapturedPacket> packets;
        while (!done_.load()) {
            const std::uint32_t wanted = session_.load();
            if (wanted != session && reader.begin(wanted))
                session = wanted;
            if (session != 0) {
                packets.clear();
                reader.read(packets, lb::kCaptureSlots);
                copied_ += packets.size();
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }

    Lab lab_;
    std::vector<Bytes> frames_;
    std::array<rte_mbuf*, kBurstSize> mbufs_{};
    Burst burst_{};
    std::uint32_t next_ = 0;
    std::atomic<std::uint32_t> session_{0};
    std::atomic<bool> done_{false};
    std::atomic<std::uint64_t> copied_{0};
    std::thread reader_;
};

void measure(const char* name, weir_forward_mode mode, std::size_t frame_bytes) {
    Bench bench(mode, frame_bytes);
    std::array<std::vector<double>, kKinds.size()> rounds;
    for (int round = 0; round < kRounds; round++)
        for (std::size_t kind = 0; kind < kKinds.size(); kind++)
            rounds[kind].push_back(bench.round(kKinds[kind]));
    std::array<double, kKinds.size()> median{};
    for (std::size_t kind = 0; kind < kKinds.size(); kind++) {
        std::sort(rounds[kind].begin(), rounds[kind].end());
        median[kind] = rounds[kind][kRounds / 2] - (kind == 0 ? 0 : median[0]);
    }
    std::printf("%-10s %5zu %8.1f %8.1f %8.1f %8.1f %7.3f %7.3f %9llu\n", name, frame_bytes,
                median[0], median[1], median[2], median[3], median[2] / median[1],
                median[3] / median[1], static_cast<unsigned long long>(bench.copied()));
}

} // namespace
} // namespace weir::dpdk

int main() {
    std::printf("ns a packet\n%-10s %5s %8s %8s %8s %8s %7s %7s %9s\n", "mode", "bytes", "loop",
                "off", "all", "none", "all/off", "none/off", "read");
    for (const std::size_t bytes : {std::size_t{64}, std::size_t{1500}}) {
        weir::dpdk::measure("dsr-l2", WEIR_FORWARD_DSR_L2, bytes);
        weir::dpdk::measure("nat", WEIR_FORWARD_NAT, bytes);
    }
}
