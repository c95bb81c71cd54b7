// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/kept_tables.hpp"

namespace weir::control {

using channel::MemoryKind;
using channel::MessageType;

void KeptTables::take(const channel::Memory& message, const channel::Descriptor& descriptor) {
    if (message.kind == MemoryKind::connections || message.kind == MemoryKind::legend)
        held_.push_back({message, descriptor.duplicate()});
}

bool KeptTables::give(const channel::Socket& engine) const {
    for (const Held& held : held_)
        if (!engine.send(held.message, held.descriptor.get()))
            return false;
    return engine.send(channel::make_message<channel::Kept>(MessageType::kept));
}

std::vector<channel::SharedMemory> KeptTables::map() const {
    std::vector<channel::SharedMemory> tables;
    for (const Held& held : held_) {
        std::string problem;
        if (held.message.kind != MemoryKind::connections)
            continue;
        if (auto table = channel::SharedMemory::map(held.descriptor.duplicate(),
                                                    channel::Access::read_only, false, problem))
            tables.push_back(std::move(*table));
    }
    return tables;
}

} // namespace weir::control
