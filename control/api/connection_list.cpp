// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/connection_list.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "config/suggest.hpp"
#include "control/api/connection_json.hpp"
#include "control/api/views.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/lb/connection_lifetime.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 6> kKeys = {"vip",   "backend", "client",
                                                   "state", "limit",   "count"};

Expected<void> only_known_keys(const std::string& query) {
    for (std::size_t begin = 0; begin < query.size();) {
        const std::size_t end = std::min(query.find('&', begin), query.size());
        const std::string pair = query.substr(begin, end - begin);
        const std::string key = percent_decoded(pair.substr(0, pair.find('=')), true);
        if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
            return Error{"connections are not filtered by \"" + key + "\"; " +
                         config::suggestion(key, {kKeys.begin(), kKeys.end()})};
        begin = end + 1;
    }
    return {};
}

Expected<std::uint32_t> backend_row(const Snapshot& snapshot, const std::string& full) {
    if (full.find('/') == std::string::npos)
        return Error{"\"" + full + "\" does not name a backend; write POOL/NAME, as in web/web-b"};
    std::vector<std::string> names;
    const auto& pools = snapshot.config.pools;
    for (std::size_t i = 0; i < pools.size() && i < snapshot.compiled->backend_ids.size(); i++) {
        const auto& ids = snapshot.compiled->backend_ids[i];
        for (std::size_t k = 0; k < pools[i].backends.size() && k < ids.size(); k++) {
            names.push_back(pools[i].name + "/" + pools[i].backends[k].name);
            if (names.back() == full)
                return std::uint32_t{ids[k]};
        }
    }
    return Error{"there is no backend \"" + full + "\"; " +
                 config::suggestion(full, {names.begin(), names.end()})};
}

Expected<net::IpPrefix> client_network(const std::string& text) {
    if (auto prefix = net::IpPrefix::parse(text))
        return prefix;
    if (const auto address = net::IpAddress::parse(text))
        return net::IpPrefix::host(*address);
    return Error{"client has to be an address or a network, as in 198.51.100.7 or 2001:db8::/32, "
                 "not \"" +
                 text + "\""};
}

// Names between commas.
Expected<std::uint16_t> state_set(const std::string& list) {
    std::vector<std::string_view> names;
    for (int state = 1; state < lb::kConnectionStates; state++)
        names.push_back(lb::state_name(static_cast<lb::ConnectionState>(state)));
    unsigned set = 0;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        const std::string word = list.substr(begin, end - begin);
        const auto name = std::find(names.begin(), names.end(), word);
        if (name == names.end())
            return Error{"there is no state \"" + word + "\"; " + config::suggestion(word, names)};
        set |= 2u << (name - names.begin());
        begin = end + 1;
    }
    return static_cast<std::uint16_t>(set);
}

void set_client(ConnectionWish& wish, const net::IpPrefix& prefix) {
    net::IpAddress::Bytes mask{};
    const unsigned bits = prefix.length + (prefix.address.is_v4() ? 96u : 0u);
    for (unsigned bit = 0; bit < bits; bit++)
        mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80u >> (bit % 8));
    wish.client_family = family_of(prefix.address);
    wish.client = to_weir(prefix.network());
    wish.client_mask = to_weir(net::IpAddress::from_bytes(mask));
}

} // namespace

bool ConnectionWish::passes(const lb::HotRow& row) const {
    return (!vip || row.vip == *vip) && (!backend || row.backend == *backend) &&
           (states >> row.state & 1) != 0 &&
           (client_family == 0 || (client_family == 4) == weir_address_is_v4(&row.client)) &&
           (((row.client.word[0] & client_mask.word[0]) ^ client.word[0]) |
            ((row.client.word[1] & client_mask.word[1]) ^ client.word[1])) == 0;
}

