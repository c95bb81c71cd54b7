// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/connections_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

std::string backend_of(const json& object) {
    const std::string pool = text_of(object, "pool");
    return pool.empty() ? shown(object, "backend") : pool + "/" + shown(object, "backend");
}

std::string state_of(const json& connection) {
    return shown(connection, "state") + (is_true(connection, "probation") ? ", probation" : "");
}

std::string idle_of(const json& connection) {
    return shown(connection, "idle_s") + " s";
}

std::string decision(const json& answer) {
    const json& known = member(answer, "connection");
    if (known.is_object())
        return "known: " + state_of(known) + ", idle " + idle_of(known);
    const json& maglev = member(answer, "maglev");
    if (maglev.is_object())
        return "none: Maglev slot " + digits_of(maglev, "slot") + " of " +
               digits_of(maglev, "slots") + " decides";
    if (elements(answer, "candidates").size() > 0)
        return "none: " + shown(answer, "scheduler") + " decides between " +
               counted(elements(answer, "candidates").size(), "backend");
    return "none";
}

std::string next_hop(const json& hop) {
    std::string text = shown(hop, "interface") + ": " + shown(hop, "source_mac") + " -> " +
                       shown(hop, "destination_mac");
    if (member(hop, "vlan").is_number())
        text += ", VLAN " + digits_of(hop, "vlan");
    return text + ", MTU " + digits_of(hop, "mtu");
}

} // namespace

std::string connections_text(const json& answer) {
    const json& list = elements(answer, "connections");
    if (list.empty())
        return "no connections\n";
    Table table({{"VIP"},
                 {"PROTOCOL"},
                 {"CLIENT"},
                 {"SERVICE"},
                 {"BACKEND"},
                 {"BACKEND ADDRESS"},
                 {"SNAT"},
                 {"STATE"},
                 {"IDLE", Align::kRight},
                 {"WORKER", Align::kRight}});
    for (const json& connection : list)
        table.add({shown(connection, "vip"), shown(connection, "protocol"),
                   shown(connection, "client"), shown(connection, "service"),
                   backend_of(connection), shown(connection, "backend_address"),
                   shown(connection, "snat"), state_of(connection), idle_of(connection),
                   digits_of(connection, "worker")});
    std::string text = table.text() + "\n" + counted(count_of(answer, "count"), "connection");
    if (is_true(answer, "truncated"))
        text += ", of which the first " + grouped(list.size()) + " are shown";
    return text + "\n";
}

std::string connection_count_text(const json& answer) {
    return std::to_string(count_of(answer, "count")) + "\n"; // bare: for scripts
}

std::string explain_text(const json& answer) {
    Sheet sheet;
    sheet.add("packet", shown(answer, "packet"));
    sheet.add("verdict", shown(answer, "verdict") + ": " + shown(answer, "sentence"));
    if (!text_of(answer, "vip").empty())
        sheet.add("VIP",
                  shown(answer, "vip") +
                      (text_of(answer, "forward").empty() ? "" : ", " + shown(answer, "forward")));
    if (!member(answer, "worker").is_null())
        sheet.add("worker", digits_of(answer, "worker"));
    sheet.add("connection", decision(answer));
    if (!text_of(answer, "backend").empty())
        sheet.add("backend", backend_of(answer) + " at " + shown(answer, "backend_address") + ", " +
                                 shown(answer, "backend_state"));
    if (const json& rewrite = member(answer, "rewrite"); rewrite.is_object())
        sheet.add("rewrite", shown(rewrite, "source") + " -> " + shown(rewrite, "destination"));
    if (const json& outer = member(answer, "encapsulation"); outer.is_object())
        sheet.add("outer", shown(outer, "source") + " -> " + shown(outer, "destination") + ", " +
                               digits_of(outer, "inner_mtu") + " bytes inside");
    if (const json& hop = member(answer, "next_hop"); hop.is_object())
        sheet.add("next hop", next_hop(hop));
    sheet.add("generation", digits_of(answer, "generation"));
    std::string text = sheet.text();
    if (const std::string steps = listing("steps", sentences_of(answer, "steps")); !steps.empty())
        text += "\n" + steps;
    return text;
}

} // namespace weir::weirctl
