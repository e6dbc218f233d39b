/* SPDX-License-Identifier: MIT */
/*
 * Each kernel of kernels.def on each ISA: against an oracle in long double, and against portable C to the bit; every
 * length up to four vectors and one, primes and planes of real networks, every input class, flush with a guard page
 * behind and before.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "dispatch/machine.h"
#include "dispatch/size.h"
#include "kernels/element.h"
#include "element.h"
#include "inputs.h"

typedef struct trial {
    const bnorm_kernels *kernels, *scalar;
    input_class class;
    size_t length;
    flush side;
    random_state random;
} trial;

static float *input(trial *t, buffer *b, size_t count)
{
    *b = buffer_new(count * sizeof(float), t->side);
    input_fill(t->class, b->data, 1, 1, count, random_bits(&t->random));
    return b->data;
}

static void free_all(buffer *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buffer_free(&b[i]);
}

static bnorm_dtype any_type(trial *t)
{
    const bnorm_dtype type = (bnorm_dtype)random_below(&t->random, BNORM_DTYPE_F16 + 1);
    return bnorm_has_type(type) ? type : BNORM_DTYPE_F32;
}

/* Values of a type, as floats and as what they are. */
static float *typed_input(trial *t, buffer *floats, buffer *typed, size_t count, bnorm_dtype type)
{
    float *values = input(t, floats, count);
    round_elements(type, values, count);
    *typed = buffer_new(count * type_size(type), t->side);
    store_elements(type, typed->data, values, count);
    return values;
}

