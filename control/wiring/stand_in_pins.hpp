// SPDX-License-Identifier: BSD-3-Clause
// What keeps the balancer that stands in for a dataplane when control is gone, below the node's
// directory on a BPF filesystem:
//   stand_in/maps_N        its maps, of layout N
//   stand_in/programs/NAME the map of programs of the steering program on the interface NAME
// Control's main thread only.
#pragma once

#include <optional>
#include <string>

#include "xdp/balancer.hpp"

namespace weir::control {

class StandInPins {
public:
    // Makes the directories. An error: there is no BPF filesystem, and none can be mounted.
    static Expected<StandInPins> prepare(const std::string& bpffs);

    // Removes all that prepare() and others have made there. A balancer that is called goes on
    // until its steering program is taken off.
    static void remove_all(const std::string& bpffs);

    // For BpfSteering::keep_in().
    [[nodiscard]] std::string programs() const;

    // The maps that an earlier control has left, of this version.
    [[nodiscard]] std::optional<std::string> left() const;

    // In the place of those that are there.
    [[nodiscard]] Expected<void> keep(const xdp::Balancer& balancer) const;
    void forget() const;

private:
    explicit StandInPins(std::string directory) : directory_(std::move(directory)) {}

    std::string directory_;
};

} // namespace weir::control
