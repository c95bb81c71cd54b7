// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/runner.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/vrrp/away.hpp"
#include "control/vrrp/real_time.hpp"

namespace weir::control::vrrp {
namespace {

constexpr Micros kIdle{1'000'000};
constexpr Micros kTryAgain{1'000};  // what another thread held in its hands
constexpr int kPacketsAtOnce = 256; // a flood does not keep the timers waiting

Moment clock_now() {
    return std::chrono::time_point_cast<Micros>(std::chrono::steady_clock::now());
}

} // namespace

Expected<void> Runner::start() {
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_ < 0)
        return Error{std::string("starting VRRP: eventfd: ") + std::strerror(errno)};
    if (auto started = mover_.start(); !started)
        return started;
    ending_ = false;
    keep_in_memory();
    scout_.start(wake_);
    thread_ = std::thread([this] { run(); });
    return {};
}

void Runner::configure(std::vector<Group> groups) {
    std::map<std::string, Station> stations;
    for (const Group& group : groups)
        stations[group.name] = {group.interface, group.v4, group.sources, group.moves};
    scout_.configure(std::move(stations));
    {
        const std::lock_guard lock(mutex_);
        new_groups_ = std::move(groups);
    }
    ::eventfd_write(wake_, 1);
}

void Runner::set_facts(const Facts& facts) {
    {
        const std::lock_guard lock(mutex_);
        new_facts_ = facts;
    }
    ::eventfd_write(wake_, 1);
}

void Runner::stop() {
    if (!thread_.joinable())
        return;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    ::eventfd_write(wake_, 1);
    thread_.join();
    mover_.stop();
    scout_.stop();
    ::close(wake_);
    wake_ = -1;
}

Status Runner::status() {
    const std::lock_guard lock(mutex_);
    return status_;
}

std::vector<Transition> Runner::take_transitions() {
    const std::lock_guard lock(mutex_);
    return std::exchange(transitions_, {});
}

void Runner::run() {
    real_time_ = ask_for_real_time(kRunnerPriority);
    bool ending = false;
    while (!ending || orders_due_ || publish_due_) {
        ending = take_mail() || ending;
        if (ending)
            facts_.can_forward = false;
        if (auto sights = scout_.take())
            see(std::move(*sights));
        if (look_due_ || ending)
            look_after(clock_now());
        // Who was away steps down before it answers anybody.
        for (Router& router : routers_)
            if (was_away(router.group.settings, router.machine, clock_now()))
                give(router, Tick{}, clock_now());
        // What was heard counts before the timers that it stops.
        for (auto& [key, wire] : wires_)
            hear(*wire, key.first, key.second, clock_now());
        const Moment now = clock_now();
        for (Router& router : routers_)
            give(router, Tick{}, now);
        if (orders_due_)
            give_orders();
        if (publish_due_)
            publish();
        Moment due = now + kIdle;
        for (const Router& router : routers_)
            if (router.machine.timer)
                due = std::min(due, *router.machine.timer);
        if (orders_due_ || publish_due_)
            due = std::min(due, now + kTryAgain);
        if (!ending || orders_due_ || publish_due_)
            wait_until(due);
    }
}

// True: it is time to end.
bool Runner::take_mail() {
    std::optional<std::vector<Group>> groups;
    bool ending = false;
    {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock) {
            publish_due_ = true; // comes back soon
            return false;
        }
        groups = std::exchange(new_groups_, std::nullopt);
        if (new_facts_) {
            facts_ = *std::exchange(new_facts_, std::nullopt);
            look_due_ = true;
        }
        ending = ending_;
    }
    if (groups)
        reconcile(std::move(*groups));
    return ending;
}

void Runner::reconcile(std::vector<Group> groups) {
    const Moment now = clock_now();
    std::vector<Router> kept;
    for (Group& group : groups) {
        const auto found =
            std::find_if(routers_.begin(), routers_.end(), [&](const Router& router) {
                return router.group.name == group.name && router.group.same_router(group);
            });
        Router router;
        if (found != routers_.end()) {
            router = std::move(*found);
            routers_.erase(found);
            group.settings.source = router.group.settings.source;
        }
        router.group = std::move(group);
        router.seen.name = router.group.name;
        kept.push_back(std::move(router));
    }
    for (Router& gone : routers_)
        give(gone, Shutdown{}, now);
    routers_ = std::move(kept);
    look_due_ = true;
    orders_due_ = true;
    publish_due_ = true;
}