/* Equal to the bit, a NaN being equal to a NaN. */
static bool same_doubles(const double *a, const double *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* Within `ulps` units of f32 or f64 of `scale`; what overflows or is NaN is left to the comparison of bits. */
static bool near(long double value, long double exact, long double scale, long double unit)
{
    return !(fabsl(scale) < 1e38L) || fabsl(value - exact) <= unit * scale + 1e-36L;
}

/* ---- sum_units ---- */

/* How `rows` rows of `width` lanes a run lie, with gaps or without. */
static bnorm_reach new_reach(size_t width, size_t rows_per_super_row, size_t rows, size_t runs, size_t gap)
{
    bnorm_reach r = { .point_stride = width + gap };
    r.image_stride = r.run_stride = rows * r.point_stride + gap;
    r.super_row_stride = rows_per_super_row * r.point_stride;
    r.unit_stride = runs * r.image_stride;
    return r;
}

static bnorm_walk new_walk(size_t width, size_t rows, size_t runs, size_t x_gap, size_t dy_gap)
{
    bnorm_walk w = {
        .width = width, .rows_per_super_row = bnorm_rows_per_super_row(width), .run_rows = rows, .points = rows
    };
    w.run_super_rows = (rows + w.rows_per_super_row - 1) / w.rows_per_super_row;
    w.runs = runs;
    w.group_runs = (BNORM_GROUP + w.run_super_rows - 1) / w.run_super_rows;
    w.block = width;
    w.x = new_reach(width, w.rows_per_super_row, rows, runs, x_gap);
    w.dy = new_reach(width, w.rows_per_super_row, rows, runs, dy_gap);
    w.dense = w.rows_per_super_row == 1 || (x_gap == 0 && dy_gap == 0);
    w.prefetch = rows % 2 == 0;
    return w;
}

static const bnorm_fusion relu = { .activation = BNORM_ACT_CLAMP, .low = 0, .high = NAN };

/* Sums by their definition, of terms rounded as the contract says, and of the magnitudes of these terms. */
typedef struct oracle_sums_of_lane {
    long double sum[BNORM_SUMS], size[BNORM_SUMS];
} lane_sums;

static void add_term(lane_sums *s, int i, long double term)
{
    s->sum[i] += term;
    s->size[i] += fabsl(term);
}

/* What the terms of one element of unit * width + lane `channel` are made of. What else can be fused, calls.c tries. */
typedef struct deviations {
    float d, e;
} deviations;

static deviations deviations_of(const bnorm_sum_job *c, size_t channel, float x, float dy)
{
    deviations v = { x - c->pivot[channel], dy };
    if (c->terms == BNORM_CENTERED) {
        v.e = dy - c->dy_pivot[channel];
    } else if (c->terms == BNORM_FUSED) {
        const float scaled = v.d * c->scale[channel], z = scaled + c->shift[channel];
        v.e = z <= 0 ? 0 : dy; /* relu */
    }
    return v;
}

static void add_terms(lane_sums *s, const bnorm_sum_job *c, deviations v)
{
    const long double e = bnorm_of_x(c->terms) ? (long double)v.d : (long double)v.e;
    add_term(s, 0, e);
    add_term(s, 1, e * (long double)v.d);
    add_term(s, 2, (long double)v.d);
}

/* Of a row of a super-row, if it is there. */
static bool find_deviations(const bnorm_walk *w, const bnorm_sum_job *c, size_t channel, size_t super_row, size_t f,
                            deviations *v)
{
    const size_t unit = channel / w->width, lane = channel % w->width;
    const size_t run = super_row / w->run_super_rows, row = super_row % w->run_super_rows * w->rows_per_super_row + f;
    const float *x = c->x, *dy = c->dy;
    if (row < w->run_rows)
        *v = deviations_of(c, channel,
                           x[unit * w->x.unit_stride + run * w->x.run_stride + row * w->x.point_stride + lane],
                           dy[unit * w->dy.unit_stride + run * w->dy.run_stride + row * w->dy.point_stride + lane]);
    return row < w->run_rows;
}

static lane_sums oracle_lane(const bnorm_walk *w, const bnorm_sum_job *c, size_t channel)
{
    lane_sums sums = { { 0 }, { 0 } };
    deviations v;
    for (size_t s = c->first; s < c->first + c->rows; s++)
        for (size_t f = 0; f < w->rows_per_super_row; f++)
            if (find_deviations(w, c, channel, s, f, &v))
                add_terms(&sums, c, v);
    return sums;
}

/* The same in floats, in the order of docs/numerics.md: groups of 16 super-rows, their sums, and then the rows reduced.
 */
static void ordered_lane(const bnorm_walk *w, const bnorm_sum_job *c, size_t channel, float *result)
{
    enum { MOST_ROWS = BNORM_TILE };
    float chunk[MOST_ROWS][BNORM_SUMS] = { { 0 } };
    deviations v;
    for (size_t f = 0; f < w->rows_per_super_row; f++)
        for (size_t begin = 0; begin < c->rows; begin += 16) {
            float group[BNORM_SUMS] = { 0 };
            for (size_t s = begin; s < begin + 16 && s < c->rows; s++)
                if (find_deviations(w, c, channel, c->first + s, f, &v)) {
                    const float e = bnorm_of_x(c->terms) ? v.d : v.e, product = e * v.d;
                    group[0] += e;
                    group[1] += product;
                    group[2] += v.d;
                }
            for (int i = 0; i < BNORM_SUMS; i++)
                chunk[f][i] += group[i];
        }
    for (size_t rows = w->rows_per_super_row; rows > 1; rows -= rows / 2)
        for (size_t row = 0; row < rows / 2; row++)
            for (int i = 0; i < BNORM_SUMS; i++)
                chunk[row][i] += chunk[rows - rows / 2 + row][i];
    memcpy(result, chunk[0], sizeof(chunk[0]));
}

typedef void sum_kernel(const bnorm_walk *, const bnorm_sum_job *);

/* Terms over super-rows; and over the same values in the types that c names. */
static void check_terms(const bnorm_walk *w, bnorm_sum_job c, bnorm_sum_job typed, sum_kernel *kernel,
                        sum_kernel *scalar, float *const out[2])
{
    const size_t channels = c.units * w->width;
    for (int portable = 0; portable < 2; portable++) {
        for (size_t i = 0; i < BNORM_SUMS; i++)
            c.sum[i] = out[portable] + i * channels;
        (portable ? scalar : kernel)(w, &c);
    }
    check(same_bits(out[0], out[1], channels * (size_t)bnorm_sums_of(c.terms)), "sums have other bits than portable C");
    bool right = true, ordered = true;
    for (size_t channel = 0; channel < channels; channel++) {
        const lane_sums exact = oracle_lane(w, &c, channel);
        float in_order[BNORM_SUMS];
        ordered_lane(w, &c, channel, in_order);
        for (int i = 0; i < bnorm_sums_of(c.terms); i++) {
            const float sum = out[0][(size_t)i * channels + channel];
            right = right && near((long double)sum, exact.sum[i], exact.size[i], 40 * 0x1p-24L);
            ordered = ordered && same_bits(&sum, &in_order[i], 1);
        }
    }
    check(right, "sums are off");
    check(ordered, "sums are not of the order of docs/numerics.md");
    memcpy(typed.sum, c.sum, sizeof(c.sum));
    memset(out[1], 0, channels * BNORM_SUMS * sizeof(float));
    kernel(w, &typed);
    check(same_bits(out[0], out[1], channels * (size_t)bnorm_sums_of(c.terms)), "sums of other types have other bits");
}

/* Where sums are of x alone, dy is x again. */
static void check_all_terms(const bnorm_walk *w, const bnorm_sum_job *c, const bnorm_sum_job *typed, sum_kernel *kernel,
                            sum_kernel *scalar, float *const out[2])
{
    for (int terms = BNORM_DEVIATIONS; terms <= BNORM_FUSED; terms++) {
        bnorm_walk walk = *w;
        bnorm_sum_job floats = *c, others = *typed;
        floats.terms = others.terms = (bnorm_terms)terms;
        if (bnorm_of_x(floats.terms)) {
            walk.dy = walk.x;
            floats.dy = floats.x;
            others.dy = others.x;
            others.dy_type = others.x_type;
        }
        check_terms(&walk, floats, others, kernel, scalar, out);
    }
}

static size_t extent_of(const bnorm_reach *r, size_t units, size_t runs, size_t rows, size_t width)
{
    return (units - 1) * r->unit_stride + (runs - 1) * r->run_stride + (rows - 1) * r->point_stride + width;
}

static void check_walk(trial *t, sum_kernel *kernel, sum_kernel *scalar, size_t width, size_t run_rows)
{
    size_t runs = 1 + random_below(&t->random, 4), units = 1 + random_below(&t->random, 3);
    size_t x_gap = random_below(&t->random, 3) == 0 ? 2 : 0, dy_gap = random_below(&t->random, 3) == 0 ? 5 : x_gap;
    const bnorm_walk w = new_walk(width, run_rows, runs, x_gap, dy_gap);
    const size_t super_rows = runs * w.run_super_rows, channels = units * width;
    bnorm_sum_job c = { .fusion = &relu, .units = units, .first = random_below(&t->random, super_rows) };
    const size_t most = bnorm_min(super_rows - c.first, BNORM_CHUNK);
    /* Often a group, or two super-rows more: with one more, the order is the same. */
    c.rows = random_below(&t->random, 2) ? 1 + random_below(&t->random, most)
                                         : bnorm_min(most, BNORM_GROUP + 2 * random_below(&t->random, 2));
    buffer in[6], halves[2], out[2];
    const float **arrays[4] = { &c.pivot, &c.dy_pivot, &c.scale, &c.shift };
    for (size_t i = 0; i < 4; i++)
        *arrays[i] = input(t, &in[i], channels);
    const bnorm_dtype x_type = any_type(t), dy_type = any_type(t);
    c.x = typed_input(t, &in[4], &halves[0], extent_of(&w.x, units, runs, run_rows, width), x_type);
    c.dy = typed_input(t, &in[5], &halves[1], extent_of(&w.dy, units, runs, run_rows, width), dy_type);
    bnorm_sum_job typed = c;
    typed.x = halves[0].data;
    typed.dy = halves[1].data;
    typed.x_type = x_type;
    typed.dy_type = dy_type;
    for (int i = 0; i < 2; i++)
        out[i] = buffer_new(channels * BNORM_SUMS * sizeof(float), t->side);
    check_all_terms(&w, &c, &typed, kernel, scalar, (float *const[2]){ out[0].data, out[1].data });
    free_all(in, 6);
    free_all(halves, 2);
    free_all(out, 2);
}

static void check_sum_units(trial *t)
{
    check_walk(t, t->kernels->sum_units, t->scalar->sum_units, 1, t->length);
    check_walk(t, t->kernels->sum_units, t->scalar->sum_units, t->length,
               1 + random_below(&t->random, 3000 / (t->length + 10)));
}

/* ---- a few operations a channel ---- */

/* `arrays` arrays of doubles, each `length` long and followed by nothing. */
static void doubles(trial *t, buffer *b, size_t arrays, bool positive)
{
    for (size_t a = 0; a < arrays; a++) {
        buffer floats;
        const float *values = input(t, &floats, t->length);
        b[a] = buffer_new(t->length * sizeof(double), t->side);
        for (size_t i = 0; i < t->length; i++)
            ((double *)b[a].data)[i] = positive ? fabs((double)values[i] * 1.7) : (double)values[i] * 1.7;
        buffer_free(&floats);
    }
}

/* Copies that the other kernel may change. */
static void copies(trial *t, buffer *to, const buffer *from, size_t arrays)
{
    for (size_t a = 0; a < arrays; a++) {
        to[a] = buffer_new(from[a].bytes, t->side);
        memcpy(to[a].data, from[a].data, from[a].bytes);
    }
}

static void check_accumulate_f64(trial *t)
{
    buffer in, total, expected;
    const float *sum = input(t, &in, t->length);
    doubles(t, &total, 1, false);
    copies(t, &expected, &total, 1);
    double before = *(double *)total.data;
    t->kernels->accumulate_f64(t->length, sum, total.data);
    t->scalar->accumulate_f64(t->length, sum, expected.data);
    check(same_doubles(total.data, expected.data, t->length), "totals have other bits than portable C");
    before += (double)*sum;
    check(same_doubles(total.data, &before, 1), "the total is off");
    buffer_free(&in);
    buffer_free(&total);
    buffer_free(&expected);
}

/* Around the limit of 8 standard deviations, either may be taken for right. */
static void check_locate_f64(trial *t)
{
    buffer in[2], out[2];
    float *sum = input(t, &in[0], t->length), *sum_sq = input(t, &in[1], t->length), *pivots[2];
    const double count = (double)(1 + random_below(&t->random, 5000));
    for (size_t i = 0; i < t->length; i++) /* from one value repeated to values on both sides of 0 */
        sum_sq[i] = (float)((double)sum[i] * (double)sum[i] / count * (1 + fabs((double)sum_sq[i]) / 64));
    for (int i = 0; i < 2; i++) {
        out[i] = buffer_new(t->length * sizeof(float), t->side);
        pivots[i] = out[i].data;
        (i ? t->scalar : t->kernels)->locate_f64(t->length, count, sum, sum_sq, pivots[i]);
    }
    check(same_bits(pivots[0], pivots[1], t->length), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)sum[i] / (long double)count,
                    square = (long double)sum_sq[i] / (long double)count;
        bool far = mean * mean >= 64 * (square - mean * mean),
             near_limit = fabsl(mean * mean * 65 / square - 64) < 1e-5L;
        bool is_mean = near((long double)pivots[0][i], mean, fabsl(mean), 0x1.1p-24L);
        right = right && (pivots[0][i] == 0.0f || is_mean);
        right = right && (!isfinite(square) || near_limit || (far ? is_mean : pivots[0][i] == 0.0f));
    }
    check(right, "pivots are off");
    for (int i = 0; i < 2; i++) {
        buffer_free(&in[i]);
        buffer_free(&out[i]);
    }
}

