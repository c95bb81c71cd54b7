// SPDX-License-Identifier: BSD-3-Clause
// Reads [interface.NAME] and [snat].
#include <algorithm>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

constexpr std::size_t kKernelNameLength = 15; // IFNAMSIZ less the terminator
constexpr std::int64_t kHighestPuntPps = 10'000'000;

bool is_hex(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    });
}

// "0000:3b:00.0", or "3b:00.0" in domain 0.
std::optional<PciDevice> parse_pci(std::string_view text) {
    std::string full(text);
    if (text.size() == 7) {
        full = "0000:" + full;
    }
    const std::string_view view = full;
    if (view.size() != 12 || view[4] != ':' || view[7] != ':' || view[10] != '.' ||
        !is_hex(view.substr(0, 4)) || !is_hex(view.substr(5, 2)) || !is_hex(view.substr(8, 2)) ||
        view[8] > '1' || view[11] < '0' || view[11] > '7') {
        return std::nullopt;
    }
    std::transform(full.begin(), full.end(), full.begin(),
                   [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
    return PciDevice{full};
}

bool is_kernel_name(std::string_view text) {
    return !text.empty() && text.size() <= kKernelNameLength && text != "." && text != ".." &&
           text.find_first_of(" /:\t") == std::string_view::npos &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

// What follows "vdev:" goes to EAL: a driver name of DPDK's, then its own arguments.
bool is_vdev(std::string_view arguments) {
    const std::string_view driver = arguments.substr(0, arguments.find(','));
    return arguments.size() <= 512 && driver.starts_with("net_") && driver.size() > 4 &&
           driver.size() < 64 && std::all_of(arguments.begin(), arguments.end(), [](char c) {
               return c > 0x20 && c < 0x7f;
           });
}

void read_device(const Section& section, InterfaceConfig& interface, InterfaceSource& source) {
    const std::string hint =
        "write a PCI address (\"0000:3b:00.0\"), a kernel interface (\"eth0\") "
        "or a DPDK virtual device (\"vdev:net_tap0,iface=...\")";
    std::string written;
    if (!section.require("device", hint) || section.text("device", written, 1024) != Read::kDone) {
        return;
    }
    const Span span = section.value_span("device");
    if (written.starts_with("vdev:")) {
        if (!is_vdev(std::string_view(written).substr(5))) {
            section.diagnostics().add(span, quoted(written) + " is not a DPDK virtual device",
                                      "write \"vdev:\" and what EAL's --vdev takes: a driver that "
                                      "begins with \"net_\", then its arguments, without blanks");
            return;
        }
        interface.device = VdevDevice{written.substr(5)};
    } else if (written.find(':') != std::string::npos) {
        const auto pci = parse_pci(written);
        if (!pci) {
            section.diagnostics().add(span, quoted(written) + " is not a PCI address", hint);
            return;
        }
        interface.device = *pci;
    } else if (is_kernel_name(written)) {
        interface.device = KernelInterface{written};
    } else {
        section.diagnostics().add(span, quoted(written) + " is not a device", hint);
        return;
    }
    source.device_read = true;
}

void read_kernel_interface(const Section& section, InterfaceConfig& interface,
                           InterfaceSource& source) {
    source.kernel_interface = section.value_span("kernel_interface");
    std::string written = ("weir-" + interface.name).substr(0, kKernelNameLength);
    const Read read = section.text("kernel_interface", written, 1024);
    if (const auto* nic = std::get_if<KernelInterface>(&interface.device);
        nic != nullptr && source.device_read) {
        interface.kernel_interface = nic->name;
        source.kernel_interface = source.device;
        if (read == Read::kDone) {
            section.diagnostics().add(
                section.key_span("kernel_interface"),
                "\"kernel_interface\" is for devices that the kernel does not see; " +
                    quoted(nic->name) + " is a kernel interface itself",
                "remove it");
        }
        return;
    }
    if (read == Read::kDone && !is_kernel_name(written)) {
        section.diagnostics().add(source.kernel_interface,
                                  quoted(written) + " cannot be the name of a kernel interface",
                                  "use at most 15 characters without blanks, \"/\" and \":\"");
        return;
    }
    interface.kernel_interface = written;
}

const char* unusable_as_interface_address(const net::IpPrefix& prefix) {
    const net::IpAddress& address = prefix.address;
    const bool has_broadcast = address.is_v4() && prefix.length < 31;
    if (address.is_unspecified() || address.is_multicast() || address.is_loopback() ||
        address.is_broadcast()) {
        return "cannot be the address of an interface";
    }
    if (prefix.length == 0) {
        return "covers every address: /0 is not the length of a network";
    }
    if (has_broadcast && address == prefix.network()) {
        return "is the address of the network itself";
    }
    if (has_broadcast && address == prefix.last()) {
        return "is the broadcast address of its network";
    }
    return nullptr;
}

void read_addresses(const Section& section, InterfaceConfig& interface, InterfaceSource& source) {
    const Node* list = section.list("addresses");
    if (list == nullptr) {
        source.addresses_refused = section.find("addresses") != nullptr;
        return;
    }
    if (list->items.size() > kMaxInterfaceAddresses) {
        section.diagnostics().add(list->value, "too many addresses on one interface",
                                  "use at most " + std::to_string(kMaxInterfaceAddresses));
        source.addresses_refused = true;
        return;
    }
    for (const Node* item : section.strings("addresses")) {
        const auto prefix = net::IpPrefix::parse(printable(item->text, 64));
        if (!prefix) {
            section.diagnostics().add(item->value, prefix.error().sentence, "");
        } else if (const char* why = unusable_as_interface_address(*prefix)) {
            section.diagnostics().add(item->value, quoted(item->text) + " " + why,
                                      "give the node's own address, such as \"192.0.2.2/24\"");
        } else {
            interface.addresses.push_back(*prefix);
            source.addresses.push_back(item->value);
        }
    }
    source.addresses_refused = interface.addresses.size() != list->items.size();
}

void read_gateways(const Section& section, InterfaceConfig& interface, InterfaceSource& source) {
    for (const Node* item : section.strings("gateway")) {
        const auto address = net::IpAddress::parse(printable(item->text, 64));
        if (!address) {
            section.diagnostics().add(item->value, address.error().sentence, "");
            continue;
        }
        auto& slot = address->is_v4() ? interface.gateway_v4 : interface.gateway_v6;
        if (slot) {
            section.diagnostics().add(item->value,
                                      std::string("a second ") +
                                          (address->is_v4() ? "IPv4" : "IPv6") + " gateway",
                                      "give at most one per family");
            continue;
        }
        slot = *address;
        (address->is_v4() ? source.gateway_v4 : source.gateway_v6) = item->value;
    }
}

void read_interface(const std::string& name, const Node& node, Draft& draft) {
    const std::string title = "[interface." + printable(name, 64) + "]";
    if (!expect_kind(node, Kind::kTable, title, draft.diagnostics)) {
        return;
    }
    if (!is_name(name)) {
        draft.diagnostics.add(node.key, quoted(name) + " cannot be the name of an interface",
                              "use at most 63 letters, digits, \".\", \"_\" and \"-\"");
    }
    const Section section(node, title, "interface.NAME", draft.diagnostics);
    InterfaceConfig interface;
    interface.name = name;
    InterfaceSource source;
    source.title = node.key;
    source.device = section.value_span("device");
    source.mtu = section.value_span("mtu");
    read_device(section, interface, source);
    read_kernel_interface(section, interface, source);
    read_addresses(section, interface, source);
    read_gateways(section, interface, source);
    section.integer("mtu", interface.mtu, 576, 9216);
    std::uint16_t vlan = 0;
    if (section.integer("vlan", vlan, 1, 4094) == Read::kDone) {
        interface.vlan = vlan;
    }
    if (const Node* punt = section.table("punt")) {
        const Section limits(*punt, "[interface." + printable(name, 64) + ".punt]",
                             "interface.NAME.punt", draft.diagnostics);
        limits.integer("control_pps", interface.punt.control_pps, 100, kHighestPuntPps);
        limits.integer("echo_pps", interface.punt.echo_pps, 0, kHighestPuntPps);
        limits.integer("other_pps", interface.punt.other_pps, 0, kHighestPuntPps);
    }
    draft.config.interfaces.push_back(std::move(interface));
    draft.interfaces.push_back(std::move(source));
}

} // namespace

void read_interfaces(const Node& root, Draft& draft) {
    const Node* tables = root.find("interface");
    if (tables != nullptr &&
        !expect_kind(*tables, Kind::kTable, "\"interface\"", draft.diagnostics)) {
        return;
    }
    if (tables == nullptr || tables->members.empty()) {
        draft.diagnostics.add(tables != nullptr ? tables->key : Span{},
                              "there is no interface to forward on",
                              "add a table [interface.NAME] with its \"device\"");
        return;
    }
    for (const auto& [name, node] : tables->members) {
        if (draft.interfaces.size() >= kMaxInterfaces) {
            draft.diagnostics.add(node.key, "too many interfaces",
                                  "use at most " + std::to_string(kMaxInterfaces));
            return;
        }
        read_interface(name, node, draft);
    }
}

void read_snat(const Node& root, Draft& draft) {
    const Node* table = root.find("snat");
    if (table == nullptr || !expect_kind(*table, Kind::kTable, "\"snat\"", draft.diagnostics)) {
        return;
    }
    const Section section(*table, "[snat]", "snat", draft.diagnostics);
    SnatConfig& snat = draft.config.snat;
    if (section.list("addresses") != nullptr) {
        for (const Node* item : section.strings("addresses")) {
            const auto prefix = parse_range(printable(item->text, 64));
            if (!prefix) {
                draft.diagnostics.add(item->value, prefix.error().sentence, "");
                continue;
            }
            snat.addresses.push_back(*prefix);
            draft.snat_addresses.push_back(item->value);
        }
    }
    draft.snat_ports = section.value_span("ports");
    PortRange ports;
    if (read_ports(section, "ports", ports, false) != Read::kDone) {
        return;
    }
    if (ports.first < 1024) {
        draft.diagnostics.add(draft.snat_ports, "SNAT ports below 1024 belong to services",
                              "begin at 1024 or above; the default is \"40000-59999\"");
        return;
    }
    snat.ports = ports;
}

} // namespace weir::config
