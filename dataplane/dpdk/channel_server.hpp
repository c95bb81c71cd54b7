// SPDX-License-Identifier: BSD-3-Clause
// The engine's end of the channel: listens in the runtime directory, tells a control process that
// connects everything it needs, and takes its generations and TAPs. The newest connection is the
// one obeyed. What comes in is checked as if it came from an enemy; a message that is not in the
// protocol ends the connection and nothing else.
//
// Main thread; the owner polls the descriptors and calls on_*.
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/socket.hpp"
#include "dataplane/dpdk/generations.hpp"
#include "dataplane/dpdk/memory.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace weir::dpdk {

class ChannelServer {
public:
    using AttachTap = std::function<Expected<void>(std::uint32_t row, const std::string& name)>;

    static Expected<ChannelServer> listen(const std::string& path);

    // What control kept of the dataplane before, if it connects and says so within `limit`.
    Inheritance wait_for_inheritance(std::chrono::milliseconds limit);

    // From here on control is greeted. `hello` with everything but the generation filled in.
    void serve(const channel::Hello& hello, EngineMemory& memory, Generations& generations,
               AttachTap attach_tap);

    int listener() const { return listener_.descriptor(); }
    int client() const { return client_.descriptor(); } // -1: nobody is connected
    bool connected() const { return static_cast<bool>(client_); }

    void on_listener_readable();
    void on_client_readable();

private:
    explicit ChannelServer(channel::Socket listener) : listener_(std::move(listener)) {}
    void accept();
    void greet_client();
    bool greet(const channel::Socket& peer) const;
    bool handle(channel::Packet& packet); // false: end the connection
    bool handle_memory(channel::Packet& packet);
    bool handle_kept();
    bool handle_given(channel::MemoryKind kind, channel::Descriptor descriptor);
    bool handle_publish(channel::Packet& packet);
    bool handle_capture(const channel::Packet& packet);
    void lose_client();
    bool handle_attach_tap(const channel::Packet& packet);
    bool answer(std::uint64_t generation, bool accepted, const std::string& sentence) const;

    channel::Socket listener_;
    channel::Socket client_;
    Inheritance incoming_; // until control says that this is all
    bool all_came_ = false;
    // Null until it serves.
    EngineMemory* memory_ = nullptr;
    Generations* generations_ = nullptr;
    channel::Hello hello_{};
    AttachTap attach_tap_;
};

} // namespace weir::dpdk
