// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <sys/un.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kMostHeaderBytes = 16'384;
constexpr std::size_t kMostPathBytes = sizeof(sockaddr_un::sun_path) - 1;

bool is_errno(const error_code& ec, int number) {
    return ec == error_code(number, boost::system::system_category());
}

// What every way of asking has: the connection, the request, and sentences for what went wrong.
class Asking {
protected:
    Asking(std::string path, const Request& request, const Limits& limits)
        : path_(std::move(path)), limits_(limits),
          message_(http::string_to_verb(request.method), request.target, 11) {
        message_.set(http::field::host, "weir");
        message_.set(http::field::user_agent, "weirctl");
        message_.set(http::field::accept, "application/json");
        message_.keep_alive(false);
        if (request.method == "POST") {
            message_.set(http::field::content_type, request.content_type);
            message_.body() = request.body;
            message_.prepare_payload();
        }
    }

    [[nodiscard]] Error too_late() const {
        return {"weir-control did not answer within " +
                duration_text(std::chrono::duration<double>(limits_.deadline).count()) + " (" +
                path_ + "); its log may say why"};
    }

    [[nodiscard]] std::string connect_failure(const error_code& ec) const {
        if (is_errno(ec, ENOENT) || is_errno(ec, ENOTDIR))
            return "weir-control is not running: there is no " + path_ +
                   " (--runtime-dir names another node's directory)";
        if (is_errno(ec, ECONNREFUSED))
            return "weir-control is not running: nothing listens on " + path_;
        if (is_errno(ec, EACCES) || is_errno(ec, EPERM))
            return "no permission to open " + path_ +
                   ": run weirctl as root or as a member of the socket's group";
        return "cannot reach weir-control at " + path_ + ": " + ec.message();
    }

    [[nodiscard]] std::string talk_failure(const error_code& ec) const {
        if (!ec)
            return {};
        if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
            ec == asio::error::connection_reset || ec == asio::error::broken_pipe)
            return "weir-control closed the connection before its answer was complete; "
                   "did it end? Its log may say why";
        if (ec == http::error::body_limit || ec == http::error::header_limit ||
            ec == http::error::buffer_overflow)
            return "the answer is larger than " + bytes_text(limits_.most_bytes) +
                   ", which weirctl refuses to read";
        if (is_errno(ec, ENOTCONN)) // connect() was told to wait for room in the backlog
            return "weir-control is busy: too many connections wait at " + path_;
        if (ec.category() == http::make_error_code(http::error::bad_version).category())
            return "what listens on " + path_ + " does not speak HTTP: " + ec.message();
        return "the connection to weir-control failed: " + ec.message();
    }

    std::string path_;
    Limits limits_;
    asio::io_context io_{1};
    asio::local::stream_protocol::socket socket_{io_};
    http::request<http::string_body> message_;
    boost::beast::flat_buffer buffer_{kMostHeaderBytes + 65'536};
};

// The steps of one exchange; each starts the next, the first failure ends it.
class Exchange : Asking {
public:
    Exchange(std::string path, const Request& request, const Limits& limits)
        : Asking(std::move(path), request, limits) {
        parser_.header_limit(kMostHeaderBytes);
        parser_.body_limit(limits.most_bytes);
    }

    Expected<Answer> run() {
        socket_.async_connect(asio::local::stream_protocol::endpoint(path_),
                              [this](error_code ec) { connected(ec); });
        io_.run_for(limits_.deadline);
        if (!done_)
            return too_late();
        if (!failure_.empty())
            return Error{failure_};
        return Answer{parser_.get().result_int(), std::move(parser_.get().body())};
    }

private:
    void connected(error_code ec) {
        if (ec)
            return finish(connect_failure(ec));
        http::async_write(socket_, message_,
                          [this](error_code written, std::size_t) { sent(written); });
    }

    void sent(error_code ec) {
        // A refusal may come, and the connection close, before all of a large request is sent.
        if (ec && ec != asio::error::broken_pipe && ec != asio::error::connection_reset)
            return finish(talk_failure(ec));
        http::async_read_header(socket_, buffer_, parser_,
                                [this](error_code read, std::size_t) { header_read(read); });
    }

    // The header alone first: when a piece of the body has come with it, Beast 1.74's async_read()
    // forgets that the announced length is over the limit, and reserves that much.
    void header_read(error_code ec) {
        if (ec)
            return finish(talk_failure(ec));
        http::async_read(socket_, buffer_, parser_,
                         [this](error_code read, std::size_t) { finish(talk_failure(read)); });
    }

