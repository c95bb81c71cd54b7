// SPDX-License-Identifier: BSD-3-Clause
// Packets with descriptors over a Unix SOCK_SEQPACKET socket. Used by the engine (listener) and the
// control process (client); each end belongs to one thread.
#pragma once

#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/sealed_memory.hpp"

#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::channel {

struct Packet {
    std::vector<std::byte> bytes;
    Descriptor descriptor; // empty when none was attached

    // The type, or nullopt when the packet is too short or of another protocol version.
    std::optional<MessageType> type() const;

    // The packet as message M, or nullopt when its size is another.
    template <class M> std::optional<M> as() const {
        if (bytes.size() != sizeof(M))
            return std::nullopt;
        M message;
        std::memcpy(&message, bytes.data(), sizeof(M));
        return message;
    }
};

enum class Receive { packet, nothing_yet, closed };

class Socket {
public:
    Socket() = default;
    explicit Socket(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

    // A non-blocking listening socket at `path`, mode 0600; a stale one is replaced.
    static std::optional<Socket> listen(const std::string& path, std::string& problem);
    // A non-blocking connection, or nullopt with the reason.
    static std::optional<Socket> connect(const std::string& path, std::string& problem);
    // The next waiting connection, if any.
    std::optional<Socket> accept() const;

    // Waits up to a second for room, then gives up: false means the peer is gone or stuck.
    template <class M> bool send(const M& message, int descriptor = -1) const {
        return send_bytes({reinterpret_cast<const std::byte*>(&message), sizeof(M)}, descriptor);
    }
    Receive receive(Packet& packet) const;

    int descriptor() const { return descriptor_.get(); }
    explicit operator bool() const { return static_cast<bool>(descriptor_); }
    void close() { descriptor_ = Descriptor(); }

private:
    bool send_bytes(std::span<const std::byte> bytes, int descriptor) const;
    Descriptor descriptor_;
};

// A message with its header filled in and everything else zero.
template <class M> M make_message(MessageType type) {
    M message{};
    message.header = {type, kProtocolVersion};
    return message;
}

} // namespace weir::channel
