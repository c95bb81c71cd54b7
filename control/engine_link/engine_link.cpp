// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/engine_link.hpp"

#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

namespace weir::control {

namespace asio = boost::asio;
using channel::MemoryKind;
using channel::MessageType;

struct EngineLink::Session {
    Session(asio::io_context& io, channel::Socket connected)
        : socket(std::move(connected)), readable(io, socket.descriptor()) {}
    // The socket owns the descriptor; the event loop must not close it a second time.
    ~Session() { readable.release(); }

    channel::Socket socket;
    asio::posix::stream_descriptor readable;
    Engine engine;
    bool ready = false;
    KeptTables tables; // until it is known that they have taken over what is kept
    std::optional<channel::SharedMemory> root;
    std::map<std::uint64_t, SegmentMemory> segments;
};

EngineLink::EngineLink(asio::io_context& io, std::string socket_path, Handlers handlers)
    : io_(io), path_(std::move(socket_path)), handlers_(std::move(handlers)), retry_timer_(io),
      answer_timer_(io), keep_timer_(io) {}

// The timers cancel themselves; their handlers look at the error before they touch anything.
EngineLink::~EngineLink() = default;

void EngineLink::start() {
    stopped_ = false;
    try_connect();
}

void EngineLink::stop() {
    stopped_ = true;
    retry_timer_.cancel();
    answer_timer_.cancel();
    keep_timer_.cancel();
    session_.reset();
    in_flight_.reset();
}

const Engine* EngineLink::engine() const {
    return session_ && session_->ready ? &session_->engine : nullptr;
}

void EngineLink::retry_later() {
    const bool quick = std::chrono::steady_clock::now() < quick_until_;
    retry_timer_.expires_after(quick ? kQuickRetry : kRetry);
    retry_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !stopped_)
            try_connect();
    });
}

void EngineLink::try_connect() {
    std::string problem;
    auto socket = channel::Socket::connect(path_, problem);
    if (!socket) {
        retry_later(); // no engine listens yet; whoever starts it says what is wrong with it
        return;
    }
    if (!kept_.give(*socket)) {
        retry_later();
        return;
    }
    session_ = std::make_shared<Session>(io_, std::move(*socket));
    expect_answer();
    wait_readable(session_);
}

void EngineLink::wait_readable(const std::shared_ptr<Session>& session) {
    session->readable.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [this, weak = std::weak_ptr(session)](const boost::system::error_code& error) {
            const auto strong = weak.lock();
            if (!error && strong && strong == session_)
                read_all(strong);
        });
}

void EngineLink::read_all(const std::shared_ptr<Session>& session) {
    for (;;) {
        channel::Packet packet;
        switch (session->socket.receive(packet)) {
        case channel::Receive::nothing_yet:
            wait_readable(session);
            return;
        case channel::Receive::closed:
            lose("the engine closed the connection", true);
            return;
        case channel::Receive::packet:
            if (!take(*session, packet)) {
                lose("the engine does not speak this version's protocol");
                return;
            }
            break;
        }
        if (session != session_) // a handler ended it
            return;
    }
}

bool EngineLink::take(Session& session, channel::Packet& packet) {
    const auto type = packet.type();
    if (!type)
        return false;
    if (*type == MessageType::hello) {
        const auto hello = packet.as<channel::Hello>();
        if (!hello || hello->interfaces > WEIR_MAX_INTERFACES)
            return false;
        session.engine.hello = *hello;
        return true;
    }
    if (*type == MessageType::memory)
        return take_memory(session, packet);
    if (*type == MessageType::ready)
        return take_ready(session);
    if (*type == MessageType::ack) {
        auto ack = packet.as<channel::Ack>();
        if (!ack)
            return false;
        ack->sentence[sizeof(ack->sentence) - 1] = '\0';
        take_ack(*ack);
        return true;
    }
    return false;
}

bool EngineLink::take_memory(Session& session, channel::Packet& packet) {
    const auto message = packet.as<channel::Memory>();
    if (!message || !packet.descriptor)
        return false;
    session.tables.take(*message, packet.descriptor);
    if (message->kind == MemoryKind::legend) // for the next engine, not for us
        return true;
    const bool sealed = message->kind == MemoryKind::segment || message->kind == MemoryKind::root;
    std::string problem;
    auto memory = channel::SharedMemory::map(std::move(packet.descriptor),
                                             channel::Access::read_only, sealed, problem);
    if (!memory) {
        spdlog::error("cannot map what the engine shares: {}", problem);
        return false;
    }
    switch (message->kind) {
    case MemoryKind::segment:
        session.segments[message->id] =
            std::make_shared<const channel::SharedMemory>(std::move(*memory));
        return true;
    case MemoryKind::root:
        session.root = std::move(*memory);
        return true;
    case MemoryKind::counters:
        session.engine.counters = lb::CountersView::open(memory->bytes(), problem);
        if (!session.engine.counters) {
            spdlog::error("{}", problem);
            return false;
        }
        break;
    case MemoryKind::connections: {
        auto reader = lb::ConnectionReader::open(memory->bytes());
        if (!reader) {
            spdlog::error("the connection table of worker {} has another layout: both programs "
                          "must be of the same release",
                          message->worker);
            return false;
        }
        session.engine.connections.push_back(std::make_shared<WorkerTable>(*reader));
        break;
    }
    case MemoryKind::captures: {
        const auto reader = lb::CaptureReader::open(memory->bytes());
        if (!reader) {
            spdlog::error("the capture ring of worker {} has another layout: both programs must be "
                          "of the same release",
                          message->worker);
            return false;
        }
        session.engine.captures.push_back(
            {*reader, std::make_shared<const channel::SharedMemory>(std::move(*memory))});
        return true;
    }
    default:
        return false;
    }
    session.engine.memories.push_back(std::move(*memory));
    return true;
}

