// SPDX-License-Identifier: BSD-3-Clause
// Which engine forwards, and why: a pure function of the configuration and of what the host is
// (control/wiring/host_facts.hpp finds that out).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "config/config.hpp"

namespace weir::control {

enum class EngineKind : std::uint8_t { kDpdk, kXdp };
std::string to_string(EngineKind kind); // as in engine.mode

struct EngineChoice {
    EngineKind kind = EngineKind::kDpdk;
    std::string why; // for operators
};

struct HostFacts {
    bool dataplane_runs = false;               // in this runtime directory, already
    std::string no_dataplane;                  // why weir-dataplane cannot run; empty: it can
    std::string no_af_xdp;                     // why DPDK cannot drive kernel interfaces, likewise
    bool has_hugepages = false;                // some are free
    std::map<std::string, std::string> driver; // of kernel interfaces, as far as known
};

EngineChoice choose_engine(const config::Config& config, const HostFacts& host);

} // namespace weir::control
