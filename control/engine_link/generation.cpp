// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/generation.hpp"

#include <cstring>
#include <span>

#include "dataplane/lb/state_builder.hpp"

namespace weir::control {
namespace {

std::span<const std::uint16_t> slots_in(const channel::SharedMemory& memory, std::uint64_t bytes) {
    const auto* slots = reinterpret_cast<const std::uint16_t*>(memory.bytes().data());
    return {slots, std::min<std::size_t>(bytes, memory.bytes().size()) / sizeof(std::uint16_t)};
}

} // namespace

lb::Segment Generation::inspect(const lb::SegmentRow& row, const SegmentMemory& memory,
                                const Generation* before) {
    const std::span<const std::uint16_t> slots = slots_in(*memory, row.bytes);
    if (before != nullptr) {
        const auto known = before->inspected_.find(row.id);
        if (known != before->inspected_.end() && known->second.slots.data() == slots.data() &&
            known->second.slots.size() == slots.size())
            return known->second;
    }
    return lb::inspect_segment(row.id, slots);
}

// Validates root and segments against each other; drops the segments that the root does not name.
Expected<void> Generation::open(const Generation* before) {
    std::string problem;
    const auto rows = lb::ForwardingState::segments_of(root_.bytes(), problem);
    if (!rows)
        return Error{problem};
    std::map<std::uint64_t, SegmentMemory> named;
    std::vector<lb::Segment> segments;
    for (const lb::SegmentRow& row : *rows) {
        const auto found = segments_.find(row.id);
        if (found == segments_.end())
            return Error{"a slot table of the generation is missing"};
        named.insert(*found);
        segments.push_back(inspect(row, found->second, before));
        inspected_.emplace(row.id, segments.back());
    }
    segments_ = std::move(named);
    auto state = lb::ForwardingState::open(root_.bytes(), segments, problem);
    if (!state)
        return Error{problem};
    state_ = std::make_unique<lb::ForwardingState>(std::move(*state));
    return {};
}

Expected<std::shared_ptr<const Generation>> Generation::seal(const CompiledState& compiled,
                                                             const Generation* before) {
    std::shared_ptr<Generation> generation(new Generation());
    std::string problem;
    for (const auto& table : compiled.segments) {
        if (before != nullptr) {
            if (const auto found = before->segments_.find(table->id);
                found != before->segments_.end()) {
                generation->segments_.insert(*found);
                continue;
            }
        }
        auto memory = channel::SharedMemory::create_sealed(
            "weir-slots", std::as_bytes(std::span(table->slots)), problem);
        if (!memory)
            return Error{"no memory for a slot table: " + problem};
        generation->segments_.emplace(
            table->id, std::make_shared<const channel::SharedMemory>(std::move(*memory)));
    }
    auto root =
        channel::SharedMemory::create_sealed("weir-root", lb::build_root(compiled.tables), problem);
    if (!root)
        return Error{"no memory for the forwarding state: " + problem};
    generation->root_ = std::move(*root);
    if (auto opened = generation->open(before); !opened)
        return Error{"the compiled forwarding state is not sound: " + opened.error().sentence};
    return std::shared_ptr<const Generation>(std::move(generation));
}

Expected<std::shared_ptr<const Generation>>
Generation::adopt(channel::SharedMemory root,
                  const std::map<std::uint64_t, SegmentMemory>& segments) {
    std::shared_ptr<Generation> generation(new Generation());
    generation->root_ = std::move(root);
    generation->segments_ = segments;
    if (auto opened = generation->open(nullptr); !opened)
        return Error{"the running forwarding state is not sound: " + opened.error().sentence};
    return std::shared_ptr<const Generation>(std::move(generation));
}

bool Generation::same_content(const Generation& other) const {
    const lb::StateHeader& mine = state_->header();
    const lb::StateHeader& theirs = other.state_->header();
    if (mine.total_bytes != theirs.total_bytes)
        return false;
    lb::StateHeader renumbered = theirs;
    renumbered.generation = mine.generation;
    constexpr std::size_t kHeader = sizeof(lb::StateHeader);
    return std::memcmp(&mine, &renumbered, kHeader) == 0 &&
           std::memcmp(root_.bytes().data() + kHeader, other.root_.bytes().data() + kHeader,
                       mine.total_bytes - kHeader) == 0;
}

} // namespace weir::control