void Runner::see(Sights sights) {
    sights_ = std::move(sights);
    wires_.clear();
    for (const auto& [group, sight] : sights_)
        if (sight.wire)
            wires_[{sight.interface, sight.v4}] = sight.wire;
    look_due_ = true;
}

// Interfaces come and go, and so do the reasons to be in the election at all.
void Runner::look_after(Moment now) {
    look_due_ = false;
    for (Router& router : routers_)
        look_after(router, now);
}

void Runner::look_after(Router& router, Moment now) {
    const Group& group = router.group;
    const auto found = sights_.find(group.name);
    // The scout may still be looking from where the group was before.
    const bool seen = found != sights_.end() && found->second.interface == group.interface &&
                      found->second.v4 == group.v4;
    const Sight sight = seen ? found->second : Sight{};
    router.wire = sight.wire;
    if (router.machine.state == State::kInit) {
        router.seen.source = sight.source;
        if (sight.source)
            router.group.settings.source = *sight.source;
    }
    if (sight.problem != router.seen.problem) {
        router.seen.problem = sight.problem;
        publish_due_ = true;
    }
    const auto lower = facts_.lower.find(group.name);
    const int taken = lower == facts_.lower.end() ? 0 : static_cast<int>(lower->second);
    const auto priority = static_cast<std::uint8_t>(std::max(1, group.settings.priority - taken));
    if (priority != router.machine.priority) {
        give(router, SetPriority{priority}, now);
        publish_due_ = true;
    }
    const bool able = facts_.can_forward && sight.running && router.wire && router.seen.source;
    if (able && router.machine.state == State::kInit)
        give(router, Startup{}, now);
    else if (!able && router.machine.state != State::kInit)
        give(router, Shutdown{}, now);
}

void Runner::hear(Wire& wire, const std::string& interface, bool v4, Moment now) {
    for (int i = 0; i < kPacketsAtOnce; i++) {
        const auto packet = wire.receive();
        if (!packet)
            return;
        const auto vrid = vrid_of(packet->message);
        Router* router = vrid ? router_of(interface, v4, *vrid) : nullptr;
        if (!vrid)
            reject(Reject::kShort);
        else if (packet->hop_limit != kWholeHopLimit)
            reject(Reject::kHopLimit);
        else if (router == nullptr)
            reject(Reject::kVrid);
        else
            hear(*router, *packet, now);
    }
}

Runner::Router* Runner::router_of(const std::string& interface, bool v4, std::uint8_t vrid) {
    const auto found = std::find_if(routers_.begin(), routers_.end(), [&](const Router& router) {
        return router.group.interface == interface && router.group.v4 == v4 &&
               router.group.vrid == vrid;
    });
    return found == routers_.end() ? nullptr : &*found;
}

void Runner::reject(Reject reason) {
    rejected_[static_cast<std::size_t>(reason)]++;
    publish_due_ = true;
}

void Runner::hear(Router& router, const Received& packet, Moment now) {
    const Group& group = router.group;
    const auto is_peer = [&] {
        return group.peers.empty() || std::find(group.peers.begin(), group.peers.end(),
                                                packet.source) != group.peers.end();
    };
    if (packet.source == group.settings.source || !is_peer()) {
        reject(Reject::kSender);
        return;
    }
    const auto result = decode(packet, {.version = group.settings.version,
                                        .vrid = group.vrid,
                                        .interval = group.settings.interval,
                                        .key = group.key});
    if (const auto* reason = std::get_if<Reject>(&result)) {
        reject(*reason);
        return;
    }
    const auto& accepted = std::get<Accepted>(result);
    if (accepted.sequence && !router.replay.accept(packet.source, *accepted.sequence)) {
        reject(Reject::kReplayed);
        return;
    }
    // A signature is proof enough that a peer of ours sent it, so that peers may be given their new
    // addresses one after the other.
    if (!accepted.sequence && !same_addresses(accepted.advert.addresses, group.advertised)) {
        reject(Reject::kAddresses);
        return;
    }
    router.seen.received++;
    router.seen.owner = packet.source;
    router.seen.owner_priority = accepted.advert.priority;
    publish_due_ = true;
    give(router,
         Heard{accepted.advert.priority, accepted.advert.interval, packet.source, packet.age}, now);
}

