// SPDX-License-Identifier: BSD-3-Clause
// What would happen to a packet, and why: the workers' own decision functions over the generation
// that they run, in their order.
#include <nlohmann/json.hpp>

#include <sstream>

#include "control/api/connection_json.hpp"
#include "control/api/views.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/owner.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/spread.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

struct Tuple {
    std::uint8_t protocol = 0;
    net::Endpoint source;
    net::Endpoint destination;
};

Expected<Tuple> parse_packet(const std::string& text) {
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
    return Tuple{static_cast<std::uint8_t>(protocol == "tcp" ? 6 : 17), *from, *to};
}

class Explanation {
public:
    Explanation(const Snapshot& snapshot, const std::string& text, const Tuple& tuple)
        : snapshot_(snapshot), state_(snapshot.live->state()), tuple_(tuple) {
        source_ = to_weir(tuple.source.address);
        destination_ = to_weir(tuple.destination.address);
        source_port_ = weir_swap16(*tuple.source.port);
        destination_port_ = weir_swap16(*tuple.destination.port);
        workers_ = snapshot.engine != nullptr ? snapshot.engine->hello.workers : 1;
        if (snapshot.engine != nullptr && snapshot.engine->hello.spread_entries != 0)
            spread_ = lb::Spread::make(lb::rss_key_of(state_.hash_key()),
                                       snapshot.engine->hello.spread_entries, workers_);
        out_ = {{"packet", text},           {"generation", state_.generation()},
                {"vip", nullptr},           {"forward", nullptr},
                {"worker", nullptr},        {"connection", nullptr},
                {"maglev", nullptr},        {"pool", nullptr},
                {"backend", nullptr},       {"backend_address", nullptr},
                {"backend_state", nullptr}, {"rewrite", nullptr},
                {"next_hop", nullptr},      {"steps", json::array()}};
    }

    json run() {
        weir_match match =
            weir_match_endpoint(&state_.match(), &destination_, tuple_.protocol, destination_port_);
        if (match.kind == WEIR_MATCH_VIP) {
            explain_vip(match.index);
            return out_;
        }
        if (match.kind == WEIR_MATCH_SNAT) {
            explain_snat(match.index);
            return out_;
        }
        const std::uint32_t address = weir_match_address(&state_.match(), &destination_);
        if (address == WEIR_MATCH_VIP_ADDRESS)
            step(tuple_.destination.address.to_string() + " is a VIP's address, but port " +
                 std::to_string(*tuple_.destination.port) + " is not served there");
        else if (address == WEIR_MATCH_LOCAL)
            step(tuple_.destination.address.to_string() + " is this node's own address");
        else if (state_.match().flags & WEIR_MATCH_HAS_NAT && explain_nat_reply())
            return out_;
        else
            step("neither a VIP's address nor this node's");
        verdict(WEIR_PUNTED_OTHER);
        return out_;
    }

private:
    void step(const std::string& sentence) { out_["steps"].push_back(sentence); }

    void verdict(weir_verdict verdict) {
        const lb::VerdictInfo& info = lb::verdict_info(verdict);
        out_["verdict"] = info.name;
        out_["sentence"] = info.sentence;
        step(std::string(info.name) + ": " + info.sentence);
    }

    void explain_vip(std::uint32_t id) {
        const weir_vip_row& vip = state_.vips()[id];
        const std::string name = vip_name(snapshot_, id);
        out_["vip"] = name;
        out_["forward"] = forward_word(vip.forward);
        step("matches VIP " + name + " (" + forward_word(vip.forward) + ")");

        weir_flow flow;
        weir_flow_set(&flow, &source_, &destination_, source_port_, destination_port_,
                      tuple_.protocol);
        const std::uint64_t hash = weir_flow_hash(&state_.hash_key(), &flow);
        const std::uint32_t worker =
            spread_ && vip.forward != WEIR_FORWARD_NAT ? spread_->worker_of(flow)
            : vip.forward == WEIR_FORWARD_NAT
                ? weir_owner_of_client(&state_.hash_key(), &source_, source_port_, tuple_.protocol,
                                       workers_)
                : weir_owner_of_flow(hash, workers_);
        out_["worker"] = worker;
        step("belongs to worker " + std::to_string(worker) + " of " + std::to_string(workers_));

        const auto known = find_connection(worker, id);
        std::uint32_t backend = WEIR_NO_ROW;
        if (known) {
            backend = known->row.backend;
            out_["connection"] = connection_json(snapshot_, worker, *known);
            step("a known connection, to " + backend_name(snapshot_, backend).address);
            if (!explain_known(vip, backend))
                return;
        }
        if (!known || reselect_)
            backend = explain_selection(vip, hash);
        if (backend != WEIR_NO_ROW)
            explain_way(vip, backend, known ? &*known : nullptr);
    }

