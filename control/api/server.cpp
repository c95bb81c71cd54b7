// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/server.hpp"

#include <utility> // Boost 1.74's awaitable.hpp uses std::exchange without it

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace weir::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t kMostConnections = 64;
constexpr std::uint32_t kMostHeaderBytes = 16 * 1024;
constexpr std::uint64_t kMostBodyBytes = std::uint64_t{4} << 20;
constexpr std::chrono::seconds kTimeout{10};

} // namespace

struct HttpServer::Shared {
    asio::io_context& io;
    HttpHandler handler;
    std::vector<std::function<void()>> close_listeners;
    std::size_t connections = 0;
    bool stopped = false;
};

namespace {

// One connection: read, handle, write, again. Keeps itself alive by its handlers.
template <class Protocol> class Session : public std::enable_shared_from_this<Session<Protocol>> {
public:
    using Socket = typename Protocol::socket;

    template <class Shared>
    Session(Socket socket, const std::shared_ptr<Shared>& shared, bool local)
        : socket_(std::move(socket)), timer_(socket_.get_executor()), local_(local),
          handler_(&shared->handler) {
        shared->connections++;
        released_ = std::shared_ptr<void>(nullptr, [shared](void*) { shared->connections--; });
    }

    void read() {
        parser_.emplace();
        parser_->header_limit(kMostHeaderBytes);
        parser_->body_limit(kMostBodyBytes);
        arm();
        // The header first: a one-shot read of Beast 1.74 forgets the body limit when part of the
        // body comes with the header, and then reserves what the header announces.
        http::async_read_header(
            socket_, buffer_, *parser_,
            [self = this->shared_from_this()](const error_code& error, std::size_t) {
                if (error)
                    self->on_read(error);
                else
                    self->read_body();
            });
    }

private:
    void read_body() {
        http::async_read(socket_, buffer_, *parser_,
                         [self = this->shared_from_this()](const error_code& error, std::size_t) {
                             self->on_read(error);
                         });
    }

    void arm() {
        timer_.expires_after(kTimeout);
        timer_.async_wait([weak = this->weak_from_this()](const error_code& error) {
            const auto self = weak.lock();
            if (!error && self)
                self->close();
        });
    }

    void close() {
        error_code ignored;
        stream_.reset();
        timer_.cancel(ignored);
        socket_.shutdown(Socket::shutdown_both, ignored);
        socket_.close(ignored);
    }

    void on_read(const error_code& error) {
        if (error == http::error::body_limit) {
            write({413, "application/json", "{\"error\":\"the request is larger than 4 MiB\"}",
                   nullptr},
                  false);
            return;
        }
        if (error) {
            close();
            return;
        }
        const auto& message = parser_->get();
        HttpRequest request;
        request.method = std::string(message.method_string());
        const std::string target(message.target());
        const std::size_t question = target.find('?');
        request.path = percent_decoded(target.substr(0, question), false);
        if (question != std::string::npos)
            request.query = target.substr(question + 1);
        request.body = message.body();
        request.local = local_;
        const bool keep_alive = message.keep_alive();
        (*handler_)(request, [self = this->shared_from_this(), keep_alive](HttpResponse response) {
            self->write(std::move(response), keep_alive);
        });
    }

    void write(HttpResponse answer, bool keep_alive) {
        if (answer.stream) {
            write_stream(std::move(answer));
            return;
        }
        response_.emplace(static_cast<http::status>(answer.status), 11);
        response_->set(http::field::server, "weir-control");
        response_->set(http::field::content_type, answer.content_type);
        response_->set(http::field::cache_control, "no-store");
        response_->keep_alive(keep_alive);
        response_->body() = std::move(answer.body);
        response_->prepare_payload();
        arm();
        http::async_write(
            socket_, *response_,
            [self = this->shared_from_this(), keep_alive](const error_code& error, std::size_t) {
                if (error || !keep_alive)
                    self->close();
                else
                    self->read();
            });
    }

    // Chunks (RFC 9112 section 7.1) for as long as the stream gives them; then the connection ends.
    void write_stream(HttpResponse answer) {
        stream_ = std::move(answer.stream);
        head_.emplace(static_cast<http::status>(answer.status), 11);
        head_->set(http::field::server, "weir-control");
        head_->set(http::field::content_type, answer.content_type);
        head_->set(http::field::cache_control, "no-store");
        head_->keep_alive(false);
        head_->chunked(true);
        head_serializer_.emplace(*head_);
        arm();
        http::async_write_header(
            socket_, *head_serializer_,
            [self = this->shared_from_this()](const error_code& error, std::size_t) {
                self->on_piece_written(error);
            });
        watch_for_end();
    }

    // A client that has heard enough shuts its side down, or is gone.
    void watch_for_end() {
        socket_.async_read_some(asio::buffer(ignored_), [self = this->shared_from_this()](
                                                            const error_code& error, std::size_t) {
            if (!self->stream_)
                return;
            if (!error)
                self->watch_for_end();
            else if (error == asio::error::eof)
                self->stream_->finish();
            else
                self->close();
        });
    }

    void on_piece_written(const error_code& error) {
        if (error || !stream_) {
            close();
            return;
        }
        timer_.cancel(); // the next piece may take its time
        stream_->next([self = this->shared_from_this()](std::string piece) {
            self->write_piece(std::move(piece));
        });
    }

    void write_piece(std::string piece) {
        piece_ = std::move(piece);
        arm();
        if (piece_.empty()) {
            asio::async_write(socket_, http::make_chunk_last(),
                              [self = this->shared_from_this()](const error_code&, std::size_t) {
                                  self->close();
                              });
            return;
        }
        asio::async_write(
            socket_, http::make_chunk(asio::buffer(piece_)),
            [self = this->shared_from_this()](const error_code& written, std::size_t) {
                self->on_piece_written(written);
            });
    }

    Socket socket_;
    asio::steady_timer timer_;
    beast::flat_buffer buffer_{kMostHeaderBytes + kMostBodyBytes};
    std::optional<http::request_parser<http::string_body>> parser_;
    std::optional<http::response<http::string_body>> response_;
    std::shared_ptr<HttpStream> stream_;
    std::optional<http::response<http::empty_body>> head_;
    std::optional<http::response_serializer<http::empty_body>> head_serializer_;
    std::string piece_;
    std::array<char, 256> ignored_{}; // what a client says while it is answered
    bool local_;
    HttpHandler* handler_;
    std::shared_ptr<void> released_; // also keeps the handler alive
};

template <class Protocol, class Shared>
void accept_next(const std::shared_ptr<typename Protocol::acceptor>& acceptor,
                 const std::shared_ptr<Shared>& shared, bool local) {
    acceptor->async_accept(
        [acceptor, shared, local](const error_code& error, typename Protocol::socket socket) {
            if (shared->stopped || error == asio::error::operation_aborted)
                return;
            // Over the limit: closed at once, which is an answer too.
            if (!error && shared->connections < kMostConnections)
                std::make_shared<Session<Protocol>>(std::move(socket), shared, local)->read();
            accept_next<Protocol>(acceptor, shared, local);
        });
}

} // namespace

