/* SPDX-License-Identifier: MIT */
/* An executor on PyTorch's own threads, through the C function that libtorch has for this. Needs no header of PyTorch.
 */
#include <stdint.h>

#include "../include/bnorm/types.h"

/* torch_parallel_for, of torch/csrc/stable/c/shim.h; at::parallel_for's contract. */
typedef int32_t parallel_for(int64_t begin, int64_t end, int64_t grain_size, void (*range)(int64_t, int64_t, void *),
                             void *context);

typedef struct work {
    bnorm_task *task;
    void *argument;
} work;

static void run_range(int64_t begin, int64_t end, void *context)
{
    const work *w = context;
    for (int64_t i = begin; i < end; i++)
        w->task(w->argument, (size_t)i);
}

/* The run of a bnorm_executor whose context holds the address of torch_parallel_for. */
BNORM_API void bnorm_run_on_torch(void *context, size_t tasks, bnorm_task *task, void *argument);

void bnorm_run_on_torch(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    work w = { task, argument };
    (*(parallel_for *const *)context)(0, (int64_t)tasks, 1, run_range, &w);
}
