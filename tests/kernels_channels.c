/* SPDX-License-Identifier: MIT */
/* Kernels that make what maps need of moments and sums: coefficients, gradients and running statistics of channels. */
#include <math.h>

#include "check.h"
#include "trial.h"

/* As many outputs for the kernel and for portable C. */
static void take_outputs(trial *t, float **out, float **expected, int arrays)
{
    for (int i = 0; i < arrays; i++) {
        out[i] = trial_output(t, t->length);
        expected[i] = trial_output(t, t->length);
    }
}

static void check_outputs(trial *t, float *const *out, float *const *expected, int arrays)
{
    for (int i = 0; i < arrays; i++)
        check(same_bits(out[i], expected[i], t->length), "results have other bits than portable C");
}

void check_coefficients_f64(trial *t)
{
    enum { LOW, RSTD, GAMMA, BETA, INPUTS };
    enum { SCALE, SHIFT, OUTPUTS };
    const float *in[INPUTS];
    float *out[OUTPUTS], *expected[OUTPUTS];
    for (int i = 0; i < INPUTS; i++) {
        const float *values = trial_input(t, t->length);
        in[i] = i == RSTD || random_below(&t->random, 2) ? values : NULL;
    }
    take_outputs(t, out, expected, OUTPUTS);
    t->kernels->coefficients_f64(t->length, in[LOW], in[RSTD], in[GAMMA], in[BETA], out[SCALE], out[SHIFT]);
    t->scalar->coefficients_f64(t->length, in[LOW], in[RSTD], in[GAMMA], in[BETA], expected[SCALE], expected[SHIFT]);
    check_outputs(t, out, expected, OUTPUTS);
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        const long double low = in[LOW] ? (long double)in[LOW][i] : 0, beta = in[BETA] ? (long double)in[BETA][i] : 0;
        const long double scale = (long double)in[RSTD][i] * (in[GAMMA] ? (long double)in[GAMMA][i] : 1);
        const long double moved = low * (long double)out[SCALE][i];
        right = right && near((long double)out[SCALE][i], scale, fabsl(scale), 0x1p-24L);
        right = right && near((long double)out[SHIFT][i], beta - moved, fabsl(beta) + fabsl(moved), 0x1.1p-24L);
    }
    check(right, "scale or shift is off");
}

/* The arguments of uncenter_f64, of which pivot, low and total may be NULL. */
typedef struct uncentering {
    double count;
    const float *pivot, *low, *sum[BNORM_SUMS];
    double *total[BNORM_SUMS];
    bool with_total;
} uncentering;

static bool uncentered_right(const uncentering *u, double *const *sums, size_t i)
{
    long double all[BNORM_SUMS], size = 0;
    const long double p = u->pivot ? (long double)u->pivot[i] : 0, n = (long double)u->count;
    for (int k = 0; k < BNORM_SUMS; k++) {
        const long double total = u->with_total ? (long double)u->total[k][i] : 0;
        all[k] = (long double)u->sum[k][i] + total;
        size += fabsl((long double)u->sum[k][i]) + fabsl(total);
    }
    if (u->low) {
        all[2] = (long double)u->low[i] * n;
        size += fabsl(all[2]);
    }
    return near((long double)sums[0][i], all[0] + p * n, size + fabsl(p * n), 4 * 0x1p-53L) &&
           near((long double)sums[1][i], all[2], size, 4 * 0x1p-53L) &&
           near((long double)sums[2][i], all[1] + p * all[2], size + fabsl(p) * size, 4 * 0x1p-53L);
}

static void uncenter(const bnorm_kernels *kernels, size_t n, const uncentering *u, double *const *sums)
{
    kernels->uncenter_f64(n, u->count, u->pivot, u->low, u->sum, u->with_total ? u->total : NULL, sums);
}

