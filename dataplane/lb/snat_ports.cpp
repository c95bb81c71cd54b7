// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/snat_ports.hpp"

#include <algorithm>
#include <cassert>

namespace weir::lb {
namespace {

std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
    return x ^ (x >> 32);
}

std::uint32_t group_of(std::uint32_t backend) {
    static_assert((kSnatCursors & (kSnatCursors - 1)) == 0);
    return static_cast<std::uint32_t>((backend * 0x9e3779b97f4a7c15u) >> 32) & (kSnatCursors - 1);
}

} // namespace

void SnatPorts::configure(std::span<const SnatRange> ranges, std::uint32_t worker,
                          std::uint32_t workers, std::uint64_t secret) {
    assert(ranges.size() <= ranges_.size() && worker < workers);
    range_count_ = 0;
    owned_ = 0;
    workers_ = workers;
    secret_ = secret;
    for (const SnatRange& range : ranges) {
        // weir_snat_port_owner() deals the ports of a range out round.
        const std::uint32_t first = std::uint32_t{range.first_port} + worker;
        if (first > range.last_port)
            continue;
        assert(weir_snat_port_owner(static_cast<std::uint16_t>(first), range.first_port, workers) ==
               worker);
        ranges_[range_count_++] = {range, static_cast<std::uint16_t>(first), owned_};
        owned_ += (range.last_port - first) / workers + 1;
    }
    columns_ = 1;
    while (columns_ * columns_ < owned_)
        ++columns_;
    rows_ = owned_ == 0 ? 1 : (owned_ + columns_ - 1) / columns_;
    for (std::uint32_t group = 0; group < kSnatCursors; ++group)
        cursor_[group] =
            owned_ == 0 ? 0 : static_cast<std::uint32_t>(mix(secret ^ mix(group)) % owned_);
}

// A Feistel network over a grid slightly larger than the domain, walked until the result is inside
// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002): a bijection, so the walk ends
// after at most `columns` steps and nearly always after one.
std::uint32_t SnatPorts::permuted(std::uint32_t index, std::uint64_t key) const {
    const auto shifted = [](std::uint32_t value, std::uint32_t other, std::uint64_t round_key,
                            std::uint32_t modulus) {
        const auto hash = static_cast<std::uint32_t>(mix(other ^ round_key));
        const std::uint32_t sum = value + weir_scale(hash, modulus);
        return sum >= modulus ? sum - modulus : sum;
    };
    do {
        std::uint32_t column = index % columns_;
        std::uint32_t row = index / columns_;
        for (std::uint64_t round = 0; round < 6; round += 2) {
            column = shifted(column, row, key + round * 0x9e3779b97f4a7c15, columns_);
            row = shifted(row, column, key + (round + 1) * 0x9e3779b97f4a7c15, rows_);
        }
        index = row * columns_ + column;
    } while (index >= owned_);
    return index;
}

SnatPort SnatPorts::pair_at(std::uint32_t index) const {
    const auto after =
        std::upper_bound(ranges_.begin(), ranges_.begin() + range_count_, index,
                         [](std::uint32_t i, const Owned& owned) { return i < owned.before; });
    const Owned& owned = *(after - 1);
    const std::uint32_t port = owned.first_port + (index - owned.before) * workers_;
    return {owned.range.address, static_cast<std::uint16_t>(port)};
}

SnatPort SnatPorts::next(std::uint32_t backend) {
    const std::uint32_t group = group_of(backend);
    const std::uint32_t index = cursor_[group];
    cursor_[group] = index + 1 == owned_ ? 0 : index + 1;
    return pair_at(permuted(index, mix(secret_ + group)));
}

} // namespace weir::lb
