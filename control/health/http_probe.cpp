// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/http_probe.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

namespace weir::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

using Parser = http::response_parser<http::buffer_body>;

ProbeResult failed(std::string text) {
    return {ProbeOutcome::kFailure, std::move(text)};
}

ProbeResult bad_answer(const error_code& ec) {
    if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
        return failed("HTTP header larger than " + std::to_string(kMaxHeaderBytes) + " bytes");
    }
    if (ec == http::error::end_of_stream || ec == http::error::partial_message) {
        return failed("connection closed before the HTTP answer was complete");
    }
    if (ec.category() == make_error_code(http::error::bad_version).category()) {
        return failed("not HTTP: " + ec.message());
    }
    return failed("reading the HTTP answer: " + ec.message());
}

http::request<http::empty_body> make_request(const ProbeSpec& spec) {
    http::request<http::empty_body> request{http::verb::get, spec.health.path, 11};
    request.set(http::field::host, probe_host(spec));
    request.set(http::field::user_agent, "weir");
    request.set(http::field::accept, "*/*");
    request.set(http::field::connection, "close");
    return request;
}

// A body of any announced length and encoding is read piece by piece into at most kMaxBodyBytes:
// nothing is reserved because the backend says so.
asio::awaitable<ProbeResult> search_body(asio::ip::tcp::socket& socket, beast::flat_buffer& buffer,
                                         Parser& parser, const ProbeSpec& spec) {
    std::string body;
    std::array<char, 4096> chunk{};
    while (!parser.is_done() && body.size() < kMaxBodyBytes) {
        parser.get().body().data = chunk.data();
        parser.get().body().size = chunk.size();
        error_code ec;
        co_await http::async_read_some(socket, buffer, parser,
                                       asio::redirect_error(asio::use_awaitable, ec));
        body.append(chunk.data(), chunk.size() - parser.get().body().size);
        if (body.find(spec.health.expect_body) != std::string::npos) {
            co_return ProbeResult{ProbeOutcome::kSuccess,
                                  "HTTP " + std::to_string(parser.get().result_int()) +
                                      ", body as expected"};
        }
        if (ec && ec != http::error::need_buffer) {
            co_return bad_answer(ec);
        }
    }
    co_return failed("the body does not contain the expected text" +
                     std::string(parser.is_done() ? "" : " in its first 65536 bytes"));
}

} // namespace

std::string probe_host(const ProbeSpec& spec) {
    if (!spec.health.host.empty()) {
        return spec.health.host;
    }
    const std::string address =
        spec.address.is_v4() ? spec.address.to_string() : "[" + spec.address.to_string() + "]";
    return spec.port == 80 ? address : address + ":" + std::to_string(spec.port);
}

bool status_expected(const std::vector<config::StatusRange>& expected, unsigned status) {
    return std::any_of(expected.begin(), expected.end(), [&](const config::StatusRange& range) {
        return range.first <= status && status <= range.last;
    });
}

asio::awaitable<ProbeResult> http_exchange(asio::ip::tcp::socket& socket, const ProbeSpec& spec) {
    const http::request<http::empty_body> request = make_request(spec);
    error_code ec;
    co_await http::async_write(socket, request, asio::redirect_error(asio::use_awaitable, ec));
    if (ec) {
        co_return failed("sending the request: " + ec.message());
    }
    beast::flat_buffer buffer(kMaxHeaderBytes + 4096);
    Parser parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(std::numeric_limits<std::uint64_t>::max()); // bounded in search_body
    co_await http::async_read_header(socket, buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, ec));
    if (ec) {
        co_return bad_answer(ec);
    }
    const unsigned status = parser.get().result_int();
    if (!status_expected(spec.health.expect_status, status)) {
        co_return failed("HTTP " + std::to_string(status));
    }
    if (spec.health.expect_body.empty()) {
        co_return ProbeResult{ProbeOutcome::kSuccess, "HTTP " + std::to_string(status)};
    }
    co_return co_await search_body(socket, buffer, parser, spec);
}

} // namespace weir::control
