/* SPDX-License-Identifier: MIT */
/* One call of the library, and the ways of making it that must not show in its result. */
#ifndef BNORM_TESTS_JOB_H
#define BNORM_TESTS_JOB_H

#include "dispatch/arguments.h"
#include "dispatch/calls.h"
#include "inputs.h"
#include "tensor.h"

/* Calls, and what is fused behind them: those from EPILOGUES on have a name each in job.c. */
typedef enum operation { INFER, TRAIN, BACKWARD, BACKWARD_RELU, FROZEN, FROZEN_RELU, EPILOGUES } operation;

extern const int operation_count;

const char *operation_name(operation op);
bool is_training(operation op);
bool is_backward(operation op);
bool is_frozen(operation op);
/* Its activation; the residual is the job's. */
bnorm_epilogue epilogue_of(operation op);
bool has_residual(operation op);
/* Whether a bit an element tells the slope of its activation. */
bool has_mask(operation op);
/* Whether these kernels have its activation in this build and on this CPU. */
bool operation_runs(operation op, const bnorm_kernels *kernels);

enum { STATISTICS = 5 };

/* What a call is given and gives, in plain [batch][channels][points] order. */
typedef struct result {
    buffers taken; /* all of it: to be given back */
    float *y; /* or dx */
    float *dresidual;
    float *statistics[STATISTICS]; /* running mean and var, saved mean, low and rstd; or dgamma and dbeta */
} result;

typedef struct job {
    buffers taken; /* its arrays */
    bnorm_shape shape;
    operation op;
    /* gamma, beta, old running statistics and gradients to add to, and dy of the class of x; else the defaults */
    bool with_parameters;
    float epsilon;
    float *x, *gamma, *beta, *mean, *var;
    float *residual;
    /* backward: y before the activation, and what the forward call saved; forward, typed with a mask: y of floats */
    float *dy, *y, *low, *rstd;
} job;

/* What is not asked of a backward call. */
enum { NO_DX = 1, NO_DGAMMA = 2, NO_DBETA = 4, NO_DRESIDUAL = 8, NOTHING = 16 };

/* How a call is made; none of it may show in the result. */
typedef struct way {
    const bnorm_kernels *kernels;
    const bnorm_tuning *tuning;
    const bnorm_executor *executor;
    bnorm_hint hint;
    spacing in, out;
    bool in_place; /* y or dx in x */
    bool in_dy; /* dx in dy: `in` is also the layout of dy */
    bool in_residual; /* y or dresidual in the residual */
    bool dresidual_in_dy;
    bool mask; /* a mask is asked for, or given in place of the residual */
    bool steps; /* training and backward: by the calls for each step */
    int unwanted; /* NO_DX and the others, summed */
    flush side;
} way;

/* The tuning of a usual machine, and others that make small tensors take every path of large ones. */
extern const bnorm_tuning usual_tuning, *const tunings[];
extern const size_t tuning_count;

size_t job_elements(const job *j);
/*
 * A job of a dense shape, of any types. The data are values of these types, and follow from the class, the types and
 * the seed alone.
 */
job job_new(const bnorm_shape *shape, input_class class, uint64_t seed, operation op, bool with_parameters);
/* The same in two steps, between which its data may be changed: drawn; and what a forward call leaves of them. */
job job_drawn(const bnorm_shape *shape, input_class class, uint64_t seed, operation op, bool with_parameters);
void job_complete(job *j);
/* The same on the same data, all in floats; it shares what the first one owns. */
job job_in_floats(const job *j);
bool is_typed(const job *j);
/* Makes the call in guarded buffers; checks its status and that nothing but the outputs was written. */
result perform(const job *j, const way *w);
/* Zeros for all that a call of the shape gives. */
result result_new(const bnorm_shape *shape);
/* What floats gave becomes what the types of the job must give. */
void result_round(result *r, const job *j);

#endif
