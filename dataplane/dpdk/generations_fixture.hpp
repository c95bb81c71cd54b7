// SPDX-License-Identifier: BSD-3-Clause
// For the tests of generations and of the channel: readers' bookkeeping without EAL, and real
// sealed memory of the sample generation.
#pragma once

#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/dpdk/generations.hpp"
#include "dataplane/lb/state_sample.hpp"

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace weir::dpdk {

struct Readers {
    static constexpr std::uint32_t kMost = 2;
    Readers()
        : rcu(static_cast<rte_rcu_qsbr*>(
                  std::aligned_alloc(64, (rte_rcu_qsbr_get_memsize(kMost) + 63) / 64 * 64)),
              std::free) {
        rte_rcu_qsbr_init(rcu.get(), kMost);
    }
    void join(unsigned reader) {
        rte_rcu_qsbr_thread_register(rcu.get(), reader);
        rte_rcu_qsbr_thread_online(rcu.get(), reader);
    }
    void quiesce(unsigned reader) { rte_rcu_qsbr_quiescent(rcu.get(), reader); }
    std::unique_ptr<rte_rcu_qsbr, void (*)(void*)> rcu;
};

inline channel::SharedMemory sealed(std::span<const std::byte> bytes) {
    std::string problem;
    auto memory = channel::SharedMemory::create_sealed("test", bytes, problem);
    return std::move(*memory);
}

// Sealed memory of any size, without pages.
inline channel::SharedMemory sealed_zeros(std::size_t bytes) {
    std::string problem;
    channel::Descriptor memory(::memfd_create("test", MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(memory.get(), static_cast<off_t>(bytes)), 0);
    EXPECT_EQ(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    auto mapped =
        channel::SharedMemory::map(std::move(memory), channel::Access::read_only, true, problem);
    return std::move(*mapped);
}

inline channel::Descriptor copy_of(const channel::SharedMemory& memory) {
    return channel::Descriptor(::dup(memory.descriptor()));
}

// The sample generation under a number of its own, as control would send it.
struct SentGeneration {
    explicit SentGeneration(std::uint64_t generation, std::uint16_t first_slot = 0) {
        sample.slots[0] = first_slot;
        sample.segment = lb::inspect_segment(lb::segment_id(sample.slots), sample.slots);
        sample.tables.segments[0] = {sample.segment.id, sample.slots.size() * 2};
        sample.tables.generation = generation;
        segment = sealed(std::as_bytes(std::span(sample.slots)));
        root = sealed(lb::build_root(sample.tables));
    }
    std::uint64_t segment_id() const { return sample.segment.id; }

    lb::Sample sample;
    channel::SharedMemory segment;
    channel::SharedMemory root;
};

} // namespace weir::dpdk
