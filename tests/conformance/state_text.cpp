// SPDX-License-Identifier: BSD-3-Clause
#include "tests/conformance/state_text.hpp"

#include "config/address.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/lb/slot_windows.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace weir::conformance {
namespace {

// `kind name key=value ...`
struct Row {
    std::string line;
    std::string name;
    std::map<std::string, std::string> values;

    const std::string& text(const char* key) const {
        auto found = values.find(key);
        if (found == values.end())
            throw std::runtime_error("no " + std::string(key) + " in: " + line);
        return found->second;
    }
    std::uint32_t number(const char* key) const {
        return static_cast<std::uint32_t>(std::stoul(text(key)));
    }
    bool yes(const char* key) const { return text(key) == "yes"; }
    net::IpAddress address(const char* key) const {
        auto parsed = net::IpAddress::parse(text(key));
        if (!parsed)
            throw std::runtime_error("bad address in: " + line);
        return *parsed;
    }
    std::uint16_t vlan() const {
        return text("vlan") == "none" ? WEIR_NO_VLAN : static_cast<std::uint16_t>(number("vlan"));
    }
    void mac(std::uint8_t* to) const {
        unsigned byte[6];
        if (std::sscanf(text("mac").c_str(), "%x:%x:%x:%x:%x:%x", &byte[0], &byte[1], &byte[2],
                        &byte[3], &byte[4], &byte[5]) != 6)
            throw std::runtime_error("bad MAC in: " + line);
        std::copy_n(byte, 6, to);
    }
    std::vector<std::string> list(const char* key) const {
        std::vector<std::string> items;
        std::istringstream words(text(key));
        for (std::string item; std::getline(words, item, ',');)
            if (item != "none")
                items.push_back(item);
        return items;
    }
    // "80", "81-89" or "all" (0-0).
    std::pair<std::uint16_t, std::uint16_t> ports() const {
        const std::string& value = text("ports");
        if (value == "all")
            return {0, 0};
        const auto dash = value.find('-');
        const auto first = static_cast<std::uint16_t>(std::stoul(value));
        return {first, dash == std::string::npos
                           ? first
                           : static_cast<std::uint16_t>(std::stoul(value.substr(dash + 1)))};
    }
};

template <class Enum>
Enum word(const Row& row, const char* key, std::map<std::string, Enum> words) {
    auto found = words.find(row.text(key));
    if (found == words.end())
        throw std::runtime_error("unknown " + std::string(key) + " in: " + row.line);
    return found->second;
}

class Reader {
public:
    explicit Reader(const std::string& text) {
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);)
            take(line);
    }

    void fill(lb::StateTables& tables,
              std::vector<std::shared_ptr<const control::SlotTable>>& slots) {
        tables.hash_key = key_;
        if (!rows_["node"].empty())
            tables.node = node(rows_["node"].front());
        for (const Row& row : rows_["interface"])
            tables.interfaces.push_back(interface(row));
        for (const Row& row : rows_["hop"])
            tables.next_hops.push_back(hop(row));
        for (const Row& row : rows_["backend"])
            tables.backends.push_back(backend(row));
        for (const Row& row : rows_["pool"])
            tables.pools.push_back(pool(row, tables, slots));
        for (const Row& row : rows_["vip"])
            tables.vips.push_back(vip(row));
        for (const Row& row : rows_["snat"])
            tables.snat.push_back(snat(row));
        std::string problem;
        auto match = match_table(tables).build(problem);
        if (!match)
            throw std::runtime_error(problem);
        tables.match = *match;
    }

