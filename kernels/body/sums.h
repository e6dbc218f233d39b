/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of the sums: the terms of a pair, for each bnorm_terms of kernels.h, and the reduction of lanes to
 * channels. The walks are sums.inc, sum_*.inc and gather.h.
 */
#ifndef BNORM_BODY_SUMS_H
#define BNORM_BODY_SUMS_H

#include "fusion.h"
#include "pair.h"

typedef struct {
    pair sum, product, d; /* in the order of bnorm_terms; terms with fewer sums leave the last ones zero */
} sums;

/* The coefficients of the terms of a pair. */
typedef struct {
    pair pivot, dy_pivot, scale, shift;
} sum_coefficients;

enum {
    sums_of_deviations = 1,
    sums_of_squares = 2,
    sums_of_products = 2,
    sums_of_fused = 2,
    sums_of_clamped = 2,
    sums_of_centered = 3,
    has_dy_deviations = 0,
    has_dy_squares = 0,
    has_dy_products = 1,
    has_dy_fused = 1,
    has_dy_clamped = 1,
    has_dy_centered = 1,
    is_centered_deviations = 0,
    is_centered_squares = 0,
    is_centered_products = 0,
    is_centered_fused = 0,
    is_centered_clamped = 0,
    is_centered_centered = 1,
    is_fused_deviations = 0,
    is_fused_squares = 0,
    is_fused_products = 0,
    is_fused_fused = 1,
    is_fused_clamped = 1,
    is_fused_centered = 0,
    has_residual_deviations = 0,
    has_residual_squares = 0,
    has_residual_products = 0,
    has_residual_fused = 1,
    has_residual_clamped = 0,
    has_residual_centered = 0
};

static INLINE sums add_sums(sums a, sums b)
{
    return (sums){ add(a.sum, b.sum), add(a.product, b.product), add(a.d, b.d) };
}

static INLINE sums no_sums(void)
{
    return (sums){ zero_pair(), zero_pair(), zero_pair() };
}

/*
 * Each add_ function adds the terms of the first n lanes of x and dy; the others add +0, which changes no sum, as none
 * is ever -0. `at` is the index of dy's and the residual's first element.
 */
static INLINE void add_deviations(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                                  const bnorm_fusion *f, size_t at)
{
    s->sum = accumulate(s->sum, keep_n(sub(x, k->pivot), n));
}

static INLINE void add_squares(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                               const bnorm_fusion *f, size_t at)
{
    const pair d = keep_n(sub(x, k->pivot), n);
    s->sum = accumulate(s->sum, d);
    s->product = add(s->product, mul(d, d));
}

static INLINE void add_products(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                                const bnorm_fusion *f, size_t at)
{
    const pair d = keep_n(sub(x, k->pivot), n);
    s->sum = accumulate(s->sum, dy);
    s->product = add(s->product, mul(dy, d));
}

static INLINE void add_centered(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                                const bnorm_fusion *f, size_t at)
{
    const pair d = keep_n(sub(x, k->pivot), n), e = keep_n(sub(dy, k->dy_pivot), n);
    s->sum = accumulate(s->sum, e);
    s->product = add(s->product, mul(e, d));
    s->d = accumulate(s->d, d);
}

static INLINE void add_fused(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                             const bnorm_fusion *f, size_t at)
{
    const pair d = sub(x, k->pivot), z = add(mul(d, k->scale), k->shift);
    const pair dz = keep_n(fuse_backward(dy, z, residual, f, at, n), n);
    s->sum = accumulate(s->sum, dz);
    s->product = add(s->product, mul(dz, keep_n(d, n)));
}

/* Does the same for a clamp, such as ReLU, without a residual and a mask. */
static INLINE void add_clamped(sums *s, pair x, pair dy, const pair *residual, size_t n, const sum_coefficients *k,
                               const bnorm_fusion *f, size_t at)
{
    const pair d = sub(x, k->pivot), z = add(mul(d, k->scale), k->shift);
    const pair dz = clamp_backward(dy, z, f);
    s->sum = accumulate(s->sum, keep_n(dz, n));
    s->product = add(s->product, mul(dz, keep_n(d, n)));
}

