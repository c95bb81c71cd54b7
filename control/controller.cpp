// SPDX-License-Identifier: BSD-3-Clause
#include "control/controller.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "control/compile/identity.hpp"
#include "control/compile/windows.hpp"
#include "control/state_files.hpp"

namespace weir::control {

namespace {

Instant clock_now() {
    return std::chrono::steady_clock::now();
}

std::vector<std::string> problems_of(const Expected<void>& result) {
    return result ? std::vector<std::string>{} : std::vector{result.error().sentence};
}

} // namespace

Controller::Controller(boost::asio::io_context& io, ControllerSettings settings,
                       ForwardingEngine& engine, PacketSteering& steering)
    : io_(io), settings_(std::move(settings)), config_(settings_.config), engine_(engine),
      steering_(steering), kernel_side_(io), ownership_(steering),
      neighbourhood_(io, [this] { schedule(); }),
      prober_(io,
              [this](const BackendHealth& backend) {
                  events_.add("health", backend.pool + "/" + backend.backend.to_string(),
                              std::string(to_string(backend.status)) + ": " + backend.reason);
                  schedule();
              }),
      collect_timer_(io), tend_timer_(io), watch_timer_(io) {}

Expected<void> Controller::start() {
    const std::string& directory = settings_.runtime_directory;
    if (auto text = read_file(directory + "/" + kAdminFile)) {
        auto admin = admin_from_json(*text);
        if (admin)
            admin_ = std::move(*admin);
        else
            spdlog::error("{}/{}: {}", directory, kAdminFile, admin.error().sentence);
    }
    drained_ = std::filesystem::exists(directory + "/" + kDrainedFile);
    if (drained_)
        spdlog::warn("this node is drained; `weirctl node resume` puts it back into service");
    if (auto opened = kernel_side_.open(); !opened)
        return opened;
    note("interfaces", kernel_side_.sync(config_, false));
    std::vector<std::string> names;
    for (const config::InterfaceConfig& interface : config_.interfaces)
        names.push_back(interface.kernel_interface);
    neighbourhood_.set_interfaces(names);
    if (auto started = neighbourhood_.start(); !started)
        return started;
    set_neighbour_targets();
    if (auto started = engine_.start(config_, engine_handlers()); !started)
        return started;
    note("ownership", ownership_.configure(config_));
    tend();
    watch();
    return {};
}

void Controller::stop() {
    ownership_.stop();
    engine_.stop();
    prober_.stop();
    neighbourhood_.stop();
    collect_timer_.cancel();
    tend_timer_.cancel();
    watch_timer_.cancel();
}

void Controller::note(const std::string& topic, std::vector<std::string> problems) {
    std::vector<std::string>& known = problems_[topic];
    for (const std::string& problem : problems)
        if (std::find(known.begin(), known.end(), problem) == known.end())
            spdlog::warn("{}", problem);
    known = std::move(problems);
}

std::uint32_t Controller::seconds_now() {
    using std::chrono::seconds;
    const auto since_boot = std::chrono::duration_cast<seconds>(clock_now().time_since_epoch());
    return static_cast<std::uint32_t>(since_boot.count()) + 1;
}

// --- publication -------------------------------------------------------------------------------

void Controller::schedule() {
    change_++;
    if (collecting_)
        return;
    collecting_ = true;
    collect_timer_.expires_after(kCollect);
    collect_timer_.async_wait([this](const boost::system::error_code& error) {
        collecting_ = false;
        if (!error)
            publish_now();
    });
}

Expected<void> Controller::steer(const lb::ForwardingState& state) {
    return steering_.publish(kernel_side_.interfaces(config_), state);
}

void Controller::publish_now() {
    if (engine_.engine() == nullptr || !usable_) {
        finish_waiters(true);
        return;
    }
    if (engine_.publishing()) {
        again_ = true;
        return;
    }
    again_ = false;
    const std::uint64_t change = change_;
    const Health health = collect_health();
    const Adjacency adjacency = collect_adjacency();
    auto compiled = compile({config_, health, adjacency, admin_, history_, forget_, facts_,
                             settings_.hash_key, seconds_now()},
                            slot_tables_);
    const auto live = engine_.live();
    auto generation = compiled ? Generation::seal(*compiled, live.get())
                               : Expected<std::shared_ptr<const Generation>>(compiled.error());
    if (!generation) {
        note("compile", {generation.error().sentence});
        finish_waiters(true);
        return;
    }
    note("compile", {});
    const bool same = live && live->same_content(**generation);
    if (!same || !steered_) {
        auto steered = steer((same ? live : *generation)->state());
        note("steering", problems_of(steered));
        if (!steered) { // tend() tries again
            finish_waiters(true);
            return;
        }
    }
    compiled_change_ = change;
    if (same) {
        steered_ = true;
        compiled_ = std::move(*compiled);
        history_.windows = compiled_->windows;
        settle();
        return;
    }
    pending_ = std::move(*compiled);
    engine_.publish(*generation);
}

void Controller::settle() {
    if (config_.ownership != config::OwnershipMode::kVrrp)
        note("leases", problems_of(steering_.lend({}))); // before the VIPs are here for good
    note("interfaces", kernel_side_.sync(config_, true));
    if (ownership_due_) {
        ownership_due_ = false;
        note("ownership", ownership_.configure(config_));
        ownership_.set_facts(config_, ownership_facts());
    }
    if (!forwarding_) {
        forwarding_ = true;
        events_.add("engine", engine_.name(),
                    "forwards generation " + std::to_string(history_.generation) +
                        taken_over(*engine_.engine()));
        ownership_.set_facts(config_, ownership_facts());
    }
    if (!ready_) {
        ready_ = true;
        spdlog::info("forwarding: generation {}", history_.generation);
        settings_.on_ready();
    }
    finish_waiters(false);
}

void Controller::wait_for_change(Done done) {
    schedule();
    waiters_.push_back({change_, clock_now() + kWaitLimit, std::move(done)});
}

void Controller::finish_waiters(bool all) {
    const Instant now = clock_now();
    std::vector<Waiter> finished;
    std::erase_if(waiters_, [&](Waiter& waiter) {
        if (!all && waiter.change > compiled_change_ && waiter.until > now)
            return false;
        finished.push_back(std::move(waiter));
        return true;
    });
    const auto live = engine_.live();
    for (const Waiter& waiter : finished)
        waiter.done(live ? live->number() : 0);
}

// --- the compiler's inputs -----------------------------------------------------------------------

Health Controller::collect_health() {
    Health health;
    for (const BackendHealth& backend : prober_.backends())
        if (!backend.usable())
            health.down.insert({backend.pool, backend.backend});
    for (const config::PoolConfig& pool : config_.pools)
        if (prober_.counts(pool.name).mass_failure)
            health.mass_failure.insert(pool.name);
    return health;
}

Adjacency Controller::collect_adjacency() {
    Adjacency adjacency;
    adjacency.own_addresses = neighbourhood_.tables().own_addresses;
    // Right after a restart the kernel may have to ask for neighbours that the engine knows.
    if (clock_now() < adopted_until_)
        adjacency.hops = adopted_hops_;
    for (const auto& [address, hop] : neighbourhood_.current()) {
        if (!hop.resolved)
            continue;
        for (std::uint32_t i = 0; i < config_.interfaces.size(); i++)
            if (config_.interfaces[i].kernel_interface == hop.interface)
                adjacency.hops[address] = {i, hop.mac,
                                           static_cast<std::uint16_t>(std::min(hop.mtu, 65535u))};
    }
    return adjacency;
}

void Controller::start_probing(const lb::ForwardingState* running) {
    if (probing_)
        return;
    probing_ = true;
    set_probe_targets(running);
}

// A backend that the running generation has down starts as down, all others that it knows as up: a
// restart of control neither revives nor removes anybody before it has measured.
void Controller::set_probe_targets(const lb::ForwardingState* running) {
    std::map<std::uint64_t, HealthStatus> seen;
    if (running != nullptr)
        for (const weir_backend_row& row : running->backends())
            if (row.state != WEIR_BACKEND_FREE)
                seen[row.identity] =
                    row.state == WEIR_BACKEND_DOWN ? HealthStatus::kDown : HealthStatus::kUp;
    std::vector<ProbeTarget> targets;
    for (const config::PoolConfig& pool : config_.pools) {
        for (const config::BackendConfig& backend : pool.backends) {
            ProbeTarget target{.pool = pool.name,
                               .name = backend.name,
                               .backend = backend.address,
                               .probe_port = backend.probe_port,
                               .health = pool.health,
                               .device = {}};
            const auto found = seen.find(backend_identity(pool.name, backend.address));
            const bool by_hand = admin_of(pool.name, backend.name).state == AdminState::kDisable;
            if (found != seen.end() && !by_hand)
                target.initial = found->second;
            targets.push_back(std::move(target));
        }
    }
    prober_.set_targets(targets);
}

void Controller::set_neighbour_targets() {
    std::vector<net::IpAddress> targets;
    for (const config::PoolConfig& pool : config_.pools)
        for (const config::BackendConfig& backend : pool.backends)
            targets.push_back(backend.address.address);
    for (const weir_backend_row& row : history_.backends)
        if (row.state == WEIR_BACKEND_DRAINING)
            targets.push_back(to_net(row.address));
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    neighbourhood_.set_targets(targets);
}

Snapshot Controller::snapshot() {
    engine_.refresh();
    Snapshot result{.config = config_,
                    .admin = admin_,
                    .health = prober_.backends(),
                    .counts = {},
                    .next_hops = neighbourhood_.current(),
                    .compiled = compiled_ ? &*compiled_ : nullptr,
                    .live = engine_.live(),
                    .engine = engine_.engine(),
                    .ready = ready_ && steered_ && engine_.engine() != nullptr,
                    .drained = drained_,
                    .choice = settings_.choice,
                    .election = ownership_.status(),
                    .guard = steering_.guard_counts(),
                    .problems = {},
                    .now = clock_now()};
    for (const config::PoolConfig& pool : config_.pools)
        result.counts[pool.name] = prober_.counts(pool.name);
    for (const auto& [topic, sentences] : problems_)
        result.problems.insert(result.problems.end(), sentences.begin(), sentences.end());
    for (std::string& problem : ownership_.problems())
        result.problems.push_back(std::move(problem));
    if (std::string end = engine_.last_end(); !end.empty())
        result.problems.push_back(std::move(end));
    return result;
}

bool Controller::order_capture(const channel::Capture& order) {
    return engine_.order_capture(order);
}

} // namespace weir::control
