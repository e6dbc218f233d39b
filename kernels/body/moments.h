/* SPDX-License-Identifier: MIT */
/* A few operations a channel, in double. Plain loops: however they are vectorised, each operation is the same. */
#include <math.h>

#include "../kernels.h"

static void recenter_f64(size_t channels, double count, const float *restrict sum, float *restrict pivot)
{
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++)
        pivot[c] = (float)((double)pivot[c] + (double)sum[c] * inverse);
}

static void accumulate_f64(size_t channels, const float *restrict sum, const float *restrict sum_sq,
                           double *restrict total, double *restrict total_sq)
{
    for (size_t c = 0; c < channels; c++) {
        total[c] += (double)sum[c];
        total_sq[c] += (double)sum_sq[c];
    }
}

static inline void conclude(size_t channels, double before, double count, const float *restrict sum,
                            const float *restrict sum_sq, const double *restrict total, const double *restrict total_sq,
                            float *restrict pivot, double *restrict mean, double *restrict m2)
{
    double inverse = 1.0 / count, weight = count / (before + count), between = before * weight;
    for (size_t c = 0; c < channels; c++) {
        double s = total ? total[c] + (double)sum[c] : (double)sum[c];
        double q = total ? total_sq[c] + (double)sum_sq[c] : (double)sum_sq[c];
        double offset = s * inverse;
        double epoch_mean = (double)pivot[c] + offset;
        double epoch_m2 = q - s * offset;
        epoch_m2 = epoch_m2 < 0.0 ? 0.0 : epoch_m2; /* rounding only; a NaN stays */
        if (before > 0.0) {
            double delta = epoch_mean - mean[c];
            epoch_mean = mean[c] + delta * weight;
            epoch_m2 = m2[c] + (epoch_m2 + delta * delta * between);
        }
        mean[c] = epoch_mean;
        m2[c] = epoch_m2;
        pivot[c] = (float)epoch_mean;
    }
}

/* One loop for each answer to the two questions that conclude() asks, so that none asks them for each channel. */
static void conclude_f64(size_t channels, double before, double count, const float *sum, const float *sum_sq,
                         const double *total, const double *total_sq, float *pivot, double *mean, double *m2)
{
    if (before > 0.0 && total)
        conclude(channels, before, count, sum, sum_sq, total, total_sq, pivot, mean, m2);
    else if (before > 0.0)
        conclude(channels, before, count, sum, sum_sq, NULL, NULL, pivot, mean, m2);
    else
        conclude(channels, 0.0, count, sum, sum_sq, NULL, NULL, pivot, mean, m2);
}

static void merge_f64(size_t channels, double count, double more_count, double *restrict mean, double *restrict m2,
                      const double *restrict more_mean, const double *restrict more_m2)
{
    double weight = more_count / (count + more_count), between = count * weight;
    for (size_t c = 0; c < channels; c++) {
        double delta = more_mean[c] - mean[c];
        mean[c] += delta * weight;
        m2[c] += more_m2[c] + delta * delta * between;
    }
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

static inline void coefficients_slice(size_t length, double inverse, double epsilon, const double *restrict mean,
                                      const double *restrict m2, const float *restrict gamma,
                                      const float *restrict beta, float *restrict center, float *restrict scale,
                                      float *restrict shift, float *restrict low, float *restrict rstd)
{
    for (size_t c = 0; c < length; c++) {
        double r = 1.0 / sqrt(m2[c] * inverse + epsilon);
        float high = (float)mean[c];
        double rest = mean[c] - (double)high;
        float a = (float)((double)gamma[c] * r);
        center[c] = high;
        low[c] = (float)rest;
        rstd[c] = (float)r;
        scale[c] = a;
        shift[c] = (float)((double)beta[c] - rest * (double)a);
    }
}

static void coefficients_f64(size_t channels, double count, const double *mean, const double *m2, const float *gamma,
                             const float *beta, double epsilon, const bnorm_coefficients *out)
{
    float ones[SLICE], zeros[SLICE];
    for (size_t c = 0; c < channels; c += SLICE)
        coefficients_slice(slice_length(channels, c), 1.0 / count, epsilon, mean + c, m2 + c,
                           slice_or(gamma, c, 1.0f, ones), slice_or(beta, c, 0.0f, zeros), out->center + c,
                           out->scale + c, out->shift + c, out->low + c, out->rstd + c);
}

static inline void scale_slice(size_t length, const float *restrict var, const float *restrict gamma, double epsilon,
                               float *restrict scale)
{
    for (size_t c = 0; c < length; c++)
        scale[c] = (float)((double)gamma[c] * (1.0 / sqrt((double)var[c] + epsilon)));
}

static void scale_f64(size_t channels, const float *var, const float *gamma, double epsilon, float *scale)
{
    float ones[SLICE];
    for (size_t c = 0; c < channels; c += SLICE)
        scale_slice(slice_length(channels, c), var + c, slice_or(gamma, c, 1.0f, ones), epsilon, scale + c);
}
