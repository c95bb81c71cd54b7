// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/match_rows.hpp"

#include <algorithm>
#include <tuple>

#include "control/compile/identity.hpp"

namespace weir::control {
namespace {

constexpr std::uint8_t kTcp = static_cast<std::uint8_t>(config::Protocol::kTcp);
constexpr std::uint8_t kUdp = static_cast<std::uint8_t>(config::Protocol::kUdp);

// What the replies of `nat` backends come from, by address and protocol. Several VIPs may share a
// backend, so the ports are merged.
class ReplySources {
public:
    void add(const weir_address& address, std::uint8_t protocol, config::PortRange ports,
             std::uint32_t backend) {
        by_source_[{address.word[0], address.word[1], protocol}].push_back({ports, backend});
    }

    void put_into(lb::MatchTableBuilder& builder) const {
        for (const auto& [source, entries] : by_source_) {
            const weir_address address{{std::get<0>(source), std::get<1>(source)}};
            const std::uint8_t protocol = std::get<2>(source);
            for (const Entry& entry : merged(entries))
                put(builder, address, protocol, entry);
        }
    }

private:
    struct Entry {
        config::PortRange ports;
        std::uint32_t backend;
    };

    static std::vector<Entry> merged(std::vector<Entry> entries) {
        std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
            return std::tie(a.ports.first, a.backend) < std::tie(b.ports.first, b.backend);
        });
        std::vector<Entry> result;
        for (const Entry& entry : entries) {
            if (!result.empty() && entry.ports.first <= result.back().ports.last)
                result.back().ports.last = std::max(result.back().ports.last, entry.ports.last);
            else
                result.push_back(entry);
        }
        return result;
    }

    static void put(lb::MatchTableBuilder& builder, const weir_address& address,
                    std::uint8_t protocol, const Entry& entry) {
        const config::PortRange& ports = entry.ports;
        if (ports.is_all())
            builder.add_all_ports(address, protocol, WEIR_MATCH_BACKEND, entry.backend);
        else if (ports.is_single())
            builder.add_port(address, protocol, weir_swap16(ports.first), WEIR_MATCH_BACKEND,
                             entry.backend);
        else
            builder.add_range(address, protocol, ports.first, ports.last, WEIR_MATCH_BACKEND,
                              entry.backend);
    }

    std::map<std::tuple<std::uint64_t, std::uint64_t, std::uint8_t>, std::vector<Entry>> by_source_;
};

void put_vip(lb::MatchTableBuilder& builder, const config::VipConfig& vip, std::uint32_t id) {
    const weir_address address = to_weir(vip.address);
    const auto protocol = static_cast<std::uint8_t>(vip.protocol);
    builder.add_address(address, WEIR_MATCH_VIP_ADDRESS);
    if (vip.ports.is_all())
        builder.add_all_ports(address, protocol, WEIR_MATCH_VIP, id);
    else if (vip.ports.is_single())
        builder.add_port(address, protocol, weir_swap16(vip.ports.first), WEIR_MATCH_VIP, id);
    else
        builder.add_range(address, protocol, vip.ports.first, vip.ports.last, WEIR_MATCH_VIP, id);
}

void put_own_addresses(lb::MatchTableBuilder& builder, const config::Config& config,
                       std::span<const weir_snat_row> snat,
                       const std::set<net::IpAddress>& own_addresses) {
    for (const net::IpAddress& address : own_addresses)
        builder.add_address(to_weir(address), WEIR_MATCH_LOCAL);
    for (const weir_snat_row& row : snat)
        if (row.family != 0)
            builder.add_address(row.address, WEIR_MATCH_LOCAL);
    for (const net::IpAddress& address : tunnel_addresses(config))
        builder.add_address(to_weir(address), WEIR_MATCH_LOCAL);
    for (const config::InterfaceConfig& interface : config.interfaces)
        for (const net::IpPrefix& prefix : interface.addresses)
            builder.add_address(to_weir(prefix.address), WEIR_MATCH_LOCAL);
}

// Backends that left keep their replies translated until their connections have ended.
void put_leaving(ReplySources& sources, const BackendRows& backends) {
    for (const std::uint32_t id : backends.leaving) {
        const weir_backend_row& row = backends.rows[id];
        const std::uint16_t port = weir_swap16(row.port);
        const config::PortRange ports =
            port != 0 ? config::PortRange{port, port} : config::kAllPorts;
        sources.add(row.address, kTcp, ports, id);
        sources.add(row.address, kUdp, ports, id);
    }
}

// An address whose ports have changed is in two rows; the one in use has it.
void put_snat(lb::MatchTableBuilder& builder, std::span<const weir_snat_row> rows) {
    const auto in_use = [&](const weir_address& address) {
        return std::any_of(rows.begin(), rows.end(), [&](const weir_snat_row& row) {
            return row.family != 0 && weir_address_equal(&row.address, &address);
        });
    };
    for (std::uint32_t i = 0; i < rows.size(); i++) {
        if (rows[i].family == 0 && in_use(rows[i].address))
            continue;
        for (const std::uint8_t protocol : {kTcp, kUdp})
            builder.add_range(rows[i].address, protocol, rows[i].first_port, rows[i].last_port,
                              WEIR_MATCH_SNAT, i);
    }
}

} // namespace

bool uses_full_nat(const config::Config& config) {
    return std::any_of(config.vips.begin(), config.vips.end(), [](const config::VipConfig& vip) {
        return vip.forward == config::ForwardMode::kFullNat;
    });
}

Expected<lb::MatchTable> build_match_table(const config::Config& config, const VipRows& vips,
                                           const BackendRows& backends,
                                           std::span<const weir_snat_row> snat,
                                           const std::set<net::IpAddress>& own_addresses) {
    lb::MatchTableBuilder builder;
    put_own_addresses(builder, config, snat, own_addresses);
    ReplySources sources;
    bool any_nat = false;
    for (std::size_t i = 0; i < config.vips.size(); i++) {
        const config::VipConfig& vip = config.vips[i];
        put_vip(builder, vip, vips.ids[i]);
        if (vip.forward != config::ForwardMode::kNat)
            continue;
        any_nat = true;
        for (const std::uint32_t id : backends.ids[vip.pool]) {
            const weir_backend_row& row = backends.rows[id];
            const std::uint16_t port = weir_swap16(row.port);
            sources.add(row.address, static_cast<std::uint8_t>(vip.protocol),
                        port != 0 ? config::PortRange{port, port} : vip.ports, id);
        }
    }
    if (any_nat) {
        put_leaving(sources, backends);
        sources.put_into(builder);
        builder.set_flags(WEIR_MATCH_HAS_NAT);
    }
    if (uses_full_nat(config))
        put_snat(builder, snat);
    std::string problem;
    auto table = builder.build(problem);
    if (!table)
        return Error{problem};
    return std::move(*table);
}

} // namespace weir::control
