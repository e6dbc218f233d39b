/* SPDX-License-Identifier: MIT */
/* Center, scale and shift of each channel. */
#include <string.h>

#include "coefficients.h"

void bnorm_given_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *var,
                              const float *gamma, const float *beta, float epsilon, float *const k[BNORM_COEFFICIENTS])
{
    kernels->scale_f64(channels, var, gamma, (double)epsilon, k[BNORM_SCALE]);
    memcpy(k[BNORM_CENTER], mean, channels * sizeof(float));
    if (beta)
        memcpy(k[BNORM_SHIFT], beta, channels * sizeof(float));
    else
        memset(k[BNORM_SHIFT], 0, channels * sizeof(float));
}

void bnorm_saved_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *low,
                              const float *rstd, const float *gamma, const float *beta,
                              float *const k[BNORM_COEFFICIENTS])
{
    if (k[BNORM_CENTER] != mean)
        memcpy(k[BNORM_CENTER], mean, channels * sizeof(float));
    kernels->coefficients_f64(channels, low, rstd, gamma, beta, k[BNORM_SCALE], k[BNORM_SHIFT]);
}
