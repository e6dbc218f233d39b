/* SPDX-License-Identifier: MIT */
/* Kernels that make sums into moments: pivots, epochs and what processes merge. */
#include <math.h>

#include "check.h"
#include "trial.h"

static double draw_count(trial *t)
{
    return (double)(1 + random_below(&t->random, 5000));
}

void check_accumulate_f64(trial *t)
{
    const float *sum = trial_input(t, t->length);
    double *total = trial_doubles(t, false), *expected = trial_copy_doubles(t, total, t->length);
    const double first = *total + (double)*sum;
    t->kernels->accumulate_f64(t->length, sum, total);
    t->scalar->accumulate_f64(t->length, sum, expected);
    check(same_doubles(total, expected, t->length), "totals have other bits than portable C");
    check(same_doubles(total, &first, 1), "the total is off");
}

/* Around the limit of 8 standard deviations, either may be taken for right. */
void check_locate_f64(trial *t)
{
    float *sum = trial_input(t, t->length), *sum_sq = trial_input(t, t->length);
    float *pivot = trial_output(t, t->length), *expected = trial_output(t, t->length);
    const double count = draw_count(t);
    for (size_t i = 0; i < t->length; i++) /* from one value repeated to values on both sides of 0 */
        sum_sq[i] = (float)((double)sum[i] * (double)sum[i] / count * (1 + fabs((double)sum_sq[i]) / 64));
    t->kernels->locate_f64(t->length, count, sum, sum_sq, pivot);
    t->scalar->locate_f64(t->length, count, sum, sum_sq, expected);
    check(same_bits(pivot, expected, t->length), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)sum[i] / (long double)count,
                    square = (long double)sum_sq[i] / (long double)count;
        bool far = mean * mean >= 64 * (square - mean * mean),
             near_limit = fabsl(mean * mean * 65 / square - 64) < 1e-5L;
        bool is_mean = near((long double)pivot[i], mean, fabsl(mean), 0x1.1p-24L);
        right = right && (pivot[i] == 0.0f || is_mean);
        right = right && (!isfinite(square) || near_limit || (far ? is_mean : pivot[i] == 0.0f));
    }
    check(right, "pivots are off");
}

void check_recenter_f64(trial *t)
{
    const float *sum = trial_input(t, t->length);
    const double count = draw_count(t);
    const float *before = trial_input(t, t->length);
    float *pivot = trial_copy(t, before, t->length), *expected = trial_copy(t, before, t->length);
    t->kernels->recenter_f64(t->length, count, sum, pivot);
    t->scalar->recenter_f64(t->length, count, sum, expected);
    check(same_bits(pivot, expected, t->length), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)before[i] + (long double)sum[i] / (long double)count;
        right = right && near((long double)pivot[i], mean, fabsl((long double)before[i]) + fabsl((long double)sum[i]),
                              0x1.1p-24L);
    }
    check(right, "pivots are off");
}

/* The mean and m2 of `before` values and of `count` more, about their pivot. */
typedef struct joined {
    long double mean, m2, scale_mean, scale_m2;
} joined;

static joined oracle_join(long double before, long double mean, long double m2, long double count,
                          long double more_mean, long double more_m2)
{
    long double delta = more_mean - mean, all = before + count;
    joined j = { mean + delta * count / all, m2 + more_m2 + delta * delta * before * count / all, 0, 0 };
    if (before == 0)
        j = (joined){ more_mean, more_m2, 0, 0 };
    j.scale_mean = fabsl(mean) + fabsl(more_mean);
    j.scale_m2 = m2 + more_m2 + (mean * mean + more_mean * more_mean) * all;
    return j;
}

/* What an epoch is added to. */
typedef struct state {
    float *pivot;
    double *mean, *m2;
} state;

static state copy_state(trial *t, const state *s)
{
    return (state){ trial_copy(t, s->pivot, t->length), trial_copy_doubles(t, s->mean, t->length),
                    trial_copy_doubles(t, s->m2, t->length) };
}

/* The sums of an epoch, and what was accumulated of it before, or NULL. */
typedef struct epoch {
    double before, count;
    const float *sum, *sum_sq;
    const double *total, *total_sq;
} epoch;

static void add_epoch(const bnorm_kernels *kernels, size_t n, const epoch *e, const state *s)
{
    kernels->add_epoch_f64(n, e->before, e->count, e->sum, e->sum_sq, e->total, e->total_sq, s->pivot, s->mean, s->m2);
}

