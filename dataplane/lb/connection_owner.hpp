// SPDX-License-Identifier: BSD-3-Clause
// Which worker owns a recorded connection: what forwarding/owner.h and lb/spread.hpp say of its
// packets, said of its row. For rows that change hands; packets are asked themselves.
#pragma once

#include "dataplane/lb/connection_row.hpp"
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/spread.hpp"

namespace weir::lb {

struct Workers {
    std::uint32_t count = 1;
    const Spread* spread = nullptr; // null: the devices' spreading is not under control
};

// REQUIRES of all: row.vip and row.backend are rows of the state; for full-nat row.snat_address
// too.

// As the client sends.
weir_flow forward_flow(const ForwardingState& state, const HotRow& row);
// As the backend answers. REQUIRES: a NAT mode.
weir_flow reply_flow(const ForwardingState& state, const HotRow& row);

// Whose table the connection belongs into: where its client's packets are brought.
std::uint32_t owner_of_row(const ForwardingState& state, const Workers& workers, const HotRow& row);
// Where its backend's packets are brought. The same worker, but for full-nat connections that were
// opened under another number of workers or another spreading: their port is no longer its own.
std::uint32_t owner_of_replies(const ForwardingState& state, const Workers& workers,
                               const HotRow& row);

} // namespace weir::lb
