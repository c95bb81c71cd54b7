// SPDX-License-Identifier: BSD-3-Clause
// HTTP/1.1 over a Unix socket or TCP: bounded requests, bounded connections, bounded time. Knows
// nothing of what is served. One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>
#include <string>

#include "config/address.hpp"
#include "config/expected.hpp"

namespace weir::control {

struct HttpRequest {
    std::string method;
    std::string path;  // decoded, without the query
    std::string query; // as it came
    std::string body;
    bool local = false; // over the Unix socket: may change things
};

// A body that comes in pieces, for as long as it takes.
class HttpStream {
public:
    using Give = std::function<void(std::string piece)>;
    virtual ~HttpStream() = default;
    // Gives the next piece when there is one; an empty one is the end. Asked again after each.
    virtual void next(Give give) = 0;
    // The client wants no more: what there is and the end are still given.
    virtual void finish() = 0;
};

struct HttpResponse {
    unsigned status = 200;
    std::string content_type = "application/json";
    std::string body;
    // Instead of the body. Dropped when the client is gone.
    std::shared_ptr<HttpStream> stream = nullptr;
};

// Answers now or later, once; in the event loop's thread.
using HttpRespond = std::function<void(HttpResponse)>;
using HttpHandler = std::function<void(const HttpRequest&, HttpRespond)>;

class HttpServer {
public:
    HttpServer(boost::asio::io_context& io, HttpHandler handler);
    ~HttpServer();

    Expected<void> listen_unix(const std::string& path); // mode 0660
    Expected<void> listen_tcp(const net::Endpoint& endpoint);
    void stop();

private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

// The value of a key in "a=1&b=x%20y", decoded; empty when it is not there.
std::string query_value(const std::string& query, const std::string& key);
// The same as a number from `least` to `most`; `otherwise` when it is not there.
Expected<std::uint64_t> query_number(const std::string& query, const std::string& key,
                                     std::uint64_t least, std::uint64_t most,
                                     std::uint64_t otherwise);
std::string percent_decoded(const std::string& text, bool plus_is_space);

} // namespace weir::control
