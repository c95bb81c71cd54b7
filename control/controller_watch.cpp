// SPDX-License-Identifier: BSD-3-Clause
// The controller's part that tells ownership what it has to know, and everybody what it has done.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <filesystem>

#include "control/controller.hpp"
#include "control/state_files.hpp"
#include "control/vrrp/wire.hpp"

namespace weir::control {

bool Controller::worker_stalled() const {
    const Engine* engine = engine_.engine();
    if (engine == nullptr || !engine->counters)
        return false;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::int64_t now_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    const std::int64_t limit_ns = std::chrono::nanoseconds(kStalled).count();
    for (std::uint32_t worker = 0; worker < engine->hello.workers; worker++) {
        const std::uint64_t beat =
            std::atomic_ref<std::uint64_t>(engine->counters->worker(worker).heartbeat_ns)
                .load(std::memory_order_relaxed);
        if (beat != 0 && now_ns - static_cast<std::int64_t>(beat) > limit_ns)
            return true;
    }
    return false;
}

OwnershipFacts Controller::ownership_facts() {
    OwnershipFacts facts{.can_forward =
                             forwarding_ && engine_.engine() != nullptr && usable_ && !drained_,
                         .worker_stalled = worker_stalled(),
                         .interfaces_down = {},
                         .pool_percent_up = {}};
    // What nobody tracks is not looked at.
    const auto tracked = [this](std::uint8_t config::VrrpGroupConfig::*what) {
        return std::any_of(config_.vrrp_groups.begin(), config_.vrrp_groups.end(),
                           [&](const config::VrrpGroupConfig& group) { return group.*what != 0; });
    };
    for (const config::InterfaceConfig& interface :
         tracked(&config::VrrpGroupConfig::lower_interface_down)
             ? config_.interfaces
             : std::vector<config::InterfaceConfig>{})
        if (!vrrp::look_at_link(interface.kernel_interface).running)
            facts.interfaces_down.push_back(interface.name);
    if (!tracked(&config::VrrpGroupConfig::lower_below_quorum))
        return facts;
    std::map<std::string, unsigned> up;
    for (const BackendHealth& backend : prober_.backends())
        up[backend.pool] += backend.usable() ? 1 : 0;
    for (const config::PoolConfig& pool : config_.pools)
        facts.pool_percent_up.push_back(static_cast<unsigned>(
            std::size_t{100} * up[pool.name] / std::max<std::size_t>(1, pool.backends.size())));
    return facts;
}

Expected<void> Controller::set_drained(bool drained) {
    const std::string path = settings_.runtime_directory + "/" + kDrainedFile;
    if (drained) {
        if (auto written = write_whole(path, "weirctl node resume takes this node back\n", 0644);
            !written)
            return written;
    } else if (std::error_code error; !std::filesystem::remove(path, error) && error) {
        return Error{"cannot remove " + path + ": " + error.message()};
    }
    if (drained_ != drained) {
        spdlog::info("the node is {}", drained ? "drained" : "back in service");
        events_.add("node", config_.node.name, drained ? "drained" : "back in service");
    }
    drained_ = drained;
    ownership_.set_facts(config_, ownership_facts());
    return {};
}

void Controller::watch() {
    watch_timer_.expires_after(kWatch);
    watch_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            watch();
    });
    ownership_.set_facts(config_, ownership_facts());
    for (const vrrp::Transition& transition : ownership_.take_transitions()) {
        const std::string text = std::string(vrrp::to_string(transition.before)) + " -> " +
                                 std::string(vrrp::to_string(transition.after)) + ": " +
                                 transition.why;
        spdlog::info("group {}: {}", transition.group, text);
        events_.add("ownership", transition.group, text, transition.at);
    }
}

} // namespace weir::control
