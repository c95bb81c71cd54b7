// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_lifetime.hpp"

#include <array>
#include <cstddef>

namespace weir::lb {
namespace {

constexpr std::array<std::string_view, kConnectionStates> kStateNames = {
    "free",        "udp_one_way", "udp_assured", "syn_seen",       "syn_ack_seen",    "midstream",
    "established", "fin_client",  "fin_backend", "closing_client", "closing_backend", "rst_client",
    "rst_backend"};

constexpr std::array<std::string_view, kPacketEvents> kEventNames = {
    "client SYN",  "client SYN-ACK",  "client ACK",  "client FIN",  "client RST",  "client UDP",
    "backend SYN", "backend SYN-ACK", "backend ACK", "backend FIN", "backend RST", "backend UDP"};

static_assert(kConnectionStates == WEIR_STATE_COUNT && kPacketEvents == WEIR_EVENT_COUNT);

constexpr std::uint8_t number(ConnectionState state) {
    return static_cast<std::uint8_t>(state);
}
constexpr std::uint32_t number(Direction direction) {
    return static_cast<std::uint32_t>(direction);
}

} // namespace

PacketEvent tcp_event(Direction direction, std::uint8_t tcp_flags) {
    return static_cast<PacketEvent>(weir_tcp_event(number(direction), tcp_flags));
}

PacketEvent udp_event(Direction direction) {
    return static_cast<PacketEvent>(weir_udp_event(number(direction)));
}

ConnectionState initial_state(PacketEvent event) {
    return static_cast<ConnectionState>(weir_initial_state(static_cast<std::uint32_t>(event)));
}

ConnectionState next_state(Visibility visibility, ConnectionState state, PacketEvent event) {
    return static_cast<ConnectionState>(weir_next_state(
        static_cast<std::uint32_t>(visibility), number(state), static_cast<std::uint32_t>(event)));
}

bool confirmed(ConnectionState state) {
    return weir_state_confirmed(number(state));
}

bool restarts(ConnectionState state, std::uint8_t tcp_flags) {
    return weir_state_restarts(number(state), tcp_flags);
}

bool refreshes(ConnectionState before, ConnectionState after, Direction direction,
               bool backend_down) {
    return weir_state_refreshes(number(before), number(after), number(direction), backend_down);
}

bool snat_port_reusable(ConnectionState state) {
    return weir_snat_port_reusable(number(state), false);
}

bool snat_port_reusable_under_pressure(ConnectionState state) {
    return weir_snat_port_reusable(number(state), true);
}

std::uint16_t timeout_s(ConnectionState state, const weir_timeouts& timeouts) {
    return weir_state_timeout_s(number(state), &timeouts);
}

std::string_view state_name(ConnectionState state) {
    const auto number = static_cast<std::size_t>(state);
    return number < kStateNames.size() ? kStateNames[number] : "unknown";
}

std::string_view event_name(PacketEvent event) {
    return kEventNames[static_cast<std::size_t>(event)];
}

} // namespace weir::lb