static void check_recenter_f64(trial *t)
{
    buffer in, pivots[3];
    const float *sum = input(t, &in, t->length);
    double count = (double)(1 + random_below(&t->random, 5000));
    float *pivot = input(t, &pivots[0], t->length);
    copies(t, pivots + 1, pivots, 1);
    copies(t, pivots + 2, pivots, 1);
    const float *original = pivots[2].data;
    t->kernels->recenter_f64(t->length, count, sum, pivot);
    t->scalar->recenter_f64(t->length, count, sum, pivots[1].data);
    check(same_bits(pivot, pivots[1].data, t->length), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)original[i] + (long double)sum[i] / (long double)count;
        right = right && near((long double)pivot[i], mean, fabsl((long double)original[i]) + fabsl((long double)sum[i]),
                              0x1.1p-24L);
    }
    check(right, "pivots are off");
    buffer_free(&in);
    free_all(pivots, 3);
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

static void check_add_epoch_f64(trial *t)
{
    buffer sums[2], pivots[3], total[2], state[2], expected[2], original[2];
    size_t n = t->length;
    const float *sum = input(t, &sums[0], n), *sum_sq = input(t, &sums[1], n);
    float *pivot = input(t, &pivots[0], n);
    double before = (double)random_below(&t->random, 3) * 100, count = (double)(1 + random_below(&t->random, 5000));
    bool with_total = before > 0 && random_below(&t->random, 2) == 0;
    copies(t, pivots + 1, pivots, 1);
    copies(t, pivots + 2, pivots, 1);
    doubles(t, total, 1, false);
    doubles(t, total + 1, 1, true);
    doubles(t, state, 1, false);
    doubles(t, state + 1, 1, true);
    copies(t, expected, state, 2);
    copies(t, original, state, 2);
    const double *s = total[0].data, *q = total[1].data, *mean = state[0].data, *m2 = state[1].data;
    t->kernels->add_epoch_f64(n, before, count, sum, sum_sq, with_total ? s : NULL, with_total ? q : NULL, pivot,
                              state[0].data, state[1].data);
    t->scalar->add_epoch_f64(n, before, count, sum, sum_sq, with_total ? s : NULL, with_total ? q : NULL,
                             pivots[1].data, expected[0].data, expected[1].data);
    for (int i = 0; i < 2; i++)
        check(same_doubles(state[i].data, expected[i].data, n), "moments have other bits than portable C");
    check(same_bits(pivot, pivots[1].data, n), "pivots have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        long double all_s = (long double)sum[i] + (with_total ? (long double)s[i] : 0);
        long double all_q = (long double)sum_sq[i] + (with_total ? (long double)q[i] : 0);
        long double old_pivot = (long double)((float *)pivots[2].data)[i], c = (long double)count;
        joined j = oracle_join((long double)before, (long double)((double *)original[0].data)[i],
                               (long double)((double *)original[1].data)[i], c, old_pivot + all_s / c,
                               fmaxl(all_q - all_s * all_s / c, 0));
        long double scale_m2 = j.scale_m2 + fabsl(all_q) + all_s * all_s;
        right =
            right && near((long double)mean[i], j.mean, j.scale_mean + fabsl(old_pivot) + fabsl(all_s), 9 * 0x1p-53L);
        right = right && near((long double)m2[i], j.m2, scale_m2, 9 * 0x1p-53L);
        right = right && same_bits(&pivot[i], &(float){ (float)mean[i] }, 1);
    }
    check(right, "moments are off");
    free_all(sums, 2);
    free_all(pivots, 3);
    free_all(total, 2);
    free_all(state, 2);
    free_all(expected, 2);
    free_all(original, 2);
}

