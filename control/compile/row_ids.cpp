// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/row_ids.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>

#include "control/compile/identity.hpp"

namespace weir::control {
namespace {

std::uint8_t forward_row(config::ForwardMode mode) {
    switch (mode) {
    case config::ForwardMode::kNat:
        return WEIR_FORWARD_NAT;
    case config::ForwardMode::kFullNat:
        return WEIR_FORWARD_FULL_NAT;
    case config::ForwardMode::kDsrIpip:
        return WEIR_FORWARD_DSR_IPIP;
    case config::ForwardMode::kDsrGue:
        return WEIR_FORWARD_DSR_GUE;
    case config::ForwardMode::kDsrL2:
        break;
    }
    return WEIR_FORWARD_DSR_L2;
}

void append_all(const net::IpPrefix& prefix, std::size_t most, std::vector<net::IpAddress>& all) {
    net::IpAddress::Bytes bytes = prefix.network().bytes();
    const net::IpAddress last = prefix.last();
    for (std::size_t count = 0; count < most; count++) {
        const net::IpAddress address = net::IpAddress::from_bytes(bytes);
        all.push_back(address);
        if (address == last)
            break;
        for (std::size_t i = bytes.size(); i-- > 0 && ++bytes[i] == 0;) {
        }
    }
}

using VipKey = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint8_t, std::uint8_t>;

VipKey key_of(const weir_vip_row& row) {
    return {row.identity, row.address.word[0], row.address.word[1], row.protocol, row.forward};
}

weir_vip_row fresh_vip(const config::VipConfig& vip) {
    weir_vip_row row{};
    row.identity = name_identity(vip.name);
    row.address = to_weir(vip.address);
    row.family = family_of(vip.address);
    row.protocol = static_cast<std::uint8_t>(vip.protocol);
    row.forward = forward_row(vip.forward);
    return row;
}

weir_backend_row fresh_backend(const config::PoolConfig& pool, const net::Endpoint& endpoint) {
    weir_backend_row row{};
    row.identity = backend_identity(pool.name, endpoint);
    row.address = to_weir(endpoint.address);
    row.port = weir_swap16(endpoint.port.value_or(0));
    row.family = family_of(endpoint.address);
    return row;
}

// Hands out free rows, lowest first, then new ones.
template <class Row, class IsFree> class FreeRows {
public:
    FreeRows(std::vector<Row>& rows, IsFree is_free) : rows_(rows), is_free_(is_free) {}

    std::uint32_t take(const Row& row) {
        while (next_ < rows_.size() && !is_free_(rows_[next_]))
            next_++;
        if (next_ == rows_.size())
            rows_.push_back(row);
        else
            rows_[next_] = row;
        return static_cast<std::uint32_t>(next_++);
    }

private:
    std::vector<Row>& rows_;
    IsFree is_free_;
    std::size_t next_ = 0;
};

// The row that a backend has had so far. Configurations mostly name backends in the order of their
// rows, so the row behind the last one is tried before all others.
class KnownBackends {
public:
    explicit KnownBackends(std::span<const weir_backend_row> rows)
        : rows_(rows.begin(), rows.end()) {}

    std::optional<std::uint32_t> find(std::uint64_t identity) {
        if (!is(expected_, identity)) {
            const auto found = all().find(identity);
            if (found == by_identity_.end())
                return std::nullopt;
            expected_ = found->second;
        }
        return expected_++;
    }

private:
    bool is(std::uint32_t id, std::uint64_t identity) const {
        return id < rows_.size() && rows_[id].state != WEIR_BACKEND_FREE &&
               rows_[id].identity == identity;
    }

    const std::unordered_map<std::uint64_t, std::uint32_t>& all() {
        if (by_identity_.empty()) {
            by_identity_.reserve(rows_.size());
            for (std::uint32_t id = 0; id < rows_.size(); id++)
                if (rows_[id].state != WEIR_BACKEND_FREE)
                    by_identity_.emplace(rows_[id].identity, id);
        }
        return by_identity_;
    }

