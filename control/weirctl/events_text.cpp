// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/events_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"

namespace weir::weirctl {

std::string event_line(const json& event) {
    return shown(event, "time") + "  " + shown(event, "kind") + "  " + shown(event, "subject") +
           "  " + shown(event, "text") + "\n";
}

std::string events_text(const json& answer) {
    Table table({{"TIME"}, {"KIND"}, {"SUBJECT"}, {"WHAT"}});
    for (const json& event : elements(answer, "events"))
        table.add({shown(event, "time"), shown(event, "kind"), shown(event, "subject"),
                   shown(event, "text")});
    return elements(answer, "events").empty() ? "nothing has happened yet\n" : table.text();
}

std::string vrrp_text(const json& status) {
    const json& vrrp = member(status, "vrrp");
    if (elements(vrrp, "groups").empty())
        return {};
    Table table({{"GROUP"},
                 {"STATE"},
                 {"PRIORITY", Align::kRight},
                 {"OWNER"},
                 {"SENT", Align::kRight},
                 {"RECEIVED", Align::kRight},
                 {"WHY"}});
    for (const json& group : elements(vrrp, "groups"))
        table.add({shown(group, "name"), shown(group, "state"), shown(group, "priority"),
                   shown(group, "owner"), shown(group, "sent"), shown(group, "received"),
                   shown(group, "why")});
    std::string text = table.text();
    std::string refused;
    const json& rejected = member(vrrp, "rejected");
    if (rejected.is_object())
        for (const auto& [reason, count] : rejected.items())
            if (count.is_number_unsigned() && count.get<std::uint64_t>() > 0)
                refused += (refused.empty() ? "" : ", ") + reason + " " +
                           std::to_string(count.get<std::uint64_t>());
    if (!refused.empty())
        text += "adverts refused: " + refused + "\n";
    return text;
}

} // namespace weir::weirctl
