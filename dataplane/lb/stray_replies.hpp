// SPDX-License-Identifier: BSD-3-Clause
// Whom the backends' packets of some full-nat connections have to be passed on to. A connection
// that was opened under another number of workers keeps the port its backend knows it by, and that
// port may now be another worker's. Its replies arrive there, and here that worker finds who holds
// the connection, and that the port is not free towards that backend.
//
// Filled by one thread before the workers look. Afterwards the holder of a connection takes it out
// when it ends; everybody else only reads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace weir::lb {

class StrayReplies {
public:
    struct Stray {
        std::uint64_t reply_hash; // the flow hash of the backend's packets
        std::uint32_t holder;     // worker
    };

    void fill(std::span<const Stray> strays) {
        if (strays.empty())
            return;
        std::size_t size = 1;
        while (size < 2 * strays.size())
            size *= 2;
        mask_ = size - 1;
        slots_ = std::make_unique<Slot[]>(size);
        for (const Stray& stray : strays) {
            std::size_t at = stray.reply_hash & mask_;
            while (slots_[at].holder.load(std::memory_order_relaxed) != kNever)
                at = (at + 1) & mask_;
            slots_[at].reply_hash = stray.reply_hash;
            slots_[at].holder.store(stray.holder, std::memory_order_relaxed);
        }
    }

    // The worker that holds the connection, if it is a stray one.
    [[nodiscard]] std::optional<std::uint32_t> holder(std::uint64_t reply_hash) const {
        const Slot* slot = find(reply_hash);
        if (!slot)
            return std::nullopt;
        const std::uint32_t holder = slot->holder.load(std::memory_order_relaxed);
        return holder == kEnded ? std::nullopt : std::optional(holder);
    }

    // The connection has ended. By its holder.
    void remove(std::uint64_t reply_hash) {
        if (Slot* slot = find(reply_hash))
            slot->holder.store(kEnded, std::memory_order_relaxed);
    }

private:
    static constexpr std::uint32_t kNever = 0xffffffff; // the slot was never used
    static constexpr std::uint32_t kEnded = 0xfffffffe;
    struct Slot {
        std::uint64_t reply_hash = 0;
        std::atomic<std::uint32_t> holder{kNever};
    };

    // At most half of the slots are used, so there is always one that was never.
    [[nodiscard]] Slot* find(std::uint64_t reply_hash) const {
        if (!slots_)
            return nullptr;
        for (std::size_t at = reply_hash & mask_;; at = (at + 1) & mask_) {
            if (slots_[at].holder.load(std::memory_order_relaxed) == kNever)
                return nullptr;
            if (slots_[at].reply_hash == reply_hash)
                return &slots_[at];
        }
    }

    std::unique_ptr<Slot[]> slots_; // null: there are none
    std::size_t mask_ = 0;
};

} // namespace weir::lb
