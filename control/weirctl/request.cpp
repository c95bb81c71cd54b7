// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/request.hpp"

#include <nlohmann/json.hpp>

#include <utility>
#include <vector>

namespace weir::weirctl {
namespace {

Request get(std::string target) {
    Request request;
    request.target = std::move(target);
    return request;
}

Request apply(const Command& command, std::string configuration) {
    return {"POST", "/v1/apply?file=" + percent_encoded(command.file), std::move(configuration),
            "application/toml"};
}

Request change_backend(const Command& command) {
    nlohmann::json body{{"action", command.action}};
    if (command.action == "weight")
        body["weight"] = command.weight;
    const std::size_t slash = command.backend.find('/');
    return {"POST",
            "/v1/pools/" + percent_encoded(command.backend.substr(0, slash)) + "/backends/" +
                percent_encoded(command.backend.substr(slash + 1)),
            body.dump(), "application/json"};
}

Request change_node(const Command& command) {
    nlohmann::json body{{"action", command.action}};
    if (command.force)
        body["force"] = true;
    return {"POST", "/v1/node", body.dump(), "application/json"};
}

// What has been said, as a query.
std::string query_of(const std::vector<std::pair<const char*, std::string>>& said) {
    std::string query;
    for (const auto& [key, value] : said)
        if (!value.empty())
            query += (query.empty() ? "?" : "&") + std::string(key) + "=" + percent_encoded(value);
    return query;
}

std::string number_text(std::uint64_t number) {
    return number == 0 ? "" : std::to_string(number);
}

Request connections(const Command& command) {
    return get("/v1/connections" + query_of({{"vip", command.vip},
                                             {"backend", command.backend},
                                             {"client", command.client},
                                             {"state", command.state},
                                             {"limit", number_text(command.limit)},
                                             {"count", command.count ? "1" : ""}}));
}

Request capture(const Command& command) {
    return get("/v1/capture" + query_of({{"vip", command.vip},
                                         {"verdict", command.verdict},
                                         {"count", number_text(command.packets)},
                                         {"duration", command.duration},
                                         {"snaplen", number_text(command.snaplen)}}));
}

} // namespace

std::string percent_encoded(std::string_view text) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789-._~:";
    std::string out;
    for (const char c : text) {
        if (kPlain.find(c) != std::string_view::npos) {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
    }
    return out;
}

Request request_of(const Command& command, std::string configuration) {
    switch (command.verb) {
    case Verb::kApply:
        return apply(command, std::move(configuration));
    case Verb::kVipList:
        return get("/v1/vips");
    case Verb::kVipShow:
        return get("/v1/vips/" + percent_encoded(command.name));
    case Verb::kPoolList:
        return get("/v1/pools");
    case Verb::kPoolShow:
        return get("/v1/pools/" + percent_encoded(command.name));
    case Verb::kBackend:
        return change_backend(command);
    case Verb::kNode:
        return change_node(command);
    case Verb::kCounters:
        return get("/v1/counters");
    case Verb::kDrops:
        return get("/v1/drops");
    case Verb::kConnections:
        return connections(command);
    case Verb::kCapture:
        return capture(command);
    case Verb::kEvents:
        return get("/v1/events" + query_of({{"after", number_text(command.after)}}));
    case Verb::kExplain:
        return get("/v1/explain?packet=" + percent_encoded(command.packet));
    case Verb::kCheck:
    case Verb::kStatus:
        break;
    }
    return get("/v1/status");
}

} // namespace weir::weirctl
