// SPDX-License-Identifier: BSD-3-Clause
#include "control/ownership.hpp"

#include <algorithm>
#include <set>

#include "control/compile/match_rows.hpp"
#include "control/compile/row_ids.hpp"
#include "control/kernel_side.hpp"
#include "control/state_files.hpp"

namespace weir::control {
namespace {

constexpr std::size_t kShortestSecret = 16;

Expected<std::string> read_secret(const std::string& path) {
    auto text = read_file(path);
    if (!text)
        return text.error();
    while (!text->empty() && (text->back() == '\n' || text->back() == '\r'))
        text->pop_back();
    if (text->size() < kShortestSecret)
        return Error{path + " has no secret of at least " + std::to_string(kShortestSecret) +
                     " bytes"};
    return text;
}

std::vector<net::IpAddress> preferred_sources(const config::InterfaceConfig& interface,
                                              const config::VrrpGroupConfig& group) {
    const bool v4 = group.family == config::VrrpFamily::kIpv4;
    // RFC 9568 section 5.1.2.1: adverts over IPv6 come from the link-local address. Only peers
    // that are known by another one expect it.
    const bool wants_global =
        v4 || std::any_of(group.peers.begin(), group.peers.end(),
                          [](const net::IpAddress& peer) { return !peer.is_link_local(); });
    std::vector<net::IpAddress> sources;
    for (const net::IpPrefix& prefix : interface.addresses)
        if (prefix.address.is_v4() == v4 && (wants_global || prefix.address.is_link_local()))
            sources.push_back(prefix.address);
    return sources;
}

Expected<vrrp::Group> group_of(const config::Config& config,
                               const config::VrrpGroupConfig& wanted) {
    const config::InterfaceConfig& interface = config.interfaces[wanted.interface];
    vrrp::Group group;
    group.name = wanted.name;
    group.interface = interface.kernel_interface;
    group.v4 = wanted.family == config::VrrpFamily::kIpv4;
    group.vrid = wanted.vrid;
    group.settings.version = wanted.version == 2 ? vrrp::Version::k2 : vrrp::Version::k3;
    group.settings.priority = wanted.priority;
    group.settings.interval = wanted.advert_interval;
    group.settings.preempt = wanted.preempt;
    group.settings.preempt_delay = wanted.preempt_delay;
    group.checksum = wanted.checksum == config::VrrpChecksum::kPlain
                         ? vrrp::ChecksumForm::kPlain
                         : vrrp::ChecksumForm::kPseudoHeader;
    if (!wanted.secret_file.empty()) {
        auto secret = read_secret(wanted.secret_file);
        if (!secret)
            return Error{"[ownership.group." + wanted.name +
                         "] takes no part in the election: " + secret.error().sentence};
        group.key = std::move(*secret);
    }
    group.sources = preferred_sources(interface, wanted);
    group.peers = wanted.peers;
    group.advertised = wanted.advertised;
    group.moves =
        std::make_shared<const std::vector<ManagedAddress>>(moving_addresses(config, wanted));
    return group;
}

bool is_node_address(const config::Config& config, const net::IpAddress& address) {
    return std::any_of(
        config.interfaces.begin(), config.interfaces.end(), [&](const auto& interface) {
            return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                               [&](const auto& prefix) { return prefix.address == address; });
        });
}

} // namespace

std::vector<ManagedAddress> moving_addresses(const config::Config& config,
                                             const config::VrrpGroupConfig& group) {
    std::vector<net::IpAddress> addresses = group.addresses;
    if (group.snat) {
        if (uses_full_nat(config))
            for (const net::IpAddress& address : snat_addresses(config))
                addresses.push_back(address);
        for (const net::IpAddress& address : tunnel_addresses(config))
            addresses.push_back(address);
    }
    std::vector<ManagedAddress> moving;
    std::set<ManagedAddress> known;
    for (const net::IpAddress& address : addresses) {
        if (is_node_address(config, address))
            continue;
        ManagedAddress managed{home_of(config, address).kernel_interface,
                               net::IpPrefix::host(address), AddressKind::kLeased};
        if (known.insert(managed).second)
            moving.push_back(std::move(managed));
    }
    return moving;
}

std::vector<ManagedAddress> moving_addresses(const config::Config& config) {
    std::vector<ManagedAddress> moving;
    for (const config::VrrpGroupConfig& group : config.vrrp_groups) {
        const auto some = moving_addresses(config, group);
        moving.insert(moving.end(), some.begin(), some.end());
    }
    return moving;
}

