// SPDX-License-Identifier: BSD-3-Clause
// The real worker on net_ring ports: packets in, packets and counters out. The packets are built
// and checked by test_packet.hpp, which shares no code with the headers the worker uses.
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/test_packet.hpp"
#include "dataplane/lb/state_builder.hpp"

#include <gtest/gtest.h>

#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

namespace weir::dpdk {
namespace {

using forwarding_test::address_bytes;
using forwarding_test::build;
using forwarding_test::Bytes;
using forwarding_test::get16;
using forwarding_test::PacketPlan;

constexpr std::array<std::uint8_t, 6> kOurMac = {2, 0, 0, 0, 0, 0xaa};
constexpr std::array<std::uint8_t, 6> kRouterMac = {2, 0, 0, 0, 0, 1};

weir_address to_address(const std::string& text) {
    Bytes bytes = address_bytes(text);
    weir_address address;
    if (bytes.size() == 4)
        return weir_address_from_v4(weir_load32(bytes.data()));
    std::memcpy(&address, bytes.data(), 16);
    return address;
}

std::array<std::uint8_t, 6> backend_mac(std::uint32_t backend) {
    return {2, 0, 0, 0, 1, static_cast<std::uint8_t>(backend)};
}

// One VIP at port 80 and 443/udp, two backends at 8080, one interface; either family.
struct Plan {
    weir_forward_mode mode = WEIR_FORWARD_NAT;
    bool v6 = false;
    std::uint8_t protocol = 6;
    std::uint16_t backend_port = 8080;

    std::string vip() const { return v6 ? "2001:db8:f::10" : "203.0.113.10"; }
    std::string backend(std::uint32_t i) const {
        return (v6 ? "2001:db8:b::" : "10.0.0.") + std::to_string(11 + i);
    }
    std::string snat() const { return v6 ? "2001:db8:a::64" : "192.0.2.64"; }
    std::string client() const { return v6 ? "2001:db8:c::7" : "198.51.100.7"; }
};

struct State {
    std::vector<std::uint16_t> slots;
    lb::Segment segment;
    std::vector<std::byte> aligned;
    std::span<std::byte> root;
    std::optional<lb::ForwardingState> state;

    State(const Plan& plan, std::uint64_t generation, std::array<weir_backend_state, 2> states) {
        for (std::uint32_t i = 0; i < 13; i++)
            slots.push_back(static_cast<std::uint16_t>(i % 2));
        segment = lb::inspect_segment(lb::segment_id(slots), slots);
        lb::StateTables tables;
        tables.generation = generation;
        tables.hash_key = {11, 22};
        std::string problem;
        tables.match = *match_table(plan).build(problem);
        std::uint8_t family = plan.v6 ? 6 : 4;
        weir_vip_row vip{};
        vip.address = to_address(plan.vip());
        vip.port = vip.last_port = weir_swap16(80);
        vip.protocol = plan.protocol;
        vip.family = family;
        vip.forward = static_cast<std::uint8_t>(plan.mode);
        vip.flags = WEIR_VIP_SERVED;
        if (plan.mode != WEIR_FORWARD_FULL_NAT)
            vip.flags |= WEIR_VIP_HASH_RECOVERS;
        vip.timeouts = {30, 3600, 60, 10, 60};
        vip.on_backend_down = plan.protocol == 17 || plan.mode == WEIR_FORWARD_DSR_L2
                                  ? WEIR_BACKEND_DOWN_RESELECT
                                  : WEIR_BACKEND_DOWN_RESET;
        tables.vips = {vip};
        tables.pools = {{0, 13, 0, 2, 1, {}}};
        tables.members = {0, 1};
        for (std::uint32_t i = 0; i < 2; i++) {
            weir_backend_row backend{};
            backend.address = to_address(plan.backend(i));
            backend.port = weir_swap16(plan.backend_port);
            backend.state = static_cast<std::uint8_t>(states[i]);
            backend.family = family;
            backend.next_hop = i;
            tables.backends.push_back(backend);
            weir_next_hop_row hop{};
            std::memcpy(hop.destination_mac, backend_mac(i).data(), 6);
            std::memcpy(hop.source_mac, kOurMac.data(), 6);
            hop.vlan_tci = WEIR_NO_VLAN;
            hop.mtu = 1500;
            hop.resolved = 1;
            tables.next_hops.push_back(hop);
        }
        weir_snat_row snat{};
        snat.address = to_address(plan.snat());
        snat.first_port = 40000;
        snat.last_port = 40063;
        snat.family = family;
        tables.snat = {snat};
        weir_interface_row interface {};
        std::memcpy(interface.mac, kOurMac.data(), 6);
        interface.mtu = 1500;
        interface.vlan_tci = WEIR_NO_VLAN;
        tables.interfaces = {interface};
        tables.segments = {{segment.id, slots.size() * 2}};
        open(tables);
    }