static void check_merge_f64(trial *t)
{
    buffer state[4], expected[4], original[4];
    size_t n = t->length;
    double count = (double)(1 + random_below(&t->random, 5000)), more = (double)(1 + random_below(&t->random, 5000));
    for (int i = 0; i < 4; i++)
        doubles(t, state + i, 1, i % 2 == 1);
    copies(t, expected, state, 4);
    copies(t, original, state, 4);
    t->kernels->merge_f64(n, count, more, state[0].data, state[1].data, state[2].data, state[3].data);
    t->scalar->merge_f64(n, count, more, expected[0].data, expected[1].data, expected[2].data, expected[3].data);
    for (int i = 0; i < 4; i++)
        check(same_doubles(state[i].data, expected[i].data, n), "moments have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        long double in[4];
        for (int k = 0; k < 4; k++)
            in[k] = (long double)((double *)original[k].data)[i];
        joined j = oracle_join((long double)count, in[0], in[1], (long double)more, in[2], in[3]);
        right = right && near((long double)((double *)state[0].data)[i], j.mean, j.scale_mean, 9 * 0x1p-53L);
        right = right && near((long double)((double *)state[1].data)[i], j.m2, j.scale_m2, 9 * 0x1p-53L);
    }
    check(right, "merged moments are off");
    free_all(state, 4);
    free_all(expected, 4);
    free_all(original, 4);
}

/* Arrays of floats that a kernel fills. */
static void outputs(trial *t, buffer *b, size_t arrays)
{
    for (size_t i = 0; i < arrays; i++)
        b[i] = buffer_new(t->length * sizeof(float), t->side);
}

static void check_outputs(trial *t, const buffer *b, const buffer *expected, size_t arrays)
{
    for (size_t i = 0; i < arrays; i++)
        check(same_bits(b[i].data, expected[i].data, t->length), "results have other bits than portable C");
}

static void check_finish_f64(trial *t)
{
    buffer state[2], out[2][3];
    doubles(t, state, 1, false);
    doubles(t, state + 1, 1, true);
    double count = (double)(1 + random_below(&t->random, 5000)), epsilon = (double)1e-5f;
    for (int i = 0; i < 2; i++) {
        outputs(t, out[i], 3);
        (i ? t->scalar : t->kernels)
            ->finish_f64(t->length, count, state[0].data, state[1].data, epsilon, out[i][0].data, out[i][1].data,
                         out[i][2].data);
    }
    check_outputs(t, out[0], out[1], 3);
    const float *center = out[0][0].data, *low = out[0][1].data, *rstd = out[0][2].data;
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)((double *)state[0].data)[i];
        long double exact =
            1 / sqrtl((long double)((double *)state[1].data)[i] / (long double)count + (long double)epsilon);
        right = right && near((long double)center[i] + (long double)low[i], mean, fabsl(mean), 0x1p-47L);
        right = right && near((long double)rstd[i], exact, exact, 0x1.1p-24L);
    }
    check(right, "mean or rstd is off");
    free_all(state, 2);
    free_all(out[0], 3);
    free_all(out[1], 3);
}

