// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/neighbourhood.hpp"

#include <spdlog/spdlog.h>

#include "control/kernel/rtnetlink.hpp"

namespace weir::control {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// A table that took long to read (a full BGP table) is read that much less often.
constexpr int kReadShare = 20;

} // namespace

struct Neighbourhood::Channel {
    Channel(asio::io_context& io, NetlinkSocket requests_, NetlinkSocket events_)
        : requests(std::move(requests_)), events(std::move(events_)), readable(io, events.fd()),
          tick(io), settle(io) {}
    ~Channel() { readable.release(); } // the socket closes its own descriptor

    NetlinkSocket requests;
    NetlinkSocket events;
    asio::posix::stream_descriptor readable;
    asio::steady_timer tick;
    asio::steady_timer settle;
    bool live = true; // false once stopped: handlers still in the loop then do nothing
};

Neighbourhood::Neighbourhood(asio::io_context& io, OnChange on_change)
    : io_(io), on_change_(std::move(on_change)) {}

Neighbourhood::~Neighbourhood() {
    stop();
}

Expected<void> Neighbourhood::start() {
    Expected<NetlinkSocket> requests = NetlinkSocket::open();
    if (!requests) {
        return requests.error();
    }
    Expected<NetlinkSocket> events = NetlinkSocket::open_for_events(
        {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
         RTNLGRP_IPV6_ROUTE});
    if (!events) {
        return events.error();
    }
    channel_ = std::make_shared<Channel>(io_, std::move(*requests), std::move(*events));
    if (Expected<void> read = read_tables(channel_->requests, tables_); !read) {
        channel_.reset();
        return read;
    }
    refresh();
    wait_for_events();
    wait_for_tick();
    return {};
}

void Neighbourhood::stop() {
    if (!channel_) {
        return;
    }
    error_code ignored;
    channel_->live = false;
    channel_->readable.cancel(ignored);
    channel_->tick.cancel(ignored);
    channel_->settle.cancel(ignored);
    channel_.reset();
}

void Neighbourhood::set_interfaces(const std::vector<std::string>& names) {
    interfaces_ = {names.begin(), names.end()};
    refresh();
}

void Neighbourhood::set_targets(const std::vector<net::IpAddress>& targets) {
    targets_ = {targets.begin(), targets.end()};
    refresh();
}

// Each handler holds the channel, and does nothing once that is no longer live.
void Neighbourhood::wait_for_events() {
    channel_->readable.async_wait(asio::posix::stream_descriptor::wait_read,
                                  [this, channel = channel_](const error_code& ec) {
                                      if (!ec && channel->live) {
                                          on_events();
                                      }
                                  });
}

void Neighbourhood::on_events() {
    bool read = false;
    bool applied = false;
    switch (channel_->events.receive([&](const nlmsghdr* message) {
        const TableChange change = apply_notification(tables_, message);
        read = read || change == TableChange::kReadAgain;
        applied = applied || change == TableChange::kApplied;
    })) {
    case NetlinkSocket::Receive::kDrained:
        break;
    case NetlinkSocket::Receive::kLost:
        overruns_++;
        read = true;
        break;
    case NetlinkSocket::Receive::kBroken:
        spdlog::error("lost the route netlink socket; next hops are no longer followed");
        return;
    }
    if (read) {
        schedule_read();
    }
    if (applied) {
        refresh();
    }
    wait_for_events();
}

void Neighbourhood::schedule_read() {
    if (read_scheduled_) {
        return;
    }
    read_scheduled_ = true;
    channel_->settle.expires_at(std::max(next_read_, Clock::now() + kSettle));
    channel_->settle.async_wait([this, channel = channel_](const error_code& ec) {
        if (!ec && channel->live) {
            read_again();
        }
    });
}

void Neighbourhood::read_again() {
    read_scheduled_ = false;
    const Clock::time_point started = Clock::now();
    if (Expected<void> read = read_tables(channel_->requests, tables_); !read) {
        spdlog::error("{}", read.error().sentence);
        schedule_read();
    }
    const Clock::time_point ended = Clock::now();
    next_read_ = ended + (ended - started) * kReadShare;
    refresh();
}

void Neighbourhood::wait_for_tick() {
    channel_->tick.expires_after(kTick);
    channel_->tick.async_wait([this, channel = channel_](const error_code& ec) {
        if (!ec && channel->live) {
            refresh();
            wait_for_tick();
        }
    });
}

NextHop Neighbourhood::hold_or_drop(const net::IpAddress& target, const Lookup& lookup,
                                    Clock::time_point now) {
    const auto old = current_.find(target);
    const bool same_way = old != current_.end() && old->second.resolved &&
                          old->second.via == lookup.hop.via &&
                          old->second.ifindex == lookup.hop.ifindex;
    if (lookup.hop.resolved || !same_way || !lookup.neighbour) {
        held_since_.erase(target);
        return lookup.hop;
    }
    const auto since = held_since_.emplace(target, now).first->second;
    const bool forgotten = *lookup.neighbour == NeighbourState::kUnknown && now - since < kHold;
    if (lookup.carrier && !forgotten) {
        held_since_.erase(target);
        return lookup.hop;
    }
    NextHop held = lookup.hop;
    held.mac = old->second.mac;
    held.resolved = true;
    held.why_not.clear();
    return held;
}

void Neighbourhood::refresh() {
    if (!channel_) {
        return;
    }
    const Clock::time_point now = Clock::now();
    std::map<net::IpAddress, NextHop> next;
    wanted_.clear();
    for (const net::IpAddress& target : targets_) {
        const Lookup lookup = look_up(tables_, target, interfaces_);
        next.emplace(target, hold_or_drop(target, lookup, now));
        if (lookup.neighbour && *lookup.neighbour != NeighbourState::kValid) {
            wanted_.insert({lookup.hop.ifindex, lookup.hop.via});
        }
    }
    trigger_where_due(now);
    if (next != current_) {
        current_ = std::move(next);
        if (on_change_) {
            on_change_();
        }
    }
}

// Goes round, so that when more want an answer than may be asked at once, all have their turn.
void Neighbourhood::trigger_where_due(Clock::time_point now) {
    std::erase_if(triggered_, [&](const auto& entry) { return now - entry.second >= kRetry; });
    auto next = wanted_.upper_bound(last_triggered_);
    for (size_t i = 0; i < wanted_.size() && triggered_.size() < kTriggersAtOnce; i++, next++) {
        if (next == wanted_.end()) {
            next = wanted_.begin();
        }
        if (!triggered_.emplace(*next, now).second) {
            continue;
        }
        last_triggered_ = *next;
        const NetlinkSocket::Failure failure = trigger_resolution(channel_->requests, *next);
        if (failure.error != 0) {
            spdlog::debug("cannot ask for neighbour {}: {}", next->second.to_string(),
                          failure.reason);
        }
    }
}

} // namespace weir::control
