/* SPDX-License-Identifier: MIT */
/* The calls of test-errors: good arguments, of which each case spoils one, and what they must answer. */
#ifndef BNORM_TESTS_ERRORS_H
#define BNORM_TESTS_ERRORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bnorm/bnorm.h"

enum { BATCH = 2, CHANNELS = 6, POINTS = 10, BLOCK = 4, ELEMENTS = BATCH * 8 * POINTS, WORKSPACE = 1 << 16 };

/* All that a call can write lies in one struct, so that "untouched" is one comparison. */
typedef struct outputs {
    float y[ELEMENTS];
    float running_mean[CHANNELS], running_var[CHANNELS];
    float saved_mean[CHANNELS], saved_mean_low[CHANNELS], saved_rstd[CHANNELS];
    float dgamma[CHANNELS], dbeta[CHANNELS];
    float dresidual[ELEMENTS];
    unsigned char mask[(ELEMENTS + 7) / 8];
    double mean[CHANNELS], m2[CHANNELS], sums[3 * CHANNELS];
    unsigned char workspace[WORKSPACE];
} outputs;

/* The arguments of a call of any kind. */
typedef struct call {
    bnorm_shape shape;
    bnorm_infer_params infer;
    bnorm_train_params train;
    bnorm_backward_params backward;
    const void *dy;
    double *mean, *m2, *sums; /* of the calls for steps */
    uint64_t count;
    bool no_shape, no_params;
    const void *x;
    void *y, *workspace;
    size_t workspace_size;
    bnorm_executor executor;
} call;

extern float x[ELEMENTS], dy[ELEMENTS], parameters[4][CHANNELS];
extern double moments[3 * CHANNELS];
extern outputs out;

call good_call(void);

/* Each call; of infer, train and backward also its check, which must answer the same and write nothing. */
bnorm_status infer(const call *c);
bnorm_status train(const call *c);
bnorm_status backward(const call *c); /* y is dx */
bnorm_status fold(const call *c); /* x are weights, and the running mean is the folded bias */
bnorm_status collect(const call *c);
bnorm_status merge(const call *c);
bnorm_status finish(const call *c);
bnorm_status apply(const call *c);
bnorm_status reduce(const call *c);
bnorm_status backward_apply(const call *c);

/* Whether all that a call can write is as reset() left it. */
bool is_untouched(void);
void reset(void);
/* Checks what a call answered and, if asked to, that it wrote nothing; and resets. */
void expect(bnorm_status got, bnorm_status expected, bool untouched, const char *what);
/* One byte further. */
void *off_by_one(void *p);
/* What a case spoils that spoils nothing. */
static inline void nothing(void)
{
}

/* Calls with good arguments of which `spoil` changes some; the case is called `name`. */
#define EXPECT(function, expected, spoil, name) \
    do { \
        call c = good_call(); \
        spoil; \
        check_case("%s", name); \
        expect(function(&c), expected, (expected) != BNORM_OK, #expected); \
    } while (0)

#define CALL(function, expected, spoil) EXPECT(function, expected, spoil, #function ": " #spoil)
#define INFER(expected, spoil) EXPECT(infer, expected, spoil, "infer: " #spoil)
#define TRAIN(expected, spoil) EXPECT(train, expected, spoil, "train: " #spoil)
#define BACKWARD(expected, spoil) EXPECT(backward, expected, spoil, "backward: " #spoil)

/* What all calls over tensors refuse alike. */
#define REFUSED(expected, spoil) \
    do { \
        EXPECT(infer, expected, spoil, "infer: " #spoil); \
        EXPECT(train, expected, spoil, "train: " #spoil); \
        EXPECT(backward, expected, spoil, "backward: " #spoil); \
    } while (0)

/* The cases. */
void check_tensors(void);
void check_gradients(void);
void check_limits(void);

#endif
