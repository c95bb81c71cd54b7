// SPDX-License-Identifier: BSD-3-Clause
// Connections as an engine shows them: a worker's table, or the one that all CPUs share. Read while
// packets pass, in slices, so that whoever walks them can do other things in between.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "config/expected.hpp"
#include "dataplane/lb/connection_reader.hpp"

namespace weir::control {

class ConnectionSource {
public:
    using See = std::function<bool(const lb::HotRow&)>; // false: enough for now
    using Place = std::optional<std::uint32_t>;         // where a walk goes on

    virtual ~ConnectionSource() = default;
    [[nodiscard]] virtual std::uint32_t worker() const = 0;

    // Shows the connections among the next `entries` of the table from `place` on (nothing: the
    // beginning), or some fewer; a few more may come after `see` has had enough. Says where to go
    // on; nothing: that was all.
    [[nodiscard]] virtual Expected<Place> walk(Place place, std::uint32_t entries,
                                               const See& see) const = 0;
};

// A DPDK worker's.
class WorkerTable final : public ConnectionSource {
public:
    explicit WorkerTable(lb::ConnectionReader reader) : reader_(reader) {}
    [[nodiscard]] std::uint32_t worker() const override { return reader_.worker(); }

    [[nodiscard]] Expected<Place> walk(Place place, std::uint32_t entries,
                                       const See& see) const override {
        std::uint32_t entry = place.value_or(0);
        for (bool more = true; more && entries > 0; entries--) {
            if (entry >= reader_.capacity())
                return Place{};
            if (const auto connection = reader_.read(entry++))
                more = see(connection->row);
        }
        return entry < reader_.capacity() ? Place{entry} : Place{};
    }

private:
    lb::ConnectionReader reader_;
};

} // namespace weir::control
