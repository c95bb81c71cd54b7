// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/mover.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <utility>

#include "control/kernel/link.hpp"
#include "control/vrrp/real_time.hpp"

namespace weir::control::vrrp {
namespace {

using Clock = std::chrono::steady_clock;

// What somebody else took off, or a TAP that came late, is put right within this time.
constexpr std::chrono::seconds kRepair{1};

} // namespace

Expected<void> Mover::start() {
    auto socket = NetlinkSocket::open();
    if (!socket)
        return socket.error();
    socket_.emplace(std::move(*socket));
    ending_ = false;
    fresh_ = true; // a predecessor's addresses come off at once
    thread_ = std::thread([this] { run(); });
    return {};
}

bool Mover::give(Orders& orders) {
    {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock)
            return false;
        // An announcement that has not been made yet still is.
        orders.announce.insert(orders.announce.end(), orders_.announce.begin(),
                               orders_.announce.end());
        orders_ = std::move(orders);
        orders = {};
        fresh_ = true;
    }
    wake_.notify_one();
    return true;
}

void Mover::stop() {
    if (!thread_.joinable())
        return;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

std::vector<std::string> Mover::problems() {
    const std::lock_guard lock(mutex_);
    return problems_;
}

void Mover::run() {
    ask_for_real_time(kMoverPriority);
    Clock::time_point repair = Clock::now();
    while (true) {
        Orders orders;
        bool ending = false;
        {
            std::unique_lock lock(mutex_);
            Clock::time_point until = repair;
            for (const Round& round : rounds_)
                until = std::min(until, round.due);
            wake_.wait_until(lock, until, [this] { return fresh_ || ending_; });
            if (fresh_ || ending_ || Clock::now() >= repair) {
                orders.owned = orders_.owned;
                orders.announce = std::exchange(orders_.announce, {});
                repair = Clock::time_point::min();
            }
            fresh_ = false;
            ending = ending_;
        }
        if (repair == Clock::time_point::min()) {
            carry_out(orders);
            repair = Clock::now() + kRepair;
        }
        announce_what_is_due();
        if (ending)
            return;
    }
}

void Mover::carry_out(const Orders& orders) {
    std::vector<ManagedAddress> wanted;
    for (const AddressList& list : orders.owned)
        wanted.insert(wanted.end(), list->begin(), list->end());
    std::vector<std::string> problems;
    auto result = sync_addresses(*socket_, wanted, AddressScope::kLeased);
    if (result) {
        for (const Error& error : result->errors)
            problems.push_back(error.sentence);
        for (const ManagedAddress& address : result->added)
            spdlog::info("{} is on {}", address.prefix.to_string(), address.interface);
        for (const PresentAddress& address : result->removed) {
            spdlog::info("{} is off {}", address.prefix.to_string(), address.interface);
            for (Round& round : rounds_)
                std::erase_if(round.addresses, [&](const ManagedAddress& announced) {
                    return announced.prefix == address.prefix;
                });
        }
        announce(result->added);
    } else {
        problems.push_back(result.error().sentence);
    }
    on_ = {wanted.begin(), wanted.end()};
    for (const AddressList& list : orders.announce) {
        std::vector<ManagedAddress> still;
        std::copy_if(list->begin(), list->end(), std::back_inserter(still),
                     [this](const ManagedAddress& address) { return on_.contains(address); });
        announce(still);
    }
    const std::lock_guard lock(mutex_);
    problems_ = std::move(problems);
}

void Mover::announce(const std::vector<ManagedAddress>& addresses) {
    if (addresses.empty())
        return;
    announce_now(addresses);
    const Clock::time_point now = Clock::now();
    // A second change within the rounds of the first: the later rounds serve both.
    for (const auto& after : Announcer::kRounds)
        if (after.count() > 0 && rounds_.size() < 64)
            rounds_.push_back({now + after, addresses});
}

void Mover::announce_now(const std::vector<ManagedAddress>& addresses) {
    std::map<std::string, std::optional<Link>> links;
    std::vector<Announcement> announcements;
    for (const ManagedAddress& address : addresses) {
        auto [known, first] = links.try_emplace(address.interface);
        if (first)
            if (auto link = find_link(*socket_, address.interface))
                known->second = *link;
        if (known->second && known->second->ethernet)
            announcements.push_back(
                {known->second->index, known->second->mac, address.prefix.address});
    }
    if (announcements.empty())
        return;
    if (auto sent = announce_once(announcements); !sent)
        spdlog::warn("{}", sent.error().sentence);
}

void Mover::announce_what_is_due() {
    const Clock::time_point now = Clock::now();
    for (Round& round : rounds_)
        if (round.due <= now)
            announce_now(round.addresses);
    std::erase_if(rounds_, [&](const Round& round) { return round.due <= now; });
}

} // namespace weir::control::vrrp
