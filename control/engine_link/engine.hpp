// SPDX-License-Identifier: BSD-3-Clause
// What an engine shows of itself, whichever it is: what it runs on, counters, connections, captured
// packets. The views are made from it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/engine_link/connection_source.hpp"
#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/lb/capture_ring.hpp"
#include "dataplane/lb/counters.hpp"

namespace weir::control {

// A worker's ring of captured packets. A capture keeps its memory beyond the link.
struct CaptureSource {
    lb::CaptureReader reader;
    std::shared_ptr<const channel::SharedMemory> memory;
};

struct Engine {
    channel::Hello hello{}; // of the XDP engine: filled in by control
    std::optional<lb::CountersView> counters;
    std::vector<std::shared_ptr<const ConnectionSource>> connections; // as the workers gave them
    std::vector<CaptureSource> captures;                              // likewise
    std::vector<channel::SharedMemory> memories; // what counters and connections read
};

// ", took over 12 connections (1 refused)", or nothing when there were none.
std::string taken_over(const Engine& engine);

} // namespace weir::control