static void check_coefficients_f64(trial *t)
{
    buffer in[4], out[2][2];
    const float *values[4], *given[4];
    for (int i = 0; i < 4; i++) {
        values[i] = input(t, &in[i], t->length);
        given[i] = i == 1 || random_below(&t->random, 2) ? values[i] : NULL;
    }
    for (int i = 0; i < 2; i++) {
        outputs(t, out[i], 2);
        (i ? t->scalar : t->kernels)
            ->coefficients_f64(t->length, given[0], given[1], given[2], given[3], out[i][0].data, out[i][1].data);
    }
    check_outputs(t, out[0], out[1], 2);
    const float *scale = out[0][0].data, *shift = out[0][1].data;
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double low = given[0] ? (long double)given[0][i] : 0, beta = given[3] ? (long double)given[3][i] : 0;
        long double exact = (long double)values[1][i] * (given[2] ? (long double)given[2][i] : 1);
        long double exact_shift = beta - low * (long double)scale[i];
        right = right && near((long double)scale[i], exact, fabsl(exact), 0x1p-24L);
        right = right &&
                near((long double)shift[i], exact_shift, fabsl(beta) + fabsl(low * (long double)scale[i]), 0x1.1p-24L);
    }
    check(right, "scale or shift is off");
    free_all(in, 4);
    free_all(out[0], 2);
    free_all(out[1], 2);
}

static void check_uncenter_f64(trial *t)
{
    buffer in[5], total[3], out[2][3];
    const float *sum[3], *pivot = input(t, &in[3], t->length), *low = input(t, &in[4], t->length);
    double *totals[3], *sums[2][3];
    const bool with_total = random_below(&t->random, 2), with_pivot = random_below(&t->random, 2);
    const bool with_low = random_below(&t->random, 2);
    const double count = (double)(1 + random_below(&t->random, 5000));
    for (int i = 0; i < 3; i++) {
        sum[i] = input(t, &in[i], t->length);
        doubles(t, &total[i], 1, false);
        totals[i] = total[i].data;
    }
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) {
            out[i][k] = buffer_new(t->length * sizeof(double), t->side);
            sums[i][k] = out[i][k].data;
        }
        (i ? t->scalar : t->kernels)
            ->uncenter_f64(t->length, count, with_pivot ? pivot : NULL, with_low ? low : NULL, sum,
                           with_total ? totals : NULL, sums[i]);
    }
    bool right = true;
    for (int k = 0; k < 3; k++)
        check(same_doubles(sums[0][k], sums[1][k], t->length), "sums have other bits than portable C");
    for (size_t i = 0; i < t->length; i++) {
        long double all[3], p = with_pivot ? (long double)pivot[i] : 0, n = (long double)count, size = 0;
        for (int k = 0; k < 3; k++) {
            all[k] = (long double)sum[k][i] + (with_total ? (long double)totals[k][i] : 0);
            size += fabsl((long double)sum[k][i]) + (with_total ? fabsl((long double)totals[k][i]) : 0);
        }
        if (with_low) {
            all[2] = (long double)low[i] * n;
            size += fabsl(all[2]);
        }
        right = right && near((long double)sums[0][0][i], all[0] + p * n, size + fabsl(p * n), 4 * 0x1p-53L);
        right = right && near((long double)sums[0][1][i], all[2], size, 4 * 0x1p-53L);
        right = right && near((long double)sums[0][2][i], all[1] + p * all[2], size + fabsl(p) * size, 4 * 0x1p-53L);
    }
    check(right, "sums are off");
    free_all(in, 5);
    free_all(total, 3);
    free_all(out[0], 3);
    free_all(out[1], 3);
}

static void check_gradient_f64(trial *t)
{
    buffer in, state[3], out[2][3];
    const float *rstd = input(t, &in, t->length);
    const double count = (double)(1 + random_below(&t->random, 5000)), *sums[3];
    doubles(t, state, 3, false);
    for (int i = 0; i < 3; i++)
        sums[i] = state[i].data;
    for (int i = 0; i < 2; i++) {
        outputs(t, out[i], 3);
        (i ? t->scalar : t->kernels)
            ->gradient_f64(t->length, count, sums, rstd, out[i][0].data, out[i][1].data, out[i][2].data);
    }
    check_outputs(t, out[0], out[1], 3);
    const float *dy_mean = out[0][0].data, *slope = out[0][1].data, *offset = out[0][2].data;
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double n = (long double)count, r = (long double)rstd[i], high = (long double)dy_mean[i];
        long double mean = (long double)sums[0][i] / n, d_mean = (long double)sums[1][i] / n;
        long double terms = (fabsl((long double)sums[2][i]) + fabsl(mean * (long double)sums[1][i])) / n * r * r;
        long double exact = -((long double)sums[2][i] - mean * (long double)sums[1][i]) / n * r * r;
        right = right && near(high, mean, fabsl(mean), 0x1.1p-24L);
        right = right && near((long double)slope[i], exact, fabsl(exact) + terms * 0x1p-27L, 0x1.1p-24L);
        exact = (high - mean) - (long double)slope[i] * d_mean;
        right = right &&
                near((long double)offset[i], exact,
                     fabsl(high - mean) + fabsl((long double)slope[i] * d_mean) + fabsl(mean) * 0x1p-27L, 0x1.1p-24L);
    }
    check(right, "coefficients of the gradient are off");
    free_all(&in, 1);
    free_all(state, 3);
    free_all(out[0], 3);
    free_all(out[1], 3);
}

