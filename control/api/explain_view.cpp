// SPDX-License-Identifier: BSD-3-Clause
// What would happen to a packet, and why: the workers' own decision functions over the generation
// that they run, in their order.
#include <nlohmann/json.hpp>

#include "control/api/connection_json.hpp"
#include "control/api/explain_parts.hpp"
#include "control/api/views.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/forwarding/exceptions.h"
#include "dataplane/forwarding/owner.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/spread.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

class Explanation {
public:
    Explanation(const Snapshot& snapshot, const std::string& text, const PacketTuple& tuple)
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
                {"scheduler", nullptr},     {"maglev", nullptr},
                {"persistence", nullptr},   {"candidates", nullptr},
                {"encapsulation", nullptr}, {"pool", nullptr},
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
        const weir_pool_row* network_of = state_.persistence_of_vip(id);
        const bool by_network = weir_pool_persists(network_of);
        const std::uint32_t worker =
            by_network ? weir_owner_of_network(&state_.hash_key(), &source_, network_of, workers_)
            : spread_ && vip.forward != WEIR_FORWARD_NAT ? spread_->worker_of(flow)
            : vip.forward == WEIR_FORWARD_NAT
                ? weir_owner_of_client(&state_.hash_key(), &source_, source_port_, tuple_.protocol,
                                       workers_)
                : weir_owner_of_flow(hash, workers_);
        out_["worker"] = worker;
        step("belongs to worker " + std::to_string(worker) + " of " + std::to_string(workers_) +
             (by_network ? ", as all of the client's network" : ""));

