/* SPDX-License-Identifier: MIT */
/*
 * Every public call, one after the other, on small tensors of many layouts and types: for tests of where, when and in
 * what environment calls are made. The data are ordinary: all finite, those of padding too, and |z| is less than 40.
 */
#ifndef BNORM_TESTS_EVERY_H
#define BNORM_TESTS_EVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "bnorm/bnorm.h"

enum { EVERY_CHANNELS = 20, EVERY_ELEMENTS = 1 << 13, EVERY_WORKSPACE = 1 << 17 };

/* A tensor of any type. */
typedef union every_tensor {
    float floats[EVERY_ELEMENTS];
    uint16_t halves[EVERY_ELEMENTS];
} every_tensor;

/* All that is written. */
typedef struct every_outputs {
    every_tensor inferred, trained, applied, dx, dresidual, dx_in_steps, frozen_dx, weights;
    float running[2][EVERY_CHANNELS], saved[3][EVERY_CHANNELS], saved_in_steps[3][EVERY_CHANNELS];
    float gradients[6][EVERY_CHANNELS], bias[EVERY_CHANNELS];
    double moments[4][EVERY_CHANNELS], sums[3 * EVERY_CHANNELS];
    unsigned char mask[EVERY_ELEMENTS / 8];
} every_outputs;

/* What a thread needs for the calls: too much for a small stack. */
typedef struct every {
    bool drawn;
    bnorm_dtype x_type, y_type; /* of what was drawn */
    every_tensor x, dy, residual;
    float mean[EVERY_CHANNELS], var[EVERY_CHANNELS], gamma[EVERY_CHANNELS], beta[EVERY_CHANNELS];
    every_outputs out;
    unsigned char workspace[EVERY_WORKSPACE];
} every;

typedef struct every_case {
    bnorm_shape shape;
    bnorm_activation activation;
    bool residual;
} every_case;

/* By number: each layout, each type, each activation. False from the last on. */
bool every_case_at(size_t index, every_case *c);
/* Draws the inputs, where they are not there. */
void every_draw(every *e, const every_case *c);
/*
 * Makes the calls, and answers the first status that is not BNORM_OK: BNORM_ERROR_UNSUPPORTED where this build has not
 * the type or the activation. What is written is zero before, and the workspace holds signalling NaN.
 */
bnorm_status every_call(every *e, const every_case *c, const bnorm_executor *executor);
/* Makes those that touch no tensor. */
bnorm_status every_query(every *e, const every_case *c);
/* Of all that was written. */
uint64_t every_digest(const every *e);

#endif
