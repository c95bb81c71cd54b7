// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/counters.hpp"

#include <array>

namespace weir::lb {
namespace {

constexpr std::size_t round_up(std::size_t value, std::size_t to) {
    return (value + to - 1) / to * to;
}

struct Layout {
    std::size_t workers, vips, backends, total;
};

Layout layout_for(std::size_t blocks) {
    Layout layout{};
    layout.workers = round_up(sizeof(CountersHeader), 4096);
    layout.vips = round_up(layout.workers + blocks * sizeof(WorkerCounters), 4096);
    layout.backends = layout.vips + blocks * WEIR_MAX_VIPS * sizeof(VipCounters);
    layout.total = layout.backends + blocks * WEIR_MAX_BACKENDS * sizeof(BackendCounters);
    return layout;
}

constexpr std::array<VerdictInfo, WEIR_VERDICT_COUNT> kVerdicts = {
    {{"undecided", "no verdict yet", WEIR_CLASS_NONE},
#define WEIR_VERDICT_INFO(enumerator, name, verdict_class, sentence)                               \
    {#name, sentence, WEIR_CLASS_##verdict_class},
     WEIR_VERDICTS(WEIR_VERDICT_INFO)
#undef WEIR_VERDICT_INFO
    }};

// The one read that races with the writer on purpose: the sequence around it says whether the copy
// is any good, which a race detector cannot know.
__attribute__((no_sanitize("thread"))) void copy_while_written(WorkerCounters& to,
                                                               const WorkerCounters& from) {
    const auto* source = reinterpret_cast<const volatile std::uint64_t*>(&from);
    auto* target = reinterpret_cast<std::uint64_t*>(&to);
    for (std::size_t i = 0; i < sizeof(WorkerCounters) / sizeof(std::uint64_t); i++)
        target[i] = source[i];
}

} // namespace

std::size_t CountersView::bytes_needed(std::uint32_t workers) {
    return layout_for(workers + 1).total;
}

CountersView CountersView::format(std::span<std::byte> memory, std::uint32_t workers) {
    CountersView view(memory.data());
    Layout layout = layout_for(workers + 1);
    *view.header_ = {kCountersMagic, kCountersVersion, workers + 1, layout.workers,
                     layout.vips,    layout.backends,  layout.total};
    return view;
}

std::optional<CountersView> CountersView::open(std::span<std::byte> memory, std::string& problem) {
    if (memory.size() < sizeof(CountersHeader)) {
        problem = "the counter memory is shorter than its header";
        return std::nullopt;
    }
    CountersView view(memory.data());
    const CountersHeader& header = *view.header_;
    if (header.magic != kCountersMagic || header.version != kCountersVersion) {
        problem = "the counter memory has another layout version: both programs must be of the "
                  "same release";
        return std::nullopt;
    }
    Layout layout = layout_for(header.blocks);
    bool fits = header.blocks >= 1 && header.blocks <= WEIR_MAX_WORKERS + 1 &&
                header.workers_offset == layout.workers && header.vips_offset == layout.vips &&
                header.backends_offset == layout.backends && header.total_bytes == layout.total &&
                memory.size() >= layout.total;
    if (!fits) {
        problem = "the counter memory does not have the size its header says";
        return std::nullopt;
    }
    return view;
}

WorkerCounters& CountersView::worker(std::uint32_t block) const {
    return reinterpret_cast<WorkerCounters*>(base_ + header_->workers_offset)[block];
}

std::optional<WorkerCounters> CountersView::read(std::uint32_t block) const {
    WorkerCounters& shared = worker(block);
    std::atomic_ref<std::uint64_t> sequence(shared.sequence);
    for (int attempt = 0; attempt < 1'000'000; attempt++) {
        std::uint64_t before = sequence.load(std::memory_order_acquire);
        if (before % 2 != 0)
            continue;
        WorkerCounters copy;
        copy_while_written(copy, shared);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (sequence.load(std::memory_order_relaxed) == before)
            return copy;
    }
    return std::nullopt;
}

std::uint64_t sum_of_class(const WorkerCounters& block, weir_verdict_class wanted) {
    std::uint64_t sum = 0;
    for (std::size_t verdict = 0; verdict < kVerdicts.size(); verdict++)
        if (kVerdicts[verdict].verdict_class == wanted)
            sum += block.verdicts[verdict];
    return sum;
}

Books& Books::operator+=(const Books& other) {
    rx += other.rx;
    generated += other.generated;
    handed_in += other.handed_in;
    tx += other.tx;
    punted += other.punted;
    handed_out += other.handed_out;
    dropped += other.dropped;
    held += other.held;
    return *this;
}

Books books_of(const WorkerCounters& block) {
    Books books;
    for (const PortCounters& port : block.ports) {
        books.rx += port.rx_packets;
        books.tx += port.tx_packets;
    }
    books.generated = block.generated;
    books.handed_in = block.handed_in;
    books.punted = sum_of_class(block, WEIR_CLASS_PUNT);
    books.handed_out = sum_of_class(block, WEIR_CLASS_HAND_OVER);
    books.dropped = sum_of_class(block, WEIR_CLASS_DROP);
    books.held = block.held;
    return books;
}

const VerdictInfo& verdict_info(std::uint32_t verdict) {
    return kVerdicts[verdict < kVerdicts.size() ? verdict : 0];
}

} // namespace weir::lb
