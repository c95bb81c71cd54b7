// SPDX-License-Identifier: BSD-3-Clause
// For the probe tests: a TCP server on loopback, in the test's own event loop, that treats each
// connection as the test says. Its coroutines refer to it: do not run the loop after its end.
#pragma once

#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <functional>
#include <memory>
#include <string>

#include "config/address.hpp"

namespace weir::control {

class FakeBackend {
public:
    using Tcp = boost::asio::ip::tcp;

    explicit FakeBackend(boost::asio::io_context& io, const char* address = "127.0.0.1")
        : acceptor_(io, {boost::asio::ip::make_address(address), 0}) {
        boost::asio::co_spawn(io, serve(), boost::asio::detached);
    }

    [[nodiscard]] uint16_t port() const { return acceptor_.local_endpoint().port(); }
    void close() { acceptor_.close(); }

    std::string reply;    // sent once a request has come in; empty: stay silent
    bool endless = false; // repeats the reply until the prober hangs up
    std::string last_request;
    int connections = 0;

private:
    boost::asio::awaitable<void> serve() {
        for (;;) {
            boost::system::error_code ec;
            Tcp::socket socket(acceptor_.get_executor());
            co_await acceptor_.async_accept(
                socket, boost::asio::redirect_error(boost::asio::use_awaitable, ec));
            if (ec) {
                co_return;
            }
            connections++;
            boost::asio::co_spawn(acceptor_.get_executor(),
                                  talk(std::make_shared<Tcp::socket>(std::move(socket))),
                                  boost::asio::detached);
        }
    }

    boost::asio::awaitable<void> talk(std::shared_ptr<Tcp::socket> socket) {
        boost::system::error_code ec;
        std::string request;
        co_await boost::asio::async_read_until(
            *socket, boost::asio::dynamic_buffer(request, 65536), "\r\n\r\n",
            boost::asio::redirect_error(boost::asio::use_awaitable, ec));
        last_request = request;
        if (reply.empty()) {
            // Holds the connection until the prober gives up.
            char byte = 0;
            co_await socket->async_read_some(
                boost::asio::buffer(&byte, 1),
                boost::asio::redirect_error(boost::asio::use_awaitable, ec));
            co_return;
        }
        do {
            co_await boost::asio::async_write(
                *socket, boost::asio::buffer(reply),
                boost::asio::redirect_error(boost::asio::use_awaitable, ec));
        } while (endless && !ec);
    }

    Tcp::acceptor acceptor_;
};

// Runs the loop until `done`, or 10 s: a condition, not a nap.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done() && std::chrono::steady_clock::now() < deadline) {
        io.restart();
        io.run_one_for(std::chrono::milliseconds(20));
    }
    return done();
}

} // namespace weir::control