static void check_average_f64(trial *t)
{
    buffer state[2], out[2][2];
    float *running[2][2];
    const double momentum = random_below(&t->random, 3) ? 0.1 : 1.0;
    const double divisor = (double)(1 + random_below(&t->random, 5000));
    const int missing = (int)random_below(&t->random, 4);
    doubles(t, state, 1, false);
    doubles(t, state + 1, 1, true);
    for (int i = 0; i < 2; i++)
        input(t, &out[0][i], t->length);
    copies(t, out[1], out[0], 2);
    const double *mean = state[0].data, *m2 = state[1].data;
    buffer before[2];
    copies(t, before, out[0], 2);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++)
            running[i][k] = k == missing ? NULL : out[i][k].data;
        (i ? t->scalar : t->kernels)->average_f64(t->length, momentum, divisor, mean, m2, running[i][0], running[i][1]);
    }
    check_outputs(t, out[0], out[1], 2);
    bool right = true;
    for (size_t c = 0; c < t->length; c++) {
        const double batch[2] = { mean[c], m2[c] / divisor };
        const bool kept = momentum < 1 && !(isfinite((float)batch[0]) && isfinite((float)batch[1]));
        for (int k = 0; k < 2; k++) {
            const float old = ((float *)before[k].data)[c], now = ((float *)out[0][k].data)[c];
            const long double share = momentum < 1 ? (1 - (long double)momentum) * (long double)old : 0;
            const long double exact = share + (long double)momentum * (long double)batch[k];
            right = right && (k == missing || kept ? same_bits(&now, &old, 1)
                                                   : near((long double)now, exact,
                                                          fabsl(share) + fabsl((long double)batch[k]), 0x1.1p-24L));
        }
    }
    check(right, "running statistics are off");
    free_all(state, 2);
    free_all(before, 2);
    free_all(out[0], 2);
    free_all(out[1], 2);
}

static void check_scale_f64(trial *t)
{
    buffer in[2], out[2];
    float *var = input(t, &in[0], t->length), *gamma = input(t, &in[1], t->length);
    const float *given = random_below(&t->random, 2) ? gamma : NULL;
    for (int i = 0; i < 2; i++)
        out[i] = buffer_new(t->length * sizeof(float), t->side);
    float *scale = out[0].data;
    t->kernels->scale_f64(t->length, var, given, 1e-3, scale);
    t->scalar->scale_f64(t->length, var, given, 1e-3, out[1].data);
    check(same_bits(scale, out[1].data, t->length), "scales have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double exact = (given ? (long double)gamma[i] : 1) / sqrtl((long double)var[i] + 1e-3L);
        right =
            right && (isnan(exact) ? isnan(scale[i]) : near((long double)scale[i], exact, fabsl(exact), 0x1.1p-24L));
    }
    check(right, "scales are off");
    free_all(in, 2);
    free_all(out, 2);
}

/* ---- apply ---- */

/* The coefficients of an element: of its lane in its unit or row. */
typedef size_t channel_of(size_t line, size_t element, size_t width);

static size_t channel_in_plane(size_t line, size_t element, size_t width)
{
    return line * width + element % width;
}

static size_t channel_in_row(size_t line, size_t element, size_t width)
{
    (void)line;
    (void)width;
    return element;
}

/* What an element must be but for the last rounding, and the size of what it is a sum of. */
typedef struct exact_value {
    long double value, size;
} exact_value;

static exact_value oracle_map(bnorm_map map, bool fused, float x, float dy, const float *const *k, size_t c)
{
    const float d = x - k[BNORM_CENTER][c], scaled = d * k[BNORM_SCALE][c]; /* each rounded: the contract's order */
    const long double y = (long double)scaled + (long double)k[BNORM_SHIFT][c];
    if (map == BNORM_NORMALISE)
        return (exact_value){ fused && y < 0 ? 0 : y, fabsl(y) };
    const float g = fused && scaled + k[BNORM_SHIFT][c] <= 0 ? 0 : dy;
    float e = g;
    if (map == BNORM_GRADIENT) {
        const float sloped = d * k[BNORM_SLOPE][c], corrected = sloped + k[BNORM_OFFSET][c];
        e = g - k[BNORM_DY_MEAN][c];
        e = e + corrected;
    }
    const long double dx = (long double)e * (long double)k[BNORM_SCALE][c];
    return (exact_value){ dx, fabsl(dx) };
}

/*
 * `lines` lines of `length` elements each, of which `used` are channels and the others become zero: what y must be
 * after a kernel that had the bits of portable C in `expected`. Lines are y_stride apart, what they are computed from
 * x_stride and dy_stride.
 */
typedef struct lines {
    bnorm_map map;
    bool fused;
    size_t lines, length, used;
    const float *x, *dy;
    size_t x_stride, dy_stride, y_stride;
    const float *const *k;
    channel_of *channel;
    size_t width;
} lines;

static void check_lines(const lines *l, const float *y, const float *expected)
{
    const size_t count = (l->lines - 1) * l->y_stride + l->length;
    bool right = true;
    for (size_t i = 0; i < count; i++) {
        size_t line = i / l->y_stride, element = i % l->y_stride;
        if (element >= l->length) {
            right = right && memcmp(y + i, "\x5a\x5a\x5a\x5a", sizeof(*y)) == 0;
            continue;
        }
        if (element >= l->used) {
            right = right && memcmp(y + i, &(float){ 0.0f }, sizeof(*y)) == 0;
            continue;
        }
        const exact_value e =
            oracle_map(l->map, l->fused, l->x[line * l->x_stride + element], l->dy[line * l->dy_stride + element], l->k,
                       l->channel(line, element, l->width));
        right = right && near((long double)y[i], e.value, e.size, 0x1p-24L);
    }
    check(right, "y is off, or something beside it was written");
    check(same_bits(y, expected, count), "y has other bits than portable C");
}

static void check_in_place(const float *y, const float *expected, size_t count, size_t length, size_t stride)
{
    bool right = true;
    for (size_t line = 0; line < count; line++)
        right = right && same_bits(y + line * stride, expected + line * stride, length);
    check(right, "in place, y has other bits");
}

/* An output that shows what was not written to it. */
static float *output(trial *t, buffer *b, size_t count)
{
    *b = buffer_new(count * sizeof(float), t->side);
    memset(b->data, 0x5a, count * sizeof(float));
    return b->data;
}

static const size_t plane_widths[] = { 1, 1, 1, 2, 4, 8, 16, 32 };
enum { PLANE_WIDTHS = sizeof(plane_widths) / sizeof(*plane_widths), MAPS = BNORM_FROZEN + 1 };

