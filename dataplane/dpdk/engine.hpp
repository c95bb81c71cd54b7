// SPDX-License-Identifier: BSD-3-Clause
// The whole dataplane, from a configuration to running workers and back. One in a process, on the
// main thread; the workers and the kernel path run beside it.
#pragma once

#include "config/config.hpp"
#include "config/expected.hpp"
#include "dataplane/dpdk/channel_server.hpp"
#include "dataplane/dpdk/device.hpp"
#include "dataplane/dpdk/generations.hpp"
#include "dataplane/dpdk/kernel_path.hpp"
#include "dataplane/dpdk/memory.hpp"
#include "dataplane/dpdk/start_plan.hpp"
#include "dataplane/dpdk/worker_context.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace weir::dpdk {

struct EngineOptions {
    config::Config config;
    std::string runtime_directory;
    std::string bpf_directory; // of steer.bpf.o
};

class Engine {
public:
    // Up to packets arriving and control being able to connect. What cannot be is one sentence.
    static Expected<std::unique_ptr<Engine>> start(EngineOptions options);
    ~Engine();

    // Serves control until SIGTERM or SIGINT, then ends the workers and drains. The caller has
    // blocked both signals in every thread.
    Expected<void> run();

private:
    explicit Engine(EngineOptions options) : options_(std::move(options)) {}
    Expected<void> inherit();
    Expected<void> plan();
    Expected<void> open_ports();
    Expected<void> make_rings();
    Expected<void> make_contexts();
    Expected<void> launch();
    Expected<void> greet();
    Expected<void> serve();
    Expected<void> attach_tap(std::uint32_t row, const std::string& name);
    channel::Hello hello() const;
    void take_control_of_spread(const weir_hash_key& secret);
    void follow(const lb::ForwardingState& state);
    void take_over(const lb::ForwardingState& first);
    bool any_bypassed() const;
    void stop();

    EngineOptions options_;
    std::uint64_t started_ns_ = 0;
    EalPlan eal_;
    BufferPlan buffers_;
    std::uint32_t workers_ = 0;
    bool eal_started_ = false;
    bool launched_ = false;
    bool announced_ = false; // told the service manager that we forward

    std::optional<Devices> devices_;
    std::optional<lb::Spread> spread_; // made with the first generation, where devices allow
    std::atomic<const lb::Spread*> spread_in_use_{nullptr};
    Inheritance inheritance_; // until memory_ is made
    std::optional<EngineMemory> memory_;
    std::unique_ptr<rte_rcu_qsbr, void (*)(rte_rcu_qsbr*)> rcu_{nullptr, nullptr};
    std::optional<Generations> generations_;
    std::optional<KernelPath> kernel_path_;
    std::optional<ChannelServer> channel_;
    rte_mempool* pool_ = nullptr;
    std::vector<rte_ring*> inboxes_;
    rte_ring* punt_control_ = nullptr;
    rte_ring* punt_data_ = nullptr;
    rte_ring* from_kernel_ = nullptr;
    std::atomic<bool> stop_{false};
    std::vector<WorkerContext> contexts_;
};

} // namespace weir::dpdk
