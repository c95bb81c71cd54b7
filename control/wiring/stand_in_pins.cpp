// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/stand_in_pins.hpp"

#include <filesystem>

#include "control/wiring/kernel_balancer.hpp"
#include "xdp/bpffs.hpp"

namespace weir::control {
namespace {

std::string directory_in(const std::string& bpffs) {
    return bpffs + "/stand_in";
}

std::string programs_in(const std::string& directory) {
    return directory + "/programs";
}

} // namespace

Expected<StandInPins> StandInPins::prepare(const std::string& bpffs) {
    if (const auto mounted = xdp::prepare_bpffs(bpffs); !mounted)
        return mounted.error();
    StandInPins pins(directory_in(bpffs));
    if (auto made = xdp::make_directory(pins.programs()); !made)
        return made.error();
    return pins;
}

void StandInPins::remove_all(const std::string& bpffs) {
    const std::string directory = directory_in(bpffs);
    for (const std::string& name : xdp::names_in(directory))
        xdp::remove_directory(std::filesystem::path(directory) / name);
    xdp::remove_directory(directory);
}

std::string StandInPins::programs() const {
    return programs_in(directory_);
}

std::optional<std::string> StandInPins::left() const {
    std::string maps = maps_in(directory_);
    return xdp::map_id(maps + "/connections") ? std::optional(std::move(maps)) : std::nullopt;
}

Expected<void> StandInPins::keep(const xdp::Balancer& balancer) const {
    forget();
    const std::string maps = maps_in(directory_);
    if (auto made = xdp::make_directory(maps); !made)
        return made;
    auto pinned = balancer.pin(maps);
    if (!pinned)
        forget(); // all of them, or none
    return pinned;
}

void StandInPins::forget() const {
    for (const std::string& name : xdp::names_in(directory_))
        if (name.starts_with("maps_")) // another version's, too
            xdp::remove_directory(std::filesystem::path(directory_) / name);
}

} // namespace weir::control