    // False: the packet goes no further.
    bool explain_known(const weir_vip_row& vip, std::uint32_t backend) {
        switch (weir_admit_known(&vip, &state_.backends()[backend])) {
        case WEIR_KNOWN_FORWARD:
            return true;
        case WEIR_KNOWN_RESELECT:
            step("its backend is down: the connection is forgotten and another one selected");
            reselect_ = true;
            return true;
        case WEIR_KNOWN_DROP:
            break;
        }
        verdict(WEIR_DROP_BACKEND_DOWN);
        return false;
    }

    std::uint32_t explain_selection(const weir_vip_row& vip, std::uint64_t hash) {
        if (tuple_.protocol == WEIR_IP_TCP && !(vip.flags & WEIR_VIP_HASH_RECOVERS))
            step("no known connection: a SYN opens one, any other segment is dropped");
        else
            step("no known connection: a backend is selected and recorded");
        const weir_pool_row& pool = state_.pools()[vip.pool];
        const std::uint32_t backend = state_.select(pool, hash);
        if (backend == WEIR_NO_ROW) {
            verdict(WEIR_DROP_NO_BACKEND);
            return backend;
        }
        const std::uint32_t slot = weir_maglev_slot(hash, pool.slot_count);
        out_["maglev"] = {{"slot", slot}, {"slots", pool.slot_count}};
        step("Maglev slot " + std::to_string(slot) + " of " + std::to_string(pool.slot_count) +
             " belongs to " + backend_name(snapshot_, backend).name);
        return backend;
    }

    void explain_way(const weir_vip_row& vip, std::uint32_t id,
                     const lb::ConnectionReader::Connection* known) {
        const weir_backend_row& backend = state_.backends()[id];
        const BackendName name = backend_name(snapshot_, id);
        out_["pool"] = name.pool;
        out_["backend"] = name.name;
        out_["backend_address"] = name.address;
        out_["backend_state"] = name.state;
        if (vip.forward != WEIR_FORWARD_DSR_L2) {
            const std::string target =
                endpoint_of(backend.address, weir_backend_port(&backend, destination_port_))
                    .to_string();
            std::string source = tuple_.source.to_string();
            if (vip.forward == WEIR_FORWARD_FULL_NAT)
                source = snat_source(vip.family, reselect_ ? nullptr : known);
            out_["rewrite"] = {{"source", source}, {"destination", target}};
            step("rewritten to " + source + " -> " + target);
        }
        if (backend.next_hop == WEIR_NO_ROW) {
            verdict(WEIR_DROP_NO_NEXT_HOP);
            return;
        }
        const weir_next_hop_row& hop = state_.next_hops()[backend.next_hop];
        const std::string interface = snapshot_.config.interfaces[hop.interface].name;
        json vlan = nullptr;
        if (hop.vlan_tci != WEIR_NO_VLAN)
            vlan = hop.vlan_tci & 0xfff;
        out_["next_hop"] = {{"interface", interface},
                            {"destination_mac", mac_text(hop.destination_mac)},
                            {"source_mac", mac_text(hop.source_mac)},
                            {"vlan", vlan},
                            {"mtu", hop.mtu}};
        step("leaves by " + interface + " to " + mac_text(hop.destination_mac));
        verdict(WEIR_FORWARDED);
    }

    std::string snat_source(std::uint8_t family,
                            const lb::ConnectionReader::Connection* known) const {
        if (known != nullptr && known->row.snat_address < state_.snat().size())
            return endpoint_of(state_.snat()[known->row.snat_address].address, known->row.snat_port)
                .to_string();
        for (const weir_snat_row& row : state_.snat())
            if (row.family == family)
                return to_net(row.address).to_string() + ":(a free port)";
        return "(no SNAT address of this family)";
    }

