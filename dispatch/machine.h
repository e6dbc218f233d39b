/* SPDX-License-Identifier: MIT */
/* What a call runs on: the CPU (cpu.c), the kernels that it runs (isa.c), the sizes of its caches (caches.c). */
#ifndef BNORM_DISPATCH_MACHINE_H
#define BNORM_DISPATCH_MACHINE_H

#include "../kernels/kernels.h"

/* The BNORM_CPU_ bits of this CPU, whose registers the operating system saves. */
unsigned bnorm_cpu_detect(void);
/* Bytes of the largest cache private to a core, and of the largest of all; unchanged where that is not known. */
void bnorm_cpu_caches(size_t *core, size_t *shared);

/* The index-th best table that runs here, or NULL. */
const bnorm_kernels *bnorm_kernels_at(size_t index);
const bnorm_kernels *bnorm_kernels_chosen(void);
/* Whether this CPU has what BNORM_CPU_ bits name. */
bool bnorm_runs(unsigned cpu);

/* What decides how the work is cut, never a result. Tests make it small, so that small tensors take every path. */
typedef struct bnorm_tuning {
    size_t smallest_task; /* elements below which a task is over before another thread has heard of it */
    size_t strip_lanes; /* of a row that is cut for several threads, at least */
    size_t core_cache, shared_cache; /* bytes */
} bnorm_tuning;

typedef struct bnorm_machine {
    const bnorm_kernels *kernels;
    bnorm_tuning tuning;
} bnorm_machine;

bnorm_machine bnorm_this_machine(void);

#endif
