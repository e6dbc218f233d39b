/* SPDX-License-Identifier: MIT */
/* Which of SLEEF's functions are tested, and how sleef.c calls them on an ISA: sleef_isa.c exports a table for each. */
#ifndef BNORM_TESTS_SLEEF_ISA_H
#define BNORM_TESTS_SLEEF_ISA_H

#include <stddef.h>

/*
 * FUNCTION(name, bound, largest, digest): the bound of its error in ulp, the largest argument for which that holds, and
 * the digest of its results for the inputs of sleef.c, with SLEEF 3.5.1. Its documentation has 1.0001 for tanh and 1.0
 * for the others; but erf errs by 1.096 between 2^-127 and 2^-124, and log1p is Inf beyond 1e38.
 */
#define SLEEF_FUNCTIONS(FUNCTION) \
    FUNCTION(exp, 1.0, INFINITY, 0xc546c6dac878257e) \
    FUNCTION(tanh, 1.0001, INFINITY, 0x6ceafb96b9e8eecf) \
    FUNCTION(erf, 1.1, INFINITY, 0x387b081c8a0f0d0f) \
    FUNCTION(log1p, 1.0, 1e38f, 0x0ba42f828bfff939) \
    FUNCTION(expm1, 1.0, INFINITY, 0x21a3580250f43f7d)

/* y[i] = f(x[i]); count is a multiple of the lanes. The table of an ISA, sleef_<isa>, is in the order of the list. */
typedef void sleef_function(float *y, const float *x, size_t count);

#endif
