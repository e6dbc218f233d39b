/* SPDX-License-Identifier: MIT */
/* Batch norm as its definition says, in long double, on x[batch][channels][points]: nothing is shared with kernels/. */
#ifndef BNORM_TESTS_ORACLE_H
#define BNORM_TESTS_ORACLE_H

#include <stddef.h>

#include "bnorm/bnorm.h"

/*
 * The mean and the biased variance of a channel; and what rounding took from the mean, which counts where a long double
 * is a double.
 */
typedef struct oracle_moments {
    long double mean, var, mean_low;
} oracle_moments;

oracle_moments oracle_channel(const float *x, size_t batch, size_t channels, size_t points, size_t channel);
/* One value normalised. */
long double oracle_value(float x, oracle_moments m, float epsilon, float gamma, float beta);

/* An activation by its definition, and its slope; at +-Inf the limit. */
long double oracle_activation(const bnorm_epilogue *e, long double z);
long double oracle_slope(const bnorm_epilogue *e, long double z);

/* The gradients of a channel of n values, given gradients dy and normalised values h = (x - mean) / std. */
typedef struct oracle_gradients {
    long double dbeta, dgamma;
    /* The roots of the sums of squared terms, the size of a sum but for luck: of dy, and of dy * h and mean(dy) * h. */
    long double dbeta_size, dgamma_size;
} oracle_gradients;

oracle_gradients oracle_sums(const long double *h, const long double *dy, size_t count);
/* Of one value, before gamma / std; the channel's sums are 0 where statistics are frozen. */
long double oracle_dx(long double h, long double dy, oracle_gradients sums, size_t count);

#endif
