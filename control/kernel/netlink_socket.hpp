// SPDX-License-Identifier: BSD-3-Clause
// A route-netlink socket: requests with their acknowledgement, dumps, and (on a second socket)
// notifications. Thin over libmnl; errors carry the kernel's own explanation where it gives one.
// Belongs to the network namespace it was opened in; not thread-safe.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/expected.hpp"

struct mnl_socket;

namespace weir::control {

// for (const nlattr* attribute : attributes_of(message, sizeof(ifinfomsg))) ...: ends at the first
// attribute that does not fit.
class Attributes {
public:
    Attributes(const nlattr* first, const char* end) : first_(first), end_(end) {}
    class Iterator {
    public:
        Iterator(const nlattr* at, const char* end);
        const nlattr* operator*() const { return at_; }
        Iterator& operator++();
        bool operator!=(const Iterator& other) const { return at_ != other.at_; }

    private:
        const nlattr* at_; // nullptr at the end
        const char* end_;
    };
    [[nodiscard]] Iterator begin() const { return {first_, end_}; }
    [[nodiscard]] Iterator end() const { return {nullptr, end_}; }

private:
    const nlattr* first_;
    const char* end_;
};

Attributes attributes_of(const nlmsghdr* message, size_t body_size);
Attributes nested_in(const nlattr* attribute);

// A request under construction: header, fixed part, attributes.
class NetlinkMessage {
public:
    NetlinkMessage(uint16_t type, uint16_t flags);
    template <class T> T& body() { return *static_cast<T*>(extra(sizeof(T))); }
    void put(uint16_t type, const void* data, size_t length);
    void put_u8(uint16_t type, uint8_t value) { put(type, &value, sizeof(value)); }
    void put_u32(uint16_t type, uint32_t value) { put(type, &value, sizeof(value)); }
    nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

private:
    void* extra(size_t size);

    alignas(nlmsghdr) std::array<char, 1024> buffer_{};
};

class NetlinkSocket {
public:
    using OnMessage = std::function<void(const nlmsghdr*)>;

    // For requests and dumps: blocking, the kernel answers at once.
    static Expected<NetlinkSocket> open();
    // For notifications of the given RTNLGRP_*: non-blocking.
    static Expected<NetlinkSocket> open_for_events(const std::vector<unsigned>& groups);

    struct Failure {
        int error = 0;      // errno
        std::string reason; // as the kernel says it
    };
    // Sends and waits for the acknowledgement; error == 0 when done.
    Failure request(NetlinkMessage& message);
    // Every message of a dump; begun again when the kernel says that it changed in between, so
    // ON_START is where the caller empties what it collects.
    Expected<void> dump(NetlinkMessage& message, const std::function<void()>& on_start,
                        const OnMessage& on_message);

    enum class Receive : uint8_t { kDrained, kLost, kBroken };
    // Hands over all notifications that are waiting. kLost: the queue overflowed, dump again.
    Receive receive(const OnMessage& on_message);

    [[nodiscard]] int fd() const;

private:
    explicit NetlinkSocket(mnl_socket* socket);
    enum class DumpResult : uint8_t { kComplete, kInterrupted, kFailed };
    DumpResult dump_once(NetlinkMessage& message, const OnMessage& on_message, Failure& failure);
    Failure send(NetlinkMessage& message);

    struct Close {
        void operator()(mnl_socket* socket) const;
    };
    std::unique_ptr<mnl_socket, Close> socket_;
    std::vector<char> buffer_;
    uint32_t sequence_ = 0;
};

} // namespace weir::control
