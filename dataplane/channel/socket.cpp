// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/channel/socket.hpp"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace weir::channel {
namespace {

constexpr std::size_t kLargestMessage = 8192;
constexpr int kSendWaitMs = 1000;

std::optional<sockaddr_un> address_of(const std::string& path, std::string& problem) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        problem = "the socket path '" + path + "' is longer than " +
                  std::to_string(sizeof(address.sun_path) - 1) +
                  " characters: choose a shorter --runtime-dir";
        return std::nullopt;
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

Descriptor new_socket() {
    return Descriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

std::string failed(const char* what, const std::string& path) {
    return std::string(what) + " '" + path + "': " + std::strerror(errno);
}

Descriptor attached_descriptor(msghdr& message) {
    Descriptor taken;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; i++) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            taken = Descriptor(fd); // surplus ones close themselves
        }
    }
    return taken;
}

} // namespace

std::optional<MessageType> Packet::type() const {
    MessageHeader header;
    if (bytes.size() < sizeof(header))
        return std::nullopt;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.version != kProtocolVersion)
        return std::nullopt;
    return header.type;
}

std::optional<Socket> Socket::listen(const std::string& path, std::string& problem) {
    auto address = address_of(path, problem);
    if (!address)
        return std::nullopt;
    Descriptor descriptor = new_socket();
    ::unlink(path.c_str());
    mode_t previous = ::umask(0177);
    int bound = ::bind(descriptor.get(), reinterpret_cast<sockaddr*>(&*address), sizeof(*address));
    ::umask(previous);
    if (bound != 0 || ::listen(descriptor.get(), 8) != 0) {
        problem = failed("cannot listen at", path);
        return std::nullopt;
    }
    return Socket(std::move(descriptor));
}

std::optional<Socket> Socket::connect(const std::string& path, std::string& problem) {
    auto address = address_of(path, problem);
    if (!address)
        return std::nullopt;
    Descriptor descriptor = new_socket();
    if (::connect(descriptor.get(), reinterpret_cast<sockaddr*>(&*address), sizeof(*address)) !=
        0) {
        problem = failed("cannot reach the dataplane at", path);
        return std::nullopt;
    }
    return Socket(std::move(descriptor));
}

std::optional<Socket> Socket::accept() const {
    Descriptor peer(::accept4(descriptor_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer)
        return std::nullopt;
    return Socket(std::move(peer));
}

bool Socket::send_bytes(std::span<const std::byte> bytes, int descriptor) const {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(c), &descriptor, sizeof(int));
    }
    for (;;) {
        if (::sendmsg(descriptor_.get(), &message, MSG_NOSIGNAL) >= 0)
            return true;
        if (errno == EINTR)
            continue;
        // ETOOMANYREFS: too many descriptors in flight; the peer has to take some first.
        if (errno != EAGAIN && errno != ETOOMANYREFS)
            return false;
        pollfd wait{descriptor_.get(), POLLOUT, 0};
        if (::poll(&wait, 1, kSendWaitMs) <= 0)
            return false;
    }
}

Receive Socket::receive(Packet& packet) const {
    packet.bytes.resize(kLargestMessage);
    iovec part{packet.bytes.data(), packet.bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got;
    do {
        got = ::recvmsg(descriptor_.get(), &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return Receive::nothing_yet;
    if (got <= 0)
        return Receive::closed;
    packet.bytes.resize(static_cast<std::size_t>(got));
    packet.descriptor = attached_descriptor(message);
    return Receive::packet;
}

} // namespace weir::channel
