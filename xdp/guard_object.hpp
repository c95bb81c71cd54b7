// SPDX-License-Identifier: BSD-3-Clause
// The guard's BPF object, carried inside the program that links this: it is needed exactly when a
// file next to the program may be of another version.
#pragma once

#include <span>

namespace weir::xdp {

std::span<const char> guard_object();

} // namespace weir::xdp
