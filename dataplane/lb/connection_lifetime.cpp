// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_lifetime.hpp"

#include <array>
#include <cstddef>

namespace weir::lb {
namespace {

using Row = std::array<ConnectionState, kPacketEvents>;
using Table = std::array<Row, kConnectionStates>;

// Short names, so that a row of the table is a line.
constexpr auto kFre = ConnectionState::kFree;
constexpr auto kUd1 = ConnectionState::kUdpOneWay;
constexpr auto kUdA = ConnectionState::kUdpAssured;
constexpr auto kSyn = ConnectionState::kSynSeen;
constexpr auto kSyA = ConnectionState::kSynAckSeen;
constexpr auto kMid = ConnectionState::kMidstream;
constexpr auto kEst = ConnectionState::kEstablished;
constexpr auto kFiC = ConnectionState::kFinClient;
constexpr auto kFiB = ConnectionState::kFinBackend;
constexpr auto kClC = ConnectionState::kClosingClient;
constexpr auto kClB = ConnectionState::kClosingBackend;
constexpr auto kRsC = ConnectionState::kRstClient;
constexpr auto kRsB = ConnectionState::kRstBackend;

// clang-format off
constexpr Table kBothSides = {{
    //          from the client                     | from the backend
    //          syn   synack ack   fin   rst   udp     syn   synack ack   fin   rst   udp
    /* Fre */ {{kFre, kFre, kFre, kFre, kFre, kFre,   kFre, kFre, kFre, kFre, kFre, kFre}},
    // The backend's first answer shows that the source address is not forged.
    /* Ud1 */ {{kUd1, kUd1, kUd1, kUd1, kUd1, kUd1,   kUd1, kUd1, kUd1, kUd1, kUd1, kUdA}},
    /* UdA */ {{kUdA, kUdA, kUdA, kUdA, kUdA, kUdA,   kUdA, kUdA, kUdA, kUdA, kUdA, kUdA}},
    // Nothing the client sends counts before the SYN-ACK. A bare ACK of the backend is its
    // challenge to a SYN on an old connection (RFC 5961, 4.2): the client will reset and try again.
    /* Syn */ {{kSyn, kSyn, kSyn, kSyn, kSyn, kSyn,   kSyn, kSyA, kSyn, kSyn, kRsB, kSyn}},
    // The client's ACK shows that it received the SYN-ACK: the handshake is complete. Its RST may
    // be forged and costs it nothing if true: the next SYN starts anew.
    /* SyA */ {{kSyA, kSyA, kEst, kFiC, kSyA, kSyA,   kSyA, kSyA, kSyA, kSyA, kRsB, kSyA}},
    // Only the backend knows whether there was a connection.
    /* Mid */ {{kMid, kMid, kMid, kMid, kMid, kMid,   kMid, kSyA, kEst, kFiB, kRsB, kMid}},
    // A SYN here may be forged; the backend answers it with a challenge.
    /* Est */ {{kEst, kEst, kEst, kFiC, kRsC, kEst,   kEst, kEst, kEst, kFiB, kRsB, kEst}},
    // Half closed (RFC 9293, 3.6): the other side may go on sending for as long as it likes.
    /* FiC */ {{kFiC, kFiC, kFiC, kFiC, kRsC, kFiC,   kFiC, kFiC, kFiC, kClC, kRsB, kFiC}},
    /* FiB */ {{kFiB, kFiB, kFiB, kClB, kRsC, kFiB,   kFiB, kFiB, kFiB, kFiB, kRsB, kFiB}},
    // What still comes is retransmission.
    /* ClC */ {{kClC, kClC, kClC, kClC, kClC, kClC,   kClC, kClC, kClC, kClC, kClC, kClC}},
    /* ClB */ {{kClB, kClB, kClB, kClB, kClB, kClB,   kClB, kClB, kClB, kClB, kClB, kClB}},
    // A side that has reset sends nothing more: if it does, the reset was forged.
    /* RsC */ {{kRsC, kRsC, kEst, kFiC, kRsC, kRsC,   kRsC, kRsC, kRsC, kRsC, kRsC, kRsC}},
    /* RsB */ {{kRsB, kRsB, kRsB, kRsB, kRsB, kRsB,   kRsB, kSyA, kEst, kFiB, kRsB, kRsB}},
}};

// The same where only the client is heard: its second packet has to do for the backend's answer.
constexpr Table client_only() {
    Table table = kBothSides;
    const auto row = [&](ConnectionState state) -> Row& {
        return table[static_cast<std::size_t>(state)];
    };
    constexpr auto kAck = static_cast<std::size_t>(PacketEvent::kClientAck);
    constexpr auto kFin = static_cast<std::size_t>(PacketEvent::kClientFin);
    constexpr auto kUdp = static_cast<std::size_t>(PacketEvent::kClientDatagram);
    row(kUd1)[kUdp] = kUdA;
    row(kSyn)[kAck] = kEst;
    row(kSyn)[kFin] = kFiC;
    row(kMid)[kAck] = kEst;
    row(kMid)[kFin] = kFiC;
    return table;
}
// clang-format on

constexpr Table kClientOnly = client_only();

constexpr std::array<std::string_view, kConnectionStates> kStateNames = {
    "free",        "udp_one_way", "udp_assured", "syn_seen",       "syn_ack_seen",    "midstream",
    "established", "fin_client",  "fin_backend", "closing_client", "closing_backend", "rst_client",
    "rst_backend"};

constexpr std::array<std::string_view, kPacketEvents> kEventNames = {
    "client SYN",  "client SYN-ACK",  "client ACK",  "client FIN",  "client RST",  "client UDP",
    "backend SYN", "backend SYN-ACK", "backend ACK", "backend FIN", "backend RST", "backend UDP"};

constexpr std::uint8_t kOpeningFlags = WEIR_TCP_SYN | WEIR_TCP_ACK | WEIR_TCP_FIN | WEIR_TCP_RST;

} // namespace

PacketEvent tcp_event(Direction direction, std::uint8_t tcp_flags) {
    const bool client = direction == Direction::kFromClient;
    if ((tcp_flags & WEIR_TCP_RST) != 0)
        return client ? PacketEvent::kClientRst : PacketEvent::kBackendRst;
    if ((tcp_flags & WEIR_TCP_SYN) != 0) {
        if ((tcp_flags & WEIR_TCP_ACK) != 0)
            return client ? PacketEvent::kClientSynAck : PacketEvent::kBackendSynAck;
        return client ? PacketEvent::kClientSyn : PacketEvent::kBackendSyn;
    }
    if ((tcp_flags & WEIR_TCP_FIN) != 0)
        return client ? PacketEvent::kClientFin : PacketEvent::kBackendFin;
    return client ? PacketEvent::kClientAck : PacketEvent::kBackendAck;
}

PacketEvent udp_event(Direction direction) {
    return direction == Direction::kFromClient ? PacketEvent::kClientDatagram
                                               : PacketEvent::kBackendDatagram;
}

ConnectionState initial_state(PacketEvent event) {
    switch (event) {
    case PacketEvent::kClientSyn:
        return ConnectionState::kSynSeen;
    case PacketEvent::kClientAck:
    case PacketEvent::kClientFin:
        return ConnectionState::kMidstream;
    case PacketEvent::kClientDatagram:
        return ConnectionState::kUdpOneWay;
    default: // a RST ends what we do not know; a backend opens nothing
        return ConnectionState::kFree;
    }
}

ConnectionState next_state(Visibility visibility, ConnectionState state, PacketEvent event) {
    const Table& table = visibility == Visibility::kClientOnly ? kClientOnly : kBothSides;
    return table[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

bool confirmed(ConnectionState state) {
    switch (state) {
    case ConnectionState::kUdpAssured:
    case ConnectionState::kEstablished:
    case ConnectionState::kFinClient:
    case ConnectionState::kFinBackend:
    case ConnectionState::kClosingClient:
    case ConnectionState::kClosingBackend:
        return true;
    default: // a connection that is reset during its handshake is no better than a half-open one
        return false;
    }
}

bool restarts(ConnectionState state, std::uint8_t tcp_flags) {
    if ((tcp_flags & kOpeningFlags) != WEIR_TCP_SYN)
        return false;
    switch (state) {
    case ConnectionState::kFree:
    case ConnectionState::kUdpOneWay:
    case ConnectionState::kUdpAssured:
    case ConnectionState::kEstablished:
        return false;
    default:
        return true;
    }
}

bool refreshes(ConnectionState before, ConnectionState after, Direction direction,
               bool backend_down) {
    switch (after) {
    case ConnectionState::kUdpOneWay:
    case ConnectionState::kUdpAssured:
        return direction == Direction::kFromBackend || !backend_down;
    case ConnectionState::kEstablished:
    case ConnectionState::kFinClient:
    case ConnectionState::kFinBackend:
        return true;
    default:
        return before != after;
    }
}

bool snat_port_reusable(ConnectionState state) {
    return state == ConnectionState::kClosingClient;
}

bool snat_port_reusable_under_pressure(ConnectionState state) {
    return snat_port_reusable(state) || state == ConnectionState::kClosingBackend ||
           state == ConnectionState::kRstClient || state == ConnectionState::kRstBackend;
}

std::uint16_t timeout_s(ConnectionState state, const weir_timeouts& timeouts) {
    switch (state) {
    case ConnectionState::kFree:
        return 0;
    case ConnectionState::kUdpOneWay:
    case ConnectionState::kUdpAssured:
        return timeouts.udp;
    case ConnectionState::kSynSeen:
    case ConnectionState::kSynAckSeen:
    case ConnectionState::kMidstream:
        return timeouts.syn;
    case ConnectionState::kEstablished:
        return timeouts.established;
    case ConnectionState::kFinClient:
    case ConnectionState::kFinBackend:
    case ConnectionState::kClosingClient:
    case ConnectionState::kClosingBackend:
        return timeouts.fin;
    case ConnectionState::kRstClient:
    case ConnectionState::kRstBackend:
        return timeouts.rst;
    }
    return timeouts.rst; // a damaged row: not for long
}

std::string_view state_name(ConnectionState state) {
    const auto number = static_cast<std::size_t>(state);
    return number < kStateNames.size() ? kStateNames[number] : "unknown";
}

std::string_view event_name(PacketEvent event) {
    return kEventNames[static_cast<std::size_t>(event)];
}

} // namespace weir::lb
