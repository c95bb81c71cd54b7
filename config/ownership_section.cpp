// SPDX-License-Identifier: BSD-3-Clause
// Reads [ownership] and its groups. What a group refers to is resolved by ownership_checks.cpp.
#include <utility>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

using namespace std::chrono_literals;

constexpr Duration kCentisecond{10};

void read_interval(const Section& section, VrrpGroupConfig& group, VrrpGroupSource& source) {
    const bool v2 = group.version == 2;
    if (v2) {
        group.advert_interval = 1s; // the least that version 2 can say
    }
    const Read read =
        v2 ? section.duration("advert_interval", group.advert_interval, 1s, 255s)
           : section.duration("advert_interval", group.advert_interval, 10ms, 40950ms);
    source.refused = source.refused || read == Read::kRefused;
    const Duration unit = v2 ? Duration(1s) : kCentisecond;
    if (read == Read::kDone && group.advert_interval % unit != Duration{0}) {
        section.diagnostics().add(section.value_span("advert_interval"),
                                  std::string("VRRP version ") + (v2 ? "2" : "3") +
                                      " counts its interval in " +
                                      (v2 ? "whole seconds" : "steps of 10ms"),
                                  v2 ? "write \"1s\"" : "write \"30ms\" or \"100ms\"");
        source.refused = true;
    }
}

bool is_group_address(const net::IpAddress& address) {
    return !address.is_multicast() && !address.is_unspecified() && !address.is_loopback() &&
           !address.is_broadcast();
}

using Written = std::vector<std::pair<net::IpAddress, Span>>;

Written read_addresses(const Section& section, std::string_view key, VrrpGroupSource& source) {
    Written found;
    for (const Node* item : section.strings(key)) {
        const auto address = net::IpAddress::parse(printable(item->text, 64));
        if (address && is_group_address(*address)) {
            found.emplace_back(*address, item->value);
            continue;
        }
        source.refused = true;
        section.diagnostics().add(item->value,
                                  address ? quoted(item->text) + " cannot be the address of a node"
                                          : address.error().sentence,
                                  address ? "give an address of one host" : "");
    }
    return found;
}

void read_track(const Node& table, const std::string& title, VrrpGroupConfig& group, Draft& draft) {
    const Section section(table, title, "ownership.group.NAME.track", draft.diagnostics);
    section.integer("interface_down", group.lower_interface_down, 0, 254);
    section.integer("worker_stalled", group.lower_worker_stalled, 0, 254);
    section.integer("below_quorum", group.lower_below_quorum, 0, 254);
    section.integer("quorum", group.quorum_percent, 0, 100);
    if (group.lower_below_quorum != 0 && group.quorum_percent == 0 &&
        section.find("quorum") == nullptr) {
        draft.diagnostics.add(section.value_span("below_quorum"),
                              "\"below_quorum\" needs a \"quorum\"",
                              "say which percentage of a pool's backends has to be up");
    }
}

void read_peers(const Section& section, VrrpGroupConfig& group, VrrpGroupSource& source) {
    for (const auto& [address, span] : read_addresses(section, "peers", source)) {
        group.peers.push_back(address);
        source.peers.push_back(span);
    }
    if (group.peers.size() > kMaxVrrpPeers) {
        section.diagnostics().add(section.value_span("peers"), "too many peers",
                                  "use at most " + std::to_string(kMaxVrrpPeers));
    }
}

void read_group(const std::string& name, const Node& node, Draft& draft) {
    Diagnostics& diagnostics = draft.diagnostics;
    const std::string title = "[ownership.group." + printable(name, 64) + "]";
    if (!expect_kind(node, Kind::kTable, title, diagnostics)) {
        return;
    }
    if (!is_name(name)) {
        diagnostics.add(node.key, quoted(name) + " cannot be the name of a group",
                        "use at most 63 letters, digits, \".\", \"_\" and \"-\"");
    }
    const Section section(node, title, "ownership.group.NAME", diagnostics);
    VrrpGroupConfig group;
    VrrpGroupSource source;
    group.name = name;
    source.title = node.key;
    source.vrid = section.value_span("vrid");
    source.advertise = section.value_span("advertise");
    if (!section.require("vrid", "give a number from 1 to 255, the same on every node of the "
                                 "group and used by no other on the link") ||
        section.integer("vrid", group.vrid, 1, 255) == Read::kRefused) {
        source.refused = true;
    }
    source.interface_span = section.value_span("interface");
    std::string interface;
    if (section.text("interface", interface, 64) == Read::kDone) {
        source.interface = interface;
    }
    section.integer("priority", group.priority, 1, 255);
    section.integer("version", group.version, 2, 3);
    if (section.word("family", group.family) == Read::kDone) {
        source.family = group.family;
    }
    read_interval(section, group, source);
    section.boolean("preempt", group.preempt);
    section.duration("preempt_delay", group.preempt_delay, 0s, 1h);
    read_peers(section, group, source);
    section.word("checksum", group.checksum);
    section.text("secret_file", group.secret_file, 4096);
    source.lists_vips = section.find("vips") != nullptr;
    for (const Node* item : section.strings("vips")) {
        source.vips.emplace_back(item->text, item->value);
    }
    if (section.boolean("snat", group.snat) == Read::kDone) {
        source.snat = group.snat;
    }
    source.addresses = read_addresses(section, "addresses", source);
    source.advertised = read_addresses(section, "advertise", source);
    if (const Node* track = section.table("track")) {
        read_track(*track, "[ownership.group." + printable(name, 64) + ".track]", group, draft);
    }
    draft.config.vrrp_groups.push_back(std::move(group));
    draft.vrrp_groups.push_back(std::move(source));
}

} // namespace

void read_ownership(const Node& root, Draft& draft) {
    const Node* table = root.find("ownership");
    if (table == nullptr ||
        !expect_kind(*table, Kind::kTable, "\"ownership\"", draft.diagnostics)) {
        return;
    }
    const Section section(*table, "[ownership]", "ownership", draft.diagnostics);
    section.word("mode", draft.config.ownership);
    draft.ownership_mode = section.value_span("mode");
    const Node* groups = section.table("group");
    if (groups == nullptr) {
        return;
    }
    if (draft.config.ownership != OwnershipMode::kVrrp) {
        draft.diagnostics.add(groups->key, "groups are for ownership by VRRP",
                              "set mode = \"vrrp\" in [ownership], or remove them");
        return;
    }
    for (const auto& [name, node] : groups->members) {
        if (draft.vrrp_groups.size() >= kMaxVrrpGroups) {
            draft.diagnostics.add(node.key, "too many groups",
                                  "use at most " + std::to_string(kMaxVrrpGroups));
            return;
        }
        read_group(name, node, draft);
    }
}

} // namespace weir::config