HttpServer::HttpServer(asio::io_context& io, HttpHandler handler)
    : shared_(new Shared{io, std::move(handler), {}}) {}

HttpServer::~HttpServer() {
    stop();
}

void HttpServer::stop() {
    shared_->stopped = true;
    for (const auto& close : shared_->close_listeners)
        close();
    shared_->close_listeners.clear();
}

Expected<void> HttpServer::listen_unix(const std::string& path) {
    using Protocol = asio::local::stream_protocol;
    ::unlink(path.c_str()); // the runtime directory's lock says that nobody else has it
    auto acceptor = std::make_shared<Protocol::acceptor>(shared_->io);
    error_code error;
    acceptor->open(Protocol(), error);
    if (!error) {
        const mode_t before = ::umask(0117);
        acceptor->bind(Protocol::endpoint(path), error);
        ::umask(before);
    }
    if (!error)
        acceptor->listen(asio::socket_base::max_listen_connections, error);
    if (error)
        return Error{"cannot listen on " + path + ": " + error.message()};
    accept_next<Protocol>(acceptor, shared_, true);
    shared_->close_listeners.emplace_back([acceptor] { acceptor->close(); });
    return {};
}

Expected<void> HttpServer::listen_tcp(const net::Endpoint& endpoint) {
    using Protocol = asio::ip::tcp;
    const std::string text = endpoint.to_string();
    error_code error;
    const auto address = asio::ip::make_address(endpoint.address.to_string(), error);
    if (error)
        return Error{"cannot listen on " + text + ": " + error.message()};
    const Protocol::endpoint local(address, endpoint.port.value_or(0));
    auto acceptor = std::make_shared<Protocol::acceptor>(shared_->io);
    acceptor->open(local.protocol(), error);
    if (!error)
        acceptor->set_option(asio::socket_base::reuse_address(true), error);
    if (!error)
        acceptor->bind(local, error);
    if (!error)
        acceptor->listen(asio::socket_base::max_listen_connections, error);
    if (error)
        return Error{"cannot listen on " + text + " ([api] listen): " + error.message()};
    accept_next<Protocol>(acceptor, shared_, false);
    shared_->close_listeners.emplace_back([acceptor] { acceptor->close(); });
    return {};
}

std::string percent_decoded(const std::string& text, bool plus_is_space) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9')
            return c - '0';
        if (c >= 'a' && c <= 'f')
            return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
            return c - 'A' + 10;
        return -1;
    };
    std::string result;
    for (std::size_t i = 0; i < text.size(); i++) {
        if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
            digit(text[i + 2]) >= 0) {
            result += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            result += text[i] == '+' && plus_is_space ? ' ' : text[i];
        }
    }
    return result;
}

std::string query_value(const std::string& query, const std::string& key) {
    std::size_t begin = 0;
    while (begin <= query.size()) {
        const std::size_t end = std::min(query.find('&', begin), query.size());
        const std::string pair = query.substr(begin, end - begin);
        const std::size_t equals = pair.find('=');
        if (percent_decoded(pair.substr(0, equals), true) == key)
            return equals == std::string::npos ? ""
                                               : percent_decoded(pair.substr(equals + 1), true);
        begin = end + 1;
    }
    return "";
}

Expected<std::uint64_t> query_number(const std::string& query, const std::string& key,
                                     std::uint64_t least, std::uint64_t most,
                                     std::uint64_t otherwise) {
    const std::string text = query_value(query, key);
    if (text.empty())
        return otherwise;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
        return Error{key + " has to be a number from " + std::to_string(least) + " to " +
                     std::to_string(most) + ", not \"" + text + "\""};
    return value;
}

} // namespace weir::control
