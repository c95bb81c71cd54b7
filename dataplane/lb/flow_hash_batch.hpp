// SPDX-License-Identifier: BSD-3-Clause
// The flow hash of many packets at once: the same function as weir_flow_hash() (hash.h), eight
// flows side by side in vector registers. A worker adds a burst's flows, then computes.
#pragma once

#include "dataplane/forwarding/flow.h"

#include <cstdint>

namespace weir::lb {

inline constexpr std::uint32_t kFlowHashLanes = 8;

// hash[i] of the flow whose words are word[0][i], word[1][i], ..., for i below `count`, rounded up
// to whole kFlowHashLanes. Chosen when the program starts by what the CPU has: AVX-512, AVX2, SSE2.
void flow_hashes_v4(const weir_hash_key& key, const std::uint64_t (*word)[32], std::uint64_t* hash,
                    std::uint32_t count);
void flow_hashes_v6(const weir_hash_key& key, const std::uint64_t (*word)[32], std::uint64_t* hash,
                    std::uint32_t count);

// Up to 32 flows of one family.
template <std::uint32_t Words> class FlowHashBatch {
public:
    void add(std::uint32_t of, const weir_flow& flow) {
        for (std::uint32_t i = 0; i < Words; i++)
            word_[i][count_] = flow.word[i];
        of_[count_++] = static_cast<std::uint8_t>(of);
    }

    // hash[of] of every flow that was added; then the batch is empty again. `hash`: 32, aligned to
    // a cache line. When the flows are the first `all` of it, what is behind them is written, too.
    void compute(const weir_hash_key& key, std::uint64_t* hash, std::uint32_t all) {
        if (count_ == 0)
            return;
        if (count_ == all) {
            compute_packed(key, hash);
        } else {
            alignas(64) std::uint64_t packed[32];
            compute_packed(key, packed);
            for (std::uint32_t i = 0; i < count_; i++)
                hash[of_[i]] = packed[i];
        }
        count_ = 0;
    }

private:
    void compute_packed(const weir_hash_key& key, std::uint64_t* hash) const {
        if constexpr (Words == WEIR_FLOW_WORDS_V4)
            flow_hashes_v4(key, word_, hash, count_);
        else
            flow_hashes_v6(key, word_, hash, count_);
    }

    alignas(64) std::uint64_t word_[Words][32] = {};
    std::uint8_t of_[32];
    std::uint32_t count_ = 0;
};

} // namespace weir::lb
