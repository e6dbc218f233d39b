/* SPDX-License-Identifier: MIT */
/* The bounds of docs/numerics.md on statistics of training. */
#ifndef BNORM_TESTS_STATISTICS_H
#define BNORM_TESTS_STATISTICS_H

/* Of the variance of any input in range, and of the mean in standard deviations. */
static const long double proven = 1e-5L, proven_mean = 2e-6L;

/* Computes the numbers of the proof anew. */
void check_proof(void);

#endif
