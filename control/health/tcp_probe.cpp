// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/tcp_probe.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace weir::control {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// Errors of this host, before any packet could tell something about the backend.
bool own_trouble(const error_code& ec) {
    switch (ec.value()) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:
    case EAGAIN:
    case EACCES:
    case EPERM:
    case ENODEV:
        return true;
    default:
        return false;
    }
}

ProbeResult connect_failed(const error_code& ec) {
    if (ec == asio::error::connection_refused) {
        return {ProbeOutcome::kFailure, "connection refused"};
    }
    if (own_trouble(ec)) {
        return {ProbeOutcome::kInconclusive, "cannot probe from this host: " + ec.message()};
    }
    return {ProbeOutcome::kFailure, "connect: " + ec.message()};
}

} // namespace

asio::ip::tcp::endpoint probe_endpoint(const ProbeSpec& spec) {
    if (spec.address.is_v4()) {
        asio::ip::address_v4::bytes_type bytes;
        std::memcpy(bytes.data(), spec.address.bytes().data() + 12, bytes.size());
        return {asio::ip::address_v4(bytes), spec.port};
    }
    return {asio::ip::address_v6(spec.address.bytes()), spec.port};
}

asio::awaitable<ProbeResult> tcp_connect(asio::ip::tcp::socket& socket, const ProbeSpec& spec) {
    const asio::ip::tcp::endpoint endpoint = probe_endpoint(spec);
    error_code ec;
    socket.open(endpoint.protocol(), ec);
    if (ec) {
        co_return connect_failed(ec);
    }
    if (!spec.device.empty() &&
        setsockopt(socket.native_handle(), SOL_SOCKET, SO_BINDTODEVICE, spec.device.data(),
                   static_cast<socklen_t>(spec.device.size())) != 0) {
        co_return connect_failed(error_code(errno, boost::system::system_category()));
    }
    co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, ec));
    if (ec) {
        co_return connect_failed(ec);
    }
    co_return ProbeResult{ProbeOutcome::kSuccess, "connected"};
}

} // namespace weir::control
