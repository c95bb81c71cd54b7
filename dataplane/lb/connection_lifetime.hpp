// SPDX-License-Identifier: BSD-3-Clause
// What a packet does to a connection's state, and how long a state lasts: pure functions of
// (state, event). No clock, no table. The workers call it for every packet of a recorded
// connection; docs/connection-lifetime.md shows the same table and is checked by the unit test.
//
// No sequence numbers are kept, so a packet proves only what the side that sent it wants us to
// believe. Two rules follow: what the client alone can send never confirms a connection whose
// backend we can hear (a flood of SYN, ACK stays on probation), and a reset is taken back by any
// later packet from the side that is said to have sent it (RFC 5961's blind resets).
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/forwarding/packet.h"
#include "dataplane/forwarding/rows.h"

namespace weir::lb {

// Four bits in a connection row; the numbers are part of the published layout.
enum class ConnectionState : std::uint8_t {
    kFree = 0,
    kUdpOneWay = 1,
    kUdpAssured = 2,
    kSynSeen = 3,
    kSynAckSeen = 4,
    kMidstream = 5, // begins with a packet that is not a SYN: after a restart, or a stray
    kEstablished = 6,
    kFinClient = 7,
    kFinBackend = 8,
    kClosingClient = 9,   // both sent FIN, the client first: the backend keeps no TIME_WAIT
    kClosingBackend = 10, // both sent FIN, the backend first
    kRstClient = 11,
    kRstBackend = 12,
};
inline constexpr int kConnectionStates = 13;

enum class PacketEvent : std::uint8_t {
    kClientSyn,
    kClientSynAck,
    kClientAck, // any TCP segment without SYN, FIN, RST
    kClientFin,
    kClientRst,
    kClientDatagram,
    kBackendSyn,
    kBackendSynAck,
    kBackendAck,
    kBackendFin,
    kBackendRst,
    kBackendDatagram,
};
inline constexpr int kPacketEvents = 12;

enum class Direction : std::uint8_t { kFromClient, kFromBackend };

// Whose packets pass through us: both sides' in the NAT modes, the client's alone in DSR.
enum class Visibility : std::uint8_t { kBothSides, kClientOnly };

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
