// SPDX-License-Identifier: BSD-3-Clause
// The words of every enumeration in the configuration, and whether this version can do what each
// asks for. THE ONE PLACE to lift (or add) a "not available yet": the flag in these tables. Used by
// the section parsers, to_string() and the documentation test.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "config/config.hpp"

namespace weir::config {

enum class Availability : bool { kNotYet, kNow };

template <class Enum> struct Word {
    Enum value;
    std::string_view text;
    Availability availability;
};

template <class Enum> std::span<const Word<Enum>> words();

template <> std::span<const Word<EngineMode>> words();
template <> std::span<const Word<IdlePolicy>> words();
template <> std::span<const Word<HugepageUse>> words();
template <> std::span<const Word<Scheduler>> words();
template <> std::span<const Word<HealthType>> words();
template <> std::span<const Word<Protocol>> words();
template <> std::span<const Word<ForwardMode>> words();
template <> std::span<const Word<Tracking>> words();
template <> std::span<const Word<OnBackendDown>> words();
template <> std::span<const Word<OnAllDown>> words();
template <> std::span<const Word<OnLimit>> words();
template <> std::span<const Word<OwnershipMode>> words();
template <> std::span<const Word<VrrpFamily>> words();
template <> std::span<const Word<VrrpChecksum>> words();

template <class Enum> const Word<Enum>& word_of(Enum value) {
    for (const Word<Enum>& word : words<Enum>()) {
        if (word.value == value) {
            return word;
        }
    }
    return words<Enum>().front();
}

} // namespace weir::config
