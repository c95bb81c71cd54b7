// SPDX-License-Identifier: BSD-3-Clause
// The directory on a BPF filesystem in which one node leaves what outlives its control:
//   links/NAME   the balancer's link on the kernel interface NAME
//   maps_N       the balancer's maps, of layout N
// Names there cannot have dots: the kernel reserves them. Control's main thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "xdp/library.hpp"

namespace weir::xdp {

// Makes the directory; mounts a BPF filesystem where there is none: at /sys/fs/bpf if the directory
// is below it, else at the directory itself. True: one had to be mounted.
Expected<bool> prepare_bpffs(const std::string& directory);

// Whether there is such a directory, on a BPF filesystem.
bool is_bpffs(const std::string& directory);

Expected<void> make_directory(const std::string& path);
// With the pins in it; those below are not followed.
void remove_directory(const std::string& path);
std::vector<std::string> names_in(const std::string& path);

// Of the map that is pinned there; nothing: there is none.
std::optional<uint32_t> map_id(const std::string& path);

// An interface's name as a pin's: "eth0.100" is "eth0~100".
std::string pin_name(std::string interface);
std::string interface_of_pin(std::string name);

} // namespace weir::xdp