/*
 * The same call on the same values in other types: what floats gave in `expected`, rounded. `count` lines of `length`
 * elements that lie `stride` apart.
 */
static void check_types(const float *expected, const void *y, bnorm_dtype type, size_t count, size_t length,
                        size_t stride)
{
    float *rounded = malloc(length * sizeof(*rounded)), *given = malloc(length * sizeof(*given));
    bool right = true;
    for (size_t line = 0; line < count; line++) {
        memcpy(rounded, expected + line * stride, length * sizeof(*rounded));
        round_elements(type, rounded, length);
        load_elements(type, given, (const char *)y + line * stride * type_size(type), length);
        right = right && same_bits(rounded, given, length);
    }
    check(right, "in other types, y is not what floats give, rounded");
    free(rounded);
    free(given);
}

/* With and without stores past the caches, which must be aligned: flush at the end, y begins at any lane. */
static void check_map_planes(trial *t)
{
    size_t width = plane_widths[random_below(&t->random, PLANE_WIDTHS)], points = (t->length + width - 1) / width;
    bnorm_planes p = { .width = width, .lanes = points * width, .units = 1 + random_below(&t->random, 9) };
    size_t count = p.units * p.lanes;
    buffer in[2], halves[3], coefficients[BNORM_COEFFICIENTS], out[2];
    const bnorm_dtype x_type = any_type(t), dy_type = any_type(t);
    const float *x = typed_input(t, &in[0], &halves[0], count, x_type);
    const float *dy = typed_input(t, &in[1], &halves[1], count, dy_type);
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        p.job.k[c] = input(t, &coefficients[c], p.units * width);
    float *y = output(t, &out[0], count), *expected = output(t, &out[1], count);
    p.job.map = (bnorm_map)random_below(&t->random, MAPS);
    p.job.stream = random_below(&t->random, 2);
    if (random_below(&t->random, 2)) {
        const size_t fetched = random_below(&t->random, p.units); /* beside the first, the units at the end */
        p.job.prefetch_until = fetched * p.lanes;
        p.job.x_prefetch = p.job.dy_prefetch = (p.units - fetched) * p.lanes;
    }
    p.job.fusion = random_below(&t->random, 2) ? &relu : NULL;
    p.job.x = p.job.map == BNORM_FROZEN && !p.job.fusion ? NULL : x;
    p.job.dy = p.job.map == BNORM_NORMALISE ? NULL : dy;
    p.job.y = expected;
    t->scalar->map_planes(&p);
    p.job.y = y;
    t->kernels->map_planes(&p);
    t->kernels->store_fence();
    const lines l = { p.job.map, p.job.fusion, p.units, p.lanes, p.lanes,          x,    dy,
                      p.lanes,   p.lanes,      p.lanes, p.job.k, channel_in_plane, width };
    check_lines(&l, y, expected);
    bnorm_planes typed = p;
    typed.job.bf16_fast = bnorm_runs(BNORM_CPU_AVX512BF16);
    typed.job.x_type = x_type;
    typed.job.dy_type = dy_type;
    typed.job.y_type = any_type(t);
    halves[2] = buffer_new(count * type_size(typed.job.y_type), t->side);
    typed.job.x = p.job.x ? halves[0].data : NULL;
    typed.job.dy = p.job.dy ? halves[1].data : NULL;
    typed.job.y = halves[2].data;
    t->kernels->map_planes(&typed);
    t->kernels->store_fence();
    check_types(expected, typed.job.y, typed.job.y_type, p.units, p.lanes, p.lanes);
    bool in_dy = !p.job.x || (p.job.dy && random_below(&t->random, 2));
    memcpy(y, in_dy ? dy : x, count * sizeof(float));
    *(in_dy ? &p.job.dy : &p.job.x) = y;
    p.job.stream = false;
    t->kernels->map_planes(&p);
    check_in_place(y, expected, p.units, p.lanes, p.lanes);
    free_all(in, 2);
    free_all(halves, 3);
    free_all(coefficients, BNORM_COEFFICIENTS);
    free_all(out, 2);
}

static void check_map_rows(trial *t)
{
    size_t n = t->length, rows = 1 + random_below(&t->random, 2000 / (n + 50) + 9);
    size_t stride = n + (random_below(&t->random, 3) ? 0 : 3), count = (rows - 1) * stride + n;
    buffer in[2], halves[3], coefficients[BNORM_COEFFICIENTS], out[2];
    const bnorm_dtype x_type = any_type(t), dy_type = any_type(t);
    bnorm_rows r = { .rows = rows, .width = n, .x_stride = stride, .y_stride = stride };
    r.dy_stride = random_below(&t->random, 4) ? stride : n + 5;
    r.used = random_below(&t->random, 3) ? n : random_below(&t->random, n + 1);
    const float *x = typed_input(t, &in[0], &halves[0], count, x_type);
    const float *dy = typed_input(t, &in[1], &halves[1], (rows - 1) * r.dy_stride + n, dy_type);
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        r.job.k[c] = input(t, &coefficients[c], n);
    float *y = output(t, &out[0], count), *expected = output(t, &out[1], count);
    r.job.map = (bnorm_map)random_below(&t->random, MAPS);
    r.job.stream = random_below(&t->random, 2);
    r.job.fusion = random_below(&t->random, 2) ? &relu : NULL;
    r.job.x = r.job.map == BNORM_FROZEN && !r.job.fusion ? NULL : x;
    r.job.dy = r.job.map == BNORM_NORMALISE ? NULL : dy;
    r.job.y = expected;
    t->scalar->map_rows(&r);
    r.job.y = y;
    t->kernels->map_rows(&r);
    t->kernels->store_fence();
    const lines l = { r.job.map, r.job.fusion, rows,   n,       r.used,         x, dy,
                      stride,    r.dy_stride,  stride, r.job.k, channel_in_row, n };
    check_lines(&l, y, expected);
    bnorm_rows typed = r;
    typed.job.bf16_fast = bnorm_runs(BNORM_CPU_AVX512BF16);
    typed.job.x_type = x_type;
    typed.job.dy_type = dy_type;
    typed.job.y_type = any_type(t);
    halves[2] = buffer_new(count * type_size(typed.job.y_type), t->side);
    typed.job.x = r.job.x ? halves[0].data : NULL;
    typed.job.dy = r.job.dy ? halves[1].data : NULL;
    typed.job.y = halves[2].data;
    t->kernels->map_rows(&typed);
    t->kernels->store_fence();
    check_types(expected, typed.job.y, typed.job.y_type, rows, n, stride);
    bool in_dy = r.job.dy && r.dy_stride == stride && (!r.job.x || random_below(&t->random, 2));
    if (in_dy || r.job.x) {
        memcpy(y, in_dy ? dy : x, count * sizeof(float));
        *(in_dy ? &r.job.dy : &r.job.x) = y;
        r.job.stream = false;
        t->kernels->map_rows(&r);
        check_in_place(y, expected, rows, n, stride);
    }
    free_all(in, 2);
    free_all(halves, 3);
    free_all(coefficients, BNORM_COEFFICIENTS);
    free_all(out, 2);
}

