// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/dpdk_engine.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>

namespace weir::control {

DpdkEngine::DpdkEngine(boost::asio::io_context& io, DpdkEngineSettings settings)
    : settings_(std::move(settings)),
      link_(io, settings_.runtime_directory + "/" + channel::kSocketName, link_handlers()),
      process_(io, settings_.spawn_command, [] {}), start_timer_(io), look_timer_(io) {}

EngineLink::Handlers DpdkEngine::link_handlers() {
    return {.ready =
                [this](const Engine& engine, const std::shared_ptr<const Generation>& running) {
                    ready(engine, running);
                },
            .lost = [this](bool ended) { lost(ended); },
            .answered =
                [this](std::shared_ptr<const Generation> generation, bool accepted,
                       const std::string& reason) {
                    handlers_.answered(std::move(generation), accepted, reason);
                },
            .tap_answered =
                [this](bool accepted, const std::string& reason) {
                    handlers_.problems(
                        "tap", accepted ? std::vector<std::string>{}
                                        : std::vector{"the engine cannot use the TAP: " + reason});
                }};
}

Expected<void> DpdkEngine::start(const config::Config& /*config*/, Handlers handlers) {
    handlers_ = std::move(handlers);
    handlers_.problems("engine", {"weir-dataplane is not connected"});
    link_.start();
    if (starts_it()) {
        // One that runs already answers at once.
        start_timer_.expires_after(EngineLink::kRetry * 2);
        start_timer_.async_wait([this](const boost::system::error_code& error) {
            if (error || link_.engine() != nullptr)
                return;
            started_ = true;
            process_.start();
        });
    }
    if (starts_it() || settings_.end_stalled)
        watch_workers();
    return {};
}

void DpdkEngine::stop() {
    link_.stop();
    process_.release();
    start_timer_.cancel();
    look_timer_.cancel();
}

void DpdkEngine::watch_workers() {
    look_timer_.expires_after(kLook);
    look_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error)
            return;
        look_at_workers();
        watch_workers();
    });
}

// Heartbeats of zero are of workers that have not begun.
void DpdkEngine::look_at_workers() {
    const Engine* engine = link_.engine();
    if (engine == nullptr || !engine->counters) {
        beats_.clear();
        return;
    }
    beats_.resize(engine->hello.workers);
    for (std::uint32_t worker = 0; worker < engine->hello.workers; worker++) {
        const std::uint64_t ns =
            std::atomic_ref<std::uint64_t>(engine->counters->worker(worker).heartbeat_ns)
                .load(std::memory_order_relaxed);
        Beat& seen = beats_[worker];
        seen = {ns, ns == seen.ns ? seen.looks + 1 : 0};
        if (ns == 0 || seen.looks < kLooks)
            continue;
        spdlog::error("worker {} of weir-dataplane (pid {}) stands still: it is ended", worker,
                      engine->hello.pid);
        beats_.clear();
        process_.end_stalled();
        return;
    }
}

void DpdkEngine::ready(const Engine& engine, const std::shared_ptr<const Generation>& running) {
    spdlog::info("engine: pid {}, {} worker(s), generation {}", engine.hello.pid,
                 engine.hello.workers, engine.hello.generation);
    start_timer_.cancel();
    process_.adopt(static_cast<pid_t>(engine.hello.pid));
    if (starts_it() && settings_.restart_running && !started_) {
        spdlog::warn("the running dataplane was started with another configuration that needs a "
                     "restart; starting it anew");
        settings_.restart_running = false;
        if (running) // its connections go on in the fresh one, under the same numbers
            handlers_.adopt(running->state());
        process_.restart();
        return;
    }
    handlers_.problems("engine", {});
    handlers_.ready(running);
}

void DpdkEngine::lost(bool ended) {
    ended_ = ended;
    handlers_.problems("engine", {"weir-dataplane is not connected"});
    handlers_.lost();
}

std::string DpdkEngine::last_end() const {
    return link_.engine() == nullptr ? process_.last_end() : std::string();
}

Expected<std::vector<InterfaceFacts>> DpdkEngine::take_interfaces(const config::Config& config) {
    const Engine& engine = *link_.engine();
    std::vector<InterfaceFacts> facts;
    for (std::uint32_t i = 0; i < config.interfaces.size(); i++) {
        const config::InterfaceConfig& wanted = config.interfaces[i];
        const channel::InterfaceInfo& info = engine.hello.interface[i];
        if (i >= engine.hello.interfaces || wanted.name != info.name ||
            wanted.is_kernel_visible() != (info.kind == channel::InterfaceKind::kernel_visible))
            return Error{"the running dataplane was started with other [interface] tables; "
                         "restart it"};
        net::MacAddress::Bytes mac;
        std::copy_n(info.mac, mac.size(), mac.begin());
        facts.push_back({net::MacAddress::from_bytes(mac), info.mtu,
                         info.kind == channel::InterfaceKind::bypassed});
    }
    for (std::uint32_t i = 0; i < config.interfaces.size(); i++) {
        if (!facts[i].bypassed)
            continue;
        const config::InterfaceConfig& interface = config.interfaces[i];
        if (auto made = handlers_.make_tap(interface, facts[i].mac); !made)
            return made.error();
        if (!link_.attach_tap(i, interface.kernel_interface))
            return Error{"the engine went away"};
    }
    return facts;
}

void DpdkEngine::publish(std::shared_ptr<const Generation> generation) {
    link_.publish(std::move(generation));
}

bool DpdkEngine::order_capture(const channel::Capture& order) {
    return link_.engine() != nullptr && link_.order_capture(order);
}

} // namespace weir::control