    static lb::MatchTableBuilder match_table(const Plan& plan) {
        lb::MatchTableBuilder builder;
        weir_address vip = to_address(plan.vip());
        builder.add_port(vip, plan.protocol, weir_swap16(80), WEIR_MATCH_VIP, 0);
        builder.add_range(vip, plan.protocol, 81, 89, WEIR_MATCH_VIP, 0);
        builder.add_address(vip, WEIR_MATCH_VIP_ADDRESS);
        if (plan.mode == WEIR_FORWARD_FULL_NAT)
            builder.add_range(to_address(plan.snat()), plan.protocol, 40000, 40063, WEIR_MATCH_SNAT,
                              0);
        if (plan.mode == WEIR_FORWARD_NAT) {
            builder.set_flags(WEIR_MATCH_HAS_NAT);
            for (std::uint32_t i = 0; i < 2; i++)
                builder.add_port(to_address(plan.backend(i)), plan.protocol,
                                 weir_swap16(plan.backend_port), WEIR_MATCH_BACKEND, i);
        }
        return builder;
    }

    void open(const lb::StateTables& tables) {
        std::vector<std::byte> bytes = lb::build_root(tables);
        aligned.resize(bytes.size() + 64);
        void* at = aligned.data();
        std::size_t space = aligned.size();
        root = {static_cast<std::byte*>(std::align(64, bytes.size(), at, space)), bytes.size()};
        std::copy(bytes.begin(), bytes.end(), root.begin());
        std::string problem;
        state = lb::ForwardingState::open(root, std::span(&segment, 1), problem);
        if (!state)
            throw std::runtime_error(problem);
    }
};

rte_mempool* start_eal() {
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

// One or two workers on one ring port with a queue pair each; run() takes turns until all is quiet.
class Lab {
public:
    explicit Lab(const Plan& plan, std::uint32_t workers = 1, bool bypassed = false)
        : plan_(plan), pool_(start_eal()), workers_(workers) {
        in_use_before_ = rte_mempool_in_use_count(pool_);
        rte_ring* rx[2];
        rte_ring* tx[2];
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
        for (std::uint16_t i = 0; i < workers; i++) {
            rte_eth_rx_queue_setup(port_, i, 512, 0, nullptr, pool_);
            rte_eth_tx_queue_setup(port_, i, 512, 0, nullptr);
        }
        rte_eth_dev_start(port_);
        set_up_memory(bypassed);
        publish({WEIR_BACKEND_UP, WEIR_BACKEND_UP});
    }

    ~Lab() {
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

    void publish(std::array<weir_backend_state, 2> states) {
        states_.push_back(std::make_unique<State>(plan_, states_.size() + 1, states));
        current_.store(&*states_.back()->state);
    }

    void put(const Bytes& frame, std::uint32_t worker = 0) { enqueue(rx_[worker], frame); }
    void put_from_kernel(const Bytes& frame) { enqueue(from_kernel_, frame); }

    // Everything the workers sent for what was put in.
    std::vector<Sent> run() {
        std::vector<Sent> sent;
        bool busy = true;
        while (std::exchange(busy, false))
            for (auto& worker : running_)
                busy |= poll(*worker, burst_);
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
            lb::TableGeometry geometry{4096, 16, i, workers_, 1024};
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
            context.secret = 99 + i;
            context.counters = &*counters_;
            context.inbox = inbox_[i];
            for (std::uint32_t peer = 0; peer < workers_; peer++)
                context.peer_inbox[peer] = inbox_[peer];
            context.punt_control = punt_control_;
            context.punt_data = punt_data_;
            context.from_kernel = i == 0 ? from_kernel_ : nullptr;
            running_.push_back(std::make_unique<Worker>(context));
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
    std::vector<WorkerContext> contexts_;
    std::vector<std::unique_ptr<State>> states_;
    std::atomic<const lb::ForwardingState*> current_ = nullptr;
    std::vector<std::unique_ptr<Worker>> running_;
    Burst burst_{};
};

PacketPlan from_client(const Plan& plan, std::uint8_t flags = 0x02, std::uint16_t port = 30000) {
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
Bytes hop_on(PacketPlan packet, std::array<std::uint8_t, 6> to) {
    packet.source_mac = kOurMac;
    packet.destination_mac = to;
    packet.ttl--;
    return build(packet);
}

// Which backend a frame went to, by its destination MAC.
std::uint32_t backend_of(const Bytes& frame) {
    for (std::uint32_t i = 0; i < 2; i++)
        if (std::equal(frame.begin(), frame.begin() + 6, backend_mac(i).begin()))
            return i;
    ADD_FAILURE() << "sent to nobody's MAC";
    return 0;
}

std::uint16_t source_port_of(const Bytes& frame, bool v6) {
    return static_cast<std::uint16_t>(get16(frame, v6 ? 54 : 34));
}

struct ModeCase {
    weir_forward_mode mode;
    bool v6;
    std::uint8_t protocol;
};

class WorkerModes : public ::testing::TestWithParam<ModeCase> {
protected:
    Plan plan() const {
        return {GetParam().mode, GetParam().v6, GetParam().protocol,
                static_cast<std::uint16_t>(GetParam().mode == WEIR_FORWARD_DSR_L2 ? 80 : 8080)};
    }
};

TEST_P(WorkerModes, EveryByteIsRightThereAndBack) {
    Lab lab(plan());
    const Plan& p = lab.plan();
    PacketPlan request = from_client(p);
    std::vector<Bytes> there = lab.send(build(request));
    ASSERT_EQ(there.size(), 1u);
    std::uint32_t backend = backend_of(there[0]);
    EXPECT_EQ(lab.verdicts(WEIR_FORWARDED), 1u);
    EXPECT_EQ(lab.connections(), 1u);

    if (p.mode == WEIR_FORWARD_DSR_L2) {
        request.destination_mac = backend_mac(backend);
        request.source_mac = kOurMac;
        EXPECT_EQ(there[0], build(request)) << "nothing but the MACs changes, not even the TTL";
        return;
    }
    PacketPlan expected = request;
    expected.destination = p.backend(backend);
    expected.destination_port = p.backend_port;
    if (p.mode == WEIR_FORWARD_FULL_NAT) {
        expected.source = p.snat();
        expected.source_port = source_port_of(there[0], p.v6);
        EXPECT_GE(expected.source_port, 40000);
        EXPECT_LE(expected.source_port, 40063);
    }
    EXPECT_EQ(there[0], hop_on(expected, backend_mac(backend)));

    PacketPlan reply = expected;
    std::swap(reply.source, reply.destination);
    std::swap(reply.source_port, reply.destination_port);
    reply.source_mac = backend_mac(backend);
    reply.destination_mac = kOurMac;
    reply.tcp_flags = 0x12;
    std::vector<Bytes> back = lab.send(build(reply));
    ASSERT_EQ(back.size(), 1u);
    reply.source = p.vip();
    reply.source_port = 80;
    reply.destination = p.client();
    reply.destination_port = request.source_port;
    EXPECT_EQ(back[0], hop_on(reply, kRouterMac)) << "by the way its packets came";
    EXPECT_EQ(lab.verdicts(WEIR_REPLIED), 1u);
}

TEST_P(WorkerModes, FlowsStayAndSpread) {
    Lab lab(plan());
    std::map<std::uint32_t, int> spread;
    std::map<std::uint16_t, std::uint32_t> first;
    for (std::uint16_t port = 20000; port < 20060; port++) {
        std::vector<Bytes> out = lab.send(build(from_client(lab.plan(), 0x02, port)));
        ASSERT_EQ(out.size(), 1u);
        first[port] = backend_of(out[0]);
        spread[first[port]]++;
    }
    EXPECT_GT(spread[0], 10);
    EXPECT_GT(spread[1], 10);
    for (auto [port, backend] : first) {
        std::vector<Bytes> out = lab.send(build(from_client(lab.plan(), 0x10, port)));
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(backend_of(out[0]), backend);
    }
    EXPECT_EQ(lab.connections(), 60u);
}

TEST_P(WorkerModes, TwoWorkersAgreeWhoOwnsAConnection) {
    Lab lab(plan(), 2);
    const Plan& p = lab.plan();
    int handed_over = 0;
    for (std::uint16_t port = 25000; port < 25020; port++) {
        // Each packet arrives at the worker that did not get the one before.
        lab.put(build(from_client(p, 0x02, port)), 0);
        std::vector<Sent> there = lab.run();
        ASSERT_EQ(there.size(), 1u);
        lab.put(build(from_client(p, 0x10, port)), 1);
        std::vector<Sent> again = lab.run();
        ASSERT_EQ(again.size(), 1u);
        EXPECT_EQ(there[0].worker, again[0].worker) << "the owner sends";
        EXPECT_EQ(backend_of(there[0].bytes), backend_of(again[0].bytes));
        handed_over += there[0].worker == 1;
        if (p.mode == WEIR_FORWARD_DSR_L2)
            continue;
        PacketPlan reply;
        reply.destination_mac = kOurMac;
        reply.source = p.backend(backend_of(there[0].bytes));
        reply.source_port = p.backend_port;
        reply.destination = p.mode == WEIR_FORWARD_NAT ? p.client() : p.snat();
        reply.destination_port =
            p.mode == WEIR_FORWARD_NAT ? port : source_port_of(there[0].bytes, p.v6);
        reply.protocol = p.protocol;
        reply.tcp_flags = 0x12;
        lab.put(build(reply), 1 - there[0].worker); // at the other one
        std::vector<Sent> back = lab.run();
        ASSERT_EQ(back.size(), 1u);
        EXPECT_EQ(back[0].worker, there[0].worker);
    }
    EXPECT_GT(handed_over, 2);
    EXPECT_LT(handed_over, 18);
    EXPECT_EQ(lab.connections(), 20u) << "each is known to one worker only";
    EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u);
}

TEST_P(WorkerModes, DrainingKeepsOldConnections) {
    Lab lab(plan());
    std::vector<Bytes> out = lab.send(build(from_client(lab.plan())));
    ASSERT_EQ(out.size(), 1u);
    std::uint32_t backend = backend_of(out[0]);
    std::array<weir_backend_state, 2> states = {WEIR_BACKEND_UP, WEIR_BACKEND_UP};
    states[backend] = WEIR_BACKEND_DRAINING;
    lab.publish(states);
    out = lab.send(build(from_client(lab.plan(), 0x10)));
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(backend_of(out[0]), backend);
}

TEST_P(WorkerModes, BackendDownIsReselectedOrDropped) {
    Lab lab(plan());
    const Plan& p = lab.plan();
    std::vector<Bytes> out = lab.send(build(from_client(p)));
    ASSERT_EQ(out.size(), 1u);
    std::array<weir_backend_state, 2> states = {WEIR_BACKEND_UP, WEIR_BACKEND_UP};
    states[backend_of(out[0])] = WEIR_BACKEND_DOWN;
    lab.publish(states);
    out = lab.send(build(from_client(p, 0x10)));
    bool reselects = p.protocol == 17 || p.mode == WEIR_FORWARD_DSR_L2;
    EXPECT_EQ(out.size(), reselects ? 1u : 0u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_BACKEND_DOWN), reselects ? 0u : 1u);
}

std::string mode_name(const ::testing::TestParamInfo<ModeCase>& info) {
    const char* mode = info.param.mode == WEIR_FORWARD_DSR_L2 ? "DsrL2"
                       : info.param.mode == WEIR_FORWARD_NAT  ? "Nat"
                                                              : "FullNat";
    return std::string(mode) + (info.param.v6 ? "V6" : "V4") +
           (info.param.protocol == 6 ? "Tcp" : "Udp");
}

INSTANTIATE_TEST_SUITE_P(
    All, WorkerModes,
    ::testing::Values(
        ModeCase{WEIR_FORWARD_DSR_L2, false, 6}, ModeCase{WEIR_FORWARD_DSR_L2, true, 17},
        ModeCase{WEIR_FORWARD_DSR_L2, true, 6}, ModeCase{WEIR_FORWARD_DSR_L2, false, 17},
        ModeCase{WEIR_FORWARD_NAT, false, 6}, ModeCase{WEIR_FORWARD_NAT, true, 6},
        ModeCase{WEIR_FORWARD_NAT, false, 17}, ModeCase{WEIR_FORWARD_NAT, true, 17},
        ModeCase{WEIR_FORWARD_FULL_NAT, false, 6}, ModeCase{WEIR_FORWARD_FULL_NAT, true, 6},
        ModeCase{WEIR_FORWARD_FULL_NAT, false, 17}, ModeCase{WEIR_FORWARD_FULL_NAT, true, 17}),
    mode_name);

TEST(Worker, UnknownConnectionInFullNatIsNeverPickedAtRandom) {
    Lab lab({WEIR_FORWARD_FULL_NAT});
    EXPECT_TRUE(lab.send(build(from_client(lab.plan(), 0x10))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 1u);
    PacketPlan stray = from_client(lab.plan(), 0x10);
    stray.source = lab.plan().backend(0);
    stray.source_port = 8080;
    stray.destination = lab.plan().snat();
    stray.destination_port = 40001;
    EXPECT_TRUE(lab.send(build(stray)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 2u);
}

TEST(Worker, SnatPortsRunOutByName) {
    Lab lab({WEIR_FORWARD_FULL_NAT});
    int forwarded = 0;
    for (std::uint16_t port = 1; port <= 300; port++)
        forwarded += static_cast<int>(lab.send(build(from_client(lab.plan(), 0x02, port))).size());
    EXPECT_EQ(forwarded, 128) << "64 ports towards each of two backends";
    EXPECT_EQ(lab.verdicts(WEIR_DROP_SNAT_EXHAUSTED), 300u - 128u);
}

// Far more connections than 2 x 64 ports, one after the other, closed by one side or the other.
class EndedConnections : public ::testing::TestWithParam<bool> {};

TEST_P(EndedConnections, LeaveTheirSnatPortsToNewOnes) {
    bool client_closes_first = GetParam();
    Lab lab({WEIR_FORWARD_FULL_NAT});
    const Plan& p = lab.plan();
    for (std::uint16_t port = 1; port <= 300; port++) {
        std::vector<Bytes> there = lab.send(build(from_client(p, 0x02, port)));
        ASSERT_EQ(there.size(), 1u) << "connection " << port;
        PacketPlan reply;
        reply.destination_mac = kOurMac;
        reply.source = p.backend(backend_of(there[0]));
        reply.source_port = p.backend_port;
        reply.destination = p.snat();
        reply.destination_port = source_port_of(there[0], p.v6);
        reply.tcp_flags = 0x12;
        lab.send(build(reply));
        lab.send(build(from_client(p, 0x10, port)));
        reply.tcp_flags = 0x11; // FIN
        if (!client_closes_first)
            lab.send(build(reply));
        lab.send(build(from_client(p, 0x11, port)));
        if (client_closes_first)
            lab.send(build(reply));
    }
    EXPECT_EQ(lab.verdicts(WEIR_DROP_SNAT_EXHAUSTED), 0u);
}

INSTANTIATE_TEST_SUITE_P(BothWays, EndedConnections, ::testing::Bool());

TEST(Worker, VlanTagGoesOnAndComesOff) {
    Lab lab({WEIR_FORWARD_NAT});
    const Plan& p = lab.plan();
    PacketPlan request = from_client(p);
    request.vlan_tci = 0x2064;
    std::vector<Bytes> there = lab.send(build(request));
    ASSERT_EQ(there.size(), 1u);
    std::uint32_t backend = backend_of(there[0]);
    PacketPlan expected = request;
    expected.vlan_tci.reset();
    expected.destination = p.backend(backend);
    expected.destination_port = 8080;
    EXPECT_EQ(there[0], hop_on(expected, backend_mac(backend))) << "the backend is untagged";
    PacketPlan reply = expected;
    std::swap(reply.source, reply.destination);
    std::swap(reply.source_port, reply.destination_port);
    std::vector<Bytes> back = lab.send(build(reply));
    ASSERT_EQ(back.size(), 1u);
    reply.source = p.vip();
    reply.source_port = 80;
    reply.vlan_tci = 0x2064;
    EXPECT_EQ(back[0], hop_on(reply, kRouterMac)) << "the client's tag is back";
}

TEST(Worker, TtlThatEndsHereIsNotForwardedByNat) {
    Lab lab({WEIR_FORWARD_NAT});
    PacketPlan packet = from_client(lab.plan());
    packet.ttl = 1;
    EXPECT_TRUE(lab.send(build(packet)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_TTL_EXPIRED), 1u);
}

TEST(Worker, MalformedForAVipIsDroppedForOthersPunted) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    PacketPlan bad = from_client(lab.plan(), 0x03); // SYN and FIN
    EXPECT_TRUE(lab.send(build(bad)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_BAD_TCP_FLAGS), 1u);
    bad.destination = "203.0.113.99";
    EXPECT_TRUE(lab.send(build(bad)).empty());
    EXPECT_EQ(lab.punted_data(), 1u);
    EXPECT_EQ(lab.verdicts(WEIR_PUNTED_OTHER), 1u);
}

TEST(Worker, PuntsByClassWhereTheKernelIsBypassedAndNowhereElse) {
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    PacketPlan echo;
    echo.protocol = 1;
    echo.destination = "203.0.113.10";
    {
        Lab lab({WEIR_FORWARD_NAT}, 1, true);
        lab.put(arp);
        lab.put(build(echo));
        EXPECT_TRUE(lab.run().empty());
        EXPECT_EQ(lab.punted_control(), 1u);
        EXPECT_EQ(lab.punted_data(), 1u);
        EXPECT_EQ(lab.verdicts(WEIR_PUNTED_ECHO), 1u);
    }
    Lab lab({WEIR_FORWARD_NAT}, 1, false);
    lab.send(arp);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NOT_OURS), 1u);
}

TEST(Worker, FullQueueToTheKernelIsANamedDrop) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    for (int i = 0; i < 1100; i += 100) { // the ring holds 1023
        for (int k = 0; k < 100; k++)
            lab.put(arp);
        lab.run();
    }
    EXPECT_EQ(lab.verdicts(WEIR_PUNTED_CONTROL), 1023u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_PUNT_QUEUE_FULL), 1100u - 1023u);
}

TEST(Worker, KernelsPacketsLeaveAsTheyAre) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    Bytes frame = build(from_client(lab.plan(), 0x02));
    lab.put_from_kernel(frame);
    std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].bytes, frame) << "even what looks like a VIP's packet";
    EXPECT_EQ(lab.verdicts(WEIR_FROM_KERNEL), 1u);
}

TEST(Worker, BurstOfOneNewFlowOpensOneConnection) {
    Lab lab({WEIR_FORWARD_FULL_NAT, false, 17});
    for (int i = 0; i < 32; i++)
        lab.put(build(from_client(lab.plan())));
    std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 32u);
    for (const Sent& packet : sent)
        EXPECT_EQ(packet.bytes, sent[0].bytes) << "one backend, one source port";
    EXPECT_EQ(lab.connections(), 1u);
    EXPECT_EQ(lab.counters().vip(0, 0).connections_active, 1u);
}

TEST(Worker, NatRefusesASecondConnectionWithTheSameReplies) {
    Lab lab({WEIR_FORWARD_NAT});
    int forwarded = 0;
    for (std::uint16_t port = 80; port < 90; port++) { // one VIP, ten ports, one port behind it
        PacketPlan packet = from_client(lab.plan());
        packet.destination_port = port;
        forwarded += static_cast<int>(lab.send(build(packet)).size());
    }
    EXPECT_EQ(forwarded, 2)
        << "one to each backend; a second one's replies could not be told apart";
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NAT_CONFLICT), 8u);
}

} // namespace
} // namespace weir::dpdk
