/* SPDX-License-Identifier: MIT */
/* A few operations a channel, in double. Plain loops: each operation is exact to the bit however they are vectorised. */
#include <math.h>

#include "../kernels.h"

static void accumulate_f64(size_t channels, const float *restrict sum, const float *restrict sum_sq,
                           double *restrict total, double *restrict total_sq)
{
    for (size_t c = 0; c < channels; c++) {
        total[c] += (double)sum[c];
        total_sq[c] += (double)sum_sq[c];
    }
}

static void moments_f64(size_t channels, double count, const float *restrict pivot, double *restrict total,
                        double *restrict total_sq)
{
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++) {
        double offset = total[c] * inverse;
        double m2 = total_sq[c] - total[c] * offset;
        total[c] = (double)pivot[c] + offset;
        total_sq[c] = m2 < 0.0 ? 0.0 : m2; /* rounding only; a NaN stays */
    }
}

static void merge_f64(size_t channels, double count, double more_count, double *restrict mean, double *restrict m2,
                      const double *restrict more_mean, const double *restrict more_m2, float *restrict pivot)
{
    double weight = more_count / (count + more_count);
    double between = count * weight;
    for (size_t c = 0; c < channels; c++) {
        double delta = more_mean[c] - mean[c];
        mean[c] += delta * weight;
        m2[c] += more_m2[c] + delta * delta * between;
    }
    for (size_t c = 0; pivot && c < channels; c++)
        pivot[c] = (float)mean[c];
}

/* What gamma and beta are read through, so that loops need not ask whether they are given. */
enum { SLICE = 64 };

static inline const float *slice_or(const float *given, size_t first, float fallback, float *slice)
{
    if (given)
        return given + first;
    for (int i = 0; i < SLICE; i++)
        slice[i] = fallback;
    return slice;
}

static inline size_t slice_length(size_t channels, size_t first)
{
    return channels - first < SLICE ? channels - first : SLICE;
}

static void coefficients_f64(size_t channels, double count, const double *mean, const double *m2, const float *gamma,
                             const float *beta, double epsilon, const bnorm_coefficients *out)
{
    double inverse = 1.0 / count;
    float ones[SLICE], zeros[SLICE];
    for (size_t first = 0; first < channels; first += SLICE) {
        const float *restrict g = slice_or(gamma, first, 1.0f, ones);
        const float *restrict b = slice_or(beta, first, 0.0f, zeros);
        const double *restrict batch_mean = mean + first;
        const double *restrict batch_m2 = m2 + first;
        float *restrict center = out->center + first;
        float *restrict scale = out->scale + first;
        float *restrict shift = out->shift + first;
        float *restrict low = out->low + first;
        float *restrict rstd = out->rstd + first;
        size_t length = slice_length(channels, first);
        for (size_t c = 0; c < length; c++) {
            double r = 1.0 / sqrt(batch_m2[c] * inverse + epsilon);
            float high = (float)batch_mean[c];
            double rest = batch_mean[c] - (double)high;
            float a = (float)((double)g[c] * r);
            center[c] = high;
            low[c] = (float)rest;
            rstd[c] = (float)r;
            scale[c] = a;
            shift[c] = (float)((double)b[c] - rest * (double)a);
        }
    }
}

static void scale_f64(size_t channels, const float *var, const float *gamma, double epsilon, float *scale)
{
    float ones[SLICE];
    for (size_t first = 0; first < channels; first += SLICE) {
        const float *restrict g = slice_or(gamma, first, 1.0f, ones);
        const float *restrict v = var + first;
        float *restrict a = scale + first;
        size_t length = slice_length(channels, first);
        for (size_t c = 0; c < length; c++)
            a[c] = (float)((double)g[c] * (1.0 / sqrt((double)v[c] + epsilon)));
    }
}
