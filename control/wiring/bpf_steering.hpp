// SPDX-License-Identifier: BSD-3-Clause
// PacketSteering over xdp/: the guard on every kernel-side interface, and with the DPDK engine the
// sorter behind the steering programs of the kernel-visible ones.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "control/engine_choice.hpp"
#include "control/packet_steering.hpp"
#include "xdp/guard.hpp"
#include "xdp/sorter.hpp"
#include "xdp/steering.hpp"

namespace weir::control {

class BpfSteering final : public PacketSteering {
public:
    // The XDP balancer is on its interfaces itself: it needs nothing steered to it.
    explicit BpfSteering(EngineKind engine) : steers_(engine == EngineKind::kDpdk) {}

    Expected<void> publish(const std::vector<SteeredInterface>& interfaces,
                           const lb::ForwardingState& state) override;
    bool intact(const std::vector<SteeredInterface>& interfaces) override;
    Expected<void> lend(const Loans& loans) override;
    std::uint64_t* lease(std::size_t number) override;
    std::vector<GuardCount> guard_counts() override;

    // --- for an engine that stands in for the dataplane (StandInEngine) -------------------------

    // From here on the maps of programs are pinned in this directory of a BPF filesystem, by
    // interface: what is entered into them goes on being called when control is gone.
    void keep_in(std::string directory) { pins_ = std::move(directory); }
    // The program that balances what finds no socket; -1: none any more; nothing: that which an
    // earlier control has entered. It stays the caller's.
    void set_balancer(std::optional<int> program);
    // Whether everything that is ours goes there, sockets or none.
    Expected<void> balance_in_place(bool in_place);
    // Enters sorter and balancer into steering programs that a dataplane has attached since.
    // `attach`: where there is none, with one of our own.
    void look_for_programs(bool attach);

private:
    [[nodiscard]] bool steers(const SteeredInterface& interface) const {
        return steers_ && !interface.bypassed;
    }
    Expected<void> guard(const SteeredInterface& interface, const xdp::MatchTableView& table,
                         std::uint64_t generation);
    Expected<void> steer(const SteeredInterface& interface);
    // Enters the targets into the attached program, for longer than this process where it can be.
    Expected<void> connect(xdp::Steering& steering) const;
    Expected<void> make_leases();
    [[nodiscard]] xdp::SteeringTargets targets() const {
        return {.sorter = sorter_ ? sorter_->program() : -1, .balancer = balancer_};
    }
    void forget_others(const std::vector<SteeredInterface>& interfaces);

    bool steers_;
    std::optional<xdp::Leases> leases_; // shared by the guards; made with the first loan or guard
    std::map<unsigned, xdp::Guard> guards_;
    std::map<unsigned, xdp::Steering> steering_;
    std::string pins_;                  // empty: nothing is pinned
    std::optional<xdp::Sorter> sorter_; // loaded with the first publication
    std::optional<int> balancer_ = -1;
    bool in_place_ = false;
};

// Takes the guard off the interface whose pin has this name. One that is gone has none.
Expected<void> take_guard_off(const std::string& pin);

} // namespace weir::control