static inline bool is_clamped(const bnorm_sum_job *c)
{
    return c->terms == BNORM_FUSED && c->fusion->activation == BNORM_ACT_CLAMP && !c->fusion->residual &&
           !c->fusion->mask;
}

/* ---- Positions of super-rows ---- */

typedef struct {
    size_t run, row; /* `row` counts super-rows within the run */
} position;

static INLINE position position_of(const bnorm_walk *w, size_t super_row)
{
    return (position){ super_row / w->run_super_rows, super_row % w->run_super_rows };
}

static INLINE size_t element_at(const bnorm_reach *reach, position at)
{
    return at.run * reach->run_stride + at.row * reach->super_row_stride;
}

/* Moves on by `rows` super-rows, to the beginning of the next run at most. */
static INLINE position advance(const bnorm_walk *w, position at, size_t rows)
{
    at.row += rows;
    return at.row < w->run_super_rows ? at : (position){ at.run + 1, 0 };
}

/* Moves on by `rows` super-rows through any number of runs. */
static INLINE position advance_runs(const bnorm_walk *w, position at, size_t rows)
{
    for (at.row += rows; at.row >= w->run_super_rows; at.row -= w->run_super_rows)
        at.run++;
    return at;
}

/* How many lanes a super-row has: the last one of a run may have fewer rows. */
static INLINE size_t super_row_lanes(const bnorm_walk *w, size_t row)
{
    return minimum(w->rows_per_super_row, w->run_rows - row * w->rows_per_super_row) * w->width;
}

/* ---- Sizes of loops, and prefetch distances ---- */

enum {
    STRIP_LANES = 512, /* lanes of a strip of wide rows: sum_strip() */
    ROWS_PER_PASS = 4, /* super-rows that a strip, or columns, take at a time */
    WIDE_IN_MEMORY = 512, /* lanes of a row from which on strips are faster, if it is not in the caches */
    WIDE = 1024, /* the same if it is */
    SMALL_PLANES_AT_ONCE = 16, /* planes not in the caches that are read together if they are small */
    PREFETCH_LANES = 4096, /* prefetch distance in planes */
    PREFETCH_POINTS = 8 /* prefetch distance in columns */
};

/* How many elements ahead x and dy are prefetched, if they are. */
typedef struct {
    bool any;
    size_t x, dy;
} prefetch_distance;

static const prefetch_distance no_prefetch = { false, 0, 0 };

/*
 * For the lanes of a run that end at `end`, prefetches PREFETCH_LANES ahead: within the run, from its end into the next
 * run, and from the last run into the next unit. For short runs, prefetches the same lanes some images ahead: as many
 * images as a group has, or as have PREFETCH_LANES lanes.
 */
static INLINE prefetch_distance lane_prefetch(const bnorm_walk *w, const bnorm_sum_job *c, size_t unit, size_t in_run,
                                              size_t end)
{
    const size_t lanes = w->run_rows * w->width, back = lanes - minimum(PREFETCH_LANES, lanes);
    const size_t runs = w->run_super_rows < BNORM_GROUP ? w->group_runs
                        : lanes < PREFETCH_LANES        ? PREFETCH_LANES / lanes
                                                        : 1;
    const bnorm_reach *x = &w->x, *dy = &w->dy;
    if (end + PREFETCH_LANES <= lanes)
        return (prefetch_distance){ true, PREFETCH_LANES, PREFETCH_LANES };
    if (in_run + runs < w->runs)
        return (prefetch_distance){ true, runs * x->run_stride - back, runs * dy->run_stride - back };
    if (w->run_super_rows >= BNORM_GROUP && runs <= w->runs && unit + 1 < c->units)
        return (prefetch_distance){ true, x->unit_stride - (w->runs - runs) * x->run_stride - back,
                                    dy->unit_stride - (w->runs - runs) * dy->run_stride - back };
    return no_prefetch;
}

