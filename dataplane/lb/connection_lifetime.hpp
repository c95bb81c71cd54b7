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

PacketEvent tcp_event(Direction direction, std::uint8_t tcp_flags);
PacketEvent udp_event(Direction direction);

// State of a connection that begins with this packet; kFree: such a packet is not recorded.
ConnectionState initial_state(PacketEvent event);

ConnectionState next_state(Visibility visibility, ConnectionState state, PacketEvent event);

// The peers have shown each other to be real: an entry in this state leaves probation.
bool confirmed(ConnectionState state);

// A SYN (alone) on an old tuple in this state opens a new connection at once: the old entry is to
// be erased and the packet treated as unknown. A retransmitted SYN meets its own half-open entry
// here; giving it the same backend again, while that is up, is the caller's choice.
bool restarts(ConnectionState state, std::uint8_t tcp_flags);

// Whether the packet that led from `before` to `after` restarts the entry's idle time. A client's
// packets alone keep neither a half-open connection alive nor a UDP one whose backend is down.
bool refreshes(ConnectionState before, ConnectionState after, Direction direction,
               bool backend_down);

// The SNAT port of an entry in this state may be given to a new connection to the same backend,
// whose side of the old one is gone. The entry is to be erased first.
bool snat_port_reusable(ConnectionState state);

// Under pressure the ports of all ended connections may be: the backend may still be in TIME_WAIT,
// and takes the new SYN if its sequence number or time stamp is the newer (RFC 6191).
bool snat_port_reusable_under_pressure(ConnectionState state);

std::uint16_t timeout_s(ConnectionState state, const weir_timeouts& timeouts);

std::string_view state_name(ConnectionState state);
std::string_view event_name(PacketEvent event);

} // namespace weir::lb
