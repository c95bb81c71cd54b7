// SPDX-License-Identifier: BSD-3-Clause
// "Did you mean": the known word nearest to a mistyped one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir::config {

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
std::size_t edit_distance(std::string_view left, std::string_view right);

// The nearest candidate, whatever its case, or empty when none is near enough to be a likely slip
// of the fingers.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// "\"a\", \"b\" or \"c\"", for a short list of candidates.
std::string listed(const std::vector<std::string_view>& words, std::string_view joint = "or");

// `did you mean "x"?`, else `use one of ...`. The end of a sentence that refuses `word`.
std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates);

} // namespace weir::config
