/* SPDX-License-Identifier: MIT */
/*
 * Each kernel of kernels.def on each ISA: against an oracle in long double, and against portable C to the bit; every
 * length up to four vectors and one, primes and planes of real networks, every input class, flush with a guard page
 * behind and before.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "dispatch/internal.h"
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

/* ---- collect ---- */

/* A walk over `runs` runs of `rows` rows of `width` lanes, with gaps or without. */
static bnorm_walk new_walk(size_t width, size_t rows, size_t gap)
{
    bnorm_walk w = { .width = width, .folded = bnorm_folded_rows(width), .run_rows = rows, .points = rows };
    w.run_super_rows = (rows + w.folded - 1) / w.folded;
    w.block = width;
    w.point_stride = width + gap;
    w.image_stride = rows * w.point_stride + gap;
    w.run_stride = w.image_stride;
    w.super_row_stride = w.folded * w.point_stride;
    w.dense = w.folded == 1 || gap == 0;
    w.fetch = rows % 2 == 0;
    return w;
}

/* The sums of one lane's channel by their definition, of differences rounded as the contract says. */
static void oracle_sums(const bnorm_walk *w, const float *x, size_t first, size_t rows, size_t lane, float pivot,
                        long double *sum, long double *sum_sq, long double *sum_abs)
{
    *sum = *sum_sq = *sum_abs = 0;
    for (size_t s = first; s < first + rows; s++)
        for (size_t f = 0; f < w->folded; f++) {
            size_t row = s % w->run_super_rows * w->folded + f;
            if (row >= w->run_rows)
                break;
            float d = x[s / w->run_super_rows * w->image_stride + row * w->point_stride + lane] - pivot;
            *sum += (long double)d;
            *sum_abs += fabsl((long double)d);
            *sum_sq += (long double)d * (long double)d;
        }
}

typedef void collect_kernel(const bnorm_walk *, const float *, size_t, size_t, size_t, size_t, const float *, float *,
                            float *);

static void check_collect(trial *t, collect_kernel *kernel, collect_kernel *scalar, size_t width, size_t run_rows)
{
    size_t runs = 1 + random_below(&t->random, 4), units = 1 + random_below(&t->random, 3);
    bnorm_walk w = new_walk(width, run_rows, random_below(&t->random, 3) == 0 ? 2 : 0);
    size_t unit_stride = runs * w.image_stride, super_rows = runs * w.run_super_rows;
    size_t first = random_below(&t->random, super_rows);
    size_t rows = 1 + random_below(&t->random, bnorm_min(super_rows - first, BNORM_CHUNK));
    size_t extent = (units - 1) * unit_stride + (runs - 1) * w.image_stride + (run_rows - 1) * w.point_stride + width;
    buffer x_buffer, pivots;
    const float *x = input(t, &x_buffer, extent), *pivot = input(t, &pivots, units * width);
    buffer out[2] = { buffer_new(units * width * 2 * sizeof(float), t->side),
                      buffer_new(units * width * 2 * sizeof(float), t->side) };
    float *sums = out[0].data, *expected = out[1].data;
    kernel(&w, x, units, unit_stride, first, rows, pivot, expected, NULL);
    kernel(&w, x, units, unit_stride, first, rows, pivot, sums, sums + units * width);
    check(same_bits(sums, expected, units * width), "without squares, sums have other bits");
    scalar(&w, x, units, unit_stride, first, rows, pivot, expected, expected + units * width);
    check(same_bits(sums, expected, units * width * 2), "sums have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < units * width; i++) {
        long double sum, sum_sq, sum_abs, unit = 40 * 0x1p-24L;
        oracle_sums(&w, x + i / width * unit_stride, first, rows, i % width, pivot[i], &sum, &sum_sq, &sum_abs);
        right = right && near((long double)sums[i], sum, sum_abs, unit);
        right = right && near((long double)sums[units * width + i], sum_sq, sum_sq, unit);
    }
    check(right, "sums are off");
    buffer_free(&x_buffer);
    buffer_free(&pivots);
    buffer_free(&out[0]);
    buffer_free(&out[1]);
}

static void check_collect_nchw_f32(trial *t)
{
    check_collect(t, t->kernels->collect_nchw_f32, t->scalar->collect_nchw_f32, 1, t->length);
}

