// SPDX-License-Identifier: BSD-3-Clause
// The real worker on net_ring ports, for its tests: packets in, packets and counters out. The
// packets are built and checked by test_packet.hpp, which shares no code with the headers the
// worker uses.
#pragma once

#include "dataplane/dpdk/stages.hpp"
#include "dataplane/dpdk/worker_plan.hpp"

#include <gtest/gtest.h>

#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

namespace weir::dpdk {

inline rte_mempool* start_eal() {
    static rte_mempool* pool = [] {
        const char* args[] = {"worker_test",  "--no-shconf", "--no-huge",         "--no-pci",
                              "-m",           "256",         "--log-level=error", "--no-telemetry",
                              "--lcores=0@0", nullptr};
        if (rte_eal_init(std::size(args) - 1, const_cast<char**>(args)) < 0)
            std::abort();
        return rte_pktmbuf_pool_create("test", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    }();
    return pool;
}

struct Sent {
    std::uint32_t worker;
    Bytes bytes;
};

// Up to eight workers on one ring port with a queue pair each; run() takes turns until all is
// quiet. With `spread` the workers take it that packets come to the queues it names.
class Lab {
public:
    explicit Lab(const Plan& plan, std::uint32_t workers = 1, bool bypassed = false,
                 const lb::Spread* spread = nullptr)
        : plan_(plan), pool_(start_eal()), workers_(workers), spread_(spread) {
        in_use_before_ = rte_mempool_in_use_count(pool_);
        rte_ring* rx[8];
        rte_ring* tx[8];
        for (std::uint32_t i = 0; i < workers; i++) {
            rx_.push_back(rx[i] = new_ring("rx"));
            tx_.push_back(tx[i] = new_ring("tx"));
            inbox_.push_back(new_ring("in"));
        }
        punt_control_ = new_ring("pc");
        punt_data_ = new_ring("pd");
        from_kernel_ = new_ring("fk");
        port_ = static_cast<std::uint16_t>(
            rte_eth_from_rings(name("port").c_str(), rx, workers, tx, workers, 0));
        rte_eth_conf conf{};
        rte_eth_dev_configure(port_, static_cast<std::uint16_t>(workers),
                              static_cast<std::uint16_t>(workers), &conf);
        const auto queues = static_cast<std::uint16_t>(workers);
        for (std::uint16_t i = 0; i < queues; i++) {
            rte_eth_rx_queue_setup(port_, i, 512, 0, nullptr, pool_);
            rte_eth_tx_queue_setup(port_, i, 512, 0, nullptr);
        }
        rte_eth_dev_start(port_);
        set_up_memory(bypassed);
        publish({WEIR_BACKEND_UP, WEIR_BACKEND_UP});
    }

    ~Lab() {
        running_.clear();
        for (rte_ring* ring : {punt_control_, punt_data_, from_kernel_})
            drain(ring);
        rte_eth_dev_stop(port_);
        rte_eth_dev_close(port_);
        for (auto& rings : {rx_, tx_, inbox_, {punt_control_, punt_data_, from_kernel_}})
            for (rte_ring* ring : rings)
                rte_ring_free(ring);
        EXPECT_EQ(rte_mempool_in_use_count(pool_), in_use_before_) << "mbufs leaked";
        for (void* memory : owned_)
            std::free(memory);
    }

    void publish(
        std::array<weir_backend_state, 2> states, const Change& change = [](lb::StateTables&) {}) {
        states_.push_back(std::make_unique<State>(plan_, states_.size() + 1, states, change));
        current_.store(&*states_.back()->state);
    }

    // The slots of the generations from now on.
    void set_slots(std::vector<std::uint16_t> slots, std::vector<std::uint16_t> oldest = {}) {
        plan_.slots = std::move(slots);
        plan_.oldest = std::move(oldest);
    }
    void change(const Change& change) { publish({WEIR_BACKEND_UP, WEIR_BACKEND_UP}, change); }
    // The workers' clock stands still between calls.
    void pass(std::chrono::nanoseconds time) {
        now_ns_ += static_cast<std::uint64_t>(time.count());
    }
    void unpublish() { current_.store(nullptr); }

    void put(const Bytes& frame, std::uint32_t worker = 0) { enqueue(rx_[worker], frame); }
    void put_from_kernel(const Bytes& frame) { enqueue(from_kernel_, frame); }

    // The workers take turns until all is quiet; what they sent stays in the transmit rings.
    void poll_all() {
        bool busy = true;
        while (std::exchange(busy, false))
            for (auto& worker : running_)
                busy |= poll(*worker, burst_, now_ns_);
    }

    // Everything the workers sent for what was put in.
    std::vector<Sent> run() {
        std::vector<Sent> sent;
        poll_all();
        for (std::uint32_t i = 0; i < workers_; i++)
            for (Bytes& bytes : drain(tx_[i]))
                sent.push_back({i, std::move(bytes)});
        check_books();
        return sent;
    }

    std::vector<Bytes> send(const Bytes& frame, std::uint32_t worker = 0) {
        put(frame, worker);
        std::vector<Bytes> frames;
        for (Sent& sent : run())
            frames.push_back(std::move(sent.bytes));
        return frames;
    }

    std::uint64_t verdicts(weir_verdict verdict) const {
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < workers_; i++)
            sum += counters_->read(i)->verdicts[verdict];
        return sum;
    }

    void check_books() const {
        for (std::uint32_t i = 0; i < workers_; i++) {
            auto block = counters_->read(i);
            ASSERT_TRUE(block);
            EXPECT_TRUE(lb::books_of(*block).balanced()) << "worker " << i;
        }
    }

    std::size_t punted_control() { return drain(punt_control_).size(); }
    std::size_t punted_data() { return drain(punt_data_).size(); }
    std::uint64_t connections() const {
        std::uint64_t sum = 0;
        for (const lb::ConnectionTable& table : tables_)
            sum += table.entries();
        return sum;
    }
    lb::CountersView& counters() { return *counters_; }
    lb::CaptureOrder& capture_order() { return capture_order_; }
    Worker& worker(std::uint32_t i) { return *running_[i]; }
    lb::StrayReplies& strays() { return strays_; }
    const lb::ForwardingState& state() const { return *current_.load(); }
    rte_ring* sent_by(std::uint32_t worker) { return tx_[worker]; }
    lb::CaptureReader capture_reader(std::uint32_t worker) const {
        return lb::CaptureReader::open(contexts_[worker].capture_ring).value();
    }
    const Plan& plan() const { return plan_; }

private:
    std::string name(const char* what) {
        static int number = 0;
        return std::string(what) + std::to_string(number++);
    }
    rte_ring* new_ring(const char* what) {
        return rte_ring_create(name(what).c_str(), 1024, SOCKET_ID_ANY, 0);
    }
    std::span<std::byte> zeroed(std::size_t bytes) {
        std::size_t size = (bytes + 4095) / 4096 * 4096;
        void* memory = std::aligned_alloc(4096, size);
        std::memset(memory, 0, size);
        owned_.push_back(memory);
        return {static_cast<std::byte*>(memory), size};
    }

    void set_up_memory(bool bypassed) {
        counters_ =
            lb::CountersView::format(zeroed(lb::CountersView::bytes_needed(workers_)), workers_);
        rcu_ = reinterpret_cast<rte_rcu_qsbr*>(zeroed(rte_rcu_qsbr_get_memsize(workers_)).data());
        rte_rcu_qsbr_init(rcu_, workers_);
        tables_.resize(workers_);
        contexts_.resize(workers_);
        for (std::uint32_t i = 0; i < workers_; i++) {
            lb::TableGeometry geometry{plan_.connections, 16, i, workers_, plan_.connections / 4};
            tables_[i] = lb::ConnectionTable::format(
                zeroed(lb::ConnectionTable::bytes_needed(geometry)), geometry);
            rte_rcu_qsbr_thread_register(rcu_, i);
            rte_rcu_qsbr_thread_online(rcu_, i);
            WorkerContext& context = contexts_[i];
            context.id = context.block = i;
            context.workers = workers_;
            context.interface_count = context.port_count = 1;
            context.ports[0] = {port_, static_cast<std::uint16_t>(i), 0, bypassed, false};
            context.pool = pool_;
            context.state = &current_;
            context.rcu = rcu_;
            context.table = &tables_[i];
            context.last_hops =
                reinterpret_cast<lb::LastHops*>(zeroed(sizeof(lb::LastHops)).data());
            persistence_.push_back(std::make_unique<lb::PersistenceTable>());
            context.persistence = persistence_.back().get();
            context.strays = &strays_;
            context.secret = 99 + i;
            context.spread = &spread_;
            context.counters = &*counters_;
            context.capture_ring = zeroed(lb::capture_ring_bytes());
            lb::CaptureProducer::format(context.capture_ring, i);
            context.capture_order = &capture_order_;
            context.inbox = inbox_[i];
            for (std::uint32_t peer = 0; peer < workers_; peer++)
                context.peer_inbox[peer] = inbox_[peer];
            context.punt_control = punt_control_;
            context.punt_data = punt_data_;
            context.from_kernel = i == 0 ? from_kernel_ : nullptr;
            running_.push_back(std::make_unique<Worker>(context, now_ns_));
        }
    }

    void enqueue(rte_ring* ring, const Bytes& frame) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
        ASSERT_NE(mbuf, nullptr);
        std::memcpy(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size())),
                    frame.data(), frame.size());
        mbuf->port = 0;
        ASSERT_EQ(rte_ring_enqueue(ring, mbuf), 0);
    }

    std::vector<Bytes> drain(rte_ring* ring) {
        std::vector<Bytes> frames;
        void* taken = nullptr;
        while (rte_ring_dequeue(ring, &taken) == 0) {
            auto* mbuf = static_cast<rte_mbuf*>(taken);
            const auto* data = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
            frames.emplace_back(data, data + rte_pktmbuf_data_len(mbuf));
            rte_pktmbuf_free(mbuf);
        }
        return frames;
    }

    Plan plan_;
    rte_mempool* pool_;
    std::uint32_t workers_;
    std::atomic<const lb::Spread*> spread_;
    unsigned in_use_before_ = 0;
    std::vector<rte_ring*> rx_, tx_, inbox_;
    rte_ring* punt_control_;
    rte_ring* punt_data_;
    rte_ring* from_kernel_;
    std::uint16_t port_ = 0;
    std::vector<void*> owned_;
    std::optional<lb::CountersView> counters_;
    rte_rcu_qsbr* rcu_ = nullptr;
    std::vector<lb::ConnectionTable> tables_;
    std::vector<std::unique_ptr<lb::PersistenceTable>> persistence_;
    lb::StrayReplies strays_;
    lb::CaptureOrder capture_order_;
    std::vector<WorkerContext> contexts_;
    std::vector<std::unique_ptr<State>> states_;
    std::atomic<const lb::ForwardingState*> current_ = nullptr;
    std::vector<std::unique_ptr<Worker>> running_;
    Burst burst_{};
    std::uint64_t now_ns_ = 1'000'000'000'000;
};

