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
    spread_ = nullptr;
    range_count_ = 0;
    places_ = 0;
    worker_ = worker;
    workers_ = workers;
    for (const SnatRange& range : ranges) {
        // weir_snat_port_owner() deals the ports of a range out round.
        const std::uint32_t first = std::uint32_t{range.first_port} + worker;
        if (first > range.last_port)
            continue;
        assert(weir_snat_port_owner(static_cast<std::uint16_t>(first), range.first_port, workers) ==
               worker);
        ranges_[range_count_++] = {range, first, places_, 0};
        places_ += (range.last_port - first) / workers + 1;
    }
    start_walks(secret);
}

void SnatPorts::configure(std::span<const SnatRange> ranges,
                          std::span<const weir_address> addresses, std::uint32_t worker,
                          const Spread& spread, std::uint64_t secret) {
    assert(ranges.size() <= ranges_.size() && ranges.size() == addresses.size());
    assert(worker < spread.workers());
    spread_ = &spread;
    range_count_ = 0;
    worker_ = worker;
    workers_ = spread.workers();
    // spread_worker() deals the entries out round.
    own_entries_ = (spread.entries() - worker - 1) / workers_ + 1;
    per_entry_ = (std::uint64_t{1} << kReciprocalShift) / own_entries_ + 1;
    std::uint32_t blocks = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const SnatRange& range = ranges[i];
        v6_ = !weir_address_is_v4(&addresses[i]);
        const std::uint32_t first = range.first_port / spread.entries() * spread.entries();
        ranges_[range_count_++] = {range, first, blocks, spread.destination_part(addresses[i])};
        blocks += (range.last_port - first) / spread.entries() + 1;
    }
    places_ = blocks * own_entries_;
    start_walks(secret);
}

void SnatPorts::start_walks(std::uint64_t secret) {
    secret_ = secret;
    columns_ = 1;
    while (columns_ * columns_ < places_)
        ++columns_;
    rows_ = places_ == 0 ? 1 : (places_ + columns_ - 1) / columns_;
    for (std::uint32_t group = 0; group < kSnatCursors; ++group)
        cursor_[group] =
            places_ == 0 ? 0 : static_cast<std::uint32_t>(mix(secret ^ mix(group)) % places_);
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
    } while (index >= places_);
    return index;
}

const SnatPorts::Owned& SnatPorts::range_with(std::uint32_t index) const {
    if (range_count_ == 1) [[likely]]
        return ranges_[0];
    const auto after =
        std::upper_bound(ranges_.begin(), ranges_.begin() + range_count_, index,
                         [](std::uint32_t i, const Owned& owned) { return i < owned.before; });
    return *(after - 1);
}

SnatPort SnatPorts::pair_at(std::uint32_t place) const {
    const Owned& owned = range_with(place);
    const std::uint32_t port = owned.first_port + (place - owned.before) * workers_;
    return {owned.range.address, static_cast<std::uint16_t>(port)};
}

std::optional<SnatPort> SnatPorts::pair_by_spread(std::uint32_t place,
                                                  std::uint32_t reply_part) const {
    const auto block = static_cast<std::uint32_t>(place * per_entry_ >> kReciprocalShift);
    const std::uint32_t entry = worker_ + (place - block * own_entries_) * workers_;
    const Owned& owned = range_with(block);
    const std::uint32_t first = owned.first_port + (block - owned.before) * spread_->entries();
    const std::uint32_t port = spread_->port_in_block(v6_, first, entry ^ reply_part ^ owned.part);
    if (port < owned.range.first_port || port > owned.range.last_port)
        return std::nullopt;
    return SnatPort{owned.range.address, static_cast<std::uint16_t>(port)};
}

std::uint32_t SnatPorts::next_place(std::uint32_t backend) {
    const std::uint32_t group = group_of(backend);
    const std::uint32_t index = cursor_[group];
    cursor_[group] = index + 1 == places_ ? 0 : index + 1;
    return permuted(index, mix(secret_ + group));
}

} // namespace weir::lb
