// SPDX-License-Identifier: BSD-3-Clause
// Reads [vip.NAME] and [vip.NAME.timeouts].
#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

// The connection table stamps in 16-bit seconds, and an age must stay apart from its wrap-around.
constexpr std::chrono::seconds kLongestIdle = std::chrono::hours(18);
constexpr std::chrono::seconds kShortestIdle{1};

const char* unusable_as_vip(const net::IpAddress& address) {
    if (address.is_unspecified() || address.is_multicast() || address.is_broadcast() ||
        address.is_loopback()) {
        return "cannot be the address of a VIP";
    }
    return address.is_link_local() ? "is link-local: clients beyond the link cannot reach it"
                                   : nullptr;
}

bool read_address(const Section& section, VipConfig& vip) {
    std::string written;
    if (!section.require("address",
                         "write the address that clients use, such as \"203.0.113.10\"") ||
        section.text("address", written, 128) != Read::kDone) {
        return false;
    }
    const Span span = section.value_span("address");
    const auto address = net::IpAddress::parse(written);
    if (!address) {
        section.diagnostics().add(span, address.error().sentence, "the port has its own key");
        return false;
    }
    if (const char* why = unusable_as_vip(*address)) {
        section.diagnostics().add(span, quoted(written) + " " + why,
                                  "write the address that clients use, such as \"203.0.113.10\"");
        return false;
    }
    vip.address = *address;
    return true;
}

void read_timeout(const Section& section, const char* key, std::chrono::seconds& out) {
    section.seconds(key, out, kShortestIdle, kLongestIdle, "idle timeouts");
}

void read_timeouts(const Section& vip_section, const std::string& name, VipConfig& vip) {
    const Node* table = vip_section.table("timeouts");
    if (table == nullptr) {
        return;
    }
    const Section section(*table, "[vip." + name + ".timeouts]", "vip.NAME.timeouts",
                          vip_section.diagnostics());
    read_timeout(section, "syn", vip.timeouts.syn);
    read_timeout(section, "established", vip.timeouts.established);
    read_timeout(section, "fin", vip.timeouts.fin);
    read_timeout(section, "rst", vip.timeouts.rst);
    read_timeout(section, "udp", vip.timeouts.udp);
}

bool can_reset(const VipConfig& vip) {
    return vip.protocol == Protocol::kTcp && !is_dsr(vip.forward);
}

// With a reset both ends learn at once that the connection is gone. It needs both directions' TCP
// sequence numbers, which only the NAT modes see.
void read_on_backend_down(const Section& section, VipConfig& vip, const VipSource& source) {
    vip.on_backend_down = can_reset(vip) ? OnBackendDown::kReset : OnBackendDown::kReselect;
    if (section.word("on_backend_down", vip.on_backend_down) != Read::kDone ||
        vip.on_backend_down != OnBackendDown::kReset || can_reset(vip) || !source.protocol_read ||
        !source.forward_read) {
        return;
    }
    const bool udp = vip.protocol == Protocol::kUdp;
    section.diagnostics().add(
        section.value_span("on_backend_down"),
        udp ? "UDP has no reset: connections of this VIP cannot be ended by one"
            : "with " + std::string(to_string(vip.forward)) +
                  " the replies do not pass here, and a reset needs their sequence numbers",
        udp ? "use \"reselect\" or \"keep\""
            : "use \"reselect\" or \"keep\", or \"nat\" or \"full-nat\" to forward");
}

void read_vip(const std::string& name, const Node& node, Draft& draft) {
    Diagnostics& diagnostics = draft.diagnostics;
    const std::string shown = printable(name, 64);
    if (!expect_kind(node, Kind::kTable, "[vip." + shown + "]", diagnostics)) {
        return;
    }
    if (!is_name(name)) {
        diagnostics.add(node.key, quoted(name) + " cannot be the name of a VIP",
                        "use at most 63 letters, digits, \".\", \"_\" and \"-\"");
    }
    const Section section(node, "[vip." + shown + "]", "vip.NAME", diagnostics);
    VipConfig vip;
    VipSource source;
    vip.name = name;
    source.title = node.key;
    source.address = section.value_span("address");
    source.port = section.value_span("port");
    source.protocol = section.value_span("protocol");
    source.forward = section.value_span("forward");
    source.pool = section.value_span("pool");
    source.address_read = read_address(section, vip);
    source.ports_read =
        section.require("port", "write one port, a range such as \"8000-8099\", or 0 for all") &&
        read_ports(section, "port", vip.ports, true) == Read::kDone;
    source.protocol_read = section.require("protocol", "write \"tcp\" or \"udp\"") &&
                           section.word("protocol", vip.protocol) == Read::kDone;
    source.forward_read =
        section.require("forward",
                        "write \"dsr-l2\", \"dsr-ipip\", \"dsr-gue\", \"nat\" or \"full-nat\"") &&
        section.word("forward", vip.forward) == Read::kDone;
    if (section.require("pool", "name the [pool.NAME] whose backends serve this VIP")) {
        section.text("pool", source.pool_name, 4096);
    }
    source.tracking = section.value_span("tracking");
    source.tracking_given = section.word("tracking", vip.tracking) != Read::kAbsent;
    read_timeouts(section, shown, vip);
    read_on_backend_down(section, vip, source);
    section.word("on_all_down", vip.on_all_down);
    section.word("on_limit", vip.on_limit);
    section.integer("max_connections", vip.max_connections, 0, 1 << 28);
    section.boolean("mss_clamp", vip.mss_clamp);
    section.boolean("packet_too_big", vip.packet_too_big);
    draft.config.vips.push_back(std::move(vip));
    draft.vips.push_back(std::move(source));
}

} // namespace

void read_vips(const Node& root, Draft& draft) {
    const Node* tables = root.find("vip");
    if (tables == nullptr || !expect_kind(*tables, Kind::kTable, "\"vip\"", draft.diagnostics)) {
        return;
    }
    for (const auto& [name, node] : tables->members) {
        if (draft.vips.size() >= kMaxVips) {
            draft.diagnostics.add(node.key, "too many VIPs",
                                  "use at most " + std::to_string(kMaxVips));
            return;
        }
        read_vip(name, node, draft);
    }
}

} // namespace weir::config
