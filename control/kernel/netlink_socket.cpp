// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/netlink_socket.hpp"

#include <libmnl/libmnl.h>

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace weir::control {
namespace {

constexpr size_t kReceiveBytes = 65'536;
constexpr int kEventQueueBytes = 4 * 1024 * 1024;
constexpr int kDumpTries = 10;

Error cannot(const std::string& what) {
    return {what + ": " + std::strerror(errno)};
}

// The kernel's own words for a refused request (NLMSGERR_ATTR_MSG), else the errno's.
std::string explanation(const nlmsghdr* header) {
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header));
    std::string text = std::strerror(-error->error);
    if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) {
        return text;
    }
    size_t offset = sizeof(*error);
    if ((header->nlmsg_flags & NLM_F_CAPPED) == 0) {
        offset += error->msg.nlmsg_len - sizeof(nlmsghdr);
    }
    for (const nlattr* attribute : attributes_of(header, offset)) {
        if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG) {
            text += std::string(" (") + mnl_attr_get_str(attribute) + ")";
        }
    }
    return text;
}

} // namespace

Attributes::Iterator::Iterator(const nlattr* at, const char* end) : at_(at), end_(end) {
    if (at_ != nullptr &&
        mnl_attr_ok(at_, static_cast<int>(end_ - reinterpret_cast<const char*>(at_))) == 0) {
        at_ = nullptr;
    }
}

Attributes::Iterator& Attributes::Iterator::operator++() {
    *this = Iterator(mnl_attr_next(at_), end_);
    return *this;
}

Attributes attributes_of(const nlmsghdr* message, size_t body_size) {
    return {static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, body_size)),
            static_cast<const char*>(mnl_nlmsg_get_payload_tail(message))};
}

Attributes nested_in(const nlattr* attribute) {
    const void* payload = mnl_attr_get_payload(attribute);
    return {static_cast<const nlattr*>(payload),
            static_cast<const char*>(payload) + mnl_attr_get_payload_len(attribute)};
}

NetlinkMessage::NetlinkMessage(uint16_t type, uint16_t flags) {
    mnl_nlmsg_put_header(buffer_.data());
    header()->nlmsg_type = type;
    header()->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
}

void* NetlinkMessage::extra(size_t size) {
    return mnl_nlmsg_put_extra_header(header(), size);
}

void NetlinkMessage::put(uint16_t type, const void* data, size_t length) {
    mnl_attr_put(header(), type, length, data);
}

void NetlinkSocket::Close::operator()(mnl_socket* socket) const {
    mnl_socket_close(socket);
}

NetlinkSocket::NetlinkSocket(mnl_socket* socket) : socket_(socket), buffer_(kReceiveBytes) {}

int NetlinkSocket::fd() const {
    return mnl_socket_get_fd(socket_.get());
}

Expected<NetlinkSocket> NetlinkSocket::open() {
    mnl_socket* raw = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (raw == nullptr) {
        return cannot("cannot open a route netlink socket");
    }
    NetlinkSocket socket(raw);
    int on = 1;
    mnl_socket_setsockopt(raw, NETLINK_EXT_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(raw, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
    if (mnl_socket_bind(raw, 0, MNL_SOCKET_AUTOPID) < 0) {
        return cannot("cannot bind a route netlink socket");
    }
    return socket;
}

Expected<NetlinkSocket> NetlinkSocket::open_for_events(const std::vector<unsigned>& groups) {
    mnl_socket* raw = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (raw == nullptr) {
        return cannot("cannot open a route netlink socket");
    }
    NetlinkSocket socket(raw);
    // Without CAP_NET_ADMIN the queue stays small, which only means an earlier full dump.
    setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kEventQueueBytes,
               sizeof(kEventQueueBytes));
    if (mnl_socket_bind(raw, 0, MNL_SOCKET_AUTOPID) < 0) {
        return cannot("cannot bind a route netlink socket");
    }
    for (unsigned group : groups) {
        if (mnl_socket_setsockopt(raw, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
            return cannot("cannot follow route netlink group " + std::to_string(group));
        }
    }
    return socket;
}

NetlinkSocket::Failure NetlinkSocket::send(NetlinkMessage& message) {
    message.header()->nlmsg_seq = ++sequence_;
    if (mnl_socket_sendto(socket_.get(), message.header(), message.header()->nlmsg_len) < 0) {
        return {errno, std::strerror(errno)};
    }
    return {};
}

NetlinkSocket::Failure NetlinkSocket::request(NetlinkMessage& message) {
    message.header()->nlmsg_flags |= NLM_F_ACK;
    if (Failure failure = send(message); failure.error != 0) {
        return failure;
    }
    for (;;) {
        const ssize_t got = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return {errno, std::strerror(errno)};
        }
        int left = static_cast<int>(got);
        for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data());
             mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
            if (header->nlmsg_seq != sequence_ || header->nlmsg_type != NLMSG_ERROR) {
                continue; // left over from an earlier, abandoned exchange
            }
            const int error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
            return {error, error == 0 ? "" : explanation(header)};
        }
    }
}

NetlinkSocket::DumpResult NetlinkSocket::dump_once(NetlinkMessage& message,
                                                   const OnMessage& on_message, Failure& failure) {
    failure = send(message);
    if (failure.error != 0) {
        return DumpResult::kFailed;
    }
    bool interrupted = false;
    for (;;) {
        const ssize_t got = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            failure = {errno, std::strerror(errno)};
            return DumpResult::kFailed;
        }
        int left = static_cast<int>(got);
        for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data());
             mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
            if (header->nlmsg_seq != sequence_) {
                continue;
            }
            interrupted = interrupted || (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (header->nlmsg_type == NLMSG_DONE) {
                return interrupted ? DumpResult::kInterrupted : DumpResult::kComplete;
            }
            if (header->nlmsg_type == NLMSG_ERROR) {
                failure = {-static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error,
                           explanation(header)};
                return DumpResult::kFailed;
            }
            on_message(header);
        }
    }
}

Expected<void> NetlinkSocket::dump(NetlinkMessage& message, const std::function<void()>& on_start,
                                   const OnMessage& on_message) {
    message.header()->nlmsg_flags |= NLM_F_DUMP;
    for (int i = 0; i < kDumpTries; i++) {
        on_start();
        Failure failure;
        switch (dump_once(message, on_message, failure)) {
        case DumpResult::kComplete:
            return {};
        case DumpResult::kInterrupted:
            continue;
        case DumpResult::kFailed:
            return Error{"reading the kernel's tables by netlink: " + failure.reason};
        }
    }
    // A table that changes faster than it can be read: the last, slightly torn copy is used and
    // the notifications that come with the changes bring the next one.
    return {};
}

NetlinkSocket::Receive NetlinkSocket::receive(const OnMessage& on_message) {
    for (;;) {
        const ssize_t got = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
        if (got < 0) {
            switch (errno) {
            case EAGAIN:
                return Receive::kDrained;
            case EINTR:
                continue;
            case ENOBUFS:
            case ENOSPC:
                return Receive::kLost;
            default:
                return Receive::kBroken;
            }
        }
        int left = static_cast<int>(got);
        for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data());
             mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
            on_message(header);
        }
    }
}

} // namespace weir::control
