// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/worker_threads.hpp"

#include <pthread.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>
#include <string>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace weir::dpdk {
namespace {

// That all of a worker's work comes before its end is noticed is EAL's to see to. The thread
// sanitizer, which does not know EAL, has to be told.
void end([[maybe_unused]] WorkerContext& context) {
#ifdef __SANITIZE_THREAD__
    __tsan_release(&context);
#endif
}
void see_end([[maybe_unused]] WorkerContext& context) {
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(&context);
#endif
}

int worker_main(void* argument) {
    auto& context = *static_cast<WorkerContext*>(argument);
    const std::string name = "weir-worker-" + std::to_string(context.id);
    ::pthread_setname_np(::pthread_self(), name.c_str());
    rte_rcu_qsbr_thread_register(context.rcu, context.id);
    rte_rcu_qsbr_thread_online(context.rcu, context.id);
    const int result = run_worker(context);
    rte_rcu_qsbr_thread_offline(context.rcu, context.id);
    rte_rcu_qsbr_thread_unregister(context.rcu, context.id);
    end(context);
    return result;
}

} // namespace

Expected<void> launch_workers(std::span<WorkerContext> contexts) {
    for (WorkerContext& context : contexts)
        if (const int error = rte_eal_remote_launch(worker_main, &context, context.id + 1);
            error != 0)
            return Error{"worker " + std::to_string(context.id) +
                         " could not be started: " + rte_strerror(-error)};
    return {};
}

void wait_for_workers(std::span<WorkerContext> contexts) {
    rte_eal_mp_wait_lcore();
    for (WorkerContext& context : contexts)
        see_end(context);
}

} // namespace weir::dpdk
