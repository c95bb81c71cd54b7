// SPDX-License-Identifier: BSD-3-Clause
// Parts of an explanation that follow from rows alone: what a pool's scheduler, limits and
// persistence mean, how a packet is encapsulated, what oversized packets and fragments get. Called
// by explain_view.cpp.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

#include "config/expected.hpp"
#include "control/api/snapshot.hpp"

namespace weir::control {

struct PacketTuple {
    std::uint8_t protocol = 0;
    net::Endpoint source;
    net::Endpoint destination;
};
// "tcp A:P B:P".
Expected<PacketTuple> parse_packet(const std::string& text);

std::string mac_text(const std::uint8_t* mac);
std::string forward_word(std::uint8_t forward);
std::string scheduler_word(const weir_pool_row& pool);

bool schedules_by_hash(const weir_pool_row& pool);

// The backends that a scheduler by turns or by connections chooses from, with what it goes by.
nlohmann::json candidates_json(const Snapshot& snapshot, const weir_pool_row& pool);

// Connections of all workers; and whether one more may come.
std::uint64_t connections_of(const Snapshot& snapshot, std::uint32_t backend);
bool has_room(const Snapshot& snapshot, std::uint32_t backend);

// The first backend with room from a slot on, which may be the slot's own; WEIR_NO_ROW: none.
std::uint32_t with_room_from(const Snapshot& snapshot, const weir_pool_row& pool,
                             std::uint32_t slot);

// Null when the pool has no persistence.
nlohmann::json persistence_json(const weir_pool_row& pool, const weir_address& client);

// A json's move checks itself in a way that the analysis takes for throwing.
struct Encapsulation { // NOLINT(bugprone-exception-escape)
    nlohmann::json outer;
    std::uint32_t inner_mtu = 0;
    std::string sentence;
};
// Nothing when the node has no source address of the backend's family.
std::optional<Encapsulation> encapsulation(const lb::ForwardingState& state,
                                           const weir_vip_row& vip, const weir_backend_row& backend,
                                           std::uint64_t flow_hash, std::uint32_t mtu);

std::string oversized_sentence(const weir_vip_row& vip, std::uint32_t inner_mtu);
std::string fragment_sentence(const weir_vip_row& vip);

} // namespace weir::control
