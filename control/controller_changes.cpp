// SPDX-License-Identifier: BSD-3-Clause
// The controller's part that changes what is wanted: reloads, operators' wishes, and the slow
// upkeep of what was wanted before.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "config/diagnostic.hpp"
#include "control/controller.hpp"
#include "control/state_files.hpp"

namespace weir::control {
namespace {

std::string joined(const std::vector<std::string>& words) {
    std::string result;
    for (const std::string& word : words)
        result += (result.empty() ? "" : ", ") + word;
    return result;
}

} // namespace

ReloadDecision Controller::apply(const std::string& text, const std::string& file, Done done) {
    ReloadDecision decision = decide_reload(config_, text, file);
    if (!decision.config)
        return decision;
    // What the tables cannot hold is refused here, before anything is touched.
    SlotTables scratch;
    const Health health = collect_health();
    const Adjacency adjacency = collect_adjacency();
    const auto trial = compile({*decision.config, health, adjacency, admin_, history_, forget_,
                                facts_, settings_.hash_key, seconds_now()},
                               scratch);
    if (!trial) {
        config::Diagnostic diagnostic;
        diagnostic.file = file;
        diagnostic.message = trial.error().sentence;
        decision.diagnostics.push_back(std::move(diagnostic));
        decision.config.reset();
        return decision;
    }
    adopt_config(*decision.config, text);
    wait_for_change(std::move(done));
    return decision;
}

void Controller::adopt_config(config::Config config, const std::string& text) {
    config_ = std::move(config);
    ownership_due_ = true; // when what it will own is forwarded
    events_.add("reload", settings_.runtime_directory + "/" + kAcceptedFile,
                "a configuration was taken up");
    const std::string path = settings_.runtime_directory + "/" + kAcceptedFile;
    if (auto written = write_whole(path, text, 0644); !written)
        note("files", {written.error().sentence});
    else
        note("files", {});
    if (probing_)
        set_probe_targets(nullptr);
    set_neighbour_targets();
}

void Controller::reload_from_file() {
    const std::string& path = settings_.config_path;
    const auto text = read_file(path);
    if (!text) {
        spdlog::error("reload refused, nothing has changed: {}", text.error().sentence);
        return;
    }
    const ReloadDecision decision = apply(*text, path, [](std::uint64_t generation) {
        spdlog::info("reloaded: generation {}", generation);
    });
    if (!decision.diagnostics.empty())
        spdlog::error("reload refused, nothing has changed:\n{}",
                      config::format(decision.diagnostics));
    else if (!decision.restart_needed.empty())
        spdlog::error("reload refused, nothing has changed: {} needs a restart of Weir",
                      joined(decision.restart_needed));
    for (const std::string& change :
         decision.config ? decision.changes : std::vector<std::string>{})
        spdlog::info("{}", change);
}

bool Controller::has_backend(const std::string& pool, const std::string& backend) const {
    return std::any_of(config_.pools.begin(), config_.pools.end(), [&](const auto& candidate) {
        return candidate.name == pool &&
               std::any_of(candidate.backends.begin(), candidate.backends.end(),
                           [&](const auto& member) { return member.name == backend; });
    });
}

BackendAdmin Controller::admin_of(const std::string& pool, const std::string& backend) const {
    const auto found = admin_.find({pool, backend});
    return found == admin_.end() ? BackendAdmin{} : found->second;
}

Expected<void> Controller::set_admin(const std::string& pool, const std::string& backend,
                                     const BackendAdmin& wish, Done done) {
    Admin fresh = admin_;
    if (wish == BackendAdmin{})
        fresh.erase({pool, backend});
    else
        fresh[{pool, backend}] = wish;
    // First on disk: a wish that was confirmed survives whatever comes.
    const std::string path = settings_.runtime_directory + "/" + kAdminFile;
    if (auto written = write_whole(path, admin_to_json(fresh), 0644); !written)
        return written;
    admin_ = std::move(fresh);
    wait_for_change(std::move(done));
    return {};
}

void Controller::tend() {
    tend_timer_.expires_after(kTend);
    tend_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            tend();
    });
    finish_waiters(false);
    if (engine_.engine() == nullptr || !usable_) {
        note("interfaces", kernel_side_.sync(config_, false));
        return;
    }
    if (steered_ && !steering_.intact(kernel_side_.interfaces(config_))) {
        spdlog::warn("a packet-steering program was replaced from outside; publishing again");
        steered_ = false;
    }
    if (steered_)
        note("interfaces", kernel_side_.sync(config_, true));
    find_forgettable();
    const bool window_closes =
        compiled_ && compiled_->next_close_s.value_or(UINT32_MAX) <= seconds_now();
    if (!steered_ || window_closes || !adopted_hops_.empty() || !forget_.backends.empty() ||
        !forget_.vips.empty())
        schedule();
    if (std::chrono::steady_clock::now() >= adopted_until_)
        adopted_hops_.clear();
}

// Rows of the past that have had no connection for a while, on any worker, are free again.
void Controller::find_forgettable() {
    engine_.refresh();
    const Engine* engine = engine_.engine();
    if (!compiled_ || !engine->counters || engine_.publishing())
        return;
    const lb::CountersView& counters = *engine->counters;
    const Instant now = std::chrono::steady_clock::now();
    const auto judge = [&](std::map<std::uint32_t, Instant>& idle, std::set<std::uint32_t>& forget,
                           const std::vector<std::uint32_t>& rows, auto active) {
        std::map<std::uint32_t, Instant> still;
        for (const std::uint32_t row : rows) {
            std::uint64_t connections = 0;
            for (std::uint32_t block = 0; block < counters.blocks(); block++)
                connections += active(block, row);
            if (connections != 0)
                continue;
            const auto known = idle.find(row);
            const Instant since = known == idle.end() ? now : known->second;
            still[row] = since;
            if (now - since >= kForgetAfter)
                forget.insert(row);
        }
        idle = std::move(still);
    };
    // Nor may flows of which there is no record still be on their way to them.
    std::vector<std::uint32_t> leaving = compiled_->leaving;
    for (const auto& [pool, windows] : compiled_->windows)
        for (const std::uint32_t elder : windows.slots->elders())
            std::erase(leaving, elder);
    judge(idle_backends_, forget_.backends, leaving, [&](std::uint32_t block, std::uint32_t row) {
        return counters.backend(block, row).connections_active;
    });
    std::vector<std::uint32_t> unserved;
    for (std::uint32_t id = 0; id < history_.vips.size(); id++)
        if (history_.vips[id].identity != 0 && !(history_.vips[id].flags & WEIR_VIP_SERVED))
            unserved.push_back(id);
    judge(idle_vips_, forget_.vips, unserved, [&](std::uint32_t block, std::uint32_t row) {
        return counters.vip(block, row).connections_active;
    });
}

} // namespace weir::control
