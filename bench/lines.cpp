// SPDX-License-Identifier: BSD-3-Clause
// What a line of memory costs on this machine when a burst's are fetched together, and how much
// more when as many lines lie further apart. The number of lines is the same in every row, so what
// grows with the distance is the translation of addresses. Huge pages are there to save that; where
// a hypervisor maps the guest's huge pages by small ones they do not, and rows with and without are
// alike.
#include "bench/row.hpp"
#include "bench/timing.hpp"
#include "dataplane/dpdk/burst.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <sys/mman.h>

namespace weir::bench {
namespace {

constexpr std::uint32_t kLines = 65'536;
constexpr std::size_t kLineBytes = 64;
constexpr std::size_t kMegabyte = std::size_t{1} << 20;
static_assert(kLines % dpdk::kBurstSize == 0);

// At a huge page's boundary.
class Memory {
public:
    Memory(std::size_t bytes, bool huge) : mapped_bytes_(bytes + kHugePage) {
        at_ = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
        if (at_ == MAP_FAILED)
            throw std::runtime_error("no memory for lines this far apart");
        void* aligned = at_;
        std::size_t space = mapped_bytes_;
        std::align(kHugePage, bytes, aligned, space);
        bytes_ = {static_cast<std::byte*>(aligned), bytes};
        ::madvise(aligned, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    ~Memory() { ::munmap(at_, mapped_bytes_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    std::span<std::byte> bytes() const { return bytes_; }

private:
    static constexpr std::size_t kHugePage = 2 * kMegabyte;
    std::size_t mapped_bytes_;
    void* at_;
    std::span<std::byte> bytes_;
};

class Lines {
public:
    explicit Lines(std::span<std::byte> memory) : memory_(memory) {
        std::fill(memory.begin(), memory.end(), std::byte{1}); // every page is there
        std::mt19937_64 random{1};
        for (std::uint32_t i = 0; i < kLines; i++)
            at_.push_back(random() % (memory.size() / kLineBytes) * kLineBytes);
    }

    // Reads every line, a burst at a time; ns a line.
    double fetch() {
        const std::uint64_t begin_ns = monotonic_ns();
        for (std::uint32_t first = 0; first < kLines; first += dpdk::kBurstSize) {
            const auto burst = std::span(at_).subspan(first, dpdk::kBurstSize);
            for (const std::size_t at : burst)
                __builtin_prefetch(&memory_[at]);
            for (const std::size_t at : burst)
                sum_ += static_cast<unsigned>(memory_[at]);
        }
        return static_cast<double>(monotonic_ns() - begin_ns) / kLines;
    }

    std::uint64_t sum() const { return sum_; }

private:
    std::span<std::byte> memory_;
    std::vector<std::size_t> at_;
    std::uint64_t sum_ = 0;
};

void measure(Row& row, const Settings& settings, std::size_t bytes, bool huge) {
    const Memory memory(bytes, huge);
    Lines lines(memory.bytes());
    std::uint64_t passes = 0;
    std::vector<double> repeats;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        std::vector<double> samples;
        const std::uint64_t end =
            monotonic_ns() + static_cast<std::uint64_t>(settings.seconds / settings.repeats * 1e9);
        do {
            samples.push_back(lines.fetch());
            passes++;
        } while (monotonic_ns() < end);
        repeats.push_back(median(samples));
    }
    if (lines.sum() != passes * kLines)
        throw std::runtime_error("not every line was read");
    row.ns = median(repeats);
}

} // namespace

void add_line_rows(Rows& rows) {
    for (const std::size_t megabytes : {4, 64, 512})
        for (const bool huge : {false, true}) {
            Row row;
            row.name = "floor lines " + count_text(kLines) + " over " + std::to_string(megabytes) +
                       " MB " + (huge ? "huge" : "small") + " pages";
            row.group = "floor";
            row.flows = kLines;
            rows.push_back(
                {row, [bytes = megabytes * kMegabyte, huge](Row& out, const Settings& settings) {
                     measure(out, settings, bytes, huge);
                 }});
        }
}

} // namespace weir::bench
