/* SPDX-License-Identifier: MIT */
/* What kernels multiply and add per channel; arrays begin with the first of `channels` channels. */
#ifndef BNORM_DISPATCH_COEFFICIENTS_H
#define BNORM_DISPATCH_COEFFICIENTS_H

#include "../kernels/kernels.h"

/* From statistics that are given, and from those that training saved. */
void bnorm_given_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *var,
                              const float *gamma, const float *beta, float epsilon, float *const k[BNORM_COEFFICIENTS]);
void bnorm_saved_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *low,
                              const float *rstd, const float *gamma, const float *beta,
                              float *const k[BNORM_COEFFICIENTS]);

#endif
