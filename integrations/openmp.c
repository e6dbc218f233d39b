/* SPDX-License-Identifier: MIT */
/* An executor on OpenMP threads. The library itself needs none of this. */
#include "../include/bnorm/openmp.h"

#include <limits.h>
#include <omp.h>
#include <stdint.h>

static void run(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    const size_t width = (size_t)(uintptr_t)context;
#pragma omp parallel for schedule(dynamic) num_threads((int)(tasks < width ? tasks : width))
    for (ptrdiff_t i = 0; i < (ptrdiff_t)tasks; i++)
        task(argument, (size_t)i);
}

bnorm_executor bnorm_openmp_executor(size_t width)
{
    if (width == 0 || width > INT_MAX)
        width = (size_t)omp_get_max_threads();
    bnorm_executor executor = { run, (void *)(uintptr_t)width, width };
    return executor;
}
