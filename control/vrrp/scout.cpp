// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/scout.hpp"

#include <algorithm>

#include <sys/eventfd.h>

#include "control/vrrp/real_time.hpp"

namespace weir::control::vrrp {
namespace {

constexpr std::chrono::milliseconds kLook{50};
// Once every group has its source addresses are only read so often: there may be very many.
constexpr int kLooksPerRead = 20;

} // namespace

void Scout::start(int wake) {
    wake_ = wake;
    ending_ = false;
    thread_ = std::thread([this] { run(); });
}

void Scout::stop() {
    if (!thread_.joinable())
        return;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Scout::configure(std::map<std::string, Station> stations) {
    {
        const std::lock_guard lock(mutex_);
        stations_ = std::move(stations);
        asked_++;
    }
    changed_.notify_one();
}

std::optional<Sights> Scout::take() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || !fresh_)
        return std::nullopt;
    fresh_ = false;
    return sights_;
}

void Scout::run() {
    // Above everything ordinary, so that it never holds what the runner wants while it waits for a
    // processor.
    ask_for_real_time(kMoverPriority);
    std::map<std::string, Station> stations;
    std::uint64_t answered = 0;
    while (true) {
        {
            std::unique_lock lock(mutex_);
            changed_.wait_for(lock, kLook, [&] { return ending_ || asked_ != answered; });
            if (ending_)
                return;
            stations = stations_;
            reads_due_ = reads_due_ || asked_ != answered;
            answered = asked_;
        }
        Sights seen = look(stations);
        close_unused(stations);
        {
            const std::lock_guard lock(mutex_);
            if (seen == sights_)
                continue;
            sights_ = std::move(seen);
            fresh_ = true;
        }
        ::eventfd_write(wake_, 1);
    }
}

Sights Scout::look(const std::map<std::string, Station>& stations) {
    std::map<std::string, LinkState> links;
    for (const auto& [group, station] : stations)
        if (!links.contains(station.interface))
            links[station.interface] = look_at_link(station.interface);
    const bool same_links = links == links_;
    links_ = std::move(links);
    if (reads_due_ || !same_links || some_lacks_source_ || ++looks_ >= kLooksPerRead) {
        present_ = read_present_addresses();
        looks_ = 0;
        reads_due_ = false;
    }
    Sights seen;
    for (const auto& [group, station] : stations)
        seen[group] = look_from(station);
    some_lacks_source_ = std::any_of(seen.begin(), seen.end(), [](const auto& sight) {
        return sight.second.running && !sight.second.source;
    });
    return seen;
}

Sight Scout::look_from(const Station& station) {
    const LinkState& link = links_[station.interface];
    Sight sight{.interface = station.interface,
                .v4 = station.v4,
                .running = link.running,
                .source = {},
                .wire = {},
                .problem = {}};
    if (link.ifindex != 0)
        sight.wire = wire_on({station.interface, station.v4}, link.ifindex, sight.problem);
    std::vector<net::IpAddress> moving;
    for (const ManagedAddress& address : *station.moves)
        moving.push_back(address.prefix.address);
    sight.source = choose_source(present_, station.interface, station.v4, station.sources, moving);
    if (!link.running)
        sight.problem = "the interface " + station.interface + " is down";
    else if (!sight.source)
        sight.problem = "the interface " + station.interface + " has no " +
                        (station.v4 ? "IPv4" : "IPv6") + " address to send adverts from";
    return sight;
}

std::shared_ptr<Wire> Scout::wire_on(const WireKey& key, int ifindex, std::string& problem) {
    const auto found = wires_.find(key);
    if (found != wires_.end()) {
        if (found->second->ifindex() == ifindex)
            return found->second;
        closing_.push_back(found->second); // the interface was made anew under the same name
        wires_.erase(found);
    }
    auto wire = Wire::open(key.first, key.second);
    if (!wire) {
        problem = wire.error().sentence;
        return nullptr;
    }
    return wires_.emplace(key, std::make_shared<Wire>(std::move(*wire))).first->second;
}

void Scout::close_unused(const std::map<std::string, Station>& stations) {
    std::erase_if(wires_, [&](const auto& wire) {
        const bool used = std::any_of(stations.begin(), stations.end(), [&](const auto& station) {
            return WireKey{station.second.interface, station.second.v4} == wire.first;
        });
        if (!used)
            closing_.push_back(wire.second);
        return !used;
    });
    // The last one who lets go of a socket closes it: that is to be this thread.
    std::erase_if(closing_, [](const auto& wire) { return wire.use_count() == 1; });
}

} // namespace weir::control::vrrp
