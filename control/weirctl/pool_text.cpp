// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/pool_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

// The state, and the operator's wish where the state does not already say it.
std::string state_of(const json& backend) {
    std::string state = shown(backend, "state");
    const std::string wish = text_of(backend, "admin");
    if ((wish == "drain" && state != "draining") || (wish == "disable" && state != "disabled"))
        state += ", " + wish;
    if (is_true(backend, "backup"))
        state += ", backup";
    return state;
}

std::string weight_of(const json& backend) {
    std::string weight = digits_of(backend, "weight");
    const json& configured = member(backend, "configured_weight");
    if (configured.is_null() || configured == member(backend, "weight"))
        return weight;
    return weight + " (file: " + digits_of(backend, "configured_weight") + ")";
}

std::string share_of(const json& backend) {
    const json& share = member(backend, "share");
    return share.is_number() ? percent_text(share.get<double>()) : shown(share);
}

std::string next_hop_of(const json& backend) {
    const json& hop = member(backend, "next_hop");
    if (is_true(hop, "resolved"))
        return shown(hop, "mac") + " on " + shown(hop, "interface");
    const std::string why_not = text_of(hop, "why_not");
    return why_not.empty() ? "unresolved" : "unresolved: " + shown(hop, "why_not");
}

std::string last_probe_of(const json& backend) {
    std::string result = shown(backend, "last_result");
    if (member(backend, "last_sample_s").is_number())
        return result + ", " + duration_of(backend, "last_sample_s") + " ago";
    return result;
}

// With the limit where there is one.
std::string connections_of(const json& backend) {
    if (count_of(backend, "max_connections") == 0)
        return connections_now(backend);
    return connections_now(backend) + " of " + shown(backend, "max_connections");
}

Table traffic_table() {
    return Table({{"BACKEND"},
                  {"ADDRESS"},
                  {"STATE"},
                  {"WEIGHT", Align::kRight},
                  {"SHARE", Align::kRight},
                  {"CONNECTIONS", Align::kRight},
                  {"OPENED", Align::kRight},
                  {"SENT", Align::kRight},
                  {"REPLIED", Align::kRight}});
}

void add_traffic(Table& table, const json& backend) {
    table.add({shown(backend, "name"), shown(backend, "address"), state_of(backend),
               weight_of(backend), share_of(backend), connections_of(backend),
               shown(backend, "connections_opened"), bytes_of(backend, "bytes"),
               bytes_of(backend, "reply_bytes")});
}

std::string persistence_of(const json& pool) {
    const json& persistence = member(pool, "persistence");
    return duration_of(persistence, "timeout_s") + ", by /" + digits_of(persistence, "prefix_v4") +
           " (IPv4) and /" + digits_of(persistence, "prefix_v6") + " (IPv6)";
}

std::string alarms(const json& pool) {
    std::string text;
    if (is_true(pool, "on_backups"))
        text += "\nbackups serve: too few of the others are up";
    if (is_true(pool, "panic"))
        text += "\nPANIC: too few backends are up; on_all_down of each VIP decides";
    if (is_true(pool, "alarm"))
        text += "\nALARM: more than half of the backends fell at once";
    return text;
}

std::string vips_of(const json& pool) {
    std::string text;
    for (const std::string& vip : sentences_of(pool, "vips"))
        text += (text.empty() ? "" : ", ") + vip;
    return text.empty() ? "-" : text;
}

} // namespace

std::string backends_text(const json& backends) {
    if (!backends.is_array() || backends.empty())
        return "no backends\n";
    Table traffic = traffic_table();
    Table health({{"BACKEND"}, {"HEALTH"}, {"SINCE"}, {"LAST PROBE"}, {"NEXT HOP"}, {"REASON"}});
    for (const json& backend : backends) {
        add_traffic(traffic, backend);
        health.add({shown(backend, "name"), shown(backend, "health"),
                    duration_of(backend, "last_change_s"), last_probe_of(backend),
                    next_hop_of(backend), shown(backend, "reason")});
    }
    return traffic.text() + "\n" + health.text();
}

std::string pools_text(const json& answer) {
    if (elements(answer, "pools").empty())
        return "no pools\n";
    Table table(
        {{"POOL"}, {"SCHEDULER"}, {"HEALTH"}, {"BACKENDS UP"}, {"STATE"}, {"VIPS"}, {"BACKENDS"}});
    for (const json& pool : elements(answer, "pools")) {
        std::string names;
        for (const json& backend : elements(pool, "backends"))
            names += (names.empty() ? "" : ", ") + shown(backend, "name");
        const char* state = is_true(pool, "panic") ? "panic" : "ok";
        table.add({shown(pool, "name"), shown(pool, "scheduler"), shown(pool, "health"),
                   up_of_total(pool, "backends_up", "backends_total"),
                   is_true(pool, "alarm") ? std::string(state) + ", alarm" : state, vips_of(pool),
                   names});
    }
    return table.text();
}

std::string pool_text(const json& pool) {
    Sheet sheet;
    sheet.add("pool", shown(pool, "name"));
    sheet.add("scheduler",
              text_of(pool, "scheduler") == "maglev" || text_of(pool, "scheduler") == "source-hash"
                  ? shown(pool, "scheduler") + ", " + digits_of(pool, "maglev_size") + " slots"
                  : shown(pool, "scheduler"));
    if (member(pool, "persistence").is_object())
        sheet.add("persistence", persistence_of(pool));
    sheet.add("health", shown(pool, "health"));
    sheet.add("backends",
              up_of_total(pool, "backends_up", "backends_total") + " up" + alarms(pool));
    sheet.add("VIPs", vips_of(pool));
    std::string text = sheet.text() + "\n" + backends_text(elements(pool, "backends"));
    if (!elements(pool, "leaving").empty()) {
        Table leaving({{"LEAVING"},
                       {"STATE"},
                       {"CONNECTIONS", Align::kRight},
                       {"SENT", Align::kRight},
                       {"REPLIED", Align::kRight}});
        for (const json& backend : elements(pool, "leaving"))
            leaving.add({shown(backend, "address"), state_of(backend),
                         shown(backend, "connections"), bytes_of(backend, "bytes"),
                         bytes_of(backend, "reply_bytes")});
        text += "\n" + leaving.text();
    }
    return text;
}

std::string backend_changed_text(const json& answer) {
    return shown(answer, "pool") + "/" + shown(answer, "backend") + ": " + shown(answer, "state") +
           ", weight " + digits_of(answer, "weight") + " (generation " +
           digits_of(answer, "generation") + ")\n";
}

} // namespace weir::weirctl
