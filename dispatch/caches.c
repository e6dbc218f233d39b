/* SPDX-License-Identifier: MIT */
/* The sizes of the caches: as found, or as the caller says. */
#include <stdatomic.h>

#include "machine.h"

/* Where the system does not tell: what most cores have. */
enum { USUAL_CORE_CACHE = 1 << 20, USUAL_SHARED_CACHE = 32 << 20 };

/* 0 until the first use. */
static atomic_size_t core_cache, shared_cache;

static void find_caches(size_t *core, size_t *shared)
{
    *core = USUAL_CORE_CACHE;
    *shared = USUAL_SHARED_CACHE;
    bnorm_cpu_caches(core, shared);
}

void bnorm_set_cache_sizes(size_t core, size_t shared)
{
    size_t found_core, found_shared;
    find_caches(&found_core, &found_shared);
    atomic_store_explicit(&core_cache, core ? core : found_core, memory_order_relaxed);
    atomic_store_explicit(&shared_cache, shared ? shared : found_shared, memory_order_relaxed);
}

void bnorm_cache_sizes(size_t *core, size_t *shared)
{
    size_t known_core = atomic_load_explicit(&core_cache, memory_order_relaxed);
    size_t known_shared = atomic_load_explicit(&shared_cache, memory_order_relaxed);
    if (!known_core || !known_shared) {
        size_t found_core, found_shared;
        find_caches(&found_core, &found_shared);
        /* Where another thread calls bnorm_set_cache_sizes meanwhile, its sizes stay. */
        known_core = known_shared = 0;
        if (atomic_compare_exchange_strong(&core_cache, &known_core, found_core))
            known_core = found_core;
        if (atomic_compare_exchange_strong(&shared_cache, &known_shared, found_shared))
            known_shared = found_shared;
    }
    if (core)
        *core = known_core;
    if (shared)
        *shared = known_shared;
}

bnorm_machine bnorm_this_machine(void)
{
    bnorm_machine m = { bnorm_kernels_chosen(), { .smallest_task = 16384, .strip_lanes = 32 } };
    bnorm_cache_sizes(&m.tuning.core_cache, &m.tuning.shared_cache);
    return m;
}
