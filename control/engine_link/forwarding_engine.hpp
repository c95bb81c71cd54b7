// SPDX-License-Identifier: BSD-3-Clause
// What the controller needs of an engine. DpdkEngine is the dataplane at the other end of a socket,
// XdpEngine (control/wiring/) the balancer in the kernel; the controller does not know which it
// has. One io_context, one thread; the handlers are called in it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/expected.hpp"
#include "control/compile/inputs.hpp"
#include "control/engine_link/engine.hpp"
#include "control/engine_link/generation.hpp"

namespace weir::control {

class ForwardingEngine {
public:
    struct Handlers {
        // It can be told what to forward. `running`: the generation it forwards by, or null.
        std::function<void(const std::shared_ptr<const Generation>& running)> ready;
        // What the engine that runs forwards by, before it is replaced: where the next one begins.
        std::function<void(const lb::ForwardingState& running)> adopt;
        std::function<void()> lost;
        // Something for the log of events, about a subject.
        std::function<void(const std::string& subject, const std::string& what)> event;
        // `generation` is in force, or was refused whole with `reason`.
        std::function<void(std::shared_ptr<const Generation> generation, bool accepted,
                           const std::string& reason)>
            answered;
        // What is wrong with it under a topic; nothing: no longer.
        std::function<void(const std::string& topic, std::vector<std::string> problems)> problems;
        // Has to make the kernel side of a bypassed device.
        std::function<Expected<void>(const config::InterfaceConfig&, const net::MacAddress&)>
            make_tap;
    };

    virtual ~ForwardingEngine() = default;

    // "weir-dataplane", "the XDP balancer".
    [[nodiscard]] virtual std::string name() const = 0;

    virtual Expected<void> start(const config::Config& config, Handlers handlers) = 0;
    // Forwarding goes on.
    virtual void stop() = 0;

    // Null from the start, or from lost(), until ready().
    [[nodiscard]] virtual const Engine* engine() const = 0;
    // How its process ended, while it is gone; empty: nothing to say.
    [[nodiscard]] virtual std::string last_end() const = 0;
    // Brings engine()'s counters up to now, where they are not by themselves.
    virtual void refresh() = 0;
    // The one it forwards by; null: none.
    [[nodiscard]] virtual std::shared_ptr<const Generation> live() const = 0;

    // What the interfaces of the configuration are, in their order. An error: it was started with
    // others. REQUIRES: engine().
    virtual Expected<std::vector<InterfaceFacts>> take_interfaces(const config::Config& config) = 0;

    [[nodiscard]] virtual bool publishing() const = 0;
    // Answered later. REQUIRES: engine() and not publishing().
    virtual void publish(std::shared_ptr<const Generation> generation) = 0;

    // False: there is no engine to copy packets.
    virtual bool order_capture(const channel::Capture& order) = 0;
};

} // namespace weir::control