static void check_collect_nhwc_f32(trial *t)
{
    size_t rows = 1 + random_below(&t->random, 3000 / (t->length + 10));
    check_collect(t, t->kernels->collect_nhwc_f32, t->scalar->collect_nhwc_f32, t->length, rows);
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

static void free_all(buffer *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buffer_free(&b[i]);
}

static void check_accumulate_f64(trial *t)
{
    buffer in[2], total[2], expected[2];
    const float *sum = input(t, &in[0], t->length), *sum_sq = input(t, &in[1], t->length);
    doubles(t, total, 2, false);
    copies(t, expected, total, 2);
    double before = *(double *)total[0].data;
    t->kernels->accumulate_f64(t->length, sum, sum_sq, total[0].data, total[1].data);
    t->scalar->accumulate_f64(t->length, sum, sum_sq, expected[0].data, expected[1].data);
    for (int i = 0; i < 2; i++)
        check(same_doubles(total[i].data, expected[i].data, t->length), "totals have other bits than portable C");
    before += (double)*sum;
    check(same_doubles(total[0].data, &before, 1), "the total is off");
    free_all(in, 2);
    free_all(total, 2);
    free_all(expected, 2);
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

static void check_conclude_f64(trial *t)
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
    t->kernels->conclude_f64(n, before, count, sum, sum_sq, with_total ? s : NULL, with_total ? q : NULL, pivot,
                             state[0].data, state[1].data);
    t->scalar->conclude_f64(n, before, count, sum, sum_sq, with_total ? s : NULL, with_total ? q : NULL, pivots[1].data,
                            expected[0].data, expected[1].data);
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

static bnorm_coefficients coefficients(trial *t, buffer *b)
{
    for (int i = 0; i < 5; i++)
        b[i] = buffer_new(t->length * sizeof(float), t->side);
    return (bnorm_coefficients){ b[0].data, b[1].data, b[2].data, b[3].data, b[4].data };
}

static void check_coefficients_f64(trial *t)
{
    buffer state[2], parameters[2], out[5], expected_out[5];
    doubles(t, state, 1, false);
    doubles(t, state + 1, 1, true);
    float *gamma = input(t, &parameters[0], t->length), *beta = input(t, &parameters[1], t->length);
    const bnorm_coefficients c = coefficients(t, out), expected = coefficients(t, expected_out);
    const float *given[2] = { random_below(&t->random, 2) ? gamma : NULL, random_below(&t->random, 2) ? beta : NULL };
    double count = (double)(1 + random_below(&t->random, 5000)), epsilon = (double)1e-5f;
    t->kernels->coefficients_f64(t->length, count, state[0].data, state[1].data, given[0], given[1], epsilon, &c);
    t->scalar->coefficients_f64(t->length, count, state[0].data, state[1].data, given[0], given[1], epsilon, &expected);
    for (int i = 0; i < 5; i++)
        check(same_bits(out[i].data, expected_out[i].data, t->length), "coefficients have other bits than portable C");
    bool right = true;
    for (size_t i = 0; i < t->length; i++) {
        long double mean = (long double)((double *)state[0].data)[i];
        long double rstd =
            1 / sqrtl((long double)((double *)state[1].data)[i] / (long double)count + (long double)epsilon);
        long double scale = rstd * (given[0] ? (long double)gamma[i] : 1);
        right = right && near((long double)c.center[i] + (long double)c.low[i], mean, fabsl(mean), 0x1p-47L);
        right = right && near((long double)c.rstd[i], rstd, rstd, 0x1.1p-24L);
        right = right && near((long double)c.scale[i], scale, fabsl(scale), 0x1.1p-24L);
    }
    check(right, "coefficients are off");
    free_all(state, 2);
    free_all(parameters, 2);
    free_all(out, 5);
    free_all(expected_out, 5);
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

/*
 * `lines` lines of `length` elements each, `stride` apart, of which `used` are channels and the others become zero:
 * what y must be after a kernel that had the bits of portable C in `expected`.
 */
static void check_lines(const float *x, const float *y, const float *expected, size_t lines, size_t length,
                        size_t stride, size_t used, const float *const *k, channel_of *channel, size_t width)
{
    bool right = true;
    for (size_t i = 0; i < (lines - 1) * stride + length; i++) {
        size_t line = i / stride, element = i % stride;
        if (element >= length) {
            right = right && memcmp(y + i, "\x5a\x5a\x5a\x5a", sizeof(*y)) == 0;
            continue;
        }
        if (element >= used) {
            right = right && memcmp(y + i, &(float){ 0.0f }, sizeof(*y)) == 0;
            continue;
        }
        size_t c = channel(line, element, width);
        float centered = x[i] - k[0][c], scaled = centered * k[1][c]; /* each rounded: the contract's order */
        long double exact = (long double)scaled + (long double)k[2][c];
        right = right && near((long double)y[i], exact, fabsl(exact), 0x1p-24L);
    }
    check(right, "y is off, or something beside it was written");
    check(same_bits(y, expected, (lines - 1) * stride + length), "y has other bits than portable C");
}

static void check_in_place(const float *y, const float *expected, size_t lines, size_t length, size_t stride)
{
    bool right = true;
    for (size_t line = 0; line < lines; line++)
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
enum { PLANE_WIDTHS = sizeof(plane_widths) / sizeof(*plane_widths) };

/* With and without stores past the caches, which must be aligned: flush at the end, y begins at any lane. */
static void check_apply_planes_f32(trial *t)
{
    size_t width = plane_widths[random_below(&t->random, PLANE_WIDTHS)], points = (t->length + width - 1) / width;
    bnorm_planes p = { .width = width, .lanes = points * width, .units = 1 + random_below(&t->random, 9) };
    size_t count = p.units * p.lanes;
    buffer in[4], out[2];
    const float *x = input(t, &in[0], count);
    const float *k[3];
    for (int i = 0; i < 3; i++)
        k[i] = input(t, &in[1 + i], p.units * width);
    float *y = output(t, &out[0], count), *expected = output(t, &out[1], count);
    p.stream = random_below(&t->random, 2);
    if (random_below(&t->random, 2)) {
        p.fetch_units = random_below(&t->random, p.units); /* the first, of the units at the end */
        p.fetch = (p.units - p.fetch_units) * p.lanes;
    }
    p.x = x;
    p.center = k[0];
    p.scale = k[1];
    p.shift = k[2];
    p.y = expected;
    t->scalar->apply_planes_f32(&p);
    p.y = y;
    t->kernels->apply_planes_f32(&p);
    t->kernels->drain();
    check_lines(x, y, expected, p.units, p.lanes, p.lanes, p.lanes, k, channel_in_plane, width);
    memcpy(y, x, count * sizeof(float));
    p.x = y;
    p.stream = false;
    t->kernels->apply_planes_f32(&p);
    check_in_place(y, expected, p.units, p.lanes, p.lanes);
    free_all(in, 4);
    free_all(out, 2);
}

static void check_apply_rows_f32(trial *t)
{
    size_t n = t->length, rows = 1 + random_below(&t->random, 2000 / (n + 50) + 9);
    size_t stride = n + (random_below(&t->random, 3) ? 0 : 3), count = (rows - 1) * stride + n;
    buffer in[4], out[2];
    const float *x = input(t, &in[0], count);
    const float *k[3] = { input(t, &in[1], n), input(t, &in[2], n), input(t, &in[3], n) };
    float *y = output(t, &out[0], count), *expected = output(t, &out[1], count);
    bnorm_rows r = { .rows = rows,
                     .width = n,
                     .used = random_below(&t->random, 3) ? n : random_below(&t->random, n + 1) };
    r.stream = random_below(&t->random, 2);
    r.x = x;
    r.x_stride = r.y_stride = stride;
    r.center = k[0];
    r.scale = k[1];
    r.shift = k[2];
    r.y = expected;
    t->scalar->apply_rows_f32(&r);
    r.y = y;
    t->kernels->apply_rows_f32(&r);
    t->kernels->drain();
    check_lines(x, y, expected, rows, n, stride, r.used, k, channel_in_row, n);
    memcpy(y, x, count * sizeof(float));
    r.x = y;
    r.stream = false;
    t->kernels->apply_rows_f32(&r);
    check_in_place(y, expected, rows, n, stride);
    free_all(in, 4);
    free_all(out, 2);
}

/* Another thread must see what was streamed before a drain: its creation orders all other memory. */
typedef struct reader {
    const float *y, *expected;
    size_t count;
    bool same;
} reader;

static void *read_values(void *argument)
{
    reader *r = argument;
    r->same = same_bits(r->y, r->expected, r->count);
    return NULL;
}

static void check_drain(trial *t)
{
    if (t->class != INPUT_normal)
        return;
    buffer in[2], out[2];
    const float *k = input(t, &in[1], 1);
    bnorm_planes p = {
        .stream = true, .width = 1, .units = 1, .lanes = t->length, .center = k, .scale = k, .shift = k
    };
    p.x = input(t, &in[0], t->length);
    p.y = output(t, &out[1], t->length);
    t->scalar->apply_planes_f32(&p);
    p.y = output(t, &out[0], t->length);
    t->kernels->apply_planes_f32(&p);
    t->kernels->drain();
    reader r = { p.y, out[1].data, t->length, false };
    pthread_t thread;
    if (check(pthread_create(&thread, NULL, read_values, &r) == 0, "no thread could be started")) {
        pthread_join(thread, NULL);
        check(r.same, "another thread reads something else");
    }
    free_all(in, 2);
    free_all(out, 2);
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
    static const size_t more[] = { 67, 97, 127, 195, 196, 251, 509, 784, 1021 };
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
        size_t rows = bnorm_folded_rows(width);
        check_context("bnorm_folded_rows(%zu)", width);
        check(rows == 1 || rows * width <= BNORM_MAX_FOLDED, "a super-row is too wide");
        check(rows * width * 8 >= (rows * width + BNORM_TILE - 1) / BNORM_TILE * BNORM_TILE * 7, "lanes are wasted");
    }
}

int main(int argc, char **argv)
{
    size_t count = sizeof(kernels_to_check) / sizeof(*kernels_to_check);
    char isas[128] = "";
    check_start(argc, argv, "kernels");
    check_folding();
    trial t = { .scalar = bnorm_kernels_at(bnorm_isa_count() - 1), .random = { check_seed() } };
    for (size_t i = 0; (t.kernels = bnorm_kernels_at(i)) != NULL; i++) {
        strcat(strcat(isas, " "), t.kernels->name);
        for (size_t kernel = 0; kernel < count; kernel++)
            check_lengths(&t, kernel);
    }
    check_note("ISAs:%s", isas);
    check_note("%zu (kernel, ISA) pairs: %zu kernels on %zu ISAs", count * bnorm_isa_count(), count, bnorm_isa_count());
    return check_finish();
}
