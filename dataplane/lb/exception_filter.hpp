// SPDX-License-Identifier: BSD-3-Clause
// Which flow hashes may have an entry in the connection table, for flows that mostly have none: one
// bit for each of 2^18 parts of the hash space, 32 kB, so that a flow without an entry costs no
// cache miss. A bit may be set for nothing, which costs a look-up; it is never clear for a flow
// that was added and is visited each round. Bits are found out anew with every round of the table's
// expiry: all entries that are visited and stay are added, and at the round's end what was not is
// clear. One worker owns it.
#pragma once

#include "dataplane/forwarding/exceptions.h"

#include <array>
#include <cstdint>

namespace weir::lb {

class ExceptionFilter {
public:
    [[nodiscard]] bool may_have(std::uint64_t flow_hash) const {
        return live_has_any_ &&
               (live_[weir_exception_word(flow_hash)] & weir_exception_bit(flow_hash)) != 0;
    }

    // Usually there is none: then no hash is worth a look.
    [[nodiscard]] bool has_any() const { return live_has_any_; }

    // An entry was made.
    void add(std::uint64_t flow_hash) {
        set(live_, flow_hash);
        set(next_, flow_hash);
        live_has_any_ = next_has_any_ = true;
    }

    // An entry was visited and stays.
    void keep(std::uint64_t flow_hash) {
        set(next_, flow_hash);
        next_has_any_ = true;
    }

    // Entries may be there that were never added: every hash may have one until a whole round has
    // been visited.
    void assume_all() {
        live_.fill(~std::uint64_t{0});
        live_has_any_ = true;
        rounds_to_wait_ = 1; // the one under way has begun without us
    }

    // A round has ended.
    void turn() {
        if (rounds_to_wait_ != 0) {
            rounds_to_wait_--;
        } else {
            live_ = next_;
            live_has_any_ = next_has_any_;
        }
        next_.fill(0);
        next_has_any_ = false;
    }

private:
    using Words = std::array<std::uint64_t, WEIR_EXCEPTION_WORDS>;
    static void set(Words& words, std::uint64_t flow_hash) {
        words[weir_exception_word(flow_hash)] |= weir_exception_bit(flow_hash);
    }

    Words live_{};
    Words next_{};
    bool live_has_any_ = false;
    bool next_has_any_ = false;
    std::uint32_t rounds_to_wait_ = 0;
};

} // namespace weir::lb
