// SPDX-License-Identifier: BSD-3-Clause
// For programs that have no better use for an error than to end with it: test runners, the bench.
#pragma once

#include <stdexcept>
#include <utility>

#include "config/expected.hpp"

namespace weir {

// The value, or std::runtime_error with the error's sentence.
template <class Value> Value or_throw(Expected<Value> value) {
    if (!value)
        throw std::runtime_error(value.error().sentence);
    return std::move(*value);
}
inline void or_throw(const Expected<void>& done) {
    if (!done)
        throw std::runtime_error(done.error().sentence);
}

} // namespace weir
