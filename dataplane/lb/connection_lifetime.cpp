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

} // namespace

std::string_view state_name(ConnectionState state) {
    const auto number = static_cast<std::size_t>(state);
    return number < kStateNames.size() ? kStateNames[number] : "unknown";
}

std::string_view event_name(PacketEvent event) {
    return kEventNames[static_cast<std::size_t>(event)];
}

} // namespace weir::lb
