/* SPDX-License-Identifier: MIT */
/*
 * Kernels with a few operations per channel, in double. Plain loops are enough: the bits are the same however the
 * compiler vectorises them.
 */
#include <math.h>

#include "../kernels.h"

static void recenter_f64(size_t channels, double count, const float *restrict sum, float *restrict pivot)
{
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++)
        pivot[c] = (float)((double)pivot[c] + (double)sum[c] * inverse);
}

static void locate_f64(size_t channels, double count, const float *restrict sum, const float *restrict sum_sq,
                       float *restrict pivot)
{
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++) {
        double mean = (double)sum[c] * inverse, square = (double)sum_sq[c] * inverse;
        pivot[c] = mean * mean * 65.0 > square * 64.0 ? (float)mean : 0.0f; /* a NaN, too, gives 0 */
    }
}

static void accumulate_f64(size_t channels, const float *restrict sum, double *restrict total)
{
    for (size_t c = 0; c < channels; c++)
        total[c] += (double)sum[c];
}

/* Keeps the compiler from vectorising a loop that is not worth the code size. */
#ifdef __GNUC__
#define NO_VECTORS __asm__ volatile("")
#else
#define NO_VECTORS (void)0
#endif

static inline void conclude(size_t channels, double before, double count, const float *restrict sum,
                            const float *restrict sum_sq, const double *restrict total, const double *restrict total_sq,
                            float *restrict pivot, double *restrict mean, double *restrict m2)
{
    double inverse = 1.0 / count, weight = count / (before + count), between = before * weight;
    for (size_t c = 0; c < channels; c++) {
        double s = total ? total[c] + (double)sum[c] : (double)sum[c];
        double q = total ? total_sq[c] + (double)sum_sq[c] : (double)sum_sq[c];
        if (total)
            NO_VECTORS; /* there are totals only after so many values that this loop takes no time beside them */
        double offset = s * inverse;
        double epoch_mean = (double)pivot[c] + offset;
        double epoch_m2 = q - s * offset;
        epoch_m2 = epoch_m2 < 0.0 ? 0.0 : epoch_m2; /* negative by rounding only; a NaN stays */
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

/* Each case inlines its own loop of conclude(), without conditions per channel. before = 0 comes without totals. */
static void add_epoch_f64(size_t channels, double before, double count, const float *sum, const float *sum_sq,
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

/* A smaller variance is only error, as squares in f32 underflow. */
static const double smallest_float = 0x1p-149;

static void finish_f64(size_t channels, double count, const double *restrict mean, const double *restrict m2,
                       double epsilon, float *restrict center, float *restrict low, float *restrict rstd)
{
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++) {
        float high = (float)mean[c];
        double v = m2[c] * inverse + epsilon;
        center[c] = high;
        low[c] = (float)(mean[c] - (double)high);
        rstd[c] = v < smallest_float ? 0.0f : (float)(1.0 / sqrt(v)); /* a NaN stays */
    }
}

/* Channels are processed in slices, for which a missing array is replaced by a constant one. */
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

static inline void coefficients_slice(size_t length, const float *restrict low, const float *restrict rstd,
                                      const float *restrict gamma, const float *restrict beta, float *restrict scale,
                                      float *restrict shift)
{
    for (size_t c = 0; c < length; c++) {
        float a = gamma[c] * rstd[c];
        scale[c] = a;
        shift[c] = (float)((double)beta[c] - (double)low[c] * (double)a);
    }
}

static void coefficients_f64(size_t channels, const float *low, const float *rstd, const float *gamma,
                             const float *beta, float *scale, float *shift)
{
    float ones[SLICE], zeros[SLICE];
    for (size_t c = 0; c < channels; c += SLICE)
        coefficients_slice(slice_length(channels, c), slice_or(low, c, 0.0f, zeros), rstd + c,
                           slice_or(gamma, c, 1.0f, ones), slice_or(beta, c, 0.0f, zeros), scale + c, shift + c);
}

/* Skips channels with statistics that are not finite, as a NaN would stay in the running statistics forever. */
static inline void average_slice(size_t length, double momentum, double divisor, const double *restrict mean,
                                 const double *restrict m2, float *restrict running_mean, float *restrict running_var)
{
    const double rest = 1.0 - momentum;
    for (size_t c = 0; c < length; c++) {
        const double var = m2[c] / divisor;
        const float old_mean = running_mean[c], old_var = running_var[c];
        const float new_mean = (float)(rest * (double)old_mean + momentum * mean[c]);
        const float new_var = (float)(rest * (double)old_var + momentum * var);
        const int counts = (fabsf((float)mean[c]) <= FLT_MAX) & (fabsf((float)var) <= FLT_MAX);
        running_mean[c] = counts ? new_mean : old_mean;
        running_var[c] = counts ? new_var : old_var;
    }
}

static inline void replace_slice(size_t length, double divisor, const double *restrict mean, const double *restrict m2,
                                 float *restrict running_mean, float *restrict running_var)
{
    for (size_t c = 0; c < length; c++) {
        running_mean[c] = (float)mean[c];
        running_var[c] = (float)(m2[c] / divisor);
    }
}

static void average_f64(size_t channels, double momentum, double divisor, const double *mean, const double *m2,
                        float *running_mean, float *running_var)
{
    float unused[SLICE] = { 0.0f };
    for (size_t c = 0; c < channels; c += SLICE) {
        const size_t length = slice_length(channels, c);
        float *const to_mean = running_mean ? running_mean + c : unused;
        float *const to_var = running_var ? running_var + c : unused;
        if (momentum == 1.0)
            replace_slice(length, divisor, mean + c, m2 + c, to_mean, to_var);
        else
            average_slice(length, momentum, divisor, mean + c, m2 + c, to_mean, to_var);
    }
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

static void uncenter_f64(size_t channels, double count, const float *restrict dy_pivot, const float *restrict low,
                         const float *const *sum, double *const *total, double *const *result)
{
    const float *restrict e = sum[0], *restrict ed = sum[1], *restrict d = sum[2];
    double *restrict sum_dy = result[0], *restrict sum_d = result[1], *restrict sum_dy_d = result[2];
    for (size_t c = 0; c < channels; c++) {
        double p = dy_pivot ? (double)dy_pivot[c] : 0.0, all_d = low ? (double)low[c] * count : 0.0;
        double all_e = total ? total[0][c] + (double)e[c] : (double)e[c];
        double all_ed = total ? total[1][c] + (double)ed[c] : (double)ed[c];
        if (!low)
            all_d = total ? total[2][c] + (double)d[c] : (double)d[c];
        sum_dy[c] = all_e + p * count;
        sum_d[c] = all_d;
        sum_dy_d[c] = all_ed + p * all_d;
    }
}

static void gradient_f64(size_t channels, double count, const double *const *given, const float *restrict rstd,
                         float *restrict dy_mean, float *restrict slope, float *restrict offset)
{
    const double *restrict sum_dy = given[0], *restrict sum_d = given[1], *restrict sum_dy_d = given[2];
    double inverse = 1.0 / count;
    for (size_t c = 0; c < channels; c++) {
        double mean = sum_dy[c] / count, r = (double)rstd[c]; /* a division is exact if all dy are equal */
        float high = (float)mean;
        float b = (float)(-(sum_dy_d[c] - mean * sum_d[c]) * inverse * (r * r));
        dy_mean[c] = high;
        slope[c] = b;
        offset[c] = (float)(((double)high - mean) - (double)b * (sum_d[c] * inverse));
    }
}
