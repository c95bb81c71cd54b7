// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/channel_server.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace weir::dpdk {
namespace {

using channel::MessageType;

// Messages handled before the main thread looks at other things again.
constexpr int kMostAtOnce = 256;

// A control process that hangs leaves a capture on for this long at the most.
constexpr std::uint64_t kLongestCaptureLease_ns = 10'000'000'000;

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// Root and the engine's own user may command it.
bool may_command(const channel::Socket& peer) {
    ucred credentials{};
    socklen_t length = sizeof(credentials);
    if (::getsockopt(peer.descriptor(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return false;
    return credentials.uid == 0 || credentials.uid == ::geteuid();
}

} // namespace

Expected<ChannelServer> ChannelServer::listen(const std::string& path) {
    std::string problem;
    auto listener = channel::Socket::listen(path, problem);
    if (!listener)
        return Error{problem};
    return ChannelServer(std::move(*listener));
}

Inheritance ChannelServer::wait_for_inheritance(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!all_came_) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            return {}; // it may still come: handle_kept()
        std::array<pollfd, 2> watched{{{listener(), POLLIN, 0}, {client(), POLLIN, 0}}};
        ::poll(watched.data(), watched.size(), static_cast<int>(left.count()));
        accept();
        if (client_)
            on_client_readable();
    }
    return std::exchange(incoming_, {});
}

void ChannelServer::serve(const channel::Hello& hello, EngineMemory& memory,
                          Generations& generations, AttachTap attach_tap) {
    hello_ = hello;
    memory_ = &memory;
    generations_ = &generations;
    attach_tap_ = std::move(attach_tap);
    if (client_)
        greet_client();
}

void ChannelServer::accept() {
    while (auto peer = listener_.accept()) {
        if (!may_command(*peer)) {
            spdlog::warn("refused a control connection of another user");
            continue;
        }
        if (client_)
            spdlog::info("a newer control process replaces the connected one");
        lose_client();
        client_ = std::move(*peer);
        if (memory_)
            greet_client();
    }
}

void ChannelServer::on_listener_readable() {
    accept();
}

void ChannelServer::greet_client() {
    generations_->drop_unused_segments();
    if (greet(client_))
        return;
    spdlog::warn("the control process went away while it was greeted");
    lose_client();
}

// Nobody reads what is captured any more.
void ChannelServer::lose_client() {
    client_.close();
    incoming_ = {};
    all_came_ = false;
    if (memory_)
        memory_->capture_order().stop();
}

bool ChannelServer::greet(const channel::Socket& peer) const {
    const Generation* running = generations_->running();
    channel::Hello hello = hello_;
    hello.generation = running ? running->state.generation() : 0;
    if (!peer.send(hello))
        return false;
    auto memory = channel::make_message<channel::Memory>(MessageType::memory);
    memory.kind = channel::MemoryKind::counters;
    if (!peer.send(memory, memory_->counters_descriptor()))
        return false;
    memory.kind = channel::MemoryKind::connections;
    for (std::uint32_t worker = 0; worker < memory_->workers(); worker++) {
        memory.worker = worker;
        if (!peer.send(memory, memory_->table_descriptor(worker)))
            return false;
    }
    memory.kind = channel::MemoryKind::legend;
    memory.worker = 0;
    if (!peer.send(memory, memory_->legend_descriptor()))
        return false;
    memory.kind = channel::MemoryKind::captures;
    for (std::uint32_t worker = 0; worker < memory_->workers(); worker++) {
        memory.worker = worker;
        if (!peer.send(memory, memory_->capture_descriptor(worker)))
            return false;
    }
    memory.worker = 0;
    if (running) {
        memory.kind = channel::MemoryKind::segment;
        for (const auto& held : running->segments) {
            memory.id = held->segment.id;
            if (!peer.send(memory, held->descriptor.get()))
                return false;
        }
        memory.kind = channel::MemoryKind::root;
        memory.id = hello.generation;
        if (!peer.send(memory, running->descriptor.get()))
            return false;
    }
    return peer.send(channel::make_message<channel::Ready>(MessageType::ready));
}

void ChannelServer::on_client_readable() {
    for (int i = 0; i < kMostAtOnce && client_; i++) {
        channel::Packet packet;
        switch (client_.receive(packet)) {
        case channel::Receive::nothing_yet:
            return;
        case channel::Receive::closed:
            spdlog::info("the control process is gone; forwarding goes on");
            lose_client();
            return;
        case channel::Receive::packet:
            if (!handle(packet)) {
                spdlog::warn("the control process sent what is not in the protocol: disconnected");
                lose_client();
            }
        }
    }
}

bool ChannelServer::handle(channel::Packet& packet) {
    const auto type = packet.type();
    if (!type) {
        answer(0, false,
               "the message is of another protocol version: both programs must be of "
               "the same release");
        return false;
    }
    if (*type == MessageType::memory)
        return handle_memory(packet);
    if (*type == MessageType::kept)
        return handle_kept();
    if (!memory_) // it was not greeted yet and so cannot know what to say
        return false;
    switch (*type) {
    case MessageType::publish:
        return handle_publish(packet);
    case MessageType::attach_tap:
        return handle_attach_tap(packet);
    case MessageType::capture:
        return handle_capture(packet);
    default:
        return false;
    }
}

// A bad segment is not answered: the generation that needs it is refused, and says so. The reason
// is in the log.
bool ChannelServer::handle_memory(channel::Packet& packet) {
    const auto memory = packet.as<channel::Memory>();
    if (!memory || !packet.descriptor)
        return false;
    if (memory->kind == channel::MemoryKind::given_connections ||
        memory->kind == channel::MemoryKind::given_networks)
        return handle_given(memory->kind, std::move(packet.descriptor));
    if (memory->kind != channel::MemoryKind::segment)
        return !all_came_ && incoming_.take(*memory, std::move(packet.descriptor));
    if (!generations_)
        return false;
    if (auto added = generations_->add_segment(memory->id, std::move(packet.descriptor)); !added)
        spdlog::warn("refused: {}", added.error().sentence);
    return true;
}

// What cannot be read is lost, and forwarding begins all the same.
bool ChannelServer::handle_given(channel::MemoryKind kind, channel::Descriptor descriptor) {
    if (!memory_ || generations_->running())
        return false;
    std::string problem;
    auto given = channel::SharedMemory::map(std::move(descriptor), channel::Access::read_only, true,
                                            problem);
    const bool connections = kind == channel::MemoryKind::given_connections;
    if (!given || !(connections ? memory_->take_given_connections(std::move(*given))
                                : memory_->take_given_networks(std::move(*given))))
        spdlog::warn("{} of the engine before are lost: {}",
                     connections ? "connections" : "remembered networks",
                     problem.empty() ? "they are of another layout" : problem);
    return true;
}

// Of no use once a generation runs: then the connections are those of this process.
bool ChannelServer::handle_kept() {
    if (all_came_)
        return false;
    all_came_ = true;
    if (memory_ && !generations_->running())
        memory_->inherit_late(std::exchange(incoming_, {}));
    return true;
}

bool ChannelServer::handle_publish(channel::Packet& packet) {
    const auto publish = packet.as<channel::Publish>();
    if (!publish || !packet.descriptor)
        return false;
    auto published = generations_->publish(publish->generation, std::move(packet.descriptor));
    if (!published) {
        spdlog::warn("refused generation {}: {}", publish->generation, published.error().sentence);
        return answer(publish->generation, false, published.error().sentence);
    }
    if (!published->remark.empty())
        spdlog::warn("generation {}: {}", publish->generation, published->remark);
    return answer(publish->generation, true, published->remark);
}

bool ChannelServer::handle_attach_tap(const channel::Packet& packet) {
    const auto attach = packet.as<channel::AttachTap>();
    if (!attach)
        return false;
    const std::string name(attach->kernel_name,
                           ::strnlen(attach->kernel_name, sizeof(attach->kernel_name)));
    auto attached = attach_tap_(attach->interface, name);
    if (!attached)
        spdlog::warn("refused to attach: {}", attached.error().sentence);
    return answer(0, attached.has_value(), attached ? "" : attached.error().sentence);
}

bool ChannelServer::handle_capture(const channel::Packet& packet) {
    const auto order = packet.as<channel::Capture>();
    if (!order || order->session == 0)
        return false;
    lb::CaptureOrder& running = memory_->capture_order();
    if (order->lease_ns == 0) {
        running.stop();
        return true;
    }
    const std::uint64_t lease = std::min(order->lease_ns, kLongestCaptureLease_ns);
    running.start(order->session, {order->verdicts, order->vip, order->snaplen},
                  monotonic_ns() + lease);
    return true;
}

bool ChannelServer::answer(std::uint64_t generation, bool accepted,
                           const std::string& sentence) const {
    auto ack = channel::make_message<channel::Ack>(MessageType::ack);
    ack.generation = generation;
    ack.accepted = accepted ? 1 : 0;
    std::memcpy(ack.sentence, sentence.data(), std::min(sentence.size(), sizeof(ack.sentence) - 1));
    return client_.send(ack);
}

} // namespace weir::dpdk