vrrp::Facts facts_for(const config::Config& config, const OwnershipFacts& facts) {
    vrrp::Facts result{.can_forward = facts.can_forward, .lower = {}};
    for (const config::VrrpGroupConfig& group : config.vrrp_groups) {
        unsigned lower = facts.worker_stalled ? group.lower_worker_stalled : 0;
        const std::string& own = config.interfaces[group.interface].name;
        for (const std::string& down : facts.interfaces_down)
            if (down != own) // without its own interface it is not in the election at all
                lower += group.lower_interface_down;
        const bool below = std::any_of(group.vips.begin(), group.vips.end(), [&](std::size_t vip) {
            const std::size_t pool = config.vips[vip].pool;
            return pool < facts.pool_percent_up.size() &&
                   facts.pool_percent_up[pool] < group.quorum_percent;
        });
        if (below)
            lower += group.lower_below_quorum;
        result.lower[group.name] = lower;
    }
    return result;
}

std::map<std::string, std::size_t> number_names(const std::vector<std::string>& wanted,
                                                const std::map<std::string, std::size_t>& before) {
    std::map<std::string, std::size_t> numbers;
    std::set<std::size_t> taken;
    for (const std::string& name : wanted)
        if (const auto found = before.find(name); found != before.end()) {
            numbers.insert(*found);
            taken.insert(found->second);
        }
    std::size_t next = 0;
    for (const std::string& name : wanted) {
        if (numbers.contains(name))
            continue;
        while (taken.contains(next))
            next++;
        numbers[name] = next++;
    }
    return numbers;
}

// Before the runner hears of the groups: what it will own is on loan by then.
void Ownership::lease(std::vector<vrrp::Group>& groups, std::vector<std::string>& problems) {
    std::vector<std::string> names;
    names.reserve(groups.size());
    for (const vrrp::Group& group : groups)
        names.push_back(group.name);
    lease_of_ = number_names(names, lease_of_);
    PacketSteering::Loans loans;
    for (const vrrp::Group& group : groups) {
        const std::size_t number = lease_of_.at(group.name);
        loans.resize(std::max(loans.size(), number + 1));
        for (const ManagedAddress& moving : *group.moves)
            loans[number].push_back(moving.prefix.address);
    }
    auto lent = steering_.lend(loans);
    if (!lent) {
        problems.push_back("the guard does not see to the leases of the VIPs: " +
                           lent.error().sentence);
        lent = steering_.lend({}); // what nobody renews must not be on loan
        return;
    }
    for (vrrp::Group& group : groups)
        group.lease = steering_.lease(lease_of_.at(group.name));
}

std::vector<std::string> Ownership::configure(const config::Config& config) {
    if (config.ownership != config::OwnershipMode::kVrrp) {
        stop();
        return {};
    }
    std::vector<std::string> problems;
    if (config.hash_key_file.empty() &&
        std::any_of(config.vips.begin(), config.vips.end(),
                    [](const config::VipConfig& vip) { return config::is_dsr(vip.forward); }))
        problems.emplace_back("the flow hash key is this node's own: when a VIP moves to another "
                              "node its DSR connections go to other backends and break; give the "
                              "nodes one [cluster] hash_key_file");
    std::vector<vrrp::Group> groups;
    for (const config::VrrpGroupConfig& wanted : config.vrrp_groups) {
        auto group = group_of(config, wanted);
        if (group)
            groups.push_back(std::move(*group));
        else
            problems.push_back(group.error().sentence);
    }
    lease(groups, problems);
    if (!runner_) {
        runner_ = std::make_unique<vrrp::Runner>();
        told_once_ = false;
        if (auto started = runner_->start(); !started) {
            problems.push_back(started.error().sentence);
            runner_.reset();
            return problems;
        }
    }
    runner_->configure(std::move(groups));
    return problems;
}

void Ownership::set_facts(const config::Config& config, const OwnershipFacts& facts) {
    if (!runner_)
        return;
    const vrrp::Facts fresh = facts_for(config, facts);
    if (told_once_ && fresh == told_)
        return;
    told_once_ = true;
    told_ = fresh;
    runner_->set_facts(fresh);
}

void Ownership::stop() {
    if (!runner_)
        return;
    runner_->stop();
    runner_.reset();
}

vrrp::Status Ownership::status() {
    return runner_ ? runner_->status() : vrrp::Status{};
}

std::vector<vrrp::Transition> Ownership::take_transitions() {
    return runner_ ? runner_->take_transitions() : std::vector<vrrp::Transition>{};
}

std::vector<std::string> Ownership::problems() {
    std::vector<std::string> problems;
    if (!runner_)
        return problems;
    problems = runner_->problems();
    for (const vrrp::GroupStatus& group : runner_->status().groups)
        if (!group.problem.empty())
            problems.push_back("group " + group.name + ": " + group.problem);
    return problems;
}

} // namespace weir::control
