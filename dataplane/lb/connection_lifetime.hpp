// SPDX-License-Identifier: BSD-3-Clause
// What a packet does to a connection's state, and how long a state lasts, in C++'s own types. The
// rules themselves are dataplane/forwarding/connection_state.h, shared with the BPF programs.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/forwarding/connection_state.h"

namespace weir::lb {

enum class ConnectionState : std::uint8_t {
    kFree = WEIR_STATE_FREE,
    kUdpOneWay = WEIR_STATE_UDP_ONE_WAY,
    kUdpAssured = WEIR_STATE_UDP_ASSURED,
    kSynSeen = WEIR_STATE_SYN_SEEN,
    kSynAckSeen = WEIR_STATE_SYN_ACK_SEEN,
    kMidstream = WEIR_STATE_MIDSTREAM,
    kEstablished = WEIR_STATE_ESTABLISHED,
    kFinClient = WEIR_STATE_FIN_CLIENT,
    kFinBackend = WEIR_STATE_FIN_BACKEND,
    kClosingClient = WEIR_STATE_CLOSING_CLIENT,
    kClosingBackend = WEIR_STATE_CLOSING_BACKEND,
    kRstClient = WEIR_STATE_RST_CLIENT,
    kRstBackend = WEIR_STATE_RST_BACKEND,
};
inline constexpr int kConnectionStates = 13;

enum class PacketEvent : std::uint8_t {
    kClientSyn = WEIR_EVENT_CLIENT_SYN,
    kClientSynAck = WEIR_EVENT_CLIENT_SYN_ACK,
    kClientAck = WEIR_EVENT_CLIENT_ACK,
    kClientFin = WEIR_EVENT_CLIENT_FIN,
    kClientRst = WEIR_EVENT_CLIENT_RST,
    kClientDatagram = WEIR_EVENT_CLIENT_DATAGRAM,
    kBackendSyn = WEIR_EVENT_BACKEND_SYN,
    kBackendSynAck = WEIR_EVENT_BACKEND_SYN_ACK,
    kBackendAck = WEIR_EVENT_BACKEND_ACK,
    kBackendFin = WEIR_EVENT_BACKEND_FIN,
    kBackendRst = WEIR_EVENT_BACKEND_RST,
    kBackendDatagram = WEIR_EVENT_BACKEND_DATAGRAM,
};
inline constexpr int kPacketEvents = 12;

enum class Direction : std::uint8_t {
    kFromClient = WEIR_FROM_CLIENT,
    kFromBackend = WEIR_FROM_BACKEND
};

enum class Visibility : std::uint8_t {
    kBothSides = WEIR_BOTH_SIDES,
    kClientOnly = WEIR_CLIENT_ONLY
};

inline PacketEvent tcp_event(Direction direction, std::uint8_t tcp_flags) {
    return static_cast<PacketEvent>(
        weir_tcp_event(static_cast<std::uint32_t>(direction), tcp_flags));
}
inline PacketEvent udp_event(Direction direction) {
    return static_cast<PacketEvent>(weir_udp_event(static_cast<std::uint32_t>(direction)));
}

// State of a connection that begins with this packet; kFree: such a packet is not recorded.
inline ConnectionState initial_state(PacketEvent event) {
    return static_cast<ConnectionState>(weir_initial_state(static_cast<std::uint32_t>(event)));
}

inline ConnectionState next_state(Visibility visibility, ConnectionState state, PacketEvent event) {
    return static_cast<ConnectionState>(weir_next_state(static_cast<std::uint32_t>(visibility),
                                                        static_cast<std::uint8_t>(state),
                                                        static_cast<std::uint32_t>(event)));
}

// The peers have shown each other to be real: an entry in this state leaves probation.
inline bool confirmed(ConnectionState state) {
    return weir_state_confirmed(static_cast<std::uint8_t>(state));
}

// A SYN (alone) on an old tuple in this state opens a new connection at once: the old entry is to
// be erased and the packet treated as unknown. A retransmitted SYN meets its own half-open entry
// here; giving it the same backend again, while that is up, is the caller's choice.
inline bool restarts(ConnectionState state, std::uint8_t tcp_flags) {
    return weir_state_restarts(static_cast<std::uint8_t>(state), tcp_flags);
}

// Whether the packet that led from `before` to `after` restarts the entry's idle time. A client's
// packets alone keep neither a half-open connection alive nor a UDP one whose backend is down.
inline bool refreshes(ConnectionState before, ConnectionState after, Direction direction,
                      bool backend_down) {
    return weir_state_refreshes(static_cast<std::uint8_t>(before), static_cast<std::uint8_t>(after),
                                static_cast<std::uint32_t>(direction), backend_down);
}

// The SNAT port of an entry in this state may be given to a new connection to the same backend,
// whose side of the old one is gone. The entry is to be erased first.
inline bool snat_port_reusable(ConnectionState state) {
    return weir_snat_port_reusable(static_cast<std::uint8_t>(state), false);
}

// Under pressure the ports of all ended connections may be: the backend may still be in TIME_WAIT,
// and takes the new SYN if its sequence number or time stamp is the newer (RFC 6191).
inline bool snat_port_reusable_under_pressure(ConnectionState state) {
    return weir_snat_port_reusable(static_cast<std::uint8_t>(state), true);
}

inline std::uint16_t timeout_s(ConnectionState state, const weir_timeouts& timeouts) {
    return weir_state_timeout_s(static_cast<std::uint8_t>(state), &timeouts);
}

std::string_view state_name(ConnectionState state);
std::string_view event_name(PacketEvent event);

} // namespace weir::lb
