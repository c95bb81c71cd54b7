// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/node_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/quantity.hpp"

#include <cmath>

namespace weir::weirctl {
namespace {

std::string handed_over(const json& group) {
    const std::string name = "group " + shown(group, "name");
    if (text_of(group, "owner").empty())
        return name + " was given up, and nobody has taken it over\n";
    const json& took = member(group, "handover_ms");
    const double ms = took.is_number() ? took.get<double>() : 0;
    return name + " is with " + shown(group, "owner") + ", after " +
           std::to_string(std::lround(ms)) + " ms\n";
}

std::string drained(const json& answer) {
    std::string text = "drained\n";
    for (const json& group : elements(answer, "groups"))
        text += handed_over(group);
    text += counted(count_of(answer, "stray_packets"), "packet") + " forwarded since; ";
    text += is_true(answer, "quiet") ? "no more come\n" : "more are coming\n";
    text += counted(count_of(answer, "connections"), "connection") + " known here\n";
    return text + "`weirctl node resume` puts the node back into service\n";
}

} // namespace

std::string node_text(const json& answer) {
    if (text_of(answer, "state") == "drained")
        return drained(answer);
    std::string text = shown(answer, "state") + "\n";
    for (const json& group : elements(answer, "groups"))
        text += "group " + shown(group, "name") + ": " + shown(group, "state") + "\n";
    return text;
}

} // namespace weir::weirctl
