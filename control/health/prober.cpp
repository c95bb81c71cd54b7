// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/prober.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <spdlog/spdlog.h>

#include <random>

#include "control/health/probe.hpp"
#include "control/health/schedule.hpp"

namespace weir::control {

namespace asio = boost::asio;

namespace {

Instant now() {
    return std::chrono::steady_clock::now();
}

HealthRules rules_of(const config::HealthConfig& health) {
    return {.rise = health.rise, .fall = health.fall};
}

} // namespace

// One backend: its health, and the loop that samples it, one sample at a time.
class Prober::Task : public std::enable_shared_from_this<Task> {
public:
    Task(Prober& owner, ProbeTarget target, HealthStatus initial)
        : owner_(&owner), target_(std::move(target)),
          state_(rules_of(target_.health), now(), initial), timer_(owner.io_),
          random_(std::random_device{}()) {}

    void start() {
        if (probe_available(target_.health.type)) {
            asio::co_spawn(owner_->io_, loop(shared_from_this()), asio::detached);
        } else if (target_.health.type != config::HealthType::kNone) {
            spdlog::error("pool {} backend {}: health type {} cannot be probed; counted as up",
                          target_.pool, target_.name, config::to_string(target_.health.type));
        }
    }

    void stop() {
        owner_ = nullptr;
        boost::system::error_code ignored;
        timer_.cancel(ignored);
        if (probe_) {
            probe_->abort();
        }
    }

    // What may differ while the backend stays the same.
    void adopt(const ProbeTarget& target) {
        target_.name = target.name;
        target_.device = target.device;
    }

    [[nodiscard]] bool same_probe(const ProbeTarget& other) const {
        return target_.probe_port == other.probe_port && target_.health == other.health;
    }
    [[nodiscard]] const ProbeTarget& target() const { return target_; }
    [[nodiscard]] const HealthState& state() const { return state_; }

    [[nodiscard]] BackendHealth health() const {
        const bool probed = probe_available(target_.health.type);
        return {.pool = target_.pool,
                .name = target_.name,
                .backend = target_.backend,
                .status = status(),
                .reason = probed ? state_.reason() : "not probed",
                .last_result = state_.last_result(),
                .last_change = state_.last_change(),
                .last_sample = state_.last_sample(),
                .consecutive_successes = state_.consecutive_successes(),
                .consecutive_failures = state_.consecutive_failures(),
                .samples = samples_,
                .discarded = state_.discarded() + inconclusive_,
                .last_took = last_took_,
                .held_until = state_.held_until()};
    }
    [[nodiscard]] HealthStatus status() const {
        return probe_available(target_.health.type) ? state_.status() : HealthStatus::kUp;
    }

private:
    static asio::awaitable<void> loop(std::shared_ptr<Task> self);
    void observe(const ProbeResult& result, Instant started);
    double fraction() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

    Prober* owner_; // nullptr once stopped
    ProbeTarget target_;
    HealthState state_;
    asio::steady_timer timer_;
    std::minstd_rand random_;
    std::shared_ptr<Probe> probe_; // the sample in flight
    uint64_t samples_ = 0;
    uint64_t inconclusive_ = 0;
    Milliseconds last_took_{0};
};

asio::awaitable<void> Prober::Task::loop(std::shared_ptr<Task> self) {
    Instant next = now() + first_probe_delay(self->target_.health.interval, self->fraction());
    while (self->owner_ != nullptr) {
        self->timer_.expires_at(next);
        boost::system::error_code ec;
        co_await self->timer_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        if (self->owner_ == nullptr) {
            break;
        }
        const Instant started = now();
        self->probe_ = std::make_shared<Probe>(self->owner_->io_,
                                               ProbeSpec{.address = self->target_.backend.address,
                                                         .port = self->target_.probe_port,
                                                         .device = self->target_.device,
                                                         .health = self->target_.health});
        const ProbeResult result = co_await self->probe_->run();
        self->probe_.reset();
        if (self->owner_ == nullptr) {
            break;
        }
        self->observe(result, started);
        next = started + next_probe_delay(self->target_.health.interval, self->state_.status(),
                                          self->samples_, self->fraction());
    }
}

void Prober::Task::observe(const ProbeResult& result, Instant started) {
    const Instant finished = now();
    samples_++;
    last_took_ = std::chrono::duration_cast<Milliseconds>(finished - started);
    if (result.outcome == ProbeOutcome::kInconclusive) {
        inconclusive_++;
        spdlog::warn("pool {} backend {}: {}", target_.pool, target_.name, result.text);
        return;
    }
    const HealthSample sample{.success = result.outcome == ProbeOutcome::kSuccess,
                              .started = started,
                              .deadline = started + target_.health.timeout,
                              .text = result.text};
    if (state_.observe(sample, finished) == SampleVerdict::kChanged) {
        owner_->changed(*this);
    }
}

Prober::Prober(asio::io_context& io, OnChange on_change)
    : io_(io), on_change_(std::move(on_change)) {}

Prober::~Prober() {
    stop();
}

void Prober::stop() {
    for (const auto& [key, task] : tasks_) {
        task->stop();
    }
    tasks_.clear();
    alarms_.clear();
}

void Prober::set_targets(const std::vector<ProbeTarget>& targets) {
    std::map<Key, std::shared_ptr<Task>> old = std::move(tasks_);
    tasks_.clear();
    std::map<std::string, PoolAlarm> alarms;
    for (const ProbeTarget& target : targets) {
        alarms[target.pool] = alarms_[target.pool];
        const Key key{target.pool, target.backend};
        if (tasks_.contains(key)) {
            continue;
        }
        const auto found = old.find(key);
        if (found != old.end() && found->second->same_probe(target)) {
            found->second->adopt(target);
            tasks_.emplace(key, std::move(found->second));
            old.erase(found);
            continue;
        }
        const HealthStatus initial = found != old.end() ? found->second->status() : target.initial;
        const auto task = std::make_shared<Task>(*this, target, initial);
        tasks_.emplace(key, task);
        task->start();
    }
    alarms_ = std::move(alarms);
    for (const auto& [key, task] : old) {
        task->stop();
    }
}

void Prober::changed(const Task& task) {
    const BackendHealth health = task.health();
    spdlog::info("pool {} backend {}: {} ({})", health.pool, health.name, to_string(health.status),
                 health.reason);
    if (on_change_) {
        on_change_(health);
    }
}

std::vector<BackendHealth> Prober::backends() const {
    std::vector<BackendHealth> all;
    all.reserve(tasks_.size());
    for (const auto& [key, task] : tasks_) {
        all.push_back(task->health());
    }
    return all;
}

std::optional<BackendHealth> Prober::find(const std::string& pool,
                                          const net::Endpoint& backend) const {
    const auto found = tasks_.find(Key{pool, backend});
    if (found == tasks_.end()) {
        return std::nullopt;
    }
    return found->second->health();
}

PoolCounts Prober::counts(const std::string& pool) {
    std::vector<PoolMember> members;
    Milliseconds window{0};
    for (const auto& [key, task] : tasks_) {
        if (key.first == pool) {
            members.push_back({task->status(), task->state().last_change()});
            const config::HealthConfig& health = task->target().health;
            window = std::max(window, Milliseconds(health.interval + health.timeout));
        }
    }
    if (members.empty()) {
        return {};
    }
    return alarms_[pool].update(members, window, now());
}

} // namespace weir::control
