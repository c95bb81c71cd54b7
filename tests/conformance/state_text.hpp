// SPDX-License-Identifier: BSD-3-Clause
// The conformance suite's state descriptions (reference/rules.py, fully spelled out) as the rows an
// engine forwards by. Uses the product's own builders for Maglev tables, match table and root;
// engines of the suite share it.
#pragma once

#include "control/compile/slot_tables.hpp"
#include "dataplane/lb/state_builder.hpp"

#include <memory>
#include <string>
#include <vector>

namespace weir::conformance {

// One generation and the memory it lies in.
class Generation {
public:
    // Throws std::runtime_error with the line that does not parse.
    Generation(const std::string& text, std::uint64_t number);

    const lb::StateTables& tables() const { return tables_; }
    const lb::ForwardingState& state() const { return *state_; }
    const std::vector<lb::Segment>& segments() const { return segments_; }

private:
    lb::StateTables tables_;
    std::vector<std::shared_ptr<const control::SlotTable>> slots_;
    std::vector<lb::Segment> segments_;
    struct Free {
        void operator()(std::byte* memory) const;
    };
    std::unique_ptr<std::byte, Free> root_;
    std::optional<lb::ForwardingState> state_;
};

} // namespace weir::conformance