/* Prefetches BNORM_PREFETCH_FAR bytes ahead if the `rows` rows that follow, without the last, reach that far. */
static INLINE prefetch_distance row_prefetch(const bnorm_walk *w, const bnorm_sum_job *c, size_t rows)
{
    const size_t x = BNORM_PREFETCH_FAR / bnorm_size_of(c->x_type), dy = BNORM_PREFETCH_FAR / bnorm_size_of(c->dy_type);
    if (!w->prefetch || !rows || (rows - 1) * w->x.super_row_stride < x + BNORM_TILE ||
        (rows - 1) * w->dy.super_row_stride < dy + BNORM_TILE)
        return no_prefetch;
    return (prefetch_distance){ true, x, dy };
}

/* ---- Coefficients per channel are repeated to the lanes of a tile or super-row; sums are reduced back ---- */

/* One float per lane; NULL if the terms do not use it. */
typedef struct {
    const float *pivot, *dy_pivot, *scale, *shift;
} sum_coefficient_rows;

static INLINE sum_coefficients load_sum_coefficients(const sum_coefficient_rows *rows, size_t lane, size_t n)
{
    sum_coefficients k = { .pivot = load_f32(rows->pivot, BNORM_DTYPE_F32, lane, n),
                           .dy_pivot = zero_pair(),
                           .scale = zero_pair(),
                           .shift = zero_pair() };
    if (rows->dy_pivot)
        k.dy_pivot = load_f32(rows->dy_pivot, BNORM_DTYPE_F32, lane, n);
    if (rows->scale) {
        k.scale = load_f32(rows->scale, BNORM_DTYPE_F32, lane, n);
        k.shift = load_f32(rows->shift, BNORM_DTYPE_F32, lane, n);
    }
    return k;
}

/* Loads the coefficients of a tile, in which a row of `width` lanes repeats. */
static INLINE void load_tile_coefficients(sum_coefficients *k, const bnorm_sum_job *c, size_t channel, size_t width,
                                          bool centered, bool fused)
{
    for (size_t p = 0; p < PAIRS; p++) {
        k[p] = (sum_coefficients){ .pivot = repeat_row_pair(c->pivot + channel, width, p),
                                   .dy_pivot = zero_pair(),
                                   .scale = zero_pair(),
                                   .shift = zero_pair() };
        if (centered)
            k[p].dy_pivot = repeat_row_pair(c->dy_pivot + channel, width, p);
        if (fused) {
            k[p].scale = repeat_row_pair(c->scale + channel, width, p);
            k[p].shift = repeat_row_pair(c->shift + channel, width, p);
        }
    }
}

static inline void add_lanes(float *lanes, const float *more, size_t n)
{
    for (size_t l = 0; l < n; l++)
        lanes[l] += more[l];
}

/* Reduces rows to one: adds row r + (rows - half) to row r < half, and repeats. */
static NOINLINE void reduce_rows(float *lanes, size_t rows, size_t width)
{
    while (rows > 1) {
        const size_t half = rows / 2;
        add_lanes(lanes, lanes + (rows - half) * width, half * width);
        rows -= half;
    }
}

/* Reduces a tile to a row of `width` lanes, a divisor of the tile. */
static INLINE void reduce_tile(float *row, size_t width, const pair *tile)
{
    v_f32 v[2 * PAIRS];
    for (size_t p = 0; p < PAIRS; p++) {
        v[2 * p] = tile[p].a;
        v[2 * p + 1] = tile[p].b;
    }
    if (width == 1) {
        *row = v_reduce(v);
        return;
    }
    for (size_t half = PAIRS; half >= 1 && half * V_LANES >= width; half /= 2)
        for (size_t i = 0; i < half; i++)
            v[i] = v_add(v[i], v[i + half]);
    if (width >= V_LANES) {
        for (size_t i = 0; i * V_LANES < width; i++)
            v_store(row + i * V_LANES, v[i]);
    } else {
        BNORM_ALIGNED float lanes[V_LANES];
        v_store(lanes, v[0]);
        reduce_rows(lanes, V_LANES / width, width);
        memcpy(row, lanes, width * sizeof(*row));
    }
}