/*
 * Another thread, told by a plain store after a store_fence, must see what was streamed: rounds go to and fro, each
 * with other values, of which the first and the last lie in lines that are not filled.
 */
typedef struct reader {
    const float *y;
    size_t count;
    atomic_uint told, done; /* rounds */
    unsigned rounds;
    bool right;
} reader;

/* Looks often before it lets others run: what enters the system has its stores done. */
static void wait_for(const atomic_uint *rounds, unsigned round)
{
    for (unsigned looks = 1; atomic_load_explicit(rounds, memory_order_acquire) < round; looks++)
        if (looks % 4096 == 0)
            sched_yield();
}

static void *read_rounds(void *argument)
{
    reader *r = argument;
    r->right = true;
    for (unsigned round = 1; round <= r->rounds; round++) {
        wait_for(&r->told, round);
        for (size_t i = r->count; i--;)
            r->right = r->right && r->y[i] == (float)round;
        atomic_store_explicit(&r->done, round, memory_order_release);
    }
    return NULL;
}

static void check_store_fence(trial *t)
{
    if (t->class != INPUT_normal || t->length % 16 != 8 || t->length > 64)
        return;
    static const float zero = 0, one = 1;
    BNORM_ALIGNED float x[64], y[64];
    bnorm_planes p = { .job = { .stream = true, .x = x, .y = y }, .width = 1, .units = 1, .lanes = t->length };
    reader r = { .y = y, .count = t->length, .rounds = 300 };
    pthread_t thread;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        p.job.k[c] = c == BNORM_SCALE ? &one : &zero;
    if (!check(pthread_create(&thread, NULL, read_rounds, &r) == 0, "no thread could be started"))
        return;
    for (unsigned round = 1; round <= r.rounds; round++) {
        for (size_t i = 0; i < t->length; i++)
            x[i] = (float)round;
        t->kernels->map_planes(&p);
        t->kernels->store_fence();
        atomic_store_explicit(&r.told, round, memory_order_release);
        wait_for(&r.done, round);
    }
    pthread_join(thread, NULL);
    check(r.right, "another thread reads something else");
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    void (*check)(trial *);
} kernels_to_check[] = {
#define KERNEL(name, parameters) { #name, check_##name },
#include "kernels/kernels.def"
#undef KERNEL
};

static void check_lengths(trial *t, size_t kernel)
{
    static const size_t more[] = { 67, 97, 127, 195, 196, 251, 509, 577, 784, 1021 };
    enum { FOUR_VECTORS_AND_ONE = 65, MORE = sizeof(more) / sizeof(*more) };
    for (size_t i = 0; i < FOUR_VECTORS_AND_ONE + MORE; i++) {
        t->length = i < FOUR_VECTORS_AND_ONE ? i + 1 : more[i - FOUR_VECTORS_AND_ONE];
        for (int class = 0; class < INPUT_COUNT; class ++) {
            t->class = (input_class) class;
            t->side = (class + (int)i) % 2 ? FLUSH_END : FLUSH_START;
            check_context("%s %s, length %zu, %s, random state %#llx", kernels_to_check[kernel].name, t->kernels->name,
                          t->length, input_name(t->class), (unsigned long long)t->random.state);
            kernels_to_check[kernel].check(t);
        }
    }
}

static void check_folding(void)
{
    for (size_t width = 1; width < 5000; width++) {
        size_t rows = bnorm_rows_per_super_row(width);
        check_context("bnorm_rows_per_super_row(%zu)", width);
        check(rows == 1 || rows * width <= BNORM_MAX_SUPER_ROW, "a super-row is too wide");
        check(rows * width * 8 >= (rows * width + BNORM_TILE - 1) / BNORM_TILE * BNORM_TILE * 7, "lanes are wasted");
    }
}

int main(int argc, char **argv)
{
    size_t count = sizeof(kernels_to_check) / sizeof(*kernels_to_check);
    check_start(argc, argv, "kernels");
    check_folding();
    trial t = { .scalar = bnorm_kernels_at(bnorm_isa_count() - 1), .random = { check_seed() } };
    for (size_t i = 0; i < check_isa_count(); i++) {
        t.kernels = bnorm_kernels_at(i);
        for (size_t kernel = 0; kernel < count; kernel++)
            check_lengths(&t, kernel);
    }
    check_note_isas();
    check_note("%zu (kernel, ISA) pairs: %zu kernels on %zu ISAs", count * check_isa_count(), count, check_isa_count());
    return check_finish();
}
