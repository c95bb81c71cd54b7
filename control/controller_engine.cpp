// SPDX-License-Identifier: BSD-3-Clause
// The controller's part that hears from the engine.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "control/compile/identity.hpp"
#include "control/compile/windows.hpp"
#include "control/controller.hpp"

namespace weir::control {

ForwardingEngine::Handlers Controller::engine_handlers() {
    return {
        .ready =
            [this](const std::shared_ptr<const Generation>& running) { engine_ready(running); },
        .adopt = [this](const lb::ForwardingState& running) { adopt_generation(running); },
        .lost = [this] { engine_lost(); },
        .event = [this](const std::string& subject,
                        const std::string& what) { events_.add("engine", subject, what); },
        .answered =
            [this](const std::shared_ptr<const Generation>& generation, bool accepted,
                   const std::string& reason) { engine_answered(generation, accepted, reason); },
        .problems = [this](const std::string& topic,
                           std::vector<std::string> problems) { note(topic, std::move(problems)); },
        .make_tap =
            [this](const config::InterfaceConfig& interface, const net::MacAddress& mac) {
                return kernel_side_.make_tap(interface, mac);
            }};
}

void Controller::engine_ready(const std::shared_ptr<const Generation>& running) {
    steered_ = false;
    const lb::ForwardingState* state = running ? &running->state() : nullptr;
    if (state != nullptr)
        adopt_generation(*state);
    auto taken = engine_.take_interfaces(config_);
    usable_ = static_cast<bool>(taken);
    note("engine interfaces",
         taken ? std::vector<std::string>{} : std::vector{taken.error().sentence});
    if (!taken)
        return;
    facts_ = std::move(*taken);
    note("interfaces", kernel_side_.sync(config_, false));
    start_probing(state);
    schedule();
}

// What an earlier control has published is the beginning, until this one knows better.
void Controller::adopt_generation(const lb::ForwardingState& state) {
    if (state.generation() <= history_.generation)
        return;
    history_ = history_of(state);
    history_.windows = windows_of(state);
    // A key of this node's own may have been lost with the runtime directory; one that the operator
    // has named is what other nodes have, too.
    if (config_.hash_key_file.empty())
        settings_.hash_key = state.hash_key();
    else if (std::memcmp(&settings_.hash_key, &state.hash_key(), sizeof(weir_hash_key)) != 0)
        spdlog::warn("the flow hash key is now that of {}: connections begin anew",
                     config_.hash_key_file);
    adopted_until_ = std::chrono::steady_clock::now() + kHoldAdopted;
    for (const weir_backend_row& row : state.backends()) {
        if (row.next_hop == WEIR_NO_ROW)
            continue;
        const weir_next_hop_row& hop = state.next_hops()[row.next_hop];
        net::MacAddress::Bytes mac;
        std::copy_n(hop.destination_mac, mac.size(), mac.begin());
        adopted_hops_[to_net(row.address)] = {hop.interface, net::MacAddress::from_bytes(mac),
                                              hop.mtu};
    }
}

void Controller::engine_lost() {
    usable_ = false;
    steered_ = false;
    forwarding_ = false;
    events_.add("engine", engine_.name(), "is gone");
    ownership_.set_facts(config_, ownership_facts());
    finish_waiters(true);
}

void Controller::engine_answered(const std::shared_ptr<const Generation>& generation, bool accepted,
                                 const std::string& reason) {
    if (accepted) {
        note("generation", {});
        history_ = history_of(generation->state());
        compiled_ = std::move(pending_);
        history_.windows = compiled_->windows;
        forget_ = {};
        steered_ = true;
        settle();
    } else {
        note("generation", {"the engine refused generation " +
                            std::to_string(generation->number()) + ": " + reason});
        if (const auto live = engine_.live())
            if (auto back = steer(live->state()); !back)
                note("steering", {back.error().sentence});
        finish_waiters(true);
    }
    pending_.reset();
    if (again_)
        schedule();
}

} // namespace weir::control
