// SPDX-License-Identifier: BSD-3-Clause
#include "bench/wire.hpp"

#include "dataplane/dpdk/start_plan.hpp"

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_ring.h>

#include <array>
#include <cstdlib>
#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::uint32_t kBuffers = 8191;
constexpr std::size_t kEalBytes = std::size_t{64} << 20;

std::uint16_t take(void* queue, rte_mbuf** to, std::uint16_t count) {
    auto& wire = *static_cast<Wire*>(queue);
    const auto taken =
        static_cast<std::uint16_t>(std::min<std::size_t>(count, wire.in.size() - wire.next));
    std::copy_n(wire.in.data() + wire.next, taken, to);
    wire.next += taken;
    return taken;
}

std::uint16_t put(void* queue, rte_mbuf** from, std::uint16_t count) {
    auto& wire = *static_cast<Wire*>(queue);
    wire.out.insert(wire.out.end(), from, from + count);
    return count;
}

void start_eal() {
    dpdk::Machine found = dpdk::inspect_machine();
    dpdk::EalPlan plan;
    plan.allowed = found.allowed;
    plan.huge_pages = found.free_huge_bytes >= kEalBytes;
    plan.memory_bytes = kEalBytes;
    std::vector<std::string> arguments = dpdk::eal_arguments(plan);
    // Pinned, other than in the product: each lcore to a core of its own.
    const auto lcores = std::find(arguments.begin(), arguments.end(), "--lcores");
    *(lcores + 1) = "0@" + std::to_string(found.allowed.front());
    if (found.allowed.size() > 1)
        *(lcores + 1) += ",1@" + std::to_string(found.allowed[1]);
    std::vector<char*> pointers;
    pointers.reserve(arguments.size());
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0)
        throw std::runtime_error("DPDK does not start");
}

void start_port(std::uint16_t port, std::uint16_t queues, rte_mempool* pool) {
    rte_eth_conf conf{};
    bool up = rte_eth_dev_configure(port, queues, queues, &conf) == 0;
    for (std::uint16_t queue = 0; queue < queues; queue++)
        up = up && rte_eth_rx_queue_setup(port, queue, 512, SOCKET_ID_ANY, nullptr, pool) == 0 &&
             rte_eth_tx_queue_setup(port, queue, 512, SOCKET_ID_ANY, nullptr) == 0;
    if (!up || rte_eth_dev_start(port) != 0)
        throw std::runtime_error("a port does not start");
}

// The calls behind rte_eth_rx_burst() and rte_eth_tx_burst() are replaced by ours: a driver of our
// own without the rest of a driver.
void take_over(std::uint16_t port, Wire* wires) {
    static std::array<void*, kMostQueues> queues;
    for (std::uint32_t i = 0; i < kMostQueues; i++)
        queues[i] = &wires[i];
    rte_eth_fp_ops[port].rxq.data = queues.data();
    rte_eth_fp_ops[port].txq.data = queues.data();
    rte_eth_fp_ops[port].rx_pkt_burst = take;
    rte_eth_fp_ops[port].tx_pkt_burst = put;
}

} // namespace

Machine& machine() {
    static Machine& made = []() -> Machine& {
        start_eal();
        auto& fresh = *new Machine{}; // lives as long as EAL
        fresh.pool = rte_pktmbuf_pool_create("bench", kBuffers, dpdk::kPoolCache, 0,
                                             RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        if (!fresh.pool || rte_vdev_init("net_null0", "") != 0 ||
            rte_eth_dev_get_port_by_name("net_null0", &fresh.port) != 0)
            throw std::runtime_error("no packet buffers or no port");
        start_port(fresh.port, kMostQueues, fresh.pool);
        for (Wire& wire : fresh.wire)
            wire.out.reserve(kBuffers);
        take_over(fresh.port, fresh.wire);
        fresh.second_lcore = rte_get_next_lcore(rte_get_main_lcore(), 1, 0);
        return fresh;
    }();
    return made;
}

RingPort make_ring_port(std::uint32_t size) {
    static int number = 0;
    const std::string suffix = std::to_string(number++);
    RingPort made{};
    made.in = rte_ring_create(("in" + suffix).c_str(), size, SOCKET_ID_ANY,
                              RING_F_SP_ENQ | RING_F_SC_DEQ);
    made.out = rte_ring_create(("out" + suffix).c_str(), size, SOCKET_ID_ANY,
                               RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!made.in || !made.out)
        throw std::runtime_error("no memory for rings");
    const int port = rte_eth_from_rings(("rings" + suffix).c_str(), &made.in, 1, &made.out, 1, 0);
    if (port < 0)
        throw std::runtime_error("no ring port");
    made.port = static_cast<std::uint16_t>(port);
    start_port(made.port, 1, machine().pool);
    return made;
}

void end_ring_port(const RingPort& rings) {
    rte_eth_dev_stop(rings.port);
    rte_eth_dev_close(rings.port);
    rte_ring_free(rings.in);
    rte_ring_free(rings.out);
}

} // namespace weir::bench