    void explain_snat(std::uint32_t index) {
        const weir_snat_row& row = state_.snat()[index];
        weir_flow flow;
        weir_flow_set(&flow, &source_, &destination_, source_port_, destination_port_,
                      tuple_.protocol);
        const std::uint32_t worker =
            spread_ ? spread_->worker_of(flow)
                    : weir_snat_port_owner(*tuple_.destination.port, row.first_port, workers_);
        out_["worker"] = worker;
        step("to a SNAT port: a backend's reply, if it belongs to a connection of worker " +
             std::to_string(worker));
        const auto known = find(worker, [&](const lb::HotRow& connection) {
            return connection.snat_address == index && connection.snat_port == destination_port_;
        });
        reply_verdict(worker, known);
    }

    bool explain_nat_reply() {
        const weir_match match =
            weir_match_endpoint(&state_.match(), &source_, tuple_.protocol, source_port_);
        if (match.kind != WEIR_MATCH_BACKEND)
            return false;
        const std::uint32_t worker = weir_owner_of_client(
            &state_.hash_key(), &destination_, destination_port_, tuple_.protocol, workers_);
        out_["worker"] = worker;
        step("from a backend of a `nat` VIP: a reply, if it belongs to a connection of worker " +
             std::to_string(worker));
        const auto known = find(worker, [&](const lb::HotRow& row) {
            return row.client_port == destination_port_ &&
                   weir_address_equal(&row.client, &destination_);
        });
        reply_verdict(worker, known);
        return true;
    }

    void reply_verdict(std::uint32_t worker,
                       const std::optional<lb::ConnectionReader::Connection>& known) {
        if (!known) {
            verdict(WEIR_DROP_NO_CONNECTION);
            return;
        }
        out_["connection"] = connection_json(snapshot_, worker, *known);
        out_["vip"] = vip_name(snapshot_, known->row.vip);
        verdict(WEIR_REPLIED);
    }

    std::optional<lb::ConnectionReader::Connection> find_connection(std::uint32_t worker,
                                                                    std::uint32_t vip) const {
        return find(worker, [&](const lb::HotRow& row) {
            return row.vip == vip && row.client_port == source_port_ &&
                   row.service_port == destination_port_ &&
                   weir_address_equal(&row.client, &source_);
        });
    }

    template <class Wanted>
    std::optional<lb::ConnectionReader::Connection> find(std::uint32_t worker,
                                                         Wanted wanted) const {
        if (snapshot_.engine == nullptr)
            return std::nullopt;
        for (const lb::ConnectionReader& table : snapshot_.engine->connections) {
            if (table.worker() != worker)
                continue;
            for (lb::EntryIndex entry = 0; entry < table.capacity(); entry++)
                if (const auto connection = table.read(entry);
                    connection && wanted(connection->row) &&
                    connection->row.backend < state_.backends().size())
                    return connection;
        }
        return std::nullopt;
    }

    static std::string forward_word(std::uint8_t forward) {
        switch (forward) {
        case WEIR_FORWARD_NAT:
            return "nat";
        case WEIR_FORWARD_FULL_NAT:
            return "full-nat";
        default:
            return "dsr-l2";
        }
    }

    static std::string mac_text(const std::uint8_t* mac) {
        net::MacAddress::Bytes bytes;
        std::copy_n(mac, bytes.size(), bytes.begin());
        return net::MacAddress::from_bytes(bytes).to_string();
    }

    const Snapshot& snapshot_;
    const lb::ForwardingState& state_;
    const Tuple& tuple_;
    weir_address source_{};
    weir_address destination_{};
    weir_be16 source_port_ = 0;
    weir_be16 destination_port_ = 0;
    std::uint32_t workers_ = 1;
    std::optional<lb::Spread> spread_; // where the devices' spreading is controlled
    bool reselect_ = false;
    json out_;
};

} // namespace

Expected<json> explain_view(const Snapshot& snapshot, const std::string& packet) {
    const auto tuple = parse_packet(packet);
    if (!tuple)
        return tuple.error();
    if (!snapshot.live)
        return Error{"no generation is live yet: every packet is dropped"};
    return Explanation(snapshot, packet, *tuple).run();
}

} // namespace weir::control
