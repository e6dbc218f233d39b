/* SPDX-License-Identifier: MIT */
/* Batch norm as its definition says, in long double, on x[batch][channels][points]: nothing is shared with kernels/. */
#ifndef BNORM_TESTS_ORACLE_H
#define BNORM_TESTS_ORACLE_H

#include <stddef.h>

/* The mean and the biased variance of a channel. */
typedef struct oracle_moments {
    long double mean, var;
} oracle_moments;

oracle_moments oracle_channel(const float *x, size_t batch, size_t channels, size_t points, size_t channel);
/* One value normalised. */
long double oracle_value(float x, oracle_moments m, float epsilon, float gamma, float beta);

#endif
