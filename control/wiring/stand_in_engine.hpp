// SPDX-License-Identifier: BSD-3-Clause
// weir-dataplane as the engine, and the balancer in the kernel in its place while it is gone.
//
// Where the kernel sees all interfaces a dataplane that ends costs nothing to be replaced: the
// steering program, which stays attached, meets a queue without a socket and calls the balancer
// (xdp/steer.bpf.c). What this does is to keep that balancer ready: loaded, published to as the
// dataplane is, and after the end given the connections that control keeps of it.
//
//   dataplane forwards   the balancer has its generation; VIPs whose flows it could not know are
//                        held: their packets would be dropped by name
//   dataplane ends       flows that the table of slots decides go on at once; the others when their
//                        tables are read, which is when nothing is held any more. The controller is
//                        told of a new engine, publishes to it and shows it
//   dataplane is back    VIPs are held again, the balancer's connections are given to the
//                        dataplane, and packets are turned to it with its first generation
//
// A balancer is used once; the next one is loaded in the background.
//
// Maps and the steering programs' map of programs are pinned (stand_in_pins.hpp), so a balancer is
// called, and goes on, without control. The next control takes it up, in the background:
//
//   a dataplane forwards    it is at hand again, as if it had been loaded
//   none does               it stands in, with its connections; a dataplane that has started
//                           meanwhile waits for its first generation until it is given them
//
// One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/engine_link/dpdk_engine.hpp"
#include "control/kernel/netlink_socket.hpp"
#include "control/wiring/bpf_steering.hpp"
#include "control/wiring/kernel_balancer.hpp"
#include "control/wiring/stand_in_pins.hpp"
#include "dataplane/lb/worker_memory.hpp"

namespace weir::control {

class StandInEngine final : public ForwardingEngine {
public:
    // `steering` outlives this. `bpffs`: the node's directory, see xdp/bpffs.hpp.
    StandInEngine(boost::asio::io_context& io, DpdkEngineSettings settings, BpfSteering& steering,
                  std::string bpffs);
    ~StandInEngine() override;

    // Whether it can be of use: only the kernel's own interfaces are within a balancer's reach.
    static bool fits(const config::Config& config);

    [[nodiscard]] std::string name() const override { return dataplane_.name(); }
    Expected<void> start(const config::Config& config, Handlers handlers) override;
    void stop() override;
    [[nodiscard]] const Engine* engine() const override;
    [[nodiscard]] std::string last_end() const override { return dataplane_.last_end(); }
    void refresh() override;
    [[nodiscard]] std::shared_ptr<const Generation> live() const override;
    Expected<std::vector<InterfaceFacts>> take_interfaces(const config::Config& config) override;
    [[nodiscard]] bool publishing() const override;
    void publish(std::shared_ptr<const Generation> generation) override;
    bool order_capture(const channel::Capture& order) override {
        return dataplane_.order_capture(order);
    }

private:
    using Clock = std::chrono::steady_clock;

    static constexpr std::chrono::milliseconds kLook{1};       // for a dataplane's new program
    static constexpr std::chrono::milliseconds kLookLater{20}; // when none has come for a while
    static constexpr std::chrono::seconds kAWhile{5};
    static constexpr std::chrono::milliseconds kAttachFor{150}; // after the end of one
    static constexpr std::chrono::milliseconds kRefreshHolds{100};
    static constexpr std::uint32_t kEntriesAtOnce = 1u << 12; // of a table, between other things

    Handlers dataplane_handlers();
    void dataplane_ready(const std::shared_ptr<const Generation>& running);
    void dataplane_lost();
    // It forwards by this generation.
    void dataplane_forwards(const std::shared_ptr<const Generation>& generation);

    [[nodiscard]] bool dataplane_there() const { return dataplane_.engine() != nullptr; }
    // --- stand_in_at_hand.cpp
    // In a thread of its own: the kernel verifies a balancer for as long as a second.
    void run_loader(std::function<Expected<xdp::Balancer>()> make);
    void load();
    void loaded(Expected<xdp::Balancer> balancer);
    Expected<void> equip(xdp::Balancer balancer);
    void retire(); // the balancer that is loaded
    void keep();   // it, beyond the end of control
    Expected<void> follow(const std::shared_ptr<const Generation>& generation);
    void look_for_left();
    [[nodiscard]] bool is_called() const;
    void left_is_found(Expected<xdp::Balancer> balancer);
    std::string take_left(xdp::Balancer balancer);
    void go_on(std::shared_ptr<const Generation> generation);

    // --- stand_in_engine.cpp
    void refresh_holds();
    void hold_unknown();
    void hold_all(bool held = true);

    void stand_in();
    void resume();
    void look();
    void read_tables();
    void read_table();
    void read_networks();
    void tables_are_read();
    bool give_back();
    void give_way();

    boost::asio::io_context& io_;
    BpfSteering& steering_;
    std::string bpffs_;
    DpdkEngine dataplane_;
    Handlers handlers_;
    config::Config config_;
    std::optional<NetlinkSocket> netlink_;

    std::optional<StandInPins> pins_; // nothing: a balancer ends with control
    bool looking_for_left_ = false;   // the loader has what an earlier control has left
    bool dataplane_seen_ = false;     // one that has forwarded, or will go by what it has itself
    bool dataplane_waits_ = false;    // for what comes of looking_for_left_

    std::thread loader_;
    bool loading_ = false;
    std::unique_ptr<KernelBalancer> balancer_;
    std::shared_ptr<const Generation> in_flight_; // on its way to the balancer, not the dataplane
    std::vector<channel::SharedMemory> tables_;   // of the dataplane that forwards, or did
    bool tables_are_current_ = false;             // no other one has come since
    boost::asio::steady_timer holds_timer_;

    bool standing_in_ = false;
    Clock::time_point since_;
    boost::asio::steady_timer look_timer_;
    struct Reading { // how far tables_ are read
        std::size_t table = 0;
        std::uint32_t entry = 0; // of its connections
        // What all of them remember of networks, the youngest of each; and how far it is given.
        std::unique_ptr<lb::PersistenceTable> networks;
        std::uint32_t network = 0;
        std::uint64_t given = 0; // connections
        bool under_way = false;
        bool finished = false;
    };
    Reading reading_;
};

} // namespace weir::control
