// SPDX-License-Identifier: BSD-3-Clause
// For tests: a Unix socket in a directory of its own that serves one scripted connection after the
// other, in its own thread, so that the client meets what a sane server never does.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "control/weirctl/client.hpp"

namespace weir::weirctl {

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        char name[] = "/tmp/weirctl-test-XXXXXX";
        if (::mkdtemp(name) == nullptr)
            throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    ~TemporaryDirectory() {
        ::unlink((path_ + "/" + kSocketName).c_str());
        ::rmdir(path_.c_str());
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

// Binds and, when `listening`, listens: without it, connecting is refused.
inline int bind_control_socket(const std::string& directory, bool listening) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory + "/" + kSocketName;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        (listening && ::listen(fd, 16) != 0))
        throw std::runtime_error("bind " + path);
    return fd;
}

inline std::string http_answer(unsigned status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) + " Said\r\nContent-Type: application/json\r\n" +
           "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" +
           body;
}

class FakeControl {
public:
    // Given the request, acts on the connection, which is closed when it returns. `stop` becomes
    // readable when the test is over.
    using Script = std::function<void(int connection, const std::string& request, int stop)>;

    explicit FakeControl(Script script) : script_(std::move(script)) {
        if (::pipe(stop_) != 0)
            throw std::runtime_error("pipe");
        listener_ = bind_control_socket(directory_.path(), true);
        thread_ = std::thread([this] { serve(); });
    }
    ~FakeControl() {
        ::close(stop_[1]);
        thread_.join();
        ::close(stop_[0]);
        ::close(listener_);
    }
    FakeControl(const FakeControl&) = delete;
    FakeControl& operator=(const FakeControl&) = delete;

    // Sends `answer` to every request.
    static Script says(std::string answer) {
        return [answer = std::move(answer)](int connection, const std::string&, int) {
            send_all(connection, answer);
        };
    }

    static void send_all(int connection, const std::string& text) {
        for (std::size_t sent = 0; sent < text.size();) {
            const ssize_t n =
                ::send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
            if (n <= 0)
                return;
            sent += static_cast<std::size_t>(n);
        }
    }

    [[nodiscard]] const std::string& directory() const { return directory_.path(); }
    [[nodiscard]] std::vector<std::string> requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }

private:
    void serve() {
        for (;;) {
            pollfd wait[2] = {{listener_, POLLIN, 0}, {stop_[0], POLLIN, 0}};
            if (::poll(wait, 2, -1) < 0 || wait[1].revents != 0)
                return;
            const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (connection < 0)
                return;
            const std::string request = read_request(connection);
            {
                const std::lock_guard lock(mutex_);
                requests_.push_back(request);
            }
            script_(connection, request, stop_[0]);
            ::close(connection);
        }
    }

    static std::string read_request(int connection) {
        std::string text;
        for (;;) {
            const std::size_t end = text.find("\r\n\r\n");
            if (end != std::string::npos) {
                const std::size_t at = text.find("Content-Length: ");
                const std::size_t length =
                    at < end ? std::strtoul(text.c_str() + at + 16, nullptr, 10) : 0;
                if (text.size() >= end + 4 + length)
                    return text;
            }
            char piece[4096];
            const ssize_t n = ::recv(connection, piece, sizeof(piece), 0);
            if (n <= 0)
                return text;
            text.append(piece, static_cast<std::size_t>(n));
        }
    }

    TemporaryDirectory directory_;
    Script script_;
    int stop_[2] = {-1, -1};
    int listener_ = -1;
    mutable std::mutex mutex_;
    std::vector<std::string> requests_;
    std::thread thread_;
};

} // namespace weir::weirctl
