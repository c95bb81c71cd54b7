// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/match_blocks.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace weir::xdp {
namespace {

Expected<void> check(const MatchTableView& table, uint64_t generation) {
    const size_t rows = table.rows.size();
    if (generation == 0)
        return Error{"generation 0 means that nothing is published; generations start at 1"};
    if (!std::has_single_bit(rows) || rows > WEIR_MATCH_MAX_ROWS || table.header.mask != rows - 1)
        return Error{"a match table of " + std::to_string(rows) + " rows with mask " +
                     std::to_string(table.header.mask) + "; rows are a power of two up to " +
                     std::to_string(WEIR_MATCH_MAX_ROWS) + " and the mask is one less"};
    if (table.ranges.size() > WEIR_MAX_RANGES || table.header.range_count != table.ranges.size())
        return Error{"a match table with " + std::to_string(table.ranges.size()) +
                     " port ranges, " + std::to_string(table.header.range_count) +
                     " by its header; at most " + std::to_string(WEIR_MAX_RANGES) + " fit"};
    return {};
}

} // namespace

MatchBlocks::MatchBlocks(Descriptor blocks, Descriptor state, Descriptor waiter)
    : blocks_(std::move(blocks)), state_(std::move(state)), waiter_(std::move(waiter)),
      scratch_(new weir_match_block{}) {}

Expected<MatchBlocks> MatchBlocks::open(Descriptor blocks, Descriptor state) {
    // Any map serves as the inner one; what counts is that the kernel, after a change to a map of
    // maps, returns only when no program runs any more that could have seen the state before.
    LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = static_cast<__u32>(state.get()));
    Descriptor waiter(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "weir_waiter", sizeof(uint32_t),
                                     sizeof(uint32_t), 1, &options));
    if (!waiter)
        return kernel_error("make the map that waits for running programs", errno);
    return MatchBlocks(std::move(blocks), std::move(state), std::move(waiter));
}

Expected<weir_steer_state> MatchBlocks::read_state() const {
    weir_steer_state state{};
    const uint32_t first = 0;
    if (bpf_map_lookup_elem(state_.get(), &first, &state) != 0)
        return kernel_error("read which match table is active", errno);
    return state;
}

Expected<uint64_t> MatchBlocks::generation() const {
    auto state = read_state();
    if (!state)
        return state.error();
    return state->generation;
}

Expected<void> MatchBlocks::wait_for_readers() const {
    const uint32_t first = 0;
    const uint32_t inner = static_cast<uint32_t>(state_.get());
    if (bpf_map_update_elem(waiter_.get(), &first, &inner, BPF_ANY) != 0)
        return kernel_error("wait for the programs that run with the old match table", errno);
    return {};
}

Expected<uint32_t> MatchBlocks::prepare() const {
    auto state = read_state();
    if (!state)
        return state.error();
    if (auto waited = wait_for_readers(); !waited)
        return waited.error();
    return state->generation == 0 ? 0 : (state->active + 1) % WEIR_MATCH_BLOCKS;
}

Expected<void> MatchBlocks::withdraw() {
    withdrawn_ = true;
    in_scratch_ = 0;
    const weir_steer_state nothing{};
    const uint32_t first = 0;
    if (bpf_map_update_elem(state_.get(), &first, &nothing, BPF_ANY) != 0)
        return kernel_error("withdraw the match table", errno);
    return {};
}

// The block that is active has these very rows already, written by this object.
bool MatchBlocks::is_in_force(const MatchTableView& table, uint64_t active_generation) const {
    return active_generation != 0 && active_generation == in_scratch_ &&
           scratch_->header.mask == table.header.mask &&
           scratch_->header.range_count == table.header.range_count &&
           std::memcmp(&scratch_->header, &table.header, sizeof(table.header)) == 0 &&
           std::memcmp(scratch_->range, table.ranges.data(), table.ranges.size_bytes()) == 0 &&
           std::memcmp(scratch_->row, table.rows.data(), table.rows.size_bytes()) == 0;
}

Expected<void> MatchBlocks::publish(const MatchTableView& table, uint64_t generation) {
    if (auto sound = check(table, generation); !sound)
        return sound;
    auto state = read_state();
    if (!state)
        return state.error();
    if (is_in_force(table, state->generation))
        return activate(state->active, generation);
    if (state->generation == 0 && !withdrawn_) // no program has ever looked into a block
        return publish_prepared(0, table, generation);
    // A program that started before the last flip may still read the block written next.
    const auto prepared = prepare();
    if (!prepared)
        return prepared.error();
    return publish_prepared(*prepared, table, generation);
}

Expected<void> MatchBlocks::publish_prepared(uint32_t block, const MatchTableView& table,
                                             uint64_t generation) {
    if (auto sound = check(table, generation); !sound)
        return sound;
    in_scratch_ = 0; // until all of it is written
    scratch_->header = table.header;
    std::ranges::copy(table.ranges, scratch_->range);
    std::ranges::copy(table.rows, scratch_->row);
    if (bpf_map_update_elem(blocks_.get(), &block, scratch_.get(), BPF_ANY) != 0)
        return kernel_error("write the match table", errno);
    return activate(block, generation);
}

Expected<void> MatchBlocks::activate(uint32_t block, uint64_t generation) {
    const weir_steer_state next = {.active = block, .reserved = 0, .generation = generation};
    const uint32_t first = 0;
    if (bpf_map_update_elem(state_.get(), &first, &next, BPF_ANY) != 0)
        return kernel_error("make the new match table the active one", errno);
    in_scratch_ = generation;
    return {};
}

Expected<std::vector<uint64_t>> read_counts(const Descriptor& counts, uint32_t entries) {
    const int processors = libbpf_num_possible_cpus();
    if (processors < 1)
        return kernel_error("count the processors", -processors);
    std::vector<uint64_t> per_processor(static_cast<size_t>(processors));
    std::vector<uint64_t> sums;
    for (uint32_t entry = 0; entry < entries; entry++) {
        if (bpf_map_lookup_elem(counts.get(), &entry, per_processor.data()) != 0)
            return kernel_error("read a program's counters", errno);
        uint64_t sum = 0;
        for (uint64_t count : per_processor)
            sum += count;
        sums.push_back(sum);
    }
    return sums;
}

} // namespace weir::xdp