private:
    void take(const std::string& line) {
        std::istringstream words(line);
        std::string kind;
        Row row;
        row.line = line;
        words >> kind >> row.name;
        if (kind == "key") {
            key_.k0 = std::stoull(row.name);
            words >> key_.k1;
            return;
        }
        for (std::string pair; words >> pair;) {
            const auto equals = pair.find('=');
            row.values[pair.substr(0, equals)] = pair.substr(equals + 1);
        }
        row.values["address"]; // `local` rows are a name alone
        if (kind == "local")
            row.values["address"] = row.name;
        auto& named = rows_[kind];
        numbers_[kind][row.name] = static_cast<std::uint32_t>(named.size());
        named.push_back(std::move(row));
    }

    std::uint32_t number_of(const char* kind, const std::string& name) {
        auto found = numbers_[kind].find(name);
        if (found == numbers_[kind].end())
            throw std::runtime_error("no " + std::string(kind) + " named " + name);
        return found->second;
    }

    static weir_node_row node(const Row& row) {
        weir_node_row node{};
        node.tunnel_source_v4 = control::to_weir(row.address("tunnel_v4"));
        node.tunnel_source_v6 = control::to_weir(row.address("tunnel_v6"));
        node.tunnel_source_v4_count = row.number("tunnel_v4_count");
        node.tunnel_source_v6_count = row.number("tunnel_v6_count");
        node.gue_port = weir_swap16(static_cast<std::uint16_t>(row.number("gue_port")));
        node.reset_grace_s = static_cast<std::uint16_t>(row.number("grace"));
        node.answers_pps = row.number("answers_pps");
        node.icmp_pps = row.number("icmp_pps");
        return node;
    }

    static weir_interface_row interface(const Row& row) {
        weir_interface_row result{};
        row.mac(result.mac);
        result.mtu = static_cast<std::uint16_t>(row.number("mtu"));
        result.vlan_tci = row.vlan();
        result.flags = row.yes("kernel") ? WEIR_INTERFACE_BYPASSED : 0;
        return result;
    }

    weir_next_hop_row hop(const Row& row) {
        weir_next_hop_row result{};
        row.mac(result.destination_mac);
        result.interface = static_cast<std::uint8_t>(number_of("interface", row.text("interface")));
        rows_["interface"][result.interface].mac(result.source_mac);
        result.vlan_tci = row.vlan();
        result.mtu = static_cast<std::uint16_t>(row.number("mtu"));
        result.resolved = row.yes("resolved");
        return result;
    }

    weir_backend_row backend(const Row& row) {
        weir_backend_row result{};
        const net::IpAddress address = row.address("address");
        result.address = control::to_weir(address);
        result.family = control::family_of(address);
        result.port = weir_swap16(static_cast<std::uint16_t>(row.number("port")));
        result.state = word<std::uint8_t>(row, "state",
                                          {{"free", WEIR_BACKEND_FREE},
                                           {"up", WEIR_BACKEND_UP},
                                           {"draining", WEIR_BACKEND_DRAINING},
                                           {"down", WEIR_BACKEND_DOWN}});
        result.next_hop =
            row.text("hop") == "none" ? WEIR_NO_ROW : number_of("hop", row.text("hop"));
        result.weight = row.number("weight");
        result.max_connections = row.number("max");
        result.identity = control::name_identity(row.name);
        result.pool = WEIR_NO_ROW;
        const auto pools = rows_["pool"];
        for (std::uint32_t i = 0; i < pools.size(); i++)
            for (const std::string& own : pools[i].list("own"))
                if (own == row.name && result.pool == WEIR_NO_ROW)
                    result.pool = i;
        return result;
    }

    weir_pool_row pool(const Row& row, lb::StateTables& tables,
                       std::vector<std::shared_ptr<const control::SlotTable>>& slots) {
        const std::string& scheduler = row.text("scheduler");
        const bool ignores_weights = scheduler == "rr" || scheduler == "lc";
        weir_pool_row result{};
        result.identity = control::name_identity(row.name);
        result.scheduler = word<std::uint8_t>(row, "scheduler",
                                              {{"maglev", WEIR_SCHEDULE_MAGLEV},
                                               {"source-hash", WEIR_SCHEDULE_SOURCE_HASH},
                                               {"rr", WEIR_SCHEDULE_ROUND_ROBIN},
                                               {"wrr", WEIR_SCHEDULE_ROUND_ROBIN},
                                               {"lc", WEIR_SCHEDULE_LEAST},
                                               {"wlc", WEIR_SCHEDULE_LEAST}});
        if (ignores_weights)
            result.flags |= WEIR_POOL_IGNORES_WEIGHTS;
        result.persistence_s = static_cast<std::uint16_t>(row.number("persistence"));
        result.persistence_prefix_v4 = static_cast<std::uint8_t>(row.number("prefix_v4"));
        result.persistence_prefix_v6 = static_cast<std::uint8_t>(row.number("prefix_v6"));
        result.member_first = static_cast<std::uint32_t>(tables.members.size());
        const std::vector<Member> members = members_of(row.list("members"), ignores_weights);
        for (const Member& member : members) {
            tables.members.push_back(member.id);
            if (rows_["backend"][member.id].number("max") != 0)
                result.flags |= WEIR_POOL_HAS_LIMITS;
        }
        result.member_count = static_cast<std::uint32_t>(members.size());
        if (members.empty())
            return result;
        const bool hashes = scheduler == "maglev" || scheduler == "source-hash";
        const auto table = hashes ? maglev(members, row.number("size")) : round(members);
        result.slot_count = static_cast<std::uint32_t>(table->slots.size());
        result.segment = segment_of(table, tables, slots);
        const std::vector<Member> was = members_of(row.list("was"), ignores_weights);
        if (!was.empty())
            open_windows(maglev(was, row.number("size"))->slots, ids_of(was), *table,
                         ids_of(members), result, tables, slots);
        return result;
    }

    struct Member {
        std::uint32_t id;
        lb::MaglevBackend walker;
    };

    std::vector<Member> members_of(const std::vector<std::string>& names, bool ignores_weights) {
        std::vector<Member> members;
        for (const std::string& name : names) {
            const std::uint32_t id = number_of("backend", name);
            const Row& row = rows_["backend"][id];
            const auto identity = control::maglev_identity(
                {row.address("address"), static_cast<std::uint16_t>(row.number("port"))});
            const std::uint32_t weight = ignores_weights ? 1 : std::max(row.number("weight"), 1u);
            members.push_back({id, {identity.a, identity.b, weight}});
        }
        return members;
    }

    static std::vector<std::uint32_t> ids_of(const std::vector<Member>& members) {
        std::vector<std::uint32_t> ids;
        ids.reserve(members.size());
        for (const Member& member : members)
            ids.push_back(member.id);
        return ids;
    }

    std::shared_ptr<const control::SlotTable> maglev(const std::vector<Member>& members,
                                                     std::uint32_t size) {
        std::vector<lb::MaglevBackend> walkers;
        walkers.reserve(members.size());
        for (const Member& member : members)
            walkers.push_back(member.walker);
        return slot_tables_.table(walkers, size);
    }

    std::shared_ptr<const control::SlotTable> round(const std::vector<Member>& members) {
        std::vector<std::uint32_t> weights;
        weights.reserve(members.size());
        for (const Member& member : members)
            weights.push_back(member.walker.weight);
        return slot_tables_.round(weights);
    }

    static std::uint32_t segment_of(std::shared_ptr<const control::SlotTable> table,
                                    lb::StateTables& tables,
                                    std::vector<std::shared_ptr<const control::SlotTable>>& slots) {
        for (std::uint32_t segment = 0; segment < tables.segments.size(); segment++)
            if (tables.segments[segment].id == table->id)
                return segment;
        tables.segments.push_back({table->id, table->slots.size() * sizeof(std::uint16_t)});
        slots.push_back(std::move(table));
        return static_cast<std::uint32_t>(tables.segments.size() - 1);
    }

    // The pool's table has just become what it is.
    static void open_windows(std::span<const std::uint16_t> was_slots,
                             const std::vector<std::uint32_t>& was, const control::SlotTable& table,
                             const std::vector<std::uint32_t>& is, weir_pool_row& row,
                             lb::StateTables& tables,
                             std::vector<std::shared_ptr<const control::SlotTable>>& slots) {
        lb::SlotWindows windows;
        windows.follow(was_slots, was, 1, 1000);
        windows.follow(table.slots, is, 2, 1000);
        if (!windows.open())
            return;
        auto oldest = std::make_shared<control::SlotTable>();
        oldest->slots = windows.oldest();
        oldest->id = lb::segment_id(oldest->slots);
        row.oldest_segment = segment_of(std::move(oldest), tables, slots);
        row.elder_count = static_cast<std::uint32_t>(windows.elders().size());
        tables.members.insert(tables.members.end(), windows.elders().begin(),
                              windows.elders().end());
    }

    weir_vip_row vip(const Row& row) {
        weir_vip_row result{};
        const net::IpAddress address = row.address("address");
        result.address = control::to_weir(address);
        result.family = control::family_of(address);
        result.protocol = row.text("protocol") == "tcp" ? WEIR_IP_TCP : WEIR_IP_UDP;
        result.port = weir_swap16(row.ports().first);
        result.last_port = weir_swap16(row.ports().second);
        result.forward = word<std::uint8_t>(row, "mode",
                                            {{"dsr-l2", WEIR_FORWARD_DSR_L2},
                                             {"nat", WEIR_FORWARD_NAT},
                                             {"full-nat", WEIR_FORWARD_FULL_NAT},
                                             {"dsr-ipip", WEIR_FORWARD_DSR_IPIP},
                                             {"dsr-gue", WEIR_FORWARD_DSR_GUE}});
        result.on_backend_down = word<std::uint8_t>(row, "down",
                                                    {{"reset", WEIR_BACKEND_DOWN_RESET},
                                                     {"reselect", WEIR_BACKEND_DOWN_RESELECT},
                                                     {"keep", WEIR_BACKEND_DOWN_KEEP}});
        const auto flag = [](bool set, weir_vip_flag value) { return set ? value : 0; };
        result.flags = static_cast<std::uint8_t>(
            flag(row.yes("served"), WEIR_VIP_SERVED) |
            flag(row.yes("recovers"), WEIR_VIP_HASH_RECOVERS) |
            flag(row.text("all_down") != "open", WEIR_VIP_DROP_ALL_DOWN) |
            flag(row.text("all_down") == "reject", WEIR_VIP_REJECT_ALL_DOWN) |
            flag(row.text("on_limit") == "reject", WEIR_VIP_REJECT_AT_LIMIT) |
            flag(row.yes("clamp"), WEIR_VIP_CLAMP_MSS) |
            flag(row.yes("too_big"), WEIR_VIP_ANSWER_TOO_BIG) |
            flag(row.text("tracking") == "exceptions", WEIR_VIP_EXCEPTIONS));
        result.pool = number_of("pool", row.text("pool"));
        result.max_connections = row.number("max");
        std::uint16_t seconds[5];
        const std::vector<std::string> timeouts = row.list("timeouts");
        for (std::size_t i = 0; i < 5; i++)
            seconds[i] = static_cast<std::uint16_t>(std::stoul(timeouts.at(i)));
        result.timeouts = {seconds[0], seconds[1], seconds[2], seconds[3], seconds[4]};
        return result;
    }

    static weir_snat_row snat(const Row& row) {
        weir_snat_row result{};
        const net::IpAddress address = row.address("address");
        result.address = control::to_weir(address);
        result.family = control::family_of(address);
        result.first_port = row.ports().first;
        result.last_port = row.ports().second;
        return result;
    }

    static void add_ports(lb::MatchTableBuilder& builder, const weir_address& address,
                          std::uint8_t protocol, std::uint16_t first, std::uint16_t last,
                          weir_match_kind kind, std::uint32_t index) {
        if (first == 0)
            builder.add_all_ports(address, protocol, kind, index);
        else if (first == last)
            builder.add_port(address, protocol, weir_swap16(first), kind, index);
        else
            builder.add_range(address, protocol, first, last, kind, index);
    }

    lb::MatchTableBuilder match_table(const lb::StateTables& tables) {
        lb::MatchTableBuilder builder;
        for (const Row& row : rows_["local"])
            builder.add_address(control::to_weir(row.address("address")), WEIR_MATCH_LOCAL);
        bool full_nat[256] = {};
        for (std::uint32_t i = 0; i < tables.vips.size(); i++) {
            const weir_vip_row& vip = tables.vips[i];
            if (!(vip.flags & WEIR_VIP_SERVED))
                continue;
            builder.add_address(vip.address, WEIR_MATCH_VIP_ADDRESS);
            add_ports(builder, vip.address, vip.protocol, weir_swap16(vip.port),
                      weir_swap16(vip.last_port), WEIR_MATCH_VIP, i);
            full_nat[vip.protocol] |= vip.forward == WEIR_FORWARD_FULL_NAT;
            if (vip.forward == WEIR_FORWARD_NAT)
                add_reply_sources(builder, tables, vip);
        }
        for (std::uint32_t i = 0; i < tables.snat.size(); i++)
            for (std::uint8_t protocol : {WEIR_IP_TCP, WEIR_IP_UDP})
                if (full_nat[protocol])
                    builder.add_range(tables.snat[i].address, protocol, tables.snat[i].first_port,
                                      tables.snat[i].last_port, WEIR_MATCH_SNAT, i);
        return builder;
    }

    // What the backends of a `nat` VIP send from their service ports are replies.
    void add_reply_sources(lb::MatchTableBuilder& builder, const lb::StateTables& tables,
                           const weir_vip_row& vip) {
        builder.set_flags(WEIR_MATCH_HAS_NAT);
        for (const std::string& name : rows_["pool"][vip.pool].list("own")) {
            const std::uint32_t id = number_of("backend", name);
            const weir_backend_row& backend = tables.backends[id];
            const bool own_port = backend.port != 0;
            const std::uint16_t first = weir_swap16(own_port ? backend.port : vip.port);
            const std::uint16_t last = weir_swap16(own_port ? backend.port : vip.last_port);
            const std::uint64_t ports = std::uint64_t{first} << 16 | last;
            if (reply_sources_
                    .insert({backend.address.word[0], backend.address.word[1], vip.protocol, ports})
                    .second)
                add_ports(builder, backend.address, vip.protocol, first, last, WEIR_MATCH_BACKEND,
                          id);
        }
    }

    weir_hash_key key_{};
    std::map<std::string, std::vector<Row>> rows_;
    std::map<std::string, std::map<std::string, std::uint32_t>> numbers_;
    control::SlotTables slot_tables_;
    std::set<std::array<std::uint64_t, 4>> reply_sources_;
};

} // namespace

void Generation::Free::operator()(std::byte* memory) const {
    std::free(memory);
}

Generation::Generation(const std::string& text, std::uint64_t number) {
    tables_.generation = number;
    Reader(text).fill(tables_, slots_);
    for (std::size_t i = 0; i < slots_.size(); i++)
        segments_.push_back(lb::inspect_segment(slots_[i]->id, slots_[i]->slots));
    const std::vector<std::byte> bytes = lb::build_root(tables_);
    root_.reset(static_cast<std::byte*>(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64)));
    std::memcpy(root_.get(), bytes.data(), bytes.size());
    std::string problem;
    state_ = lb::ForwardingState::open({root_.get(), bytes.size()}, segments_, problem);
    if (!state_)
        throw std::runtime_error(problem);
}

} // namespace weir::conformance