static INLINE void store_tile_sums(const bnorm_sum_job *c, size_t channel, size_t width, const sums *s, int count)
{
    pair sum[PAIRS], product[PAIRS], d[PAIRS];
    for (size_t p = 0; p < PAIRS; p++) {
        sum[p] = s[p].sum;
        product[p] = s[p].product;
        d[p] = s[p].d;
    }
    reduce_tile(c->sum[0] + channel, width, sum);
    if (count >= 2)
        reduce_tile(c->sum[1] + channel, width, product);
    if (count == 3)
        reduce_tile(c->sum[2] + channel, width, d);
}

static INLINE void accumulate_lanes(float *chunk, size_t lane, pair group, size_t n, bool first)
{
    store_f32(chunk, BNORM_DTYPE_F32, lane, n, first ? group : add(load_f32(chunk, BNORM_DTYPE_F32, lane, n), group));
}

static INLINE sums load_sums(float *const *from, size_t lane, int count)
{
    return (sums){ load_f32(from[0], BNORM_DTYPE_F32, lane, PAIR),
                   count >= 2 ? load_f32(from[1], BNORM_DTYPE_F32, lane, PAIR) : zero_pair(),
                   count == 3 ? load_f32(from[2], BNORM_DTYPE_F32, lane, PAIR) : zero_pair() };
}

/* Adds n lanes of a group's sums to those of the chunk, from `lane` on; the first group only stores them. */
static INLINE void accumulate_sums(float *const *chunk, size_t lane, const sums *group, size_t n, bool first, int count)
{
    accumulate_lanes(chunk[0], lane, group->sum, n, first);
    if (count >= 2)
        accumulate_lanes(chunk[1], lane, group->product, n, first);
    if (count == 3)
        accumulate_lanes(chunk[2], lane, group->d, n, first);
}

/* For super-rows of several rows: the coefficients, repeated for each row, and the sums of each lane. */
typedef struct {
    BNORM_ALIGNED float coefficients[4][BNORM_MAX_SUPER_ROW];
    BNORM_ALIGNED float sum[BNORM_SUMS][BNORM_MAX_SUPER_ROW];
} super_row_buffers;

static INLINE const float *repeat_in_super_row(float *lanes, const bnorm_walk *w, const float *rows, size_t unit)
{
    if (!rows || w->rows_per_super_row == 1)
        return rows ? rows + unit * w->width : NULL;
    repeat_row(lanes, rows + unit * w->width, w->width, w->rows_per_super_row);
    return lanes;
}

static INLINE sum_coefficient_rows super_row_coefficients(super_row_buffers *buffers, const bnorm_walk *w,
                                                          const bnorm_sum_job *c, size_t unit)
{
    return (sum_coefficient_rows){ .pivot = repeat_in_super_row(buffers->coefficients[0], w, c->pivot, unit),
                                   .dy_pivot = repeat_in_super_row(buffers->coefficients[1], w, c->dy_pivot, unit),
                                   .scale = repeat_in_super_row(buffers->coefficients[2], w, c->scale, unit),
                                   .shift = repeat_in_super_row(buffers->coefficients[3], w, c->shift, unit) };
}

/* Points `sum` to where the lanes' sums over a chunk go: the output itself if a super-row is one row. */
static INLINE void point_to_sums(float **sum, super_row_buffers *buffers, const bnorm_walk *w, const bnorm_sum_job *c,
                                 size_t unit)
{
    for (int i = 0; i < bnorm_sums_of(c->terms); i++)
        sum[i] = w->rows_per_super_row > 1 ? buffers->sum[i] : c->sum[i] + unit * w->width;
}

/* Reduces the lanes' sums to a row, and stores it. */
static INLINE void reduce_chunk(super_row_buffers *buffers, const bnorm_walk *w, const bnorm_sum_job *c, size_t unit)
{
    for (int i = 0; w->rows_per_super_row > 1 && i < bnorm_sums_of(c->terms); i++) {
        reduce_rows(buffers->sum[i], w->rows_per_super_row, w->width);
        memcpy(c->sum[i] + unit * w->width, buffers->sum[i], w->width * sizeof(*buffers->sum[i]));
    }
}

#endif
