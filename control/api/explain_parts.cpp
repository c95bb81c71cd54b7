// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/explain_parts.hpp"

#include <algorithm>
#include <sstream>

#include "control/api/views.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/mss.h"
#include "dataplane/forwarding/select.h"

namespace weir::control {

using nlohmann::json;

Expected<PacketTuple> parse_packet(const std::string& text) {
    std::istringstream words(text);
    std::string protocol;
    std::string source;
    std::string destination;
    std::string rest;
    words >> protocol >> source >> destination;
    const Error usage{"cannot read \"" + text +
                      "\"; write it as \"tcp 198.51.100.7:40000 203.0.113.10:80\""};
    if (!words || words >> rest || (protocol != "tcp" && protocol != "udp"))
        return usage;
    const auto from = net::Endpoint::parse(source);
    if (!from)
        return from.error();
    const auto to = net::Endpoint::parse(destination);
    if (!to)
        return to.error();
    if (!from->port || !to->port)
        return Error{
            "both addresses need a port, as in \"tcp 198.51.100.7:40000 203.0.113.10:80\""};
    if (from->address.is_v4() != to->address.is_v4())
        return Error{"source and destination are of different families"};
    return PacketTuple{static_cast<std::uint8_t>(protocol == "tcp" ? 6 : 17), *from, *to};
}

std::string mac_text(const std::uint8_t* mac) {
    net::MacAddress::Bytes bytes;
    std::copy_n(mac, bytes.size(), bytes.begin());
    return net::MacAddress::from_bytes(bytes).to_string();
}

std::string forward_word(std::uint8_t forward) {
    switch (forward) {
    case WEIR_FORWARD_NAT:
        return "nat";
    case WEIR_FORWARD_FULL_NAT:
        return "full-nat";
    case WEIR_FORWARD_DSR_IPIP:
        return "dsr-ipip";
    case WEIR_FORWARD_DSR_GUE:
        return "dsr-gue";
    default:
        return "dsr-l2";
    }
}

std::string scheduler_word(const weir_pool_row& pool) {
    const bool equal = (pool.flags & WEIR_POOL_IGNORES_WEIGHTS) != 0;
    switch (pool.scheduler) {
    case WEIR_SCHEDULE_SOURCE_HASH:
        return "source-hash";
    case WEIR_SCHEDULE_ROUND_ROBIN:
        return equal ? "rr" : "wrr";
    case WEIR_SCHEDULE_LEAST:
        return equal ? "lc" : "wlc";
    default:
        return "maglev";
    }
}

bool schedules_by_hash(const weir_pool_row& pool) {
    return pool.scheduler == WEIR_SCHEDULE_MAGLEV || pool.scheduler == WEIR_SCHEDULE_SOURCE_HASH;
}

std::uint64_t connections_of(const Snapshot& snapshot, std::uint32_t backend) {
    return backend_counters(snapshot, backend).connections_active;
}

bool has_room(const Snapshot& snapshot, std::uint32_t backend) {
    const std::uint32_t most = snapshot.live->state().backends()[backend].max_connections;
    return most == 0 || connections_of(snapshot, backend) < most;
}

std::uint32_t with_room_from(const Snapshot& snapshot, const weir_pool_row& pool,
                             std::uint32_t slot) {
    const lb::ForwardingState& state = snapshot.live->state();
    const auto slots = state.slots(pool);
    for (std::uint32_t i = 0; i < pool.slot_count; i++) {
        const std::uint16_t member = slots[(slot + i) % pool.slot_count];
        if (member == WEIR_NO_MEMBER)
            return WEIR_NO_ROW;
        if (has_room(snapshot, state.members_of(pool)[member]))
            return state.members_of(pool)[member];
    }
    return WEIR_NO_ROW;
}

json candidates_json(const Snapshot& snapshot, const weir_pool_row& pool) {
    json candidates = json::array();
    const lb::ForwardingState& state = snapshot.live->state();
    const bool equal = (pool.flags & WEIR_POOL_IGNORES_WEIGHTS) != 0;
    for (const std::uint32_t id : state.members_of(pool)) {
        const weir_backend_row& backend = state.backends()[id];
        candidates.push_back({{"backend", backend_name(snapshot, id).name},
                              {"weight", equal ? 1 : backend.weight},
                              {"connections", connections_of(snapshot, id)},
                              {"max_connections", backend.max_connections}});
    }
    return candidates;
}

json persistence_json(const weir_pool_row& pool, const weir_address& client) {
    if (pool.persistence_s == 0)
        return nullptr;
    const weir_address network = weir_client_network(&client, &pool);
    const unsigned length =
        weir_address_is_v4(&client) ? pool.persistence_prefix_v4 : pool.persistence_prefix_v6;
    return {{"network", to_net(network).to_string() + "/" + std::to_string(length)},
            {"timeout_s", pool.persistence_s}};
}

std::optional<Encapsulation> encapsulation(const lb::ForwardingState& state,
                                           const weir_vip_row& vip, const weir_backend_row& backend,
                                           std::uint64_t flow_hash, std::uint32_t mtu) {
    weir_outer outer{};
    if (!weir_outer_for(&state.node(), &vip, &backend, flow_hash, &outer))
        return std::nullopt;
    const bool gue = vip.forward == WEIR_FORWARD_DSR_GUE;
    Encapsulation result;
    result.inner_mtu = weir_inner_mtu(mtu, &outer);
    const net::Endpoint source = endpoint_of(outer.source, gue ? outer.source_port : 0);
    const net::Endpoint destination =
        endpoint_of(outer.destination, gue ? outer.destination_port : 0);
    const bool clamps = vip.protocol == WEIR_IP_TCP && (vip.flags & WEIR_VIP_CLAMP_MSS);
    const std::uint32_t mss = clamps ? weir_mss_limit(result.inner_mtu, vip.family) : 0;
    result.outer = {{"source", source.to_string()},
                    {"destination", destination.to_string()},
                    {"overhead", weir_outer_bytes(&outer)},
                    {"inner_mtu", result.inner_mtu},
                    {"mss", mss != 0 ? json(mss) : json(nullptr)}};
    result.sentence = std::string("put into ") + (gue ? "GUE over UDP, " : "IP, ") +
                      source.to_string() + " -> " + destination.to_string() + ": " +
                      std::to_string(weir_outer_bytes(&outer)) + " bytes of header leave " +
                      std::to_string(result.inner_mtu) + " for the packet";
    if (mss != 0)
        result.sentence += "; the MSS of a SYN is lowered to " + std::to_string(mss);
    return result;
}

std::string oversized_sentence(const weir_vip_row& vip, std::uint32_t inner_mtu) {
    const std::string size = std::to_string(inner_mtu);
    const bool v4 = vip.family == 4;
    std::string sentence = "packets over " + size + " bytes" + (v4 ? " with DF" : "");
    if (vip.flags & WEIR_VIP_ANSWER_TOO_BIG)
        sentence += std::string(" are answered from the VIP with ") +
                    (v4 ? "fragmentation needed" : "packet too big") + ", MTU " + size;
    else
        sentence += " are dropped (packet_too_big = false)";
    if (v4)
        sentence += weir_forward_encapsulates(vip.forward)
                        ? "; without DF they are cut into fragments before the tunnel"
                        : "; without DF they are cut into fragments";
    return sentence;
}

std::string fragment_sentence(const weir_vip_row& vip) {
    return std::string("of a fragmented datagram the first fragment goes this way and the others "
                       "follow it") +
           (weir_forward_is_dsr(vip.forward) ? "" : ", translated too");
}

} // namespace weir::control