static bool epoch_is_right(const epoch *e, const state *before, const state *after, size_t i)
{
    const long double s = (long double)e->sum[i] + (e->total ? (long double)e->total[i] : 0);
    const long double q = (long double)e->sum_sq[i] + (e->total ? (long double)e->total_sq[i] : 0);
    const long double pivot = (long double)before->pivot[i], count = (long double)e->count;
    const joined j = oracle_join((long double)e->before, (long double)before->mean[i], (long double)before->m2[i],
                                 count, pivot + s / count, fmaxl(q - s * s / count, 0));
    const long double scale_m2 = j.scale_m2 + fabsl(q) + s * s;
    return near((long double)after->mean[i], j.mean, j.scale_mean + fabsl(pivot) + fabsl(s), 9 * 0x1p-53L) &&
           near((long double)after->m2[i], j.m2, scale_m2, 9 * 0x1p-53L) &&
           same_bits(&after->pivot[i], &(float){ (float)after->mean[i] }, 1);
}

void check_add_epoch_f64(trial *t)
{
    const size_t n = t->length;
    epoch e = { .sum = trial_input(t, n), .sum_sq = NULL };
    e.sum_sq = trial_input(t, n);
    state before = { .pivot = trial_input(t, n) };
    e.before = (double)random_below(&t->random, 3) * 100;
    e.count = draw_count(t);
    const bool with_total = e.before > 0 && random_below(&t->random, 2) == 0;
    const double *total = trial_doubles(t, false), *total_sq = trial_doubles(t, true);
    e.total = with_total ? total : NULL;
    e.total_sq = with_total ? total_sq : NULL;
    before.mean = trial_doubles(t, false);
    before.m2 = trial_doubles(t, true);
    const state after = copy_state(t, &before), expected = copy_state(t, &before);
    add_epoch(t->kernels, n, &e, &after);
    add_epoch(t->scalar, n, &e, &expected);
    check(same_doubles(after.mean, expected.mean, n), "means have other bits than portable C");
    check(same_doubles(after.m2, expected.m2, n), "m2 have other bits than portable C");
    check(same_bits(after.pivot, expected.pivot, n), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < n; i++)
        right = right && epoch_is_right(&e, &before, &after, i);
    check(right, "moments are off");
}

void check_merge_f64(trial *t)
{
    enum { MEAN, M2, MORE_MEAN, MORE_M2, ARRAYS };
    double *before[ARRAYS], *after[ARRAYS], *expected[ARRAYS];
    const size_t n = t->length;
    const double count = draw_count(t), more = draw_count(t);
    for (int i = 0; i < ARRAYS; i++) {
        before[i] = trial_doubles(t, i == M2 || i == MORE_M2);
        after[i] = trial_copy_doubles(t, before[i], n);
        expected[i] = trial_copy_doubles(t, before[i], n);
    }
    t->kernels->merge_f64(n, count, more, after[MEAN], after[M2], after[MORE_MEAN], after[MORE_M2]);
    t->scalar->merge_f64(n, count, more, expected[MEAN], expected[M2], expected[MORE_MEAN], expected[MORE_M2]);
    for (int i = 0; i < ARRAYS; i++)
        check(same_doubles(after[i], expected[i], n), "moments have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        const joined j =
            oracle_join((long double)count, (long double)before[MEAN][i], (long double)before[M2][i], (long double)more,
                        (long double)before[MORE_MEAN][i], (long double)before[MORE_M2][i]);
        right = right && near((long double)after[MEAN][i], j.mean, j.scale_mean, 9 * 0x1p-53L);
        right = right && near((long double)after[M2][i], j.m2, j.scale_m2, 9 * 0x1p-53L);
    }
    check(right, "merged moments are off");
}

void check_finish_f64(trial *t)
{
    enum { CENTER, LOW, RSTD, ARRAYS };
    const double *mean = trial_doubles(t, false), *m2 = trial_doubles(t, true);
    const double count = draw_count(t), epsilon = (double)1e-5f;
    float *out[ARRAYS], *expected[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        out[i] = trial_output(t, t->length);
        expected[i] = trial_output(t, t->length);
    }
    t->kernels->finish_f64(t->length, count, mean, m2, epsilon, out[CENTER], out[LOW], out[RSTD]);
    t->scalar->finish_f64(t->length, count, mean, m2, epsilon, expected[CENTER], expected[LOW], expected[RSTD]);
    for (int i = 0; i < ARRAYS; i++)
        check(same_bits(out[i], expected[i], t->length), "results have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        const long double m = (long double)mean[i];
        const long double rstd = 1 / sqrtl((long double)m2[i] / (long double)count + (long double)epsilon);
        right = right && near((long double)out[CENTER][i] + (long double)out[LOW][i], m, fabsl(m), 0x1p-47L);
        right = right && near((long double)out[RSTD][i], rstd, rstd, 0x1.1p-24L);
    }
    check(right, "mean or rstd is off");
}