        const auto known = find_connection(worker, id);
        std::uint32_t backend = WEIR_NO_ROW;
        if (known) {
            backend = known->backend;
            out_["connection"] = connection_json(snapshot_, worker, *known);
            step("a known connection, to " + backend_name(snapshot_, backend).address);
            if (!explain_known(vip, backend))
                return;
        }
        if (!known || reselect_)
            backend = explain_selection(vip, hash);
        if (backend != WEIR_NO_ROW)
            explain_way(vip, backend, hash, known ? &*known : nullptr);
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
        default:
            break;
        }
        if (vip.on_backend_down == WEIR_BACKEND_DOWN_RESET && !weir_forward_is_dsr(vip.forward) &&
            vip.protocol == WEIR_IP_TCP) {
            step("its backend is down: both ends are reset");
            verdict(WEIR_ANSWERED_RESET);
        } else {
            verdict(WEIR_DROP_BACKEND_DOWN);
        }
        return false;
    }

    std::uint32_t explain_selection(const weir_vip_row& vip, std::uint64_t hash) {
        const weir_pool_row& pool = state_.pools()[vip.pool];
        if (tuple_.protocol == WEIR_IP_TCP && !(vip.flags & WEIR_VIP_HASH_RECOVERS))
            step("no known connection: a SYN opens one, any other segment is dropped, or "
                 "reset once reset_grace is over");
        else
            step(vip.flags & WEIR_VIP_EXCEPTIONS
                     ? "no record of it: only what the hash would send elsewhere is recorded"
                     : "no known connection: a backend is selected and recorded");
        out_["scheduler"] = scheduler_word(pool);
        out_["persistence"] = persistence_json(pool, source_);
        if (pool.persistence_s != 0)
            step("if " + out_["persistence"]["network"].get<std::string>() +
                 " opened a connection in the last " + std::to_string(pool.persistence_s) +
                 " s, this one goes to the same backend while that is up and has room; else:");
        if (pool.slot_count == 0) {
            refuse(vip.flags & WEIR_VIP_REJECT_ALL_DOWN, WEIR_DROP_NO_BACKEND);
            return WEIR_NO_ROW;
        }
        return schedules_by_hash(pool) ? select_by_hash(vip, pool, hash)
                                       : list_candidates(vip, pool);
    }

    std::uint32_t select_by_hash(const weir_vip_row& vip, const weir_pool_row& pool,
                                 std::uint64_t flow_hash) {
        const std::uint64_t hash = weir_slot_hash(&pool, &state_.hash_key(), &source_, flow_hash);
        std::uint32_t backend = state_.select(pool, hash);
        if (backend == WEIR_NO_ROW) {
            refuse(vip.flags & WEIR_VIP_REJECT_ALL_DOWN, WEIR_DROP_NO_BACKEND);
            return backend;
        }
        const std::uint32_t slot = weir_maglev_slot(hash, pool.slot_count);
        out_["maglev"] = {{"slot", slot}, {"slots", pool.slot_count}};
        step(
            (pool.scheduler == WEIR_SCHEDULE_SOURCE_HASH ? "by the client's address alone, " : "") +
            std::string("Maglev slot ") + std::to_string(slot) + " of " +
            std::to_string(pool.slot_count) + " belongs to " +
            backend_name(snapshot_, backend).name);
        const std::uint32_t oldest = state_.oldest(pool, hash);
        if (oldest != WEIR_NO_ROW && weir_oldest_serves(&vip, &state_.backends()[oldest])) {
            step(
                "the slot was " + backend_name(snapshot_, oldest).name +
                "'s until of late: unless it begins a flow, the packet goes there and is recorded");
            return oldest;
        }
        if (has_room(snapshot_, backend))
            return backend;
        step("which has its max_connections, " +
             std::to_string(state_.backends()[backend].max_connections));
        backend = with_room_from(snapshot_, pool, slot);
        if (backend == WEIR_NO_ROW)
            refuse(vip.flags & WEIR_VIP_REJECT_AT_LIMIT, WEIR_DROP_BACKEND_LIMIT);
        else
            step("the next slot of a backend with room belongs to " +
                 backend_name(snapshot_, backend).name);
        return backend;
    }

    // Which backend is not known before the packet comes: what is next lies with the worker.
    std::uint32_t list_candidates(const weir_vip_row& vip, const weir_pool_row& pool) {
        step(pool.scheduler == WEIR_SCHEDULE_ROUND_ROBIN
                 ? "the worker's next turn decides, in a round of " +
                       std::to_string(pool.slot_count) + ":"
                 : "the less loaded of two that the worker draws at random from a round of " +
                       std::to_string(pool.slot_count) + ":");
        out_["candidates"] = candidates_json(snapshot_, pool);
        bool room = false;
        for (const json& candidate : out_["candidates"]) {
            const auto most = candidate["max_connections"].get<std::uint64_t>();
            const auto has = candidate["connections"].get<std::uint64_t>();
            room = room || most == 0 || has < most;
            step("  " + candidate["backend"].get<std::string>() + ": weight " +
                 candidate["weight"].dump() + ", connections " + std::to_string(has) +
                 (most == 0 ? "" : " of at most " + std::to_string(most)));
        }
        if (!room)
            refuse(vip.flags & WEIR_VIP_REJECT_AT_LIMIT, WEIR_DROP_BACKEND_LIMIT);
        else
            verdict(WEIR_FORWARDED);
        return WEIR_NO_ROW;
    }

    // Nobody can take the connection: answered where the VIP's policy says so.
    void refuse(bool answered, weir_verdict dropped) {
        if (answered)
            step(std::string(lb::verdict_info(dropped).sentence) +
                 ": answered, within answers_pps");
        verdict(!answered                        ? dropped
                : tuple_.protocol == WEIR_IP_TCP ? WEIR_ANSWERED_RESET
                                                 : WEIR_ANSWERED_UNREACHABLE);
    }

    void explain_way(const weir_vip_row& vip, std::uint32_t id, std::uint64_t hash,
                     const lb::HotRow* known) {
        const weir_backend_row& backend = state_.backends()[id];
        const BackendName name = backend_name(snapshot_, id);
        out_["pool"] = name.pool;
        out_["backend"] = name.name;
        out_["backend_address"] = name.address;
        out_["backend_state"] = name.state;
        if (!weir_forward_is_dsr(vip.forward)) {
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
        std::uint32_t room = hop.mtu;
        if (weir_forward_encapsulates(vip.forward)) {
            const auto outer = encapsulation(state_, vip, backend, hash, hop.mtu);
            if (!outer) {
                step("the node has no address of the backend's family to send from");
                verdict(WEIR_DROP_NO_NEXT_HOP);
                return;
            }
            out_["encapsulation"] = outer->outer;
            room = outer->inner_mtu;
            step(outer->sentence);
        }
        step("leaves by " + interface + " to " + mac_text(hop.destination_mac));
        step(oversized_sentence(vip, room));
        step(fragment_sentence(vip));
        verdict(WEIR_FORWARDED);
    }

    std::string snat_source(std::uint8_t family, const lb::HotRow* known) const {
        if (known != nullptr && known->snat_address < state_.snat().size())
            return endpoint_of(state_.snat()[known->snat_address].address, known->snat_port)
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
        const weir_pool_row* pool = state_.persistence_of_backend(match.index);
        const std::uint32_t worker =
            weir_pool_persists(pool)
                ? weir_owner_of_network(&state_.hash_key(), &destination_, pool, workers_)
                : weir_owner_of_client(&state_.hash_key(), &destination_, destination_port_,
                                       tuple_.protocol, workers_);
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

    void reply_verdict(std::uint32_t worker, const std::optional<lb::HotRow>& known) {
        if (!known) {
            verdict(WEIR_DROP_NO_CONNECTION);
            return;
        }
        out_["connection"] = connection_json(snapshot_, worker, *known);
        out_["vip"] = vip_name(snapshot_, known->vip);
        verdict(WEIR_REPLIED);
    }

    std::optional<lb::HotRow> find_connection(std::uint32_t worker, std::uint32_t vip) const {
        return find(worker, [&](const lb::HotRow& row) {
            return row.vip == vip && row.client_port == source_port_ &&
                   row.service_port == destination_port_ &&
                   weir_address_equal(&row.client, &source_);
        });
    }

    template <class Wanted>
    std::optional<lb::HotRow> find(std::uint32_t worker, Wanted wanted) const {
        if (snapshot_.engine == nullptr)
            return std::nullopt;
        std::optional<lb::HotRow> found;
        for (const auto& table : snapshot_.engine->connections) {
            if (table->worker() != worker)
                continue;
            (void)table->walk({}, UINT32_MAX, [&](const lb::HotRow& connection) {
                if (wanted(connection) && connection.backend < state_.backends().size())
                    found = connection;
                return !found;
            });
        }
        return found;
    }

    const Snapshot& snapshot_;
    const lb::ForwardingState& state_;
    const PacketTuple& tuple_;
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
