// SPDX-License-Identifier: BSD-3-Clause
// weir-dataplane as the controller's engine: the link to it, and its process, which control starts
// where it is to. A process whose workers stand still is ended. One io_context, one thread.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <vector>

#include "control/engine_link/engine_link.hpp"
#include "control/engine_link/engine_process.hpp"
#include "control/engine_link/forwarding_engine.hpp"

namespace weir::control {

struct DpdkEngineSettings {
    std::string runtime_directory;
    std::vector<std::string> spawn_command; // empty: somebody else starts it
    // An engine that is found running was started with keys that are no longer so: end it and let
    // a fresh one start.
    bool restart_running = false;
    // End one that stands still also where somebody else starts it: what it had to do is done by
    // another meanwhile (StandInEngine).
    bool end_stalled = false;
};

class DpdkEngine final : public ForwardingEngine {
public:
    DpdkEngine(boost::asio::io_context& io, DpdkEngineSettings settings);

    [[nodiscard]] std::string name() const override { return "weir-dataplane"; }
    Expected<void> start(const config::Config& config, Handlers handlers) override;
    void stop() override;
    [[nodiscard]] const Engine* engine() const override { return link_.engine(); }
    [[nodiscard]] std::string last_end() const override;
    void refresh() override {}
    [[nodiscard]] std::shared_ptr<const Generation> live() const override { return link_.live(); }
    Expected<std::vector<InterfaceFacts>> take_interfaces(const config::Config& config) override;
    [[nodiscard]] bool publishing() const override { return link_.publishing(); }
    void publish(std::shared_ptr<const Generation> generation) override;
    bool order_capture(const channel::Capture& order) override;

    // For an engine that stands in for it. Whether its process ended, as far as one can tell: right
    // in Handlers::lost and after it. Else its workers may go on without control.
    [[nodiscard]] bool ended() const { return ended_; }
    [[nodiscard]] const KeptTables& kept() const { return link_.kept(); }
    // See EngineLink::give().
    bool give(channel::MemoryKind kind, const channel::SharedMemory& given) {
        return link_.give(kind, given);
    }

private:
    EngineLink::Handlers link_handlers();
    void ready(const Engine& engine, const std::shared_ptr<const Generation>& running);
    void lost(bool ended);
    [[nodiscard]] bool starts_it() const { return !settings_.spawn_command.empty(); }
    void watch_workers();
    void look_at_workers();

    // A worker that has not come round in so many looks in a row, so that a pause of the whole
    // machine is no stall. Together one second.
    static constexpr std::chrono::milliseconds kLook{200};
    static constexpr unsigned kLooks = 5;
    struct Beat { // of a worker
        std::uint64_t ns = 0;
        unsigned looks = 0; // since it was another one
    };

    DpdkEngineSettings settings_;
    Handlers handlers_;
    EngineLink link_;
    EngineProcess process_;
    boost::asio::steady_timer start_timer_;
    boost::asio::steady_timer look_timer_;
    std::vector<Beat> beats_;
    bool started_ = false; // by this process
    bool ended_ = false;
};

} // namespace weir::control
