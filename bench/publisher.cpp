// SPDX-License-Identifier: BSD-3-Clause
#include "bench/publisher.hpp"

#include "bench/timing.hpp"

#include <stdexcept>
#include <unistd.h>

namespace weir::bench {
namespace {

channel::Descriptor copy_of(int descriptor) {
    return channel::Descriptor(::dup(descriptor));
}

} // namespace

double publish(dpdk::Generations& generations, const control::Generation& next,
               const control::Generation* before) {
    const std::uint64_t begin = monotonic_ns();
    for (const auto& [id, memory] : next.segments())
        if (!before || !before->segments().contains(id))
            if (const auto added = generations.add_segment(id, copy_of(memory->descriptor()));
                !added)
                throw std::runtime_error(added.error().sentence);
    const auto published = generations.publish(next.number(), copy_of(next.root_descriptor()));
    if (!published)
        throw std::runtime_error(published.error().sentence);
    return static_cast<double>(monotonic_ns() - begin);
}

} // namespace weir::bench
