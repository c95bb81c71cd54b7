// SPDX-License-Identifier: BSD-3-Clause
// The connection tables of an engine, held by control so that they outlive it: their descriptors,
// nothing of their content. The engine that comes next is given them before it is asked anything.
#pragma once

#include <vector>

#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/channel/socket.hpp"

namespace weir::control {

class KeptTables {
public:
    // One message of the engine's greeting; others than tables and legend are passed over. The
    // descriptor stays the caller's.
    void take(const channel::Memory& message, const channel::Descriptor& descriptor);

    // To an engine that has just been reached. False: it is gone again.
    [[nodiscard]] bool give(const channel::Socket& engine) const;

    [[nodiscard]] bool empty() const { return held_.empty(); }

    // The connection tables to read in (lb::ForeignMemory). One that cannot be mapped is left out.
    [[nodiscard]] std::vector<channel::SharedMemory> map() const;

private:
    struct Held {
        channel::Memory message;
        channel::Descriptor descriptor;
    };
    std::vector<Held> held_;
};

} // namespace weir::control