Expected<ConnectionWish> connection_wish(const Snapshot& snapshot, const std::string& query) {
    if (snapshot.engine == nullptr || !snapshot.live || snapshot.compiled == nullptr)
        return Error{"weir-dataplane is not connected: there are no connections to show"};
    if (auto known = only_known_keys(query); !known)
        return known.error();
    ConnectionWish wish;
    if (const auto text = query_value(query, "vip"); !text.empty()) {
        const auto row = vip_row(snapshot, text);
        if (!row)
            return row.error();
        wish.vip = *row;
    }
    if (const auto text = query_value(query, "backend"); !text.empty()) {
        const auto row = backend_row(snapshot, text);
        if (!row)
            return row.error();
        wish.backend = *row;
    }
    if (const auto text = query_value(query, "client"); !text.empty()) {
        const auto network = client_network(text);
        if (!network)
            return network.error();
        set_client(wish, *network);
    }
    if (const auto text = query_value(query, "state"); !text.empty()) {
        const auto states = state_set(text);
        if (!states)
            return states.error();
        wish.states = *states;
    }
    const auto limit = query_number(query, "limit", 1, ConnectionWish::kMostListed, wish.limit);
    if (!limit)
        return limit.error();
    wish.limit = static_cast<std::uint32_t>(*limit);
    const auto count = query_value(query, "count");
    if (!count.empty() && count != "0" && count != "1")
        return Error{"count has to be 0 or 1, not \"" + count + "\""};
    wish.count_only = count == "1";
    return wish;
}

ConnectionScan::ConnectionScan(const Snapshot& snapshot, const ConnectionWish& wish)
    : wish_(wish), engine_pid_(snapshot.engine->hello.pid) {}

Expected<bool> ConnectionScan::step(const Snapshot& snapshot) {
    if (snapshot.engine == nullptr || !snapshot.live || snapshot.engine->hello.pid != engine_pid_)
        return Error{"weir-dataplane ended while its connections were read; ask again"};
    const auto& tables = snapshot.engine->connections;
    if (table_ >= tables.size())
        return true;
    const ConnectionSource& table = *tables[table_];
    std::size_t listed = 0;
    const auto next = table.walk(place_, kEntries, [&](const lb::HotRow& row) {
        if (!wish_.passes(row))
            return true;
        count_++;
        if (wish_.count_only || list_.size() >= wish_.limit)
            return true;
        list_.push_back(connection_json(snapshot, table.worker(), row));
        return ++listed < kListed;
    });
    if (!next)
        return next.error();
    place_ = *next;
    if (!place_)
        table_++;
    return table_ >= tables.size();
}

json ConnectionScan::answer() && {
    if (wish_.count_only)
        return json{{"count", count_}};
    const bool truncated = count_ > list_.size();
    return json{{"count", count_}, {"truncated", truncated}, {"connections", std::move(list_)}};
}

namespace {

HttpResponse refusal(unsigned status, const std::string& sentence) {
    return {status, "application/json",
            json{{"error", sentence}}.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"};
}

struct Walk : std::enable_shared_from_this<Walk> {
    Walk(boost::asio::io_context& loop, std::function<Snapshot()> source, ConnectionScan started,
         HttpRespond answer_to)
        : io(loop), snapshot(std::move(source)), scan(std::move(started)),
          respond(std::move(answer_to)) {}

    void go_on() {
        const auto done = scan.step(snapshot());
        if (!done) {
            respond(refusal(503, done.error().sentence));
        } else if (*done) {
            respond({200, "application/json",
                     std::move(scan).answer().dump(-1, ' ', false, json::error_handler_t::replace) +
                         "\n"});
        } else {
            // Whatever else waits comes first.
            boost::asio::post(io, [self = shared_from_this()] { self->go_on(); });
        }
    }

    boost::asio::io_context& io;
    std::function<Snapshot()> snapshot;
    ConnectionScan scan;
    HttpRespond respond;
};

} // namespace

void list_connections(boost::asio::io_context& io, std::function<Snapshot()> snapshot,
                      const std::string& query, HttpRespond respond) {
    const Snapshot now = snapshot();
    const auto wish = connection_wish(now, query);
    if (!wish) {
        respond(refusal(400, wish.error().sentence));
        return;
    }
    std::make_shared<Walk>(io, std::move(snapshot), ConnectionScan(now, *wish), std::move(respond))
        ->go_on();
}

} // namespace weir::control
