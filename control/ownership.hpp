// SPDX-License-Identifier: BSD-3-Clause
// Which VIPs this node owns: all of them with mode = "static", what its VRRP groups have won with
// mode = "vrrp". Makes the groups from the configuration and the facts from the controller's
// knowledge; the protocol itself runs on its own threads (control/vrrp/). Control's main thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "control/packet_steering.hpp"
#include "control/vrrp/runner.hpp"

namespace weir::control {

// What the controller knows that bears on ownership.
struct OwnershipFacts {
    bool can_forward = false;
    bool worker_stalled = false;
    std::vector<std::string> interfaces_down; // names of [interface.NAME]
    std::vector<unsigned> pool_percent_up;    // by pool
};

// What tracked facts take off the priorities of the groups. Pure.
vrrp::Facts facts_for(const config::Config& config, const OwnershipFacts& facts);

// The addresses that move with a group: its own, and with `snat` those of [snat] and [tunnel]
// except the node's own. Pure.
std::vector<ManagedAddress> moving_addresses(const config::Config& config,
                                             const config::VrrpGroupConfig& group);

// Every address that moves with some group. Empty with mode = "static".
std::vector<ManagedAddress> moving_addresses(const config::Config& config);

// Numbers for names: a name keeps its number for as long as it is wanted, whatever the order.
std::map<std::string, std::size_t> number_names(const std::vector<std::string>& wanted,
                                                const std::map<std::string, std::size_t>& before);

class Ownership {
public:
    // `steering` lends the addresses of the groups to this node while their owner renews the lease.
    explicit Ownership(PacketSteering& steering) : steering_(steering) {}

    // Takes up a configuration: starts, changes or ends the protocol. Sentences about what could
    // not be done.
    std::vector<std::string> configure(const config::Config& config);
    void set_facts(const config::Config& config, const OwnershipFacts& facts);
    // Releases what is owned, and waits until it is off the interfaces.
    void stop();

    [[nodiscard]] vrrp::Status status();
    [[nodiscard]] std::vector<vrrp::Transition> take_transitions();
    [[nodiscard]] std::vector<std::string> problems();

private:
    void lease(std::vector<vrrp::Group>& groups, std::vector<std::string>& problems);

    PacketSteering& steering_;
    std::map<std::string, std::size_t> lease_of_; // by group
    std::unique_ptr<vrrp::Runner> runner_;        // only with mode = "vrrp"
    vrrp::Facts told_;
    bool told_once_ = false;
};

} // namespace weir::control
