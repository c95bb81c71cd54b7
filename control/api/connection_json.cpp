// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/connection_json.hpp"

#include <nlohmann/json.hpp>

#include <ctime>

#include "control/api/views.hpp"
#include "dataplane/lb/connection_lifetime.hpp"

namespace weir::control {

using nlohmann::json;

json connection_json(const Snapshot& snapshot, std::uint32_t worker, const lb::HotRow& row) {
    json entry{{"worker", worker},
               {"vip", vip_name(snapshot, row.vip)},
               {"client", endpoint_of(row.client, row.client_port).to_string()},
               {"state", lb::state_name(static_cast<lb::ConnectionState>(row.state))},
               {"probation", (row.flags & lb::kRowProbation) != 0},
               {"protocol", ""},
               {"service", ""},
               {"snat", nullptr}};
    const lb::ForwardingState& state = snapshot.live->state();
    if (row.vip < state.vips().size()) {
        const weir_vip_row& vip = state.vips()[row.vip];
        entry["protocol"] = vip.protocol == 6 ? "tcp" : "udp";
        entry["service"] = endpoint_of(vip.address, row.service_port).to_string();
        if (vip.forward == WEIR_FORWARD_FULL_NAT && row.snat_address < state.snat().size())
            entry["snat"] =
                endpoint_of(state.snat()[row.snat_address].address, row.snat_port).to_string();
    }
    const BackendName backend = backend_name(snapshot, row.backend);
    entry["pool"] = backend.pool;
    entry["backend"] = backend.name;
    entry["backend_address"] = backend.address;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto age =
        static_cast<std::uint16_t>(static_cast<std::uint16_t>(now.tv_sec) - row.last_seen_s);
    entry["idle_s"] = age > 0xff00 ? 0 : age; // the worker's clock may be a tick ahead of ours
    return entry;
}

} // namespace weir::control
