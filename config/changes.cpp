// SPDX-License-Identifier: BSD-3-Clause
// Live or restart, see changes.hpp. Ports, queues, worker tables and the TAPs are made once, before
// the first packet; all else is in the forwarding state or in control's own hands.
#include "config/changes.hpp"

#include <algorithm>

namespace weir::config {
namespace {

void compare_engines(const EngineConfig& running, const EngineConfig& wanted,
                     std::vector<std::string>& changed) {
    const auto note = [&](bool same, const char* key) {
        if (!same) {
            changed.emplace_back(key);
        }
    };
    note(running.mode == wanted.mode, "engine.mode");
    note(running.workers == wanted.workers, "engine.workers");
    note(running.idle == wanted.idle, "engine.idle");
    note(running.connections == wanted.connections, "engine.connections");
    note(running.hugepages == wanted.hugepages, "engine.hugepages");
}

void compare_interface(const InterfaceConfig& running, const InterfaceConfig& wanted,
                       std::vector<std::string>& changed) {
    const auto note = [&](bool same, const char* key) {
        if (!same) {
            changed.push_back("interface." + wanted.name + "." + key);
        }
    };
    note(running.device == wanted.device, "device");
    note(running.mtu == wanted.mtu, "mtu");
    note(running.vlan == wanted.vlan, "vlan");
    // Follows from the device when kernel-visible: naming it again would tell nobody anything.
    note(running.kernel_interface == wanted.kernel_interface || wanted.is_kernel_visible() ||
             running.is_kernel_visible(),
         "kernel_interface");
    note(running.punt.control_pps == wanted.punt.control_pps, "punt.control_pps");
    note(running.punt.echo_pps == wanted.punt.echo_pps, "punt.echo_pps");
    note(running.punt.other_pps == wanted.punt.other_pps, "punt.other_pps");
}

const InterfaceConfig* find(const std::vector<InterfaceConfig>& interfaces,
                            const std::string& name) {
    const auto found =
        std::find_if(interfaces.begin(), interfaces.end(),
                     [&](const InterfaceConfig& interface) { return interface.name == name; });
    return found != interfaces.end() ? &*found : nullptr;
}

// The order counts too: it numbers the ports.
bool same_names_in_order(const std::vector<InterfaceConfig>& left,
                         const std::vector<InterfaceConfig>& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const auto& a, const auto& b) { return a.name == b.name; });
}

} // namespace

std::vector<std::string> restart_needed(const Config& running, const Config& wanted) {
    std::vector<std::string> changed;
    compare_engines(running.engine, wanted.engine, changed);
    // The range says which worker owns a reply.
    if (!(running.snat.ports == wanted.snat.ports)) {
        changed.emplace_back("snat.ports");
    }
    bool names_differ = false;
    for (const InterfaceConfig& interface : wanted.interfaces) {
        const InterfaceConfig* before = find(running.interfaces, interface.name);
        if (before == nullptr) {
            changed.push_back("interface." + interface.name);
            names_differ = true;
        } else {
            compare_interface(*before, interface, changed);
        }
    }
    for (const InterfaceConfig& interface : running.interfaces) {
        if (find(wanted.interfaces, interface.name) == nullptr) {
            changed.push_back("interface." + interface.name);
            names_differ = true;
        }
    }
    if (!names_differ && !same_names_in_order(running.interfaces, wanted.interfaces)) {
        changed.emplace_back("interface");
    }
    if (running.api_listen != wanted.api_listen) {
        changed.emplace_back("api.listen");
    }
    if (running.hash_key_file != wanted.hash_key_file) {
        changed.emplace_back("cluster.hash_key_file");
    }
    return changed;
}

} // namespace weir::config
