// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/status_text.hpp"

#include "control/weirctl/counters_text.hpp"
#include "control/weirctl/events_text.hpp"
#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/quantity.hpp"
#include "control/weirctl/vip_text.hpp"

namespace weir::weirctl {
namespace {

std::string state_line(const json& status) {
    const std::string generation = count_of(status, "generation") == 0
                                       ? std::string("no generation yet")
                                       : "generation " + digits_of(status, "generation");
    return (is_true(status, "ready") ? "ready, " : "NOT READY, ") + generation +
           (is_true(status, "drained") ? ", DRAINED" : "");
}

std::string engine_lines(const json& engine) {
    std::string text = shown(engine, "mode");
    if (!text_of(engine, "why").empty())
        text += " (" + shown(engine, "why") + ")";
    if (!is_true(engine, "running"))
        return text + "\nNOT RUNNING";
    if (is_true(engine, "standing_in"))
        return text + "\nthe kernel's balancer stands in for weir-dataplane, which is gone";
    if (text_of(engine, "mode") == "xdp") // it is no process
        return text + "\nin the kernel for " + duration_of(engine, "uptime_s");
    return text + "\nrunning for " + duration_of(engine, "uptime_s") + ", pid " +
           digits_of(engine, "pid") + ", " + counted(count_of(engine, "workers"), "worker") +
           (is_true(engine, "hugepages") ? ", hugepages" : ", no hugepages");
}

std::string interfaces_table(const json& status) {
    Table table({{"INTERFACE"},
                 {"DEVICE"},
                 {"KERNEL SIDE"},
                 {"DRIVER"},
                 {"MAC"},
                 {"QUEUES", Align::kRight}});
    for (const json& interface : elements(status, "interfaces"))
        table.add({shown(interface, "name"), shown(interface, "device"),
                   shown(interface, "kernel_interface") +
                       (is_true(interface, "bypassed") ? " (TAP)" : ""),
                   shown(interface, "driver"), shown(interface, "mac"),
                   shown(interface, "queues")});
    return table.text();
}

} // namespace

std::string status_text(const json& status) {
    const json& engine = member(status, "engine");
    Sheet sheet;
    sheet.add("node", shown(status, "node"));
    sheet.add("version", shown(status, "version"));
    sheet.add("state", state_line(status));
    sheet.add("engine", engine_lines(engine));
    sheet.add("ownership", shown(status, "ownership"));
    sheet.add("backends", up_of_total(member(status, "backends"), "up", "total") + " up");
    sheet.add("books", is_true(engine, "running") ? books_line(member(status, "books"))
                                                  : "not known: the engine is not running");
    std::string text = sheet.text();
    if (!elements(status, "interfaces").empty())
        text += "\n" + interfaces_table(status);
    if (const std::string groups = vrrp_text(status); !groups.empty())
        text += "\n" + groups;
    if (!elements(status, "vips").empty())
        text += "\n" + vips_text(status);
    if (const std::string problems = listing("problems", sentences_of(status, "problems"));
        !problems.empty())
        text += "\n" + problems;
    return text;
}

} // namespace weir::weirctl
