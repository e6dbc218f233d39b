/* SPDX-License-Identifier: MIT */
/* Kernels that sum over super-rows: against an oracle in long double, and in the order of docs/numerics.md. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "trial.h"

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

static size_t extent_of(const bnorm_walk *w, const bnorm_reach *r, size_t units)
{
    return (units - 1) * r->unit_stride + (w->runs - 1) * r->run_stride + (w->run_rows - 1) * r->point_stride +
           w->width;
}

/* Sums over some super-rows of a walk; and over the same values in other types, often of one type. */
static void check_walk(trial *t, const bnorm_walk *w, size_t units)
{
    const size_t super_rows = w->runs * w->run_super_rows, channels = units * w->width;
    bnorm_sum_job c = { .fusion = &relu, .units = units, .first = random_below(&t->random, super_rows) };
    const size_t most = bnorm_min(super_rows - c.first, BNORM_CHUNK);
    /* Often a group, or two super-rows more: with one more, the order is the same. */
    c.rows = random_below(&t->random, 2) ? 1 + random_below(&t->random, most)
                                         : bnorm_min(most, BNORM_GROUP + 2 * random_below(&t->random, 2));
    const float **arrays[] = { &c.pivot, &c.dy_pivot, &c.scale, &c.shift };
    for (size_t i = 0; i < COUNT_OF(arrays); i++)
        *arrays[i] = trial_input(t, channels);
    bnorm_sum_job typed = c;
    typed.x_type = trial_type(t);
    typed.dy_type = random_below(&t->random, 2) ? typed.x_type : trial_type(t);
    void *x, *dy;
    c.x = trial_typed_input(t, extent_of(w, &w->x, units), typed.x_type, &x);
    c.dy = trial_typed_input(t, extent_of(w, &w->dy, units), typed.dy_type, &dy);
    typed.x = x;
    typed.dy = dy;
    float *const out[2] = { trial_output(t, channels * BNORM_SUMS), trial_output(t, channels * BNORM_SUMS) };
    check_all_terms(w, &c, &typed, t->kernels->sum_units, t->scalar->sum_units, out);
}

/* Units one after the other. */
static void check_units(trial *t, size_t width, size_t run_rows)
{
    size_t runs = 1 + random_below(&t->random, 4), units = 1 + random_below(&t->random, 3);
    size_t x_gap = random_below(&t->random, 3) == 0 ? 2 : 0, dy_gap = random_below(&t->random, 3) == 0 ? 5 : x_gap;
    const bnorm_walk w = new_walk(width, run_rows, runs, x_gap, dy_gap);
    check_walk(t, &w, units);
}

/* Units of one channel that are adjacent in memory, a few or more than a pair of vectors, and alone there or not. */
static void check_columns(trial *t, size_t points)
{
    size_t units = 1 + random_below(&t->random, random_below(&t->random, 4) ? 6 : 40);
    bnorm_walk w = new_walk(1, points, 1 + random_below(&t->random, 4), units - 1, units - 1);
    bnorm_reach *const reaches[] = { &w.x, &w.dy };
    for (size_t i = 0; i < COUNT_OF(reaches); i++) {
        const size_t gap = random_below(&t->random, 3) ? 0 : 3;
        *reaches[i] = new_reach(1, w.rows_per_super_row, points, w.runs, units - 1 + gap);
        reaches[i]->unit_stride = 1;
    }
    w.dense = false;
    check_walk(t, &w, units);
}

void check_sum_units(trial *t)
{
    check_units(t, 1, t->length);
    check_units(t, t->length, 1 + random_below(&t->random, 3000 / (t->length + 10)));
    check_columns(t, t->length);
}
