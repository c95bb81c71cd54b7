// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/probe.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "control/health/http_probe.hpp"
#include "control/health/tcp_probe.hpp"

namespace weir::control {

namespace asio = boost::asio;

bool probe_available(config::HealthType type) {
    return type == config::HealthType::kTcp || type == config::HealthType::kHttp;
}

Probe::Probe(asio::io_context& io, ProbeSpec spec) : io_(io), spec_(std::move(spec)), timer_(io) {}

asio::awaitable<ProbeResult> Probe::run() {
    const auto started = asio::steady_timer::clock_type::now();
    const auto timeout = spec_.health.timeout;
    start_attempt();
    for (int step = 1; step <= kAttempts && !result_; step++) {
        timer_.expires_at(started + timeout * step / kAttempts);
        boost::system::error_code ec;
        co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        if (!result_ && !connected_ && step < kAttempts) {
            start_attempt();
        }
    }
    if (!result_) {
        finish(timed_out());
    }
    co_return *result_;
}

void Probe::abort() {
    finish({ProbeOutcome::kInconclusive, "stopped"});
}

void Probe::start_attempt() {
    auto socket = std::make_shared<Socket>(io_);
    sockets_.push_back(socket);
    asio::co_spawn(io_, attempt(shared_from_this(), std::move(socket)), asio::detached);
}

asio::awaitable<void> Probe::attempt(std::shared_ptr<Probe> self, std::shared_ptr<Socket> socket) {
    ProbeResult result = co_await tcp_connect(*socket, self->spec_);
    if (self->result_) {
        co_return;
    }
    if (result.outcome == ProbeOutcome::kSuccess) {
        self->connected_ = true;
        if (self->spec_.health.type == config::HealthType::kHttp) {
            result = co_await http_exchange(*socket, self->spec_);
        }
    }
    self->finish(std::move(result));
}

void Probe::finish(ProbeResult result) {
    if (result_) {
        return;
    }
    result_ = std::move(result);
    boost::system::error_code ignored;
    for (const auto& socket : sockets_) {
        socket->close(ignored);
    }
    timer_.cancel(ignored);
}

ProbeResult Probe::timed_out() const {
    const std::string within = " within " + std::to_string(spec_.health.timeout.count()) + " ms";
    return {ProbeOutcome::kFailure,
            connected_ ? "connected, but no complete answer" + within : "no connection" + within};
}

} // namespace weir::control