inline PacketPlan from_client(const Plan& plan, std::uint8_t flags = 0x02,
                              std::uint16_t port = 30000) {
    PacketPlan packet;
    packet.destination_mac = kOurMac;
    packet.source_mac = kRouterMac;
    packet.source = plan.client();
    packet.destination = plan.vip();
    packet.protocol = plan.protocol;
    packet.source_port = port;
    packet.destination_port = 80;
    packet.tcp_flags = flags;
    return packet;
}

// The frame a plan describes with one router hop behind it.
inline Bytes hop_on(PacketPlan packet, std::array<std::uint8_t, 6> to) {
    packet.source_mac = kOurMac;
    packet.destination_mac = to;
    packet.ttl--;
    return build(packet);
}

// Which backend a frame went to, by its destination MAC.
inline std::uint32_t backend_of(const Bytes& frame) {
    for (std::uint32_t i = 0; i < 2; i++)
        if (std::equal(frame.begin(), frame.begin() + 6, backend_mac(i).begin()))
            return i;
    ADD_FAILURE() << "sent to nobody's MAC";
    return 0;
}

inline std::uint16_t source_port_of(const Bytes& frame, bool v6) {
    return static_cast<std::uint16_t>(get16(frame, v6 ? 54 : 34));
}

} // namespace weir::dpdk
