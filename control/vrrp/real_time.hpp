// SPDX-License-Identifier: BSD-3-Clause
// Real-time priority for the calling thread, above everything ordinary and below the kernel's own
// threads. False where the system does not allow it (CAP_SYS_NICE): it goes on as before. And what
// the process has in memory stays there: a page that has to be read from a busy disk costs more
// than an advert's interval. New memory is not locked, so that no limit can make an allocation
// fail.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

namespace weir::control::vrrp {

inline constexpr int kRunnerPriority = 20;
inline constexpr int kMoverPriority = 10; // may have much to do: never before an advert

inline bool ask_for_real_time(int priority) {
    sched_param wanted{};
    wanted.sched_priority = priority;
    return ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &wanted) == 0;
}

inline void keep_in_memory() {
    // Where it is not allowed (CAP_IPC_LOCK, RLIMIT_MEMLOCK) nothing is locked.
    ::mlockall(MCL_CURRENT | MCL_ONFAULT); // NOLINT(cert-err33-c)
}

} // namespace weir::control::vrrp
