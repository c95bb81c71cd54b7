// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/round_order.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <tuple>

namespace weir::lb {
namespace {

// A backend's next turn: may be taken in step `release` (from 0) or later, must be before step
// `deadline`. Equal moments go by the order of the list.
struct Turn {
    std::uint64_t moment; // release while it waits, deadline once it may be taken
    std::uint16_t backend;
    friend bool operator>(const Turn& a, const Turn& b) {
        return std::tie(a.moment, a.backend) > std::tie(b.moment, b.backend);
    }
};
using Queue = std::priority_queue<Turn, std::vector<Turn>, std::greater<>>;

} // namespace

std::vector<std::uint32_t> round_turns(std::span<const std::uint32_t> weights) {
    std::vector<std::uint32_t> turns(weights.begin(), weights.end());
    std::uint32_t divisor = 0;
    std::uint64_t sum = 0;
    for (const std::uint32_t weight : weights) {
        divisor = std::gcd(divisor, weight);
        sum += weight;
    }
    if (sum == 0)
        return turns;
    if (sum / divisor <= kLongestRound) {
        for (std::uint32_t& turn : turns)
            turn /= divisor;
        return turns;
    }
    const std::uint64_t length = kLongestRound - weights.size();
    for (std::uint32_t& turn : turns) {
        if (turn == 0)
            continue;
        const std::uint64_t nearest = (2 * std::uint64_t{turn} * length + sum) / (2 * sum);
        turn = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(nearest));
    }
    return turns;
}

std::vector<std::uint16_t> build_round_order(std::span<const std::uint32_t> weights) {
    const std::vector<std::uint32_t> turns = round_turns(weights);
    const std::uint64_t length = std::accumulate(turns.begin(), turns.end(), std::uint64_t{0});
    std::vector<std::uint64_t> taken(turns.size());
    Queue waiting;
    Queue ready;
    for (std::size_t i = 0; i < turns.size(); i++)
        if (turns[i] > 0)
            waiting.push({0, static_cast<std::uint16_t>(i)});
    std::vector<std::uint16_t> order;
    order.reserve(length);
    for (std::uint64_t step = 0; step < length; step++) {
        while (!waiting.empty() && waiting.top().moment <= step) {
            const std::uint16_t backend = waiting.top().backend;
            waiting.pop();
            const std::uint64_t deadline =
                ((taken[backend] + 1) * length + turns[backend] - 1) / turns[backend];
            ready.push({deadline, backend});
        }
        const std::uint16_t backend = ready.top().backend;
        ready.pop();
        order.push_back(backend);
        taken[backend]++;
        if (taken[backend] < turns[backend])
            waiting.push({taken[backend] * length / turns[backend], backend});
    }
    return order;
}

} // namespace weir::lb
