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

#include <functional>
#include <string>

namespace weir::dpdk {

class ChannelServer {
public:
    using AttachTap = std::function<Expected<void>(std::uint32_t row, const std::string& name)>;

    // `hello` with everything but the generation filled in.
    static Expected<ChannelServer> listen(const std::string& path, const channel::Hello& hello,
                                          EngineMemory& memory, Generations& generations,
                                          AttachTap attach_tap);

    int listener() const { return listener_.descriptor(); }
    int client() const { return client_.descriptor(); } // -1: nobody is connected
    bool connected() const { return static_cast<bool>(client_); }

    void on_listener_readable();
    void on_client_readable();

private:
    ChannelServer(channel::Socket listener, const channel::Hello& hello, EngineMemory& memory,
                  Generations& generations, AttachTap attach_tap);
    bool greet(const channel::Socket& peer) const;
    bool handle(channel::Packet& packet); // false: end the connection
    bool handle_segment(channel::Packet& packet);
    bool handle_publish(channel::Packet& packet);
    bool handle_capture(const channel::Packet& packet);
    void lose_client();
    bool handle_attach_tap(const channel::Packet& packet);
    bool answer(std::uint64_t generation, bool accepted, const std::string& sentence) const;

    channel::Socket listener_;
    channel::Socket client_;
    channel::Hello hello_;
    EngineMemory* memory_;
    Generations* generations_;
    AttachTap attach_tap_;
};

} // namespace weir::dpdk
