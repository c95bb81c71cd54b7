// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/generations.hpp"

#include <chrono>
#include <cstdio>
#include <rte_rcu_qsbr.h>
#include <thread>
#include <utility>

namespace weir::dpdk {
namespace {

constexpr auto kReaderWait = std::chrono::milliseconds(500);
// Of the running generation and of the one being sent.
constexpr std::size_t kMostSegments = 4 * std::size_t{WEIR_MAX_POOLS};
constexpr std::size_t kLargestRoot = std::size_t{256} << 20;
constexpr std::size_t kLargestSegment = WEIR_MAGLEV_MAX_SIZE * sizeof(std::uint16_t);

std::string hex(std::uint64_t id) {
    char text[20];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(id));
    return text;
}

} // namespace

// Of a sealed memory with no more than `most` bytes.
Expected<TableArena::Block> Generations::copy_of(const channel::Descriptor& descriptor,
                                                 std::size_t most) {
    std::string problem;
    const auto size = channel::sealed_size(descriptor, problem);
    if (!size)
        return Error{problem};
    if (*size > most)
        return Error{"it has " + std::to_string(*size) + " bytes, at most " + std::to_string(most) +
                     " can be"};
    auto block = arena_.take(*size);
    if (!block)
        return Error{"there is no memory for " + std::to_string(*size) + " bytes"};
    if (!channel::read_whole(descriptor, block->bytes(), problem))
        return Error{problem};
    return std::move(*block);
}

Expected<void> Generations::add_segment(std::uint64_t id, channel::Descriptor descriptor) {
    if (segments_.contains(id))
        return {};
    if (segments_.size() >= kMostSegments)
        return Error{"more slot tables were sent than generations can use"};
    auto memory = copy_of(descriptor, kLargestSegment);
    if (!memory)
        return Error{"slot table " + hex(id) + ": " + memory.error().sentence};
    const std::span<std::byte> bytes = memory->bytes();
    if (bytes.size() % sizeof(std::uint16_t) != 0)
        return Error{"slot table " + hex(id) + " has " + std::to_string(bytes.size()) +
                     " bytes, which no slot table has"};
    const std::span<const std::uint16_t> slots(reinterpret_cast<const std::uint16_t*>(bytes.data()),
                                               bytes.size() / sizeof(std::uint16_t));
    if (lb::segment_id(slots) != id)
        return Error{"slot table " + hex(id) + " does not have the content its id stands for"};
    segments_.emplace(
        id, std::make_shared<HeldSegment>(HeldSegment{std::move(descriptor), std::move(*memory),
                                                      lb::inspect_segment(id, slots)}));
    return {};
}

Expected<std::unique_ptr<Generation>> Generations::validate(std::uint64_t generation,
                                                            channel::Descriptor root) {
    auto memory = copy_of(root, kLargestRoot);
    if (!memory)
        return Error{"the root: " + memory.error().sentence};
    std::string problem;
    auto rows = lb::ForwardingState::segments_of(memory->bytes(), problem);
    if (!rows)
        return Error{problem};
    std::vector<std::shared_ptr<HeldSegment>> held;
    std::vector<lb::Segment> segments;
    for (const lb::SegmentRow& row : *rows) {
        auto found = segments_.find(row.id);
        if (found == segments_.end() || found->second->segment.slots.size_bytes() != row.bytes)
            return Error{"slot table " + hex(row.id) + " was not sent"};
        held.push_back(found->second);
        segments.push_back(found->second->segment);
    }
    auto state = lb::ForwardingState::open(memory->bytes(), segments, problem);
    if (!state)
        return Error{problem};
    if (state->generation() != generation)
        return Error{"the root is of generation " + std::to_string(state->generation()) +
                     ", not of " + std::to_string(generation)};
    if (running_ && generation <= running_->state.generation())
        return Error{"generation " + std::to_string(generation) + " is not newer than " +
                     std::to_string(running_->state.generation()) + ", which runs"};
    if (state->interfaces().size() != interfaces_)
        return Error{"the generation is for " + std::to_string(state->interfaces().size()) +
                     " interfaces, the dataplane has " + std::to_string(interfaces_) +
                     ": a change of interfaces needs a restart of the dataplane"};
    return std::unique_ptr<Generation>(
        new Generation{std::move(root), std::move(*memory), std::move(held), std::move(*state)});
}

Expected<Generations::Published> Generations::publish(std::uint64_t generation,
                                                      channel::Descriptor root) {
    auto fresh = validate(generation, std::move(root));
    if (!fresh)
        return fresh.error();
    if (before_)
        before_((*fresh)->state);
    current_.store(&(*fresh)->state, std::memory_order_release);
    std::unique_ptr<Generation> old = std::exchange(running_, std::move(*fresh));
    const std::uint64_t token = rte_rcu_qsbr_start(rcu_);
    Published published;
    if (wait_for_readers(token))
        old.reset();
    else
        published.remark =
            "a worker has not taken it up within " + std::to_string(kReaderWait.count()) + " ms";
    if (old)
        retired_.push_back({std::move(old), token});
    drop_unused_segments();
    return published;
}

bool Generations::wait_for_readers(std::uint64_t token) {
    const auto deadline = std::chrono::steady_clock::now() + kReaderWait;
    while (rte_rcu_qsbr_check(rcu_, token, false) != 1) {
        if (std::chrono::steady_clock::now() >= deadline)
            return false;
        std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return true;
}

void Generations::reclaim() {
    std::erase_if(retired_, [&](const Retired& retired) {
        return rte_rcu_qsbr_check(rcu_, retired.token, false) == 1;
    });
}

void Generations::drop_unused_segments() {
    std::erase_if(segments_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

} // namespace weir::dpdk