void Runner::give(Router& router, const Event& event, Moment now) {
    const State before = router.machine.state;
    const Step result = step(router.group.settings, router.machine, event, now);
    router.machine = result.machine;
    const Actions& actions = result.actions;
    renew_lease(router, actions.send.has_value(), now);
    if (actions.send)
        send(router, *actions.send);
    if (actions.listening_once_more || actions.why == Why::kLate) {
        router.seen.late++;
        publish_due_ = true;
    }
    if (actions.acquire || actions.release)
        orders_due_ = true;
    if (actions.announce) {
        to_announce_.push_back(router.group.moves);
        orders_due_ = true;
    }
    if (router.machine.state == before)
        return;
    router.seen.transitions++;
    router.seen.why = to_string(actions.why);
    if (router.machine.state == State::kOwner) {
        router.seen.owner = router.group.settings.source;
        router.seen.owner_priority = router.machine.priority;
    }
    untold_.push_back({router.group.name, before, router.machine.state, router.seen.why,
                       std::chrono::system_clock::now()});
    publish_due_ = true;
}

// `now` was read before the advert goes out, so that the peers wait longer than the lease runs. Who
// is not the owner has no lease, from before the advert that says so.
void Runner::renew_lease(const Router& router, bool advert, Moment now) {
    const Group& group = router.group;
    if (group.lease == nullptr)
        return;
    const bool owner = router.machine.state == State::kOwner;
    if (owner && !advert)
        return;
    const auto until = now.time_since_epoch() + lease_time(group.settings);
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(until).count();
    __atomic_store_n(group.lease, owner ? static_cast<std::uint64_t>(ns) : 0, __ATOMIC_RELAXED);
}

void Runner::send(Router& router, std::uint8_t priority) {
    const Group& group = router.group;
    if (!router.wire)
        return;
    const Advert advert{.vrid = group.vrid,
                        .priority = priority,
                        .interval = group.settings.interval,
                        .addresses = group.advertised};
    std::vector<net::IpAddress> destinations = group.peers;
    if (destinations.empty())
        destinations.push_back(multicast_group(group.v4));
    Sending how{.version = group.settings.version,
                .source = group.settings.source,
                .destination = {},
                .checksum = group.checksum,
                .signature = {}};
    if (!group.key.empty())
        how.signature = Signed{router.replay.next(), group.key};
    for (const net::IpAddress& destination : destinations) {
        how.destination = destination;
        if (const int error = router.wire->send(how.source, destination, encode(advert, how));
            error != 0) {
            router.seen.problem = "an advert to " + destination.to_string() +
                                  " could not be sent: " + std::strerror(error);
            publish_due_ = true;
        } else {
            router.seen.sent++;
        }
    }
}

void Runner::give_orders() {
    Orders orders;
    for (const Router& router : routers_)
        if (router.machine.state == State::kOwner)
            orders.owned.push_back(router.group.moves);
    orders.announce = to_announce_;
    if (!mover_.give(orders))
        return;
    to_announce_.clear();
    orders_due_ = false;
}

void Runner::publish() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock)
        return;
    status_.groups.clear();
    for (Router& router : routers_) {
        router.seen.state = router.machine.state;
        router.seen.priority = router.machine.priority;
        router.seen.down_interval = down_interval(router.group.settings, router.machine.priority,
                                                  router.machine.owner_interval);
        status_.groups.push_back(router.seen);
    }
    status_.rejected = rejected_;
    status_.real_time = real_time_;
    transitions_.insert(transitions_.end(), untold_.begin(), untold_.end());
    untold_.clear();
    publish_due_ = false;
}

void Runner::wait_until(Moment due) {
    std::vector<pollfd> files{{wake_, POLLIN, 0}};
    for (const auto& [key, wire] : wires_)
        files.push_back({wire->fd(), POLLIN, 0});
    const auto left = std::max(Micros{0}, std::chrono::duration_cast<Micros>(due - clock_now()));
    const timespec timeout{.tv_sec = left.count() / 1'000'000,
                           .tv_nsec = left.count() % 1'000'000 * 1'000};
    ::ppoll(files.data(), files.size(), &timeout, nullptr);
    eventfd_t ignored = 0;
    ::eventfd_read(wake_, &ignored);
}

} // namespace weir::control::vrrp
