/* SPDX-License-Identifier: MIT */
/* Input data: reproducible on every target, in classes with a name. */
#ifndef BNORM_TESTS_INPUTS_H
#define BNORM_TESTS_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Splitmix64 (Steele, Lea and Flood 2014). */
typedef struct random_state {
    uint64_t state;
} random_state;

uint64_t random_bits(random_state *r);
/* In (0, 1). */
double random_uniform(random_state *r);
/* Nearly N(0, 1), by exact arithmetic only, so that every target draws the same values. */
double random_normal(random_state *r);
size_t random_below(random_state *r, size_t limit);

/* CLASS(name, bounded): whether the bounds of docs/numerics.md hold for it: all but those with NaN or Inf. */
#define INPUT_CLASSES(CLASS) \
    CLASS(normal, true) \
    CLASS(offset_1e2, true) \
    CLASS(offset_1e4, true) \
    CLASS(offset_1e6, true) \
    CLASS(constant_0, true) \
    CLASS(constant_3_3, true) \
    CLASS(constant_1e8, true) \
    CLASS(outlier_first, true) \
    CLASS(step, true) \
    CLASS(two_values, true) \
    CLASS(ramp, true) \
    CLASS(heavy_tailed, true) \
    CLASS(subnormal, true) \
    CLASS(signed_zeros, true) \
    CLASS(inf_in_one, false) \
    CLASS(nan_in_one, false) \
    CLASS(random_patterns, false)

typedef enum input_class {
#define CLASS(name, bounded) INPUT_##name,
    INPUT_CLASSES(CLASS)
#undef CLASS
        INPUT_COUNT
} input_class;

const char *input_name(input_class named);
bool input_bounded(input_class named);
/* Fills x[batch][channels][points]. */
void input_fill(input_class named, float *x, size_t batch, size_t channels, size_t points, uint64_t seed);

#endif
