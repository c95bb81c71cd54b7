// SPDX-License-Identifier: BSD-3-Clause
// The control process's centre: owns configuration, operators' wishes, health and adjacency, and
// turns every change into the next generation for the engine. One io_context, one thread.
//
// A publication goes: compile, guard and steering (the kernel is silenced before anything is
// claimed), engine, and when every worker has it: addresses and their announcements. What a removed
// VIP leaves behind goes in the same last step. While one is under way changes collect; the next
// one has them all.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/api/snapshot.hpp"
#include "control/compile/compile.hpp"
#include "control/engine_choice.hpp"
#include "control/engine_link/forwarding_engine.hpp"
#include "control/event_log.hpp"
#include "control/health/prober.hpp"
#include "control/kernel/neighbourhood.hpp"
#include "control/kernel_side.hpp"
#include "control/ownership.hpp"
#include "control/packet_steering.hpp"
#include "control/reload.hpp"

namespace weir::control {

struct ControllerSettings {
    config::Config config;
    std::string config_path; // read again on SIGHUP
    std::string config_text;
    std::string runtime_directory;
    weir_hash_key hash_key{};
    EngineChoice choice;            // what kind of engine it is given, and why
    std::function<void()> on_ready; // once: packets are forwarded
};

class Controller {
public:
    Controller(boost::asio::io_context& io, ControllerSettings settings, ForwardingEngine& engine,
               PacketSteering& steering);

    Expected<void> start();
    // Forwarding goes on. What moves between nodes is released first.
    void stop();

    // Called once a change is live, or why it cannot be now. `generation`: the live one.
    using Done = std::function<void(std::uint64_t generation)>;

    // Accepted: config is set in the answer and `done` is called later. Refused: nothing changed.
    ReloadDecision apply(const std::string& text, const std::string& file, Done done);
    void reload_from_file(); // SIGHUP; says in the log what came of it

    // REQUIRES: the backend exists (see find_backend).
    Expected<void> set_admin(const std::string& pool, const std::string& backend,
                             const BackendAdmin& wish, Done done);
    [[nodiscard]] BackendAdmin admin_of(const std::string& pool, const std::string& backend) const;
    [[nodiscard]] bool has_backend(const std::string& pool, const std::string& backend) const;

    // Drained: this node takes no part in the election of VIP owners, until it is resumed. On disk
    // before it is so.
    Expected<void> set_drained(bool drained);

    [[nodiscard]] Snapshot snapshot();
    [[nodiscard]] const EventLog& events() const { return events_; }

    // False: there is no engine.
    bool order_capture(const channel::Capture& order);

private:
    static constexpr std::chrono::milliseconds kCollect{2}; // changes that come together
    static constexpr std::chrono::seconds kTend{2};
    static constexpr std::chrono::milliseconds kWatch{100};
    static constexpr std::chrono::seconds kStalled{1}; // a worker that does not come round
    static constexpr std::chrono::seconds kHoldAdopted{5};
    static constexpr std::chrono::seconds kForgetAfter{60};
    static constexpr std::chrono::seconds kWaitLimit{5};

    ForwardingEngine::Handlers engine_handlers();
    void engine_ready(const std::shared_ptr<const Generation>& running);
    void engine_lost();
    void adopt_generation(const lb::ForwardingState& state);
    void engine_answered(const std::shared_ptr<const Generation>& generation, bool accepted,
                         const std::string& reason);
    void start_probing(const lb::ForwardingState* running);
    void set_probe_targets(const lb::ForwardingState* running);
    void set_neighbour_targets();

    void schedule();
    void publish_now();
    Expected<void> steer(const lb::ForwardingState& state);
    void settle(); // the live generation has everything up to compiled_change_
    void wait_for_change(Done done);
    void finish_waiters(bool all);

    static std::uint32_t seconds_now(); // for the compiler
    Health collect_health();
    Adjacency collect_adjacency();
    void tend(); // every kTend: repairs and forgets
    void find_forgettable();
    void watch(); // every kWatch: what ownership has to know, and what it has done
    [[nodiscard]] OwnershipFacts ownership_facts();
    [[nodiscard]] bool worker_stalled() const;
    void adopt_config(config::Config config, const std::string& text);
    void note(const std::string& topic, std::vector<std::string> problems);

    boost::asio::io_context& io_;
    ControllerSettings settings_;
    config::Config config_;
    ForwardingEngine& engine_;
    PacketSteering& steering_;
    Admin admin_;
    History history_;
    Forget forget_;
    SlotTables slot_tables_;
    std::vector<InterfaceFacts> facts_;

    KernelSide kernel_side_;
    Ownership ownership_;
    EventLog events_;
    Neighbourhood neighbourhood_;
    Prober prober_;

    boost::asio::steady_timer collect_timer_;
    boost::asio::steady_timer tend_timer_;
    boost::asio::steady_timer watch_timer_;
    bool collecting_ = false;
    bool again_ = false; // something changed while a publication was under way
    bool probing_ = false;
    bool ready_ = false;
    bool ownership_due_ = false; // the configuration in force has not reached it yet
    bool forwarding_ = false;    // this engine has taken a generation of ours
    bool usable_ = false;        // the engine has the configuration's interfaces
    bool drained_ = false;       // by an operator
    bool steered_ = false;       // the live generation's match table is in force

    std::optional<CompiledState> compiled_; // of the live generation
    std::optional<CompiledState> pending_;  // of the one in flight
    std::uint64_t change_ = 0;
    std::uint64_t compiled_change_ = 0;
    struct Waiter {
        std::uint64_t change;
        Instant until;
        Done done;
    };
    std::vector<Waiter> waiters_;

    std::map<net::IpAddress, Hop> adopted_hops_; // for the first seconds after a restart
    Instant adopted_until_{};
    std::map<std::uint32_t, Instant> idle_backends_;
    std::map<std::uint32_t, Instant> idle_vips_;
    std::map<std::string, std::vector<std::string>> problems_; // by topic
};

} // namespace weir::control
