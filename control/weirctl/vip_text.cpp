// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/vip_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/pool_text.hpp"

namespace weir::weirctl {
namespace {

std::string port_of(const json& vip) {
    const std::string port = text_of(vip, "port");
    return port == "0" ? "all" : shown(vip, "port");
}

} // namespace

std::string vips_text(const json& answer) {
    if (elements(answer, "vips").empty())
        return "no VIPs\n";
    Table table({{"VIP"},
                 {"ADDRESS"},
                 {"PORT"},
                 {"PROTOCOL"},
                 {"FORWARD"},
                 {"POOL"},
                 {"OWNED"},
                 {"BACKENDS UP"},
                 {"CONNECTIONS", Align::kRight}});
    for (const json& vip : elements(answer, "vips"))
        table.add({shown(vip, "name"), shown(vip, "address"), port_of(vip), shown(vip, "protocol"),
                   shown(vip, "forward"), shown(vip, "pool"), shown(vip, "owned"),
                   up_of_total(vip, "backends_up", "backends_total"), connections_now(vip)});
    return table.text();
}

std::string vip_text(const json& vip) {
    Sheet sheet;
    sheet.add("VIP", shown(vip, "name"));
    sheet.add("service",
              shown(vip, "protocol") + " " + shown(vip, "address") + " port " + port_of(vip));
    sheet.add("forward", shown(vip, "forward"));
    sheet.add("owned", shown(vip, "owned"));
    sheet.add("pool", shown(vip, "pool") + ", " +
                          up_of_total(vip, "backends_up", "backends_total") + " backends up");
    sheet.add("backend down", shown(vip, "on_backend_down"));
    sheet.add("all down", shown(vip, "on_all_down"));
    sheet.add("at limit", shown(vip, "on_limit"));
    sheet.add("connections",
              connections_now(vip) + " now, " + shown(vip, "connections_opened") + " opened");
    sheet.add("received", shown(vip, "packets") + " packets, " + bytes_of(vip, "bytes"));
    sheet.add("replied", shown(vip, "reply_packets") + " packets, " + bytes_of(vip, "reply_bytes"));
    sheet.add("dropped", shown(vip, "drops") + " packets");
    return sheet.text() + "\n" + backends_text(elements(vip, "backends"));
}

} // namespace weir::weirctl
