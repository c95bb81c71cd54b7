// SPDX-License-Identifier: BSD-3-Clause
// Control's end of the socket to the engine (dataplane/channel/messages.hpp): connects and connects
// again, takes over what the engine shares, and publishes generations one at a time. One
// io_context, one thread; the handlers are called in it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/engine_link/engine.hpp"
#include "control/engine_link/generation.hpp"
#include "control/engine_link/kept_tables.hpp"
#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/socket.hpp"

namespace weir::control {

class EngineLink {
public:
    struct Handlers {
        // The engine is ready to be told. `running`: the generation it forwards by, or null.
        std::function<void(const Engine&, const std::shared_ptr<const Generation>& running)> ready;
        // `ended`: it closed the connection itself, as an engine does that ends in whatever way.
        std::function<void(bool ended)> lost;
        // `generation` is live on every worker, or was refused whole with `reason`.
        std::function<void(std::shared_ptr<const Generation> generation, bool accepted,
                           const std::string& reason)>
            answered;
        std::function<void(bool accepted, const std::string& reason)> tap_answered;
    };

    static constexpr std::chrono::milliseconds kRetry{50};
    // Right after it was lost a successor is on its way, and waits to hear what was kept.
    static constexpr std::chrono::milliseconds kQuickRetry{5};
    static constexpr std::chrono::seconds kQuickFor{2};
    // An engine that has gone for so long has left no connection that anybody still waits for.
    static constexpr std::chrono::minutes kKeep{15};
    static constexpr std::chrono::seconds kAnswerLimit{10};

    EngineLink(boost::asio::io_context& io, std::string socket_path, Handlers handlers);
    ~EngineLink();
    EngineLink(const EngineLink&) = delete;
    EngineLink& operator=(const EngineLink&) = delete;

    void start();
    void stop(); // the engine notices and goes on by itself

    // Null while there is no engine, or it has not said Ready; readable until the link is lost.
    [[nodiscard]] const Engine* engine() const;
    // The one acknowledged last by this engine, or found running; null: none.
    [[nodiscard]] std::shared_ptr<const Generation> live() const { return live_; }
    [[nodiscard]] bool publishing() const { return in_flight_ != nullptr; }

    // REQUIRES: engine() and not publishing(). False: the link broke (lost() follows).
    bool publish(std::shared_ptr<const Generation> generation);
    bool attach_tap(std::uint32_t interface, const std::string& kernel_name);
    bool order_capture(const channel::Capture& order);
    // What another engine has made (dataplane/lb/given.hpp, sealed), which `kind` says. REQUIRES:
    // engine(), and that it runs by no generation yet.
    bool give(channel::MemoryKind kind, const channel::SharedMemory& given);

    // What is kept of the engine that forwarded last.
    [[nodiscard]] const KeptTables& kept() const { return kept_; }

private:
    struct Session; // one connection and what came over it

    void try_connect();
    void retry_later();
    void wait_readable(const std::shared_ptr<Session>& session);
    void read_all(const std::shared_ptr<Session>& session);
    bool take(Session& session, channel::Packet& packet);
    bool take_memory(Session& session, channel::Packet& packet);
    bool take_ready(Session& session);
    void take_ack(const channel::Ack& ack);
    void lose(const std::string& why, bool ended = false);
    void expect_answer();
    void keep(Session& session);
    void keep_no_longer_than(std::chrono::minutes limit);

    boost::asio::io_context& io_;
    std::string path_;
    Handlers handlers_;
    boost::asio::steady_timer retry_timer_;
    boost::asio::steady_timer answer_timer_;
    boost::asio::steady_timer keep_timer_;
    KeptTables kept_; // of the engine that forwarded last
    std::shared_ptr<Session> session_;
    std::shared_ptr<const Generation> live_;
    std::shared_ptr<const Generation> in_flight_;
    std::chrono::steady_clock::time_point quick_until_{};
    bool stopped_ = true;
};

} // namespace weir::control
