// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/bpf_steering.hpp"

#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/compile/identity.hpp"
#include "xdp/bpffs.hpp"

namespace weir::control {

Expected<void> BpfSteering::publish(const std::vector<SteeredInterface>& interfaces,
                                    const lb::ForwardingState& state) {
    const xdp::MatchTableView table{state.header().match, state.ranges(), state.match_rows()};
    forget_others(interfaces);
    for (const SteeredInterface& interface : interfaces)
        if (auto guarded = guard(interface, table, state.generation()); !guarded)
            return Error{"guard on " + interface.name + ": " + guarded.error().sentence};
    if (std::none_of(interfaces.begin(), interfaces.end(),
                     [this](const auto& interface) { return steers(interface); }))
        return {};
    if (!sorter_) {
        auto loaded = xdp::Sorter::load();
        if (!loaded)
            return loaded.error();
        sorter_.emplace(std::move(*loaded));
        if (auto turned = sorter_->balance_in_place(in_place_); !turned)
            return turned;
    }
    if (auto published = sorter_->publish(table, state.generation()); !published)
        return published;
    for (const SteeredInterface& interface : interfaces)
        if (auto steered = steer(interface); !steered)
            return Error{"steering on " + interface.name + ": " + steered.error().sentence};
    return {};
}

Expected<void> BpfSteering::steer(const SteeredInterface& interface) {
    if (!steers(interface))
        return {};
    const std::string pin = pins_.empty() ? "" : pins_ + "/" + xdp::pin_name(interface.name);
    auto [entry, added] = steering_.try_emplace(interface.ifindex, interface.ifindex, pin);
    return connect(entry->second);
}

Expected<void> BpfSteering::connect(xdp::Steering& steering) const {
    auto connected = steering.connect(targets());
    if (!connected)
        return connected;
    if (const auto pinned = steering.pin(); !pinned)
        spdlog::warn("what balances in a dataplane's place would end with weir-control: {}",
                     pinned.error().sentence);
    return connected;
}

void BpfSteering::set_balancer(std::optional<int> program) {
    balancer_ = program;
    for (auto& [ifindex, steering] : steering_)
        if (auto connected = connect(steering); !connected)
            spdlog::warn("{}", connected.error().sentence);
}

Expected<void> BpfSteering::balance_in_place(bool in_place) {
    in_place_ = in_place; // of one that is loaded later, too
    return sorter_ ? sorter_->balance_in_place(in_place) : Expected<void>();
}

void BpfSteering::look_for_programs(bool attach) {
    for (auto& [ifindex, steering] : steering_) {
        const auto found = steering.find();
        if (!found) // another's program, or no interface: publish() says so
            continue;
        const bool absent = *found == xdp::SteeringProgram::kAbsent;
        if (*found == xdp::SteeringProgram::kKnown || (absent && !attach))
            continue;
        auto done = absent ? steering.attach() : Expected<void>();
        if (done)
            done = connect(steering);
        if (!done)
            spdlog::debug("{}", done.error().sentence);
    }
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
        if (auto made = make_leases(); !made)
            return made;
        auto loaded = xdp::Guard::load(interface.ifindex, &*leases_);
        if (!loaded)
            return loaded.error();
        found = guards_.emplace(interface.ifindex, std::move(*loaded)).first;
    }
    if (auto published = found->second.publish(table, generation); !published)
        return published;
    return found->second.attach();
}

Expected<void> BpfSteering::make_leases() {
    if (leases_)
        return {};
    auto made = xdp::Leases::make();
    if (!made)
        return made.error();
    leases_.emplace(std::move(*made));
    return {};
}

Expected<void> BpfSteering::lend(const Loans& loans) {
    if (loans.empty() && !leases_)
        return {};
    if (auto made = make_leases(); !made)
        return made;
    std::vector<xdp::LeasedAddress> addresses;
    for (std::size_t number = 0; number < loans.size(); number++)
        for (const net::IpAddress& address : loans[number])
            addresses.push_back({to_weir(address), static_cast<std::uint32_t>(number)});
    return leases_->assign(addresses);
}

std::uint64_t* BpfSteering::lease(std::size_t number) {
    return leases_ && number < WEIR_MAX_LEASES
               ? leases_->deadline(static_cast<std::uint32_t>(number))
               : nullptr;
}

std::vector<GuardCount> BpfSteering::guard_counts() {
    xdp::GuardCounters sum;
    for (const auto& [ifindex, guard] : guards_)
        if (const auto counters = guard.counters()) {
            sum.dropped_vip += counters->dropped_vip;
            sum.dropped_snat += counters->dropped_snat;
            sum.dropped_backend += counters->dropped_backend;
            sum.dropped_unreadable += counters->dropped_unreadable;
            sum.dropped_question += counters->dropped_question;
            sum.dropped_claim += counters->dropped_claim;
        }
    return {
        {"vip", "to a served port, while nothing forwarded", sum.dropped_vip},
        {"snat", "to a port of a SNAT range, while nothing forwarded", sum.dropped_snat},
        {"backend", "a reply that would have gone out untranslated", sum.dropped_backend},
        {"unreadable", "to a VIP behind extension headers that cannot be followed",
         sum.dropped_unreadable},
        {"lease_question", "asks who has an address whose lease has lapsed", sum.dropped_question},
        {"lease_claim", "the kernel says it has an address whose lease has lapsed",
         sum.dropped_claim}};
}

// An interface that was made anew has another index.
void BpfSteering::forget_others(const std::vector<SteeredInterface>& interfaces) {
    const auto gone = [&](const auto& item) {
        return std::none_of(interfaces.begin(), interfaces.end(),
                            [&](const auto& interface) { return interface.ifindex == item.first; });
    };
    std::erase_if(guards_, gone);
    for (const auto& item : steering_)
        if (gone(item))
            item.second.unpin();
    std::erase_if(steering_, gone);
}

Expected<void> take_guard_off(const std::string& pin) {
    const unsigned ifindex = ::if_nametoindex(xdp::interface_of_pin(pin).c_str());
    return ifindex == 0 ? Expected<void>() : xdp::Guard::detach(ifindex);
}

} // namespace weir::control
