// SPDX-License-Identifier: BSD-3-Clause
// BPF objects carried inside the program that links this: they are needed exactly when a file next
// to the program may be of another version.
#pragma once

#include <span>

namespace weir::xdp {

std::span<const char> guard_object();
std::span<const char> balancer_object();
std::span<const char> sorter_object();
std::span<const char> steer_object();

} // namespace weir::xdp
