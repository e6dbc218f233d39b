/* SPDX-License-Identifier: MIT */
/* Running work on the caller's threads. */
#ifndef BNORM_DISPATCH_TASKS_H
#define BNORM_DISPATCH_TASKS_H

#include "plan.h"

/* Without an executor there is one task. */
void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument);

/* Calls whose coefficients are known, so that any part of the tensor can be computed by itself (elementwise.c). */
typedef struct bnorm_elementwise bnorm_elementwise;
struct bnorm_elementwise {
    bnorm_traversal traversal;
    bnorm_hint hint;
    bnorm_grid grid;
    /* Stores the coefficients of `channels` channels from `first` on. */
    void (*coefficients)(const bnorm_elementwise *job, size_t first, size_t channels,
                         float *const k[BNORM_COEFFICIENTS]);
    const void *context;
};

void bnorm_run_elementwise(bnorm_elementwise *job, const bnorm_tuning *tuning, const bnorm_executor *executor);

/* Calls that plan.h is about (reduction.c). */
void bnorm_run_reduction(bnorm_reduction *job, void *workspace, const bnorm_executor *executor);

#endif
