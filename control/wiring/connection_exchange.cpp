// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/connection_exchange.hpp"

#include <algorithm>

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/exceptions.h"

namespace weir::control {
namespace {

// Seconds of the monotonic clock whose low 16 bits a table's row has; not in the future.
std::uint32_t seconds_of(std::uint16_t low, std::uint32_t now_s) {
    const auto age = static_cast<std::uint16_t>(now_s - low);
    return now_s - (age >= 0xff00 ? 0 : age); // a clock a little ahead of ours
}

} // namespace

lb::HotRow row_of(const weir_connection_key& key, const weir_connection& connection) {
    lb::HotRow row{};
    row.client = key.client;
    row.client_port = key.client_port;
    row.service_port = key.service_port;
    row.vip = static_cast<std::uint16_t>(key.vip);
    row.snat_port = connection.snat_port;
    row.backend = connection.backend & (lb::kBackendRowLimit - 1);
    row.last_hop = lb::kNoLastHop;
    row.snat_address = connection.snat_address;
    row.state = connection.state & 0xf;
    row.last_seen_s = static_cast<std::uint16_t>(connection.last_seen_s);
    return row;
}

std::optional<xdp::Balancer::Given>
given_to_balancer(const lb::ConnectionReader::Connection& connection, const lb::LastHops& hops,
                  const lb::ForwardingState& state, std::uint32_t now_s) {
    const lb::HotRow& row = connection.row;
    if ((row.flags & lb::kRowProbation) != 0 || row.vip >= state.vips().size() ||
        row.state >= WEIR_STATE_COUNT)
        return std::nullopt;
    xdp::Balancer::Given given{};
    given.key = {.client = row.client,
                 .client_port = row.client_port,
                 .service_port = row.service_port,
                 .vip = row.vip};
    weir_connection& to = given.connection;
    to.backend = row.backend;
    to.last_seen_s = seconds_of(row.last_seen_s, now_s);
    to.created_s = seconds_of(connection.cold.life.created_s, now_s);
    to.snat_port = row.snat_port;
    to.snat_address = static_cast<std::uint8_t>(row.snat_address);
    to.state = static_cast<std::uint8_t>(row.state);
    to.vlan_tci = WEIR_NO_VLAN;
    if (now_s - to.last_seen_s >= weir_entry_timeout_s(&state.vips()[row.vip], to.state))
        return std::nullopt;
    if (row.last_hop != lb::kNoLastHop) {
        const lb::LastHop& hop = hops.at(static_cast<std::uint16_t>(row.last_hop));
        std::copy_n(hop.mac, sizeof(to.mac), to.mac);
        to.vlan_tci = hop.vlan_tci;
        to.interface = hop.interface;
    }
    return given;
}

lb::GivenConnection given_to_dataplane(const weir_connection_key& key,
                                       const weir_connection& connection) {
    lb::GivenConnection given{};
    given.row = row_of(key, connection);
    // Without one it came from a table that knew none, and no packet of its client has come since.
    if (std::ranges::all_of(connection.mac, [](std::uint8_t byte) { return byte == 0; }))
        return given;
    given.row.last_hop = 0; // `hop` has it
    std::copy_n(connection.mac, sizeof(given.hop.mac), given.hop.mac);
    given.hop.vlan_tci = connection.vlan_tci;
    given.hop.interface = connection.interface;
    return given;
}

std::optional<xdp::Balancer::Network> network_to_balancer(const lb::PersistenceTable::Entry& entry,
                                                          const lb::ForwardingState& state,
                                                          std::uint32_t now_s) {
    if (entry.key == 0 || entry.backend >= state.backends().size())
        return std::nullopt;
    const std::uint64_t identity = state.backends()[entry.backend].identity;
    const std::uint32_t seen_s = seconds_of(entry.last_seen_s, now_s);
    if (!lb::PersistenceTable::is_of(entry, identity) ||
        now_s - seen_s >= lb::kLongestPersistence_s)
        return std::nullopt;
    return xdp::Balancer::Network{entry.key, {identity, entry.backend, seen_s}};
}

lb::GivenNetwork network_to_dataplane(const xdp::Balancer::Network& network) {
    const weir_remembered& remembered = network.remembered;
    return lb::PersistenceTable::entry_of(network.key, remembered.backend, remembered.identity,
                                          remembered.seen_s);
}

} // namespace weir::control