    std::vector<weir_backend_row> rows_; // a copy: new backends are added to the other meanwhile
    std::unordered_map<std::uint64_t, std::uint32_t> by_identity_;
    std::uint32_t expected_ = 0;
};

} // namespace

Expected<VipRows> assign_vips(const config::Config& config, const History& history,
                              const Forget& forget) {
    VipRows result;
    result.rows = history.vips;
    std::map<VipKey, std::uint32_t> known;
    for (std::uint32_t id = 0; id < result.rows.size(); id++) {
        if (forget.vips.contains(id))
            result.rows[id] = {};
        weir_vip_row& row = result.rows[id];
        row.flags &= static_cast<std::uint8_t>(~WEIR_VIP_SERVED);
        row.pool = WEIR_NO_ROW;
        if (row.identity != 0)
            known.emplace(key_of(row), id);
    }
    FreeRows free_rows(result.rows, [](const weir_vip_row& row) { return row.identity == 0; });
    for (const config::VipConfig& vip : config.vips) {
        const weir_vip_row fresh = fresh_vip(vip);
        const auto found = known.find(key_of(fresh));
        result.ids.push_back(found != known.end() ? found->second : free_rows.take(fresh));
    }
    if (result.rows.size() > WEIR_MAX_VIPS)
        return Error{"there are " + std::to_string(result.rows.size()) +
                     " VIPs, counting removed ones whose connections have not ended; at most " +
                     std::to_string(WEIR_MAX_VIPS) + " are possible"};
    return result;
}

Expected<BackendRows> assign_backends(const config::Config& config, const History& history,
                                      const Forget& forget) {
    BackendRows result;
    result.rows = history.backends;
    for (const std::uint32_t id : forget.backends)
        if (id < result.rows.size())
            result.rows[id] = {};
    KnownBackends known(result.rows);
    std::vector<bool> named(result.rows.size());
    const auto is_free = [](const weir_backend_row& row) { return row.state == WEIR_BACKEND_FREE; };
    FreeRows free_rows(result.rows, is_free);
    for (const config::PoolConfig& pool : config.pools) {
        std::vector<std::uint32_t>& ids = result.ids.emplace_back();
        for (const config::BackendConfig& backend : pool.backends) {
            weir_backend_row fresh = fresh_backend(pool, backend.address);
            fresh.state = WEIR_BACKEND_DRAINING; // taken; the compiler says what it really is
            const std::optional<std::uint32_t> found = known.find(fresh.identity);
            ids.push_back(found ? *found : free_rows.take(fresh));
            if (found)
                named[*found] = true;
        }
    }
    for (std::uint32_t id = 0; id < named.size(); id++)
        if (!named[id] && history.backends[id].state != WEIR_BACKEND_FREE &&
            !forget.backends.contains(id))
            result.leaving.push_back(id);
    if (result.rows.size() > WEIR_MAX_BACKENDS)
        return Error{"there are " + std::to_string(result.rows.size()) +
                     " backends, counting removed ones whose connections have not ended; at most " +
                     std::to_string(WEIR_MAX_BACKENDS) + " are possible"};
    return result;
}

std::vector<net::IpAddress> snat_addresses(const config::Config& config) {
    std::vector<net::IpAddress> result;
    for (const net::IpPrefix& prefix : config.snat.addresses)
        append_all(prefix, WEIR_MAX_SNAT_ADDRESSES, result);
    if (!config.snat.addresses.empty())
        return result;
    for (const bool v4 : {true, false}) {
        for (const config::InterfaceConfig& interface : config.interfaces) {
            const auto found = std::find_if(interface.addresses.begin(), interface.addresses.end(),
                                            [v4](const net::IpPrefix& prefix) {
                                                return prefix.address.is_v4() == v4 &&
                                                       !prefix.address.is_link_local();
                                            });
            if (found == interface.addresses.end())
                continue;
            result.push_back(found->address);
            break;
        }
    }
    return result;
}

std::vector<net::IpAddress> tunnel_addresses(const config::Config& config) {
    std::vector<net::IpAddress> result;
    const bool used =
        std::any_of(config.vips.begin(), config.vips.end(),
                    [](const config::VipConfig& vip) { return config::encapsulates(vip.forward); });
    if (used)
        for (const net::IpPrefix& prefix : config.tunnel.sources)
            append_all(prefix, WEIR_MAX_TUNNEL_SOURCES, result);
    return result;
}

Expected<std::vector<weir_snat_row>> assign_snat(const config::Config& config,
                                                 const History& history) {
    std::vector<weir_snat_row> rows = history.snat;
    for (weir_snat_row& row : rows)
        row.family = 0;
    for (const net::IpAddress& address : snat_addresses(config)) {
        weir_snat_row wanted{};
        wanted.address = to_weir(address);
        wanted.first_port = config.snat.ports.first;
        wanted.last_port = config.snat.ports.last;
        auto found = std::find_if(rows.begin(), rows.end(), [&](const weir_snat_row& row) {
            return weir_address_equal(&row.address, &wanted.address) &&
                   row.first_port == wanted.first_port && row.last_port == wanted.last_port;
        });
        if (found == rows.end())
            found = rows.insert(rows.end(), wanted);
        found->family = family_of(address);
    }
    if (rows.size() > WEIR_MAX_SNAT_ADDRESSES)
        return Error{"there are " + std::to_string(rows.size()) +
                     " SNAT addresses, counting those taken away while the dataplane runs; at "
                     "most " +
                     std::to_string(WEIR_MAX_SNAT_ADDRESSES) + " are possible"};
    return rows;
}

} // namespace weir::control
