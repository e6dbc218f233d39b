/* SPDX-License-Identifier: MIT */
/* One try of a kernel: on inputs of a class and a length, which it owns, beside portable C. */
#ifndef BNORM_TESTS_TRIAL_H
#define BNORM_TESTS_TRIAL_H

#include "buffer.h"
#include "dispatch/machine.h"
#include "dispatch/size.h"
#include "inputs.h"
#include "kernels/element.h"

typedef struct trial {
    const bnorm_kernels *kernels, *scalar;
    input_class class;
    size_t length;
    flush side;
    random_state random;
    buffers taken;
} trial;

/* What a trial takes lies flush with a guard page: values of the class; and outputs that show what was not written. */
float *trial_input(trial *t, size_t count);
float *trial_output(trial *t, size_t count);
/* `length` doubles of the class. */
double *trial_doubles(trial *t, bool positive);
/* Copies that the other kernel may change. */
float *trial_copy(trial *t, const float *values, size_t count);
double *trial_copy_doubles(trial *t, const double *values, size_t count);

/* A type that this build has; and values of a type, as floats and as what they are. */
bnorm_dtype trial_type(trial *t);
float *trial_typed_input(trial *t, size_t count, bnorm_dtype type, void **typed);

/* Equal to the bit, a NaN being equal to a NaN. */
bool same_doubles(const double *a, const double *b, size_t count);
/* Within `unit` of `scale`; what overflows or is NaN is left to the comparison of bits. */
bool near(long double value, long double exact, long double scale, long double unit);

/* The check of each kernel: of sums, moments and coefficients of channels, and maps in a file each. */
#define KERNEL(name, parameters) void check_##name(trial *t);
#include "kernels/kernels.def"
#undef KERNEL

#endif