void check_uncenter_f64(trial *t)
{
    const float *pivot = trial_input(t, t->length), *low = trial_input(t, t->length);
    uncentering u = { .with_total = random_below(&t->random, 2) };
    u.pivot = random_below(&t->random, 2) ? pivot : NULL;
    u.low = random_below(&t->random, 2) ? low : NULL;
    u.count = (double)(1 + random_below(&t->random, 5000));
    double *sums[BNORM_SUMS], *expected[BNORM_SUMS];
    for (int i = 0; i < BNORM_SUMS; i++) {
        u.sum[i] = trial_input(t, t->length);
        u.total[i] = trial_doubles(t, false);
        sums[i] = take_guarded(&t->taken, t->length * sizeof(double), t->side);
        expected[i] = take_guarded(&t->taken, t->length * sizeof(double), t->side);
    }
    uncenter(t->kernels, t->length, &u, sums);
    uncenter(t->scalar, t->length, &u, expected);
    for (int i = 0; i < BNORM_SUMS; i++)
        check(same_doubles(sums[i], expected[i], t->length), "sums have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++)
        right = right && uncentered_right(&u, sums, i);
    check(right, "sums are off");
}

void check_gradient_f64(trial *t)
{
    enum { DY_MEAN, SLOPE, OFFSET, OUTPUTS };
    const float *rstd = trial_input(t, t->length);
    const double count = (double)(1 + random_below(&t->random, 5000)), *sums[BNORM_SUMS];
    float *out[OUTPUTS], *expected[OUTPUTS];
    for (int i = 0; i < BNORM_SUMS; i++)
        sums[i] = trial_doubles(t, false);
    take_outputs(t, out, expected, OUTPUTS);
    t->kernels->gradient_f64(t->length, count, sums, rstd, out[DY_MEAN], out[SLOPE], out[OFFSET]);
    t->scalar->gradient_f64(t->length, count, sums, rstd, expected[DY_MEAN], expected[SLOPE], expected[OFFSET]);
    check_outputs(t, out, expected, OUTPUTS);
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        const long double n = (long double)count, r = (long double)rstd[i], high = (long double)out[DY_MEAN][i];
        const long double mean = (long double)sums[0][i] / n, d_mean = (long double)sums[1][i] / n;
        const long double product = (long double)sums[2][i], slope = (long double)out[SLOPE][i];
        const long double terms = (fabsl(product) + fabsl(mean * (long double)sums[1][i])) / n * r * r;
        const long double exact = -(product - mean * (long double)sums[1][i]) / n * r * r;
        right = right && near(high, mean, fabsl(mean), 0x1.1p-24L);
        right = right && near(slope, exact, fabsl(exact) + terms * 0x1p-27L, 0x1.1p-24L);
        right = right && near((long double)out[OFFSET][i], (high - mean) - slope * d_mean,
                              fabsl(high - mean) + fabsl(slope * d_mean) + fabsl(mean) * 0x1p-27L, 0x1.1p-24L);
    }
    check(right, "coefficients of the gradient are off");
}

void check_average_f64(trial *t)
{
    enum { MEAN, VAR, ARRAYS };
    const size_t n = t->length;
    const double momentum = random_below(&t->random, 3) ? 0.1 : 1.0;
    const double divisor = (double)(1 + random_below(&t->random, 5000));
    const int missing = (int)random_below(&t->random, 2 * ARRAYS); /* or none */
    const double *mean = trial_doubles(t, false), *m2 = trial_doubles(t, true);
    float *before[ARRAYS], *after[ARRAYS], *expected[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        before[i] = trial_input(t, n);
        after[i] = trial_copy(t, before[i], n);
        expected[i] = trial_copy(t, before[i], n);
    }
    t->kernels->average_f64(n, momentum, divisor, mean, m2, missing == MEAN ? NULL : after[MEAN],
                            missing == VAR ? NULL : after[VAR]);
    t->scalar->average_f64(n, momentum, divisor, mean, m2, missing == MEAN ? NULL : expected[MEAN],
                           missing == VAR ? NULL : expected[VAR]);
    check_outputs(t, after, expected, ARRAYS);
    bool right = true;
    for (size_t c = 0; c < n; c++) {
        const double batch[ARRAYS] = { mean[c], m2[c] / divisor };
        const bool kept = momentum < 1 && !(isfinite((float)batch[MEAN]) && isfinite((float)batch[VAR]));
        for (int k = 0; k < ARRAYS; k++) {
            const float old = before[k][c], now = after[k][c];
            const long double share = momentum < 1 ? (1 - (long double)momentum) * (long double)old : 0;
            const long double exact = share + (long double)momentum * (long double)batch[k];
            right = right && (k == missing || kept ? same_bits(&now, &old, 1)
                                                   : near((long double)now, exact,
                                                          fabsl(share) + fabsl((long double)batch[k]), 0x1.1p-24L));
        }
    }
    check(right, "running statistics are off");
}

void check_scale_f64(trial *t)
{
    const float *var = trial_input(t, t->length), *gamma = trial_input(t, t->length);
    float *scale = trial_output(t, t->length), *expected = trial_output(t, t->length);
    if (random_below(&t->random, 2) == 0)
        gamma = NULL;
    t->kernels->scale_f64(t->length, var, gamma, 1e-3, scale);
    t->scalar->scale_f64(t->length, var, gamma, 1e-3, expected);
    check(same_bits(scale, expected, t->length), "scales have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        const long double exact = (gamma ? (long double)gamma[i] : 1) / sqrtl((long double)var[i] + 1e-3L);
        right =
            right && (isnan(exact) ? isnan(scale[i]) : near((long double)scale[i], exact, fabsl(exact), 0x1.1p-24L));
    }
    check(right, "scales are off");
}
