/* SPDX-License-Identifier: MIT */
/* One call of the library, and the ways of making it that must not show in its result. */
#ifndef BNORM_TESTS_JOB_H
#define BNORM_TESTS_JOB_H

#include "dispatch/internal.h"
#include "inputs.h"
#include "tensor.h"

typedef enum operation { INFER, TRAIN, BACKWARD, BACKWARD_RELU, FROZEN, FROZEN_RELU, OPERATION_COUNT } operation;

const char *operation_name(operation op);

static inline bool is_backward(operation op)
{
    return op >= BACKWARD;
}

static inline bool is_frozen(operation op)
{
    return op == FROZEN || op == FROZEN_RELU;
}

static inline bool through_relu(operation op)
{
    return op == BACKWARD_RELU || op == FROZEN_RELU;
}

enum { STATISTICS = 5 };

/* What a call is given and gives, in plain [batch][channels][points] order. */
typedef struct result {
    float *y; /* or dx */
    float *statistics[STATISTICS]; /* running mean and var, saved mean, low and rstd; or dgamma and dbeta */
} result;

typedef struct job {
    bnorm_shape shape;
    operation op;
    /* gamma, beta, old running statistics and gradients to add to, and dy of the class of x; else the defaults */
    bool with_parameters;
    float epsilon;
    float *x, *gamma, *beta, *mean, *var;
    float *dy, *y, *low, *rstd; /* backward: y without activation, and what the forward call saved */
} job;

/* What is not asked of a backward call. */
enum { NO_DX = 1, NO_DGAMMA = 2, NO_DBETA = 4, NOTHING = 8 };

/* How a call is made; none of it may show in the result. */
typedef struct way {
    const bnorm_kernels *kernels;
    const bnorm_tuning *tuning;
    const bnorm_executor *executor;
    bnorm_hint hint;
    spacing in, out;
    bool in_place; /* y or dx in x */
    bool in_dy; /* dx in dy: `in` is also the layout of dy */
    bool steps; /* training and backward: by the calls for each step */
    int unwanted; /* NO_DX and the others, summed */
    flush side;
} way;

/* The tuning of a usual machine, and others that make small tensors take every path of large ones. */
enum { TUNING_COUNT = 5 };
extern const bnorm_tuning usual_tuning, *const tunings[TUNING_COUNT];

size_t job_elements(const job *j);
/* The data follow from the class and the seed alone. */
job job_new(size_t batch, size_t channels, size_t points, size_t block, input_class class, uint64_t seed, operation op,
            bool with_parameters);
void job_free(job *j);
/* Makes the call in guarded buffers; checks its status and that nothing but the outputs was written. */
result perform(const job *j, const way *w);
void result_free(result *r);

#endif
