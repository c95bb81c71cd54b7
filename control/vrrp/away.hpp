// SPDX-License-Identifier: BSD-3-Clause
// The one case in which an owner is fed the time before what it has heard (machine.hpp): its last
// advert is so old that a peer may have taken over. Its next tick steps down; whatever it heard
// meanwhile it hears as a backup, instead of asserting itself against a rightful owner. Pure.
#pragma once

#include "control/vrrp/machine.hpp"

namespace weir::control::vrrp {

// The last advert went out one interval before the timer. The quickest possible peer has the
// highest priority below ours, hence hardly any skew.
inline bool was_away(const Settings& settings, const Machine& machine, Moment now) {
    return machine.state == State::kOwner && machine.timer &&
           now - *machine.timer + settings.interval >= 3 * settings.interval;
}

} // namespace weir::control::vrrp
