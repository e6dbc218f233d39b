/* SPDX-License-Identifier: MIT */
/* An executor on a pthreadpool. The library itself needs none of this. */
#include "../include/bnorm/pthreadpool.h"

static void run(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    pthreadpool_parallelize_1d(context, task, argument, tasks, 0);
}

bnorm_executor bnorm_pthreadpool_executor(pthreadpool_t pool)
{
    bnorm_executor executor = { run, pool, pthreadpool_get_threads_count(pool) };
    return executor;
}
