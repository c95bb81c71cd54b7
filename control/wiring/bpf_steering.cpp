// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/bpf_steering.hpp"

#include <net/if.h>

#include <algorithm>

#include "xdp/bpffs.hpp"

namespace weir::control {

Expected<void> BpfSteering::publish(const std::vector<SteeredInterface>& interfaces,
                                    const lb::ForwardingState& state) {
    const xdp::MatchTableView table{state.header().match, state.ranges(), state.match_rows()};
    forget_others(interfaces);
    for (const SteeredInterface& interface : interfaces)
        if (auto guarded = guard(interface, table, state.generation()); !guarded)
            return Error{"guard on " + interface.name + ": " + guarded.error().sentence};
    for (const SteeredInterface& interface : interfaces) {
        if (!steers(interface))
            continue;
        auto [entry, added] = steering_.try_emplace(interface.ifindex, interface.ifindex);
        if (auto steered = entry->second.publish(table, state.generation()); !steered)
            return Error{"steering on " + interface.name + ": " + steered.error().sentence};
    }
    return {};
}

bool BpfSteering::intact(const std::vector<SteeredInterface>& interfaces) {
    for (const SteeredInterface& interface : interfaces) {
        const auto guard = guards_.find(interface.ifindex);
        if (guard == guards_.end() || !guard->second.attached().value_or(false))
            return false;
        if (!steers(interface))
            continue;
        const auto steering = steering_.find(interface.ifindex);
        if (steering == steering_.end())
            return false;
        const auto found = steering->second.find();
        if (!found || *found != xdp::SteeringProgram::kKnown)
            return false;
    }
    return true;
}

Expected<void> BpfSteering::guard(const SteeredInterface& interface,
                                  const xdp::MatchTableView& table, std::uint64_t generation) {
    auto found = guards_.find(interface.ifindex);
    if (found == guards_.end()) {
        auto loaded = xdp::Guard::load(interface.ifindex);
        if (!loaded)
            return loaded.error();
        found = guards_.emplace(interface.ifindex, std::move(*loaded)).first;
    }
    if (auto published = found->second.publish(table, generation); !published)
        return published;
    return found->second.attach();
}

// An interface that was made anew has another index.
void BpfSteering::forget_others(const std::vector<SteeredInterface>& interfaces) {
    const auto gone = [&](const auto& item) {
        return std::none_of(interfaces.begin(), interfaces.end(),
                            [&](const auto& interface) { return interface.ifindex == item.first; });
    };
    std::erase_if(guards_, gone);
    std::erase_if(steering_, gone);
}

Expected<void> take_guard_off(const std::string& pin) {
    const unsigned ifindex = ::if_nametoindex(xdp::interface_of_pin(pin).c_str());
    return ifindex == 0 ? Expected<void>() : xdp::Guard::detach(ifindex);
}

} // namespace weir::control
