// SPDX-License-Identifier: BSD-3-Clause
// Record: remembers what was selected, and gives full-nat connections their source port.
#include "dataplane/dpdk/connection_steps.hpp"

namespace weir::dpdk {
namespace {

// The flow hash a backend's reply to this connection will have.
std::uint64_t reply_hash(const Worker& worker, const weir_backend_row& backend,
                         const weir_translation& translation, weir_be16 backend_port,
                         std::uint8_t protocol) {
    weir_flow reply;
    weir_flow_set(&reply, &backend.address, &translation.source, backend_port,
                  translation.source_port, protocol);
    return weir_flow_hash(&worker.state->hash_key(), &reply);
}

// Would the replies of row's connection look like those of a connection with this reply tuple?
bool replies_alike(const lb::ForwardingState& state, const lb::HotRow& row,
                   const lb::NewConnection& wanted, const weir_backend_row& backend,
                   weir_be16 backend_port, std::uint8_t protocol) {
    if (row.vip >= state.vips().size() || row.backend >= state.backends().size() ||
        row.snat_port != wanted.snat_port)
        return false;
    bool same_way_back =
        row.snat_port != 0
            ? row.snat_address == wanted.snat_address
            : row.client.word[0] == wanted.key.client_high &&
                  row.client.word[1] == wanted.key.client_low &&
                  row.client_port == static_cast<weir_be16>(wanted.key.ports_and_vip);
    const weir_backend_row& other = state.backends()[row.backend];
    return same_way_back && state.vips()[row.vip].protocol == protocol &&
           weir_address_equal(&other.address, &backend.address) &&
           weir_backend_port(&other, row.service_port) == backend_port;
}

// Gives the connection of packet i a source address and port whose reply tuple is free: fills
// snat_*, reply_hash and the translation. The port of an ended connection in a state that
// `reusable` accepts counts as free; its entry goes.
template <class Reusable> class PortTaker {
public:
    PortTaker(Worker& worker, Burst& burst, std::uint32_t i, const weir_backend_row& backend,
              weir_be16 backend_port, lb::NewConnection& wanted, Reusable reusable)
        : worker_(worker), backend_(backend), backend_port_(backend_port), wanted_(wanted),
          reusable_(reusable), translation_(burst.translation[i]),
          protocol_(burst.packet[i].protocol) {}

    // With the hash its replies would have.
    bool take(lb::SnatPort port, std::uint64_t hash) {
        set(port);
        return is_free(hash);
    }

    bool take_any(std::uint32_t backend) {
        const lb::SnatPort found =
            ports_towards(worker_, backend_)
                .allocate(backend, reply_part(worker_, backend_, backend_port_),
                          [&](lb::SnatPort port) {
                              set(port);
                              return is_free(reply_hash(worker_, backend_, translation_,
                                                        backend_port_, protocol_));
                          });
        return static_cast<bool>(found);
    }

private:
    void set(lb::SnatPort port) {
        wanted_.snat_address = port.address();
        wanted_.snat_port = weir_swap16(port.port());
        translation_.source = worker_.state->snat()[port.address()].address;
        translation_.source_port = wanted_.snat_port;
    }

    bool is_free(std::uint64_t hash) {
        if (worker_.strays.holder(hash)) // in use by a connection that another worker has
            return false;
        wanted_.reply_hash = lb::index_hash(hash);
        const lb::EntryIndex holder =
            worker_.table.find_reply(wanted_.reply_hash, [&](const lb::HotRow& row) {
                return replies_alike(*worker_.state, row, wanted_, backend_, backend_port_,
                                     protocol_);
            });
        if (holder == lb::kNoEntry)
            return true;
        if (!reusable_(static_cast<lb::ConnectionState>(worker_.table.row(holder).state)))
            return false;
        erase(worker_, holder);
        return true;
    }

    Worker& worker_;
    const weir_backend_row& backend_;
    weir_be16 backend_port_;
    lb::NewConnection& wanted_;
    Reusable reusable_;
    weir_translation& translation_;
    std::uint8_t protocol_;
};

// The port that was foreseen, the next free one, or one that would better rest for a while.
bool take_snat_port(Worker& worker, Burst& burst, std::uint32_t i, const weir_backend_row& backend,
                    weir_be16 backend_port, lb::NewConnection& wanted) {
    PortTaker rested(worker, burst, i, backend, backend_port, wanted, lb::snat_port_reusable);
    if (as_foreseen(burst, i) && rested.take(burst.foreseen[i].port, burst.reply_hash[i]))
        [[likely]]
        return true;
    if (rested.take_any(burst.backend[i]))
        return true;
    PortTaker any(worker, burst, i, backend, backend_port, wanted,
                  lb::snat_port_reusable_under_pressure);
    return any.take_any(burst.backend[i]);
}

// `nat`: the backend sees the client's own address and port. False: it sees a connection with them
// already.
bool take_clients_port(const Worker& worker, const Burst& burst, std::uint32_t i,
                       const weir_backend_row& backend, weir_be16 backend_port,
                       lb::NewConnection& wanted) {
    const std::uint8_t protocol = burst.packet[i].protocol;
    wanted.reply_hash =
        lb::index_hash(as_foreseen(burst, i) ? burst.reply_hash[i]
                                             : reply_hash(worker, backend, burst.translation[i],
                                                          backend_port, protocol));
    return worker.table.find_reply(wanted.reply_hash, [&](const lb::HotRow& row) {
        return replies_alike(*worker.state, row, wanted, backend, backend_port, protocol);
    }) == lb::kNoEntry;
}

// What its replies are recognised by. WEIR_UNDECIDED, or why there can be none.
weir_verdict take_port(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip,
                       const weir_backend_row& backend, lb::NewConnection& wanted) {
    const weir_be16 backend_port = weir_backend_port(&backend, burst.packet[i].destination_port);
    if (vip.forward == WEIR_FORWARD_FULL_NAT)
        return take_snat_port(worker, burst, i, backend, backend_port, wanted)
                   ? WEIR_UNDECIDED
                   : WEIR_DROP_SNAT_EXHAUSTED;
    return take_clients_port(worker, burst, i, backend, backend_port, wanted)
               ? WEIR_UNDECIDED
               : WEIR_DROP_NAT_CONFLICT;
}

} // namespace

weir_verdict record(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    const lb::ConnectionState initial =
        lb::initial_state(event_of(packet, lb::Direction::kFromClient));
    if (initial == lb::ConnectionState::kFree)
        return WEIR_UNDECIDED; // forwarded by the hash, not worth remembering
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    // An exception that has not begun just now was counted when it did.
    const bool opens =
        !(vip.flags & WEIR_VIP_EXCEPTIONS) || initial != lb::ConnectionState::kMidstream;
    lb::NewConnection wanted;
    wanted.key = lb::forward_key(weir_packet_source(&packet), packet.source_port,
                                 packet.destination_port, static_cast<std::uint16_t>(burst.vip[i]));
    wanted.forward_hash = lb::index_hash(burst.hash[i]);
    wanted.backend = burst.backend[i];
    wanted.state = static_cast<std::uint8_t>(initial);
    wanted.probation = !lb::confirmed(initial);
    wanted.reply_indexed = !weir_forward_is_dsr(vip.forward);
    if (wanted.reply_indexed) {
        const weir_verdict verdict =
            take_port(worker, burst, i, vip, worker.state->backends()[wanted.backend], wanted);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    wanted.last_hop = worker.last_hops.acquire(source_mac(burst.mbuf[i]), packet.vlan_tci,
                                               static_cast<std::uint8_t>(burst.mbuf[i]->port));
    const lb::InsertResult result = worker.table.insert_new(
        wanted, worker.now_s, vip.max_connections ? vip.max_connections : UINT32_MAX,
        [&](lb::EntryIndex, const lb::HotRow& row) { worker.forget(row); });
    burst.entry[i] = result.entry;
    if (result.outcome != lb::InsertOutcome::kInserted) {
        worker.last_hops.release(wanted.last_hop);
        return result.outcome == lb::InsertOutcome::kVipQuota ? WEIR_DROP_VIP_QUOTA
                                                              : WEIR_DROP_TABLE_FULL;
    }
    worker.connections_opened++;
    if (opens)
        worker.count_opened(burst.vip[i], wanted.backend);
    return WEIR_UNDECIDED;
}

} // namespace weir::dpdk
