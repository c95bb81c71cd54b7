// SPDX-License-Identifier: BSD-3-Clause
// Which slots of a pool's table have changed of late, and whose they were before: what the workers
// need so that flows of which nobody keeps a record stay with their backends
// (dataplane/forwarding/exceptions.h). The control process carries one SlotWindows per pool from
// generation to generation. Plain values; one thread.
#pragma once

#include "dataplane/forwarding/rows.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace weir::lb {

class SlotWindows {
public:
    // Goes on from a generation that runs: `slots` and `members` of its pool, `oldest` and `elders`
    // as its rows have them (empty: no window). For how long its windows have been open is not
    // known, so they begin with the first follow().
    static SlotWindows adopt(std::span<const std::uint16_t> slots,
                             std::span<const std::uint32_t> members,
                             std::span<const std::uint16_t> oldest,
                             std::span<const std::uint32_t> elders);

    // The pool has this table now. Opens a window for each slot whose backend differs from the one
    // it had, closes those that have been open for `length_s` or whose slot is back at its oldest
    // backend. An empty table is passed over: what had it before is compared with what comes next.
    // A table of another size begins anew. `now_s`: any clock that does not go back, above 0.
    void follow(std::span<const std::uint16_t> slots, std::span<const std::uint32_t> members,
                std::uint32_t now_s, std::uint32_t length_s);

    [[nodiscard]] bool open() const { return open_ != 0; }
    // As in a pool's rows: by slot WEIR_NO_MEMBER or an index into elders(). Empty when none is
    // open.
    [[nodiscard]] const std::vector<std::uint16_t>& oldest() const { return oldest_; }
    [[nodiscard]] const std::vector<std::uint32_t>& elders() const { return elders_; }
    // Of the table that was followed last.
    [[nodiscard]] const std::vector<std::uint32_t>& members() const { return members_; }
    // When the next window is due to close, in follow()'s clock, if its length stays.
    [[nodiscard]] std::optional<std::uint32_t> next_close_s(std::uint32_t length_s) const;

private:
    void open_for(std::size_t slot, std::uint32_t backend, std::uint32_t now_s);
    // True when the slot is back at its oldest backend.
    bool close_if_due(std::size_t slot, std::uint32_t current, std::uint32_t now_s,
                      std::uint32_t length_s);
    void drop_unused_elders();

    // The last table that was not empty, by what it means.
    std::vector<std::uint16_t> slots_;
    std::vector<std::uint32_t> members_;
    std::vector<std::uint16_t> oldest_;
    std::vector<std::uint32_t> opened_s_; // by slot; 0: not known
    std::vector<std::uint32_t> elders_;   // backend rows
    std::uint32_t open_ = 0;              // slots
};

} // namespace weir::lb
