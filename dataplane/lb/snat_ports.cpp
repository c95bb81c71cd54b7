// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/snat_ports.hpp"

#include <algorithm>
#include <bit>
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
    start_walks(places_, secret);
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
    start_walks(blocks, secret);
}

void SnatPorts::start_walks(std::uint32_t units, std::uint64_t secret) {
    secret_ = secret;
    hint_shift_ = static_cast<unsigned>(std::max(std::bit_width(units), +kHintBits) - kHintBits);
    std::uint32_t range = 0;
    for (std::uint32_t hint = 0; hint < range_hint_.size(); ++hint) {
        while (range + 1 < range_count_ && ranges_[range + 1].before <= hint << hint_shift_)
            ++range;
        range_hint_[hint] = static_cast<std::uint8_t>(range);
    }
    permutation_ = Permutation(std::max(places_, 1u));
    for (std::uint32_t group = 0; group < kSnatCursors; ++group)
        cursor_[group] =
            places_ == 0 ? 0 : static_cast<std::uint32_t>(mix(secret ^ mix(group)) % places_);
}

std::uint32_t SnatPorts::step(std::uint32_t backend, SnatSteps& steps) {
    const std::uint32_t group = group_of(backend);
    const std::uint32_t index = cursor_[group];
    cursor_[group] = index + 1 == places_ ? 0 : index + 1;
    steps.lanes_.set(steps.count_, index, mix(secret_ + group));
    return steps.count_++;
}

void SnatPorts::step_back(std::uint32_t backend, std::uint32_t steps) {
    std::uint32_t& cursor = cursor_[group_of(backend)];
    cursor = cursor >= steps ? cursor - steps : cursor + places_ - steps;
}

} // namespace weir::lb
