// SPDX-License-Identifier: BSD-3-Clause
// What another engine has made, put into the balancer's tables while it stands in, and back.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "dataplane/forwarding/admit.h"

namespace weir::xdp {
namespace {

constexpr const char* kNetworks = "persistence";

// What the backend's packets of a connection show. REQUIRES: its rows are in `state`; a NAT mode.
weir_reply_key reply_key_of(const lb::ForwardingState& state, const weir_connection_key& key,
                            const weir_connection& connection) {
    const weir_vip_row& vip = state.vips()[key.vip];
    const weir_backend_row& backend = state.backends()[connection.backend];
    weir_reply_key reply{};
    reply.backend = backend.address;
    reply.backend_port = weir_backend_port(&backend, key.service_port);
    reply.protocol = vip.protocol;
    const bool translated = connection.snat_port != 0;
    reply.local = translated ? state.snat()[connection.snat_address].address : key.client;
    reply.local_port = translated ? connection.snat_port : key.client_port;
    return reply;
}

bool has_rows(const lb::ForwardingState& state, const Balancer::Given& given) {
    if (given.key.vip >= state.vips().size() ||
        given.connection.backend >= state.backends().size() ||
        given.connection.interface >= state.interfaces().size())
        return false;
    const bool full_nat = state.vips()[given.key.vip].forward == WEIR_FORWARD_FULL_NAT;
    if (full_nat != (given.connection.snat_port != 0))
        return false;
    return !full_nat || given.connection.snat_address < state.snat().size();
}

template <class Key, class Value>
Expected<void> put(int map, const std::vector<Key>& keys, const std::vector<Value>& values) {
    auto count = static_cast<uint32_t>(keys.size());
    LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
    if (count != 0 && bpf_map_update_batch(map, keys.data(), values.data(), &count, &options) != 0)
        return kernel_error("give the balancer what another engine has made", errno);
    return {};
}

void add_one(const Mapping& counts, uint32_t row) {
    if (row < counts.values())
        std::atomic_ref(*reinterpret_cast<uint64_t*>(counts.value(row)))
            .fetch_add(1, std::memory_order_relaxed);
}

} // namespace

void Balancer::hold(uint32_t vip_row, bool held) {
    std::atomic_ref(*reinterpret_cast<uint64_t*>(vip_held_.value(vip_row)))
        .store(held, std::memory_order_relaxed);
}

Expected<void> Balancer::wait_for_programs() const {
    const auto waited = blocks_.prepare();
    return waited ? Expected<void>() : waited.error();
}

void Balancer::begin_giving() {
    assume_exceptions();
    forget_noted_exceptions();
}

void Balancer::end_giving() {
    exceptions().rounds_to_wait = 0;
    turn_exceptions();
}

Expected<uint64_t> Balancer::give(std::span<const Given> connections,
                                  const lb::ForwardingState& state) {
    std::vector<weir_connection_key> keys;
    std::vector<weir_connection> values;
    std::vector<weir_reply_key> reply_keys;
    std::vector<weir_connection_key> reply_values;
    for (const Given& given : connections) {
        if (!has_rows(state, given))
            continue;
        keys.push_back(given.key);
        values.push_back(given.connection);
        const weir_vip_row& vip = state.vips()[given.key.vip];
        if ((vip.flags & WEIR_VIP_EXCEPTIONS) != 0)
            note_exception(flow_hash_of(state, given.key));
        if (!weir_forward_is_dsr(vip.forward)) {
            reply_keys.push_back(reply_key_of(state, given.key, given.connection));
            reply_values.push_back(given.key);
        }
    }
    if (auto done = put(map("replies"), reply_keys, reply_values); !done)
        return done.error();
    if (auto done = put(map("connections"), keys, values); !done)
        return done.error();
    for (size_t i = 0; i < keys.size(); i++) {
        add_one(vip_active_, keys[i].vip);
        add_one(backend_active_, values[i].backend);
    }
    return keys.size();
}

Expected<void> Balancer::give_networks(std::span<const Network> networks) {
    std::vector<uint64_t> keys;
    std::vector<weir_remembered> values;
    for (const Network& network : networks) {
        keys.push_back(network.key);
        values.push_back(network.remembered);
    }
    return put(map(kNetworks), keys, values);
}

Expected<std::vector<Balancer::Network>> Balancer::networks() const {
    uint32_t count = bpf_map__max_entries(bpf_object__find_map_by_name(object_.get(), kNetworks));
    uint32_t place = 0;
    std::vector<uint64_t> keys(count);
    std::vector<weir_remembered> values(count);
    const int error = bpf_map_lookup_batch(map(kNetworks), nullptr, &place, keys.data(),
                                           values.data(), &count, nullptr);
    if (error != 0 && error != -ENOENT) // that it was all
        return kernel_error("read what the balancer remembers of networks", -error);
    std::vector<Network> found;
    for (uint32_t i = 0; i < count; i++)
        found.push_back({keys[i], values[i]});
    return found;
}

} // namespace weir::xdp