bool EngineLink::take_ready(Session& session) {
    std::shared_ptr<const Generation> running;
    if (session.root) {
        auto adopted = Generation::adopt(std::move(*session.root), session.segments);
        if (adopted)
            running = *adopted;
        else
            spdlog::error("{}; row ids start anew", adopted.error().sentence);
    }
    session.root.reset();
    session.segments.clear();
    session.ready = true;
    answer_timer_.cancel();
    live_ = running;
    keep_timer_.cancel();
    if (running)
        keep(session);
    handlers_.ready(session.engine, running);
    return true;
}

void EngineLink::take_ack(const channel::Ack& ack) {
    const bool accepted = ack.accepted != 0;
    if (ack.generation == 0) {
        handlers_.tap_answered(accepted, ack.sentence);
        return;
    }
    if (!in_flight_ || ack.generation != in_flight_->number())
        return;
    answer_timer_.cancel();
    const std::shared_ptr<const Generation> answered = std::move(in_flight_);
    in_flight_.reset();
    if (accepted) {
        live_ = answered;
        keep(*session_);
    }
    handlers_.answered(answered, accepted, ack.sentence);
}

// The engine forwards: whatever was kept is in its tables now, or nowhere.
void EngineLink::keep(Session& session) {
    if (!session.tables.empty())
        kept_ = std::exchange(session.tables, {});
}

void EngineLink::keep_no_longer_than(std::chrono::minutes limit) {
    keep_timer_.expires_after(limit);
    keep_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || kept_.empty())
            return;
        spdlog::warn("the engine is gone for {} minutes: its connections are given up",
                     kKeep.count());
        kept_ = {};
    });
}

void EngineLink::expect_answer() {
    answer_timer_.expires_after(kAnswerLimit);
    answer_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && session_)
            lose("the engine did not answer within 10 s");
    });
}

void EngineLink::lose(const std::string& why, bool ended) {
    const bool was_ready = session_ && session_->ready;
    if (was_ready)
        spdlog::warn("{}", why);
    session_.reset();
    in_flight_.reset();
    answer_timer_.cancel();
    if (was_ready) {
        keep_no_longer_than(kKeep);
        quick_until_ = std::chrono::steady_clock::now() + kQuickFor;
        handlers_.lost(ended);
    }
    if (!stopped_ && !session_)
        retry_later();
}

bool EngineLink::publish(std::shared_ptr<const Generation> generation) {
    const channel::Socket& socket = session_->socket;
    bool sent = true;
    for (const auto& [id, memory] : generation->segments()) {
        if (live_ && live_->segments().contains(id))
            continue;
        auto message = channel::make_message<channel::Memory>(MessageType::memory);
        message.kind = MemoryKind::segment;
        message.id = id;
        sent = sent && socket.send(message, memory->descriptor());
    }
    auto message = channel::make_message<channel::Publish>(MessageType::publish);
    message.generation = generation->number();
    sent = sent && socket.send(message, generation->root_descriptor());
    if (!sent) {
        lose("the engine took no message for a second");
        return false;
    }
    in_flight_ = std::move(generation);
    expect_answer();
    return true;
}

bool EngineLink::attach_tap(std::uint32_t interface, const std::string& kernel_name) {
    auto message = channel::make_message<channel::AttachTap>(MessageType::attach_tap);
    message.interface = interface;
    std::strncpy(message.kernel_name, kernel_name.c_str(), sizeof(message.kernel_name) - 1);
    if (session_->socket.send(message))
        return true;
    lose("the engine took no message for a second");
    return false;
}

bool EngineLink::order_capture(const channel::Capture& order) {
    if (session_->socket.send(order))
        return true;
    lose("the engine took no message for a second");
    return false;
}

bool EngineLink::give(MemoryKind kind, const channel::SharedMemory& given) {
    auto message = channel::make_message<channel::Memory>(MessageType::memory);
    message.kind = kind;
    if (session_->socket.send(message, given.descriptor()))
        return true;
    lose("the engine took no message for a second");
    return false;
}

} // namespace weir::control
