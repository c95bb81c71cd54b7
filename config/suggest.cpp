// SPDX-License-Identifier: BSD-3-Clause
// Edit distance (Damerau-Levenshtein, optimal string alignment) and the sentences made from it.
#include "config/suggest.hpp"

#include <algorithm>

namespace weir::config {
namespace {

constexpr std::size_t kLongestWord = 64; // a longer one is no slip of a known word
constexpr std::size_t kMostListed = 32;

std::string lower_case(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return lower;
}

} // namespace

std::size_t edit_distance(std::string_view left, std::string_view right) {
    std::vector<std::size_t> before_last(right.size() + 1);
    std::vector<std::size_t> last(right.size() + 1);
    std::vector<std::size_t> row(right.size() + 1);
    for (std::size_t j = 0; j <= right.size(); ++j) {
        last[j] = j;
    }
    for (std::size_t i = 1; i <= left.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= right.size(); ++j) {
            const std::size_t changed = left[i - 1] == right[j - 1] ? 0 : 1;
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + changed});
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
                row[j] = std::min(row[j], before_last[j - 2] + 1);
            }
        }
        before_last.swap(last);
        last.swap(row);
    }
    return last[right.size()];
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
    if (word.empty() || word.size() > kLongestWord) {
        return {};
    }
    // A third of the letters may be wrong, but one letter of a short word may always be.
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    std::string_view best;
    for (const std::string_view candidate : candidates) {
        const std::size_t length_gap = candidate.size() > word.size()
                                           ? candidate.size() - word.size()
                                           : word.size() - candidate.size();
        if (length_gap >= best_distance) {
            continue;
        }
        const std::size_t distance = edit_distance(lower_case(word), lower_case(candidate));
        if (distance < best_distance && distance < candidate.size()) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::string listed(const std::vector<std::string_view>& words, std::string_view joint) {
    std::string text;
    const std::size_t shown = std::min(words.size(), kMostListed);
    for (std::size_t i = 0; i < shown; ++i) {
        if (i > 0) {
            text += i + 1 == words.size() ? " " + std::string(joint) + " " : ", ";
        }
        text += '"';
        text += words[i];
        text += '"';
    }
    return shown < words.size() ? text + ", ..." : text;
}

std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates) {
    const std::string_view best = nearest(word, candidates);
    if (!best.empty()) {
        return "did you mean \"" + std::string(best) + "\"?";
    }
    return "use " + std::string(candidates.size() > 1 ? "one of " : "") + listed(candidates);
}

} // namespace weir::config