    void finish(std::string failure) {
        failure_ = std::move(failure);
        done_ = true;
    }

    http::response_parser<http::string_body> parser_;
    std::string failure_;
    bool done_ = false;
};

// An answer whose body is handed on in pieces for as long as they come.
class Download : Asking {
public:
    Download(std::string path, const Request& request, const Limits& limits, const Piece& piece)
        : Asking(std::move(path), request, limits), piece_(piece) {
        parser_.header_limit(kMostHeaderBytes);
        parser_.body_limit(UINT64_MAX); // Beast 1.74 takes boost::none for less than any length
    }

    Expected<Answer> run() {
        watch_signals();
        arm();
        socket_.async_connect(asio::local::stream_protocol::endpoint(path_), [this](error_code ec) {
            if (ec)
                return finish(connect_failure(ec));
            http::async_write(socket_, message_,
                              [this](error_code written, std::size_t) { sent(written); });
        });
        while (!done_ && io_.run_one() != 0) {
        }
        if (late_)
            return too_late();
        if (!failure_.empty())
            return Error{failure_};
        return Answer{parser_.get().result_int(), std::move(refusal_)};
    }

private:
    void arm() {
        timer_.expires_after(limits_.deadline);
        timer_.async_wait([this](error_code ec) {
            if (ec)
                return;
            late_ = true;
            finish({});
        });
    }

    void watch_signals() {
        signals_.async_wait([this](error_code ec, int) {
            if (ec)
                return;
            if (asked_to_end_ || !socket_.is_open())
                return finish("interrupted");
            asked_to_end_ = true;
            error_code ignored;
            socket_.shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
            arm();
            watch_signals();
        });
    }

    void sent(error_code ec) {
        if (ec)
            return finish(talk_failure(ec));
        http::async_read_header(socket_, buffer_, parser_, [this](error_code read, std::size_t) {
            if (read)
                return finish(talk_failure(read));
            read_piece();
        });
    }

    void read_piece() {
        parser_.get().body().data = space_.data();
        parser_.get().body().size = space_.size();
        http::async_read_some(socket_, buffer_, parser_,
                              [this](error_code ec, std::size_t) { on_piece(ec); });
    }

    void on_piece(error_code ec) {
        if (ec == http::error::need_buffer) // the space is full
            ec = {};
        const std::string_view piece{space_.data(), space_.size() - parser_.get().body().size};
        if (!piece.empty() && !take(piece))
            return;
        if (ec)
            return finish(talk_failure(ec));
        if (parser_.is_done())
            return finish({});
        read_piece();
    }

    bool take(std::string_view piece) {
        if (parser_.get().result_int() != 200) {
            refusal_ += piece.substr(0, limits_.most_bytes - refusal_.size());
            return true;
        }
        if (!asked_to_end_)
            timer_.cancel();
        if (!piece_(piece)) {
            finish({});
            return false;
        }
        return true;
    }

    void finish(std::string failure) {
        failure_ = std::move(failure);
        done_ = true;
    }

    const Piece& piece_;
    asio::steady_timer timer_{io_};
    asio::signal_set signals_{io_, SIGINT, SIGTERM};
    http::response_parser<http::buffer_body> parser_;
    std::array<char, 65'536> space_{};
    std::string refusal_; // the body of another status than 200
    std::string failure_;
    bool asked_to_end_ = false;
    bool late_ = false;
    bool done_ = false;
};

// Runs `ask` with the socket's path; what cannot be is a sentence.
template <class Ask> Expected<Answer> at_socket(const std::string& runtime_directory, Ask ask) {
    const std::string path = runtime_directory + "/" + kSocketName;
    if (path.size() > kMostPathBytes)
        return Error{path + " is too long for a Unix socket (at most " +
                     std::to_string(kMostPathBytes) + " bytes): use a shorter --runtime-dir"};
    try {
        return ask(path);
    } catch (const std::exception& problem) { // what Asio throws when it cannot have descriptors
        return Error{"cannot reach weir-control at " + path + ": " + problem.what()};
    }
}

} // namespace

Expected<Answer> exchange(const std::string& runtime_directory, const Request& request,
                          const Limits& limits) {
    return at_socket(runtime_directory, [&](const std::string& path) {
        return Exchange(path, request, limits).run();
    });
}

Expected<Answer> download(const std::string& runtime_directory, const Request& request,
                          const Limits& limits, const Piece& piece) {
    return at_socket(runtime_directory, [&](const std::string& path) {
        return Download(path, request, limits, piece).run();
    });
}

} // namespace weir::weirctl
