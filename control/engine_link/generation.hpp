// SPDX-License-Identifier: BSD-3-Clause
// A generation of ForwardingState as control holds it: the sealed memory that the engine gets (or
// gave back after a restart of control), and the validated view of it. Immutable once made.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "config/expected.hpp"
#include "control/compile/compile.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/lb/forwarding_state.hpp"

namespace weir::control {

using SegmentMemory = std::shared_ptr<const channel::SharedMemory>;

class Generation {
public:
    // Seals a compiled state. Slot tables that `before` (may be null) holds already are shared.
    static Expected<std::shared_ptr<const Generation>> seal(const CompiledState& compiled,
                                                            const Generation* before);
    // Opens what an engine runs. `segments` by id; those the root does not name are let go.
    static Expected<std::shared_ptr<const Generation>>
    adopt(channel::SharedMemory root, const std::map<std::uint64_t, SegmentMemory>& segments);

    [[nodiscard]] std::uint64_t number() const { return state_->generation(); }
    [[nodiscard]] const lb::ForwardingState& state() const { return *state_; }
    [[nodiscard]] int root_descriptor() const { return root_.descriptor(); }
    [[nodiscard]] const std::map<std::uint64_t, SegmentMemory>& segments() const {
        return segments_;
    }
    // Whether both mean the same, whatever their numbers.
    [[nodiscard]] bool same_content(const Generation& other) const;

private:
    Generation() = default;
    // `before` (may be null): whose slot tables need no second inspection.
    Expected<void> open(const Generation* before);
    static lb::Segment inspect(const lb::SegmentRow& row, const SegmentMemory& memory,
                               const Generation* before);

    channel::SharedMemory root_;
    std::map<std::uint64_t, SegmentMemory> segments_;
    std::map<std::uint64_t, lb::Segment> inspected_; // views of segments_
    std::unique_ptr<lb::ForwardingState> state_;
};

} // namespace weir::control
