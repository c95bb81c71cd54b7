// SPDX-License-Identifier: BSD-3-Clause
// The balancer in the kernel in the form that the controller and its views read an engine in:
// counters, connections, what it runs on; and its upkeep. How packets come to it is its owner's
// business (XdpEngine, StandInEngine). One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "control/compile/inputs.hpp"
#include "control/engine_link/engine.hpp"
#include "control/engine_link/generation.hpp"
#include "control/kernel/netlink_socket.hpp"
#include "xdp/balancer.hpp"

namespace weir::control {

// Rows that the configuration needs, without those of its past; that a generation has.
weir_balancer_capacities balancer_rows_of(const config::Config& config);
weir_balancer_capacities balancer_rows_of(const lb::ForwardingState& state);
weir_balancer_capacities larger_of(const weir_balancer_capacities& a,
                                   const weir_balancer_capacities& b);
// With room for reloads: maps cannot grow.
xdp::BalancerSizes balancer_sizes_for(const weir_balancer_capacities& need,
                                      std::uint32_t connections);
// The index of each configured interface. An error: one is not there.
Expected<std::vector<std::uint32_t>> interfaces_of(const config::Config& config);
// What the controller has to know of them, from the kernel.
Expected<std::vector<InterfaceFacts>> interface_facts(NetlinkSocket& netlink,
                                                      const config::Config& config);
std::uint64_t monotonic_ns();
// Where the maps of a balancer of this version are pinned in a node's directory.
std::string maps_in(const std::string& directory);

class KernelBalancer {
public:
    static Expected<std::unique_ptr<KernelBalancer>> make(boost::asio::io_context& io,
                                                          xdp::Balancer balancer);
    ~KernelBalancer();
    KernelBalancer(const KernelBalancer&) = delete;
    KernelBalancer& operator=(const KernelBalancer&) = delete;

    [[nodiscard]] xdp::Balancer& maps() { return balancer_; }
    [[nodiscard]] const xdp::Balancer& maps() const { return balancer_; }

    [[nodiscard]] const Engine& engine() const { return engine_; }
    // "xdp, native" and the like, of an interface.
    void set_driver(std::size_t interface, const std::string& driver);
    void describe_interfaces(NetlinkSocket& netlink, const config::Config& config);

    // The generation that packets go by; null: none.
    [[nodiscard]] const std::shared_ptr<const Generation>& live() const { return live_; }
    // One that an earlier control has published, or that has just been.
    void set_live(std::shared_ptr<const Generation> generation) { live_ = std::move(generation); }
    Expected<void> publish(const Generation& generation, std::span<const std::uint32_t> interfaces);

    // Of maps that an earlier control has left: the generation that they hold, or null for none;
    // and why they cannot serve this configuration (empty: they can).
    [[nodiscard]] Expected<std::shared_ptr<const Generation>> found_generation() const;
    [[nodiscard]] std::string unfit(const config::Config& config) const;

    // Brings engine()'s counters up to now.
    void refresh();
    // Removes what is too old, in steps, from now on.
    void sweep();

private:
    class Connections; // engine()'s

    static constexpr std::chrono::milliseconds kFresh{20}; // counters are not read more often
    static constexpr std::chrono::seconds kSweepPause{1};
    static constexpr int kSweepShare = 20; // a pass at most every so many times its own duration

    KernelBalancer(boost::asio::io_context& io, xdp::Balancer balancer)
        : balancer_(std::move(balancer)), sweep_timer_(io) {}
    Expected<void> make_counters();
    void count_rows();

    xdp::Balancer balancer_;
    Engine engine_;
    std::shared_ptr<const Generation> live_;
    boost::asio::steady_timer sweep_timer_;
    xdp::SweepPass pass_;
    std::chrono::steady_clock::duration pass_took_{};
    std::chrono::steady_clock::time_point refreshed_{};
};

} // namespace weir::control
