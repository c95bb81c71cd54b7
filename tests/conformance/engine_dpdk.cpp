// SPDX-License-Identifier: BSD-3-Clause
// The DPDK workers behind the conformance suite's protocol: real stages, real tables, net_ring
// ports, a clock that stands still unless the suite moves it.
#include "dataplane/dpdk/stages.hpp"
#include "tests/conformance/protocol.hpp"
#include "tests/conformance/state_text.hpp"

#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <array>
#include <atomic>
#include <iterator>
#include <unistd.h>
#include <utility>

namespace weir::conformance {
namespace {

using namespace weir::dpdk;

constexpr std::uint32_t kWorkers = 4;
constexpr std::uint32_t kInterfaces = 4;
constexpr std::uint32_t kMbufs = 8191;
constexpr std::uint32_t kVips = 64;
constexpr std::uint32_t kBackends = 256;
constexpr std::uint64_t kStart_ns = 1'000'000'000'000; // the clock at a sequence's begin
constexpr std::uint64_t kSecond_ns = 1'000'000'000;
constexpr std::uint64_t kSweep_ns = 20 * kSecond_ns; // the workers see every connection this often

class Memory { // zeroed, page-aligned, grows
public:
    std::span<std::byte> zeroed(std::size_t bytes) {
        if (size_ < bytes) {
            std::free(at_);
            size_ = (bytes + 4095) / 4096 * 4096;
            at_ = static_cast<std::byte*>(std::aligned_alloc(4096, size_));
        }
        std::memset(at_, 0, bytes);
        return {at_, bytes};
    }

private:
    std::byte* at_ = nullptr;
    std::size_t size_ = 0;
};

rte_ring* new_ring() {
    static int number = 0;
    rte_ring* ring =
        rte_ring_create(("r" + std::to_string(number++)).c_str(), 2048, SOCKET_ID_ANY, 0);
    if (!ring)
        throw std::runtime_error("no memory for a ring");
    return ring;
}

rte_mempool* start_eal() {
    const char* args[] = {"conformance",  "--no-shconf", "--no-huge",         "--no-pci",
                          "-m",           "96",          "--log-level=error", "--no-telemetry",
                          "--lcores=0@0", nullptr};
    if (rte_eal_init(std::size(args) - 1, const_cast<char**>(args)) < 0)
        throw std::runtime_error("EAL does not start");
    return rte_pktmbuf_pool_create("packets", kMbufs, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
}

class DpdkEngine final : public Engine {
public:
    DpdkEngine() : pool_(start_eal()) {
        for (std::uint32_t interface = 0; interface < kInterfaces; interface++)
            open_port(interface);
        for (rte_ring*& ring : inbox_)
            ring = new_ring();
        counters_ = lb::CountersView::format(
            counter_memory_.zeroed(lb::CountersView::bytes_needed(kWorkers)), kWorkers);
        rcu_ = reinterpret_cast<rte_rcu_qsbr*>(
            rcu_memory_.zeroed(rte_rcu_qsbr_get_memsize(kWorkers)).data());
        rte_rcu_qsbr_init(rcu_, kWorkers);
        for (std::uint32_t worker = 0; worker < kWorkers; worker++) {
            rte_rcu_qsbr_thread_register(rcu_, worker);
            rte_rcu_qsbr_thread_online(rcu_, worker);
        }
    }

    void begin(std::uint32_t workers, std::uint32_t connections, std::uint32_t half_open) override {
        if (workers == 0 || workers > kWorkers)
            throw std::runtime_error("1 to 4 workers");
        if (!workers_.empty())
            end(); // also of a sequence that was broken off
        workers_.clear();
        current_.store(nullptr);
        generations_.clear();
        now_ns_ = kStart_ns;
        worker_count_ = workers;
        for (std::uint32_t block = 0; block < kWorkers; block++) {
            counters_->worker(block) = {};
            counted_[block] = {};
            for (std::uint32_t row = 0; row < kVips; row++)
                counters_->vip(block, row) = {};
            for (std::uint32_t row = 0; row < kBackends; row++)
                counters_->backend(block, row) = {};
        }
        for (std::uint32_t worker = 0; worker < workers; worker++)
            add_worker(worker, connections, half_open);
    }

    void publish(const std::string& state_text) override {
        generations_.push_back(std::make_unique<Generation>(state_text, generations_.size() + 1));
        const lb::ForwardingState& state = generations_.back()->state();
        if (state.vips().size() > kVips || state.backends().size() > kBackends ||
            state.interfaces().size() > kInterfaces)
            throw std::runtime_error("more rows than this engine counts");
        for (std::uint32_t worker = 0; worker < worker_count_; worker++)
            for (std::uint32_t row = 0; row < state.interfaces().size(); row++)
                contexts_[worker].ports[row].bypassed =
                    state.interfaces()[row].flags & WEIR_INTERFACE_BYPASSED;
        current_.store(&state);
    }

    void unpublish() override { current_.store(nullptr); }

    // Housekeeping keeps up with the clock: after 20 s or more, nothing is left that should have
    // expired.
    Outcome pass(std::uint64_t milliseconds) override {
        std::uint64_t left_ns = milliseconds * 1'000'000;
        for (bool first = true; first || left_ns > 0; first = false) {
            const std::uint64_t odd_ns = left_ns % kSweep_ns;
            const std::uint64_t step_ns = odd_ns != 0 ? odd_ns : std::min(left_ns, kSweep_ns);
            now_ns_ += step_ns;
            left_ns -= step_ns;
            for (std::uint32_t i = 0; i < connections_ / 64 + 2; i++)
                for (auto& worker : workers_)
                    poll(*worker, burst_, now_ns_);
        }
        return run();
    }

    void put(const Input& input) override {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
        if (!mbuf)
            throw std::runtime_error("no packet buffer is left");
        char* data = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(input.frame.size()));
        if (!data || input.interface >= kInterfaces || input.worker >= worker_count_)
            throw std::runtime_error("a packet too long, or for nobody");
        std::memcpy(data, input.frame.data(), input.frame.size());
        mbuf->port = input.interface;
        rte_ring* ring = input.from_kernel ? from_kernel_ : rx_[input.interface][input.worker];
        if (rte_ring_enqueue(ring, mbuf) != 0)
            throw std::runtime_error("too many packets in one burst");
    }

    Outcome run() override {
        for (bool busy = true; std::exchange(busy, false);)
            for (auto& worker : workers_)
                busy |= poll(*worker, burst_, now_ns_);
        Outcome outcome;
        for (std::uint32_t worker = 0; worker < worker_count_; worker++) {
            const auto& counts = counters_->worker(worker).verdicts;
            for (std::uint32_t verdict = 0; verdict < WEIR_VERDICT_COUNT; verdict++) {
                const std::uint64_t fresh = counts[verdict] - counted_[worker][verdict];
                if (fresh == 0)
                    continue;
                counted_[worker][verdict] = counts[verdict];
                outcome.verdicts.push_back({static_cast<std::uint8_t>(worker),
                                            static_cast<std::uint8_t>(verdict),
                                            static_cast<std::uint32_t>(fresh)});
            }
            for (std::uint32_t interface = 0; interface < kInterfaces; interface++)
                drain(tx_[interface][worker], worker, 0, interface, outcome);
        }
        drain(punt_control_, 0, 1, 0, outcome);
        drain(punt_data_, 0, 2, 0, outcome);
        return outcome;
    }

    // What still waits is let go first: then no buffer may be in use.
    End end() override {
        pass(1000);
        bool closed = true;
        for (std::uint32_t worker = 0; worker < worker_count_; worker++) {
            auto block = counters_->read(worker);
            closed = closed && block && block->held == 0 && lb::books_of(*block).balanced();
        }
        return {closed, rte_mempool_in_use_count(pool_)};
    }

private:
    void open_port(std::uint32_t interface) {
        for (std::uint32_t queue = 0; queue < kWorkers; queue++) {
            rx_[interface][queue] = new_ring();
            tx_[interface][queue] = new_ring();
        }
        const std::string name = "port" + std::to_string(interface);
        const int port = rte_eth_from_rings(name.c_str(), rx_[interface].data(), kWorkers,
                                            tx_[interface].data(), kWorkers, 0);
        if (port < 0)
            throw std::runtime_error("no ring port");
        ports_[interface] = static_cast<std::uint16_t>(port);
        rte_eth_conf conf{};
        rte_eth_dev_configure(ports_[interface], kWorkers, kWorkers, &conf);
        for (std::uint16_t queue = 0; queue < kWorkers; queue++) {
            rte_eth_rx_queue_setup(ports_[interface], queue, 512, 0, nullptr, pool_);
            rte_eth_tx_queue_setup(ports_[interface], queue, 512, 0, nullptr);
        }
        rte_eth_dev_start(ports_[interface]);
    }

    void add_worker(std::uint32_t id, std::uint32_t connections, std::uint32_t half_open) {
        connections_ = connections;
        lb::TableGeometry geometry{connections, kVips, id, worker_count_, half_open};
        tables_[id] = lb::ConnectionTable::format(
            table_memory_[id].zeroed(lb::ConnectionTable::bytes_needed(geometry)), geometry);
        WorkerContext& context = contexts_[id];
        context = {};
        context.id = context.block = id;
        context.workers = worker_count_;
        context.interface_count = context.port_count = kInterfaces;
        for (std::uint32_t row = 0; row < kInterfaces; row++)
            context.ports[row] = {ports_[row], static_cast<std::uint16_t>(id),
                                  static_cast<std::uint8_t>(row), true, false};
        context.pool = pool_;
        context.state = &current_;
        context.rcu = rcu_;
        context.table = &tables_[id];
        context.last_hops =
            reinterpret_cast<lb::LastHops*>(hop_memory_[id].zeroed(sizeof(lb::LastHops)).data());
        networks_[id] = std::make_unique<lb::PersistenceTable>();
        context.persistence = networks_[id].get();
        context.strays = &strays_;
        context.secret = 99 + id;
        context.counters = &*counters_;
        context.inbox = inbox_[id];
        for (std::uint32_t peer = 0; peer < worker_count_; peer++)
            context.peer_inbox[peer] = inbox_[peer];
        context.punt_control = punt_control_;
        context.punt_data = punt_data_;
        context.from_kernel = id == 0 ? from_kernel_ : nullptr;
        workers_.push_back(std::make_unique<Worker>(context, now_ns_));
    }

    static void drain(rte_ring* ring, std::uint32_t worker, std::uint8_t way,
                      std::uint32_t interface, Outcome& outcome) {
        void* taken = nullptr;
        while (rte_ring_dequeue(ring, &taken) == 0) {
            auto* mbuf = static_cast<rte_mbuf*>(taken);
            Outcome::Frame frame{static_cast<std::uint8_t>(worker),
                                 way,
                                 static_cast<std::uint8_t>(way == 0 ? interface : mbuf->port),
                                 {}};
            for (const rte_mbuf* part = mbuf; part; part = part->next) {
                const auto* data = rte_pktmbuf_mtod(part, const std::uint8_t*);
                frame.bytes.insert(frame.bytes.end(), data, data + rte_pktmbuf_data_len(part));
            }
            outcome.frames.push_back(std::move(frame));
            rte_pktmbuf_free(mbuf);
        }
    }

    rte_mempool* pool_;
    std::array<std::array<rte_ring*, kWorkers>, kInterfaces> rx_{};
    std::array<std::array<rte_ring*, kWorkers>, kInterfaces> tx_{};
    std::array<std::uint16_t, kInterfaces> ports_{};
    std::array<rte_ring*, kWorkers> inbox_{};
    rte_ring* punt_control_ = new_ring();
    rte_ring* punt_data_ = new_ring();
    rte_ring* from_kernel_ = new_ring();
    Memory counter_memory_;
    Memory rcu_memory_;
    std::array<Memory, kWorkers> table_memory_;
    std::array<Memory, kWorkers> hop_memory_;
    std::optional<lb::CountersView> counters_;
    rte_rcu_qsbr* rcu_ = nullptr;

    std::uint32_t worker_count_ = 0;
    std::uint32_t connections_ = 0;
    std::uint64_t now_ns_ = kStart_ns;
    std::array<lb::ConnectionTable, kWorkers> tables_;
    std::array<std::unique_ptr<lb::PersistenceTable>, kWorkers> networks_;
    lb::StrayReplies strays_;
    std::array<WorkerContext, kWorkers> contexts_;
    std::vector<std::unique_ptr<Generation>> generations_;
    std::atomic<const lb::ForwardingState*> current_ = nullptr;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::array<std::array<std::uint64_t, WEIR_VERDICT_COUNT>, kWorkers> counted_{};
    Burst burst_{};
};

} // namespace
} // namespace weir::conformance

int main() {
    try {
        static weir::conformance::DpdkEngine engine;
        return weir::conformance::serve(engine);
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "%s\n", problem.what());
        return 1;
    }
}
