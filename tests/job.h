/* SPDX-License-Identifier: MIT */
/* One call of the library, and the ways of making it that must not show in its result. */
#ifndef BNORM_TESTS_JOB_H
#define BNORM_TESTS_JOB_H

#include "dispatch/internal.h"
#include "inputs.h"
#include "tensor.h"

enum { STATISTICS = 5 };

/* What a call is given and gives, in plain [batch][channels][points] order. */
typedef struct result {
    float *y;
    float *statistics[STATISTICS]; /* running mean and var, saved mean, low and rstd */
} result;

typedef struct job {
    bnorm_shape shape;
    bool training;
    bool with_parameters; /* gamma, beta and old running statistics; else the defaults */
    float epsilon;
    float *x, *gamma, *beta, *mean, *var;
} job;

/* How a call is made; none of it may show in the result. */
typedef struct way {
    const bnorm_kernels *kernels;
    const bnorm_tuning *tuning;
    const bnorm_executor *executor;
    bnorm_hint hint;
    spacing in, out;
    bool in_place;
    flush side;
} way;

/* The tuning of a usual machine, and others that make small tensors take every path of large ones. */
enum { TUNING_COUNT = 5 };
extern const bnorm_tuning usual_tuning, *const tunings[TUNING_COUNT];

size_t job_elements(const job *j);
/* The data follow from the class and the seed alone. */
job job_new(size_t batch, size_t channels, size_t points, size_t block, input_class class, uint64_t seed, bool training,
            bool with_parameters);
void job_free(job *j);
/* Makes the call in guarded buffers; checks its status and that nothing but the outputs was written. */
result perform(const job *j, const way *w);
void result_free(result *r);

#endif
