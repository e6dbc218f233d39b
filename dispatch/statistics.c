/* SPDX-License-Identifier: MIT */
/* Which super-rows are summed about which pivot, and how the sums become statistics. */
#include <string.h>

#include "size.h"
#include "statistics.h"

enum { SEGMENT_ROWS = 2048 }; /* super-rows of a segment, at most: part of the order */

/* ---- The order ---- */

static size_t pitch(const bnorm_geometry *g, const bnorm_layout *l)
{
    return g->points == 1 ? l->image_stride : l->point_stride;
}

static bnorm_reach reach_of(const bnorm_geometry *g, const bnorm_layout *l, size_t rows_per_super_row)
{
    return (bnorm_reach){ .unit_stride = l->block_stride,
                          .run_stride = l->image_stride,
                          .super_row_stride = rows_per_super_row * pitch(g, l),
                          .image_stride = l->image_stride,
                          .point_stride = l->point_stride,
                          .block_stride = l->block_stride };
}

/* Whether the lanes of each super-row are adjacent, and super-rows and runs have the strides of bnorm_reach. */
static bool is_dense(const bnorm_geometry *g, const bnorm_layout *l, const bnorm_walk *w, bool one_row)
{
    bool row_adjacent = !one_row || g->blocks == 1 || l->block_stride == g->block;
    bool rows_even = !one_row || g->points == 1 || g->batch == 1 || l->image_stride == g->points * l->point_stride;
    return row_adjacent && rows_even && (w->rows_per_super_row == 1 || pitch(g, l) == w->width);
}

static bnorm_walk walk_of(const bnorm_geometry *g, bool with_dy, bool one_row)
{
    bnorm_walk w = { .points = g->points, .block = g->block };
    w.width = one_row ? g->blocks * g->block : g->block;
    w.rows_per_super_row = bnorm_rows_per_super_row(w.width);
    w.run_rows = one_row ? g->batch * g->points : g->points;
    w.runs = one_row ? 1 : g->batch;
    w.run_super_rows = bnorm_ceil_div(w.run_rows, w.rows_per_super_row);
    w.group_runs = bnorm_ceil_div(BNORM_GROUP, w.run_super_rows);
    w.x = reach_of(g, &g->in, w.rows_per_super_row);
    w.dy = reach_of(g, &g->out, w.rows_per_super_row);
    w.dense = is_dense(g, &g->in, &w, one_row) && (!with_dy || is_dense(g, &g->out, &w, one_row));
    if (!with_dy)
        w.dy = w.x;
    return w;
}

bnorm_order bnorm_order_of(const bnorm_geometry *g, bool with_dy)
{
    bool one_row = g->blocks == 1 || g->points == 1;
    bnorm_order o = { .walk = walk_of(g, with_dy, one_row), .units = one_row ? 1 : g->blocks };
    o.super_rows = o.walk.run_super_rows * (one_row ? 1 : g->batch);
    o.segment_rows = bnorm_ceil_div(o.super_rows, bnorm_ceil_div(o.super_rows, SEGMENT_ROWS));
    o.segment_rows = bnorm_ceil_div(o.segment_rows, BNORM_GROUP) * BNORM_GROUP;
    o.segments = bnorm_ceil_div(o.super_rows, o.segment_rows);
    return o;
}

/* ---- A segment of some units ---- */

/* Super-rows [begin, end), before which there are `before` values per channel. */
typedef struct segment_range {
    size_t begin, end, before;
} segment_range;

static segment_range range_of(const bnorm_order *o, size_t segment)
{
    size_t begin = segment * o->segment_rows;
    return (segment_range){ begin, bnorm_min(begin + o->segment_rows, o->super_rows),
                            bnorm_values_before(&o->walk, begin) };
}

static size_t values_in(const bnorm_order *o, size_t first, size_t rows)
{
    return bnorm_values_before(&o->walk, first + rows) - bnorm_values_before(&o->walk, first);
}

/* NOLINTBEGIN(clang-analyzer-core.NullDereference): of x and dy one is there. */

/* Loads elements as floats. */
static void load_piece(const void *x, bnorm_dtype type, size_t first, size_t n, float *piece)
{
    if (type == BNORM_DTYPE_F32)
        for (size_t i = 0; i < n; i++)
            piece[i] = ((const float *)x)[first + i];
    else if (type == BNORM_DTYPE_BF16)
        for (size_t i = 0; i < n; i++)
            piece[i] = bnorm_of_bf16(((const uint16_t *)x)[first + i]);
    else
        for (size_t i = 0; i < n; i++)
            piece[i] = bnorm_element(x, type, first + i);
}

/* The first value of each channel from a super-row on. */
static void first_values(const bnorm_walk *w, const void *x, bnorm_dtype type, size_t units, size_t super_row,
                         float *pivot)
{
    const size_t row = bnorm_values_before(w, super_row);
    size_t first = row / w->points * w->x.image_stride + row % w->points * w->x.point_stride;
    if (type == BNORM_DTYPE_F32 && w->width == 1) { /* most calls */
        for (size_t u = 0; u < units; u++, first += w->x.unit_stride)
            pivot[u] = ((const float *)x)[first];
        return;
    }
    for (size_t u = 0; u < units; u++, first += w->x.unit_stride)
        for (size_t lane = 0, at = first; lane < w->width; lane += w->block, at += w->x.block_stride, pivot += w->block)
            load_piece(x, type, at, w->block, pivot);
}

/* NOLINTEND(clang-analyzer-core.NullDereference) */

/* Finds a pivot for the values of x that c names: their mean, computed about the first of them. */
static void find_pivot(const bnorm_kernels *k, const bnorm_order *o, bnorm_sum_job c, const bnorm_scratch *s)
{
    c.terms = BNORM_DEVIATIONS;
    c.sum[0] = s->sum[0];
    first_values(&o->walk, c.x, c.x_type, c.units, c.first, s->pivot);
    k->sum_units(&o->walk, &c);
    k->recenter_f64(c.units * o->walk.width, (double)values_in(o, c.first, c.rows), s->sum[0], s->pivot);
}

/* Sums over any number of super-rows: the result is totals + sums, or, where it answers false, the sums alone. */
static bool sum_chunks(const bnorm_kernels *k, const bnorm_order *o, bnorm_sum_job c, const bnorm_scratch *s)
{
    const size_t end = c.first + c.rows, channels = c.units * o->walk.width;
    const bool several = c.rows > BNORM_CHUNK;
    const int sums = bnorm_sums_of(c.terms);
    for (int i = 0; i < sums; i++) {
        c.sum[i] = s->sum[i];
        if (several)
            memset(s->total[i], 0, channels * sizeof(*s->total[i]));
    }
    for (; c.first < end; c.first += BNORM_CHUNK) {
        c.rows = bnorm_min(end - c.first, BNORM_CHUNK);
        k->sum_units(&o->walk, &c);
        if (end - c.first > BNORM_CHUNK)
            for (int i = 0; i < sums; i++)
                k->accumulate_f64(channels, s->sum[i], s->total[i]);
    }
    return several;
}

/*
 * The first group of a segment is summed twice: about its first value, for its mean, and then about that mean. Each
 * further epoch is as long as all before it together, and is summed about their mean.
 */
static void moments(const bnorm_kernels *k, const bnorm_order *o, bnorm_sum_job c, segment_range range,
                    const bnorm_scratch *s, double *mean, double *m2)
{
    size_t epoch = c.rows = bnorm_min(BNORM_GROUP, range.end - range.begin);
    c.pivot = s->pivot;
    find_pivot(k, o, c, s);
    for (c.first = range.begin; c.first < range.end; c.first += epoch) {
        if (c.first > range.begin)
            epoch = bnorm_min(c.first - range.begin, range.end - c.first);
        c.rows = epoch;
        bool several = sum_chunks(k, o, c, s);
        k->add_epoch_f64(c.units * o->walk.width, (double)(bnorm_values_before(&o->walk, c.first) - range.before),
                         (double)values_in(o, c.first, epoch), s->sum[0], s->sum[1], several ? s->total[0] : NULL,
                         several ? s->total[1] : NULL, s->pivot, mean, m2);
    }
}

/*
 * Finds pivots for dy from the first 16 or more values of each channel: 0, unless all of these lie on one side and far
 * from 0. Answers whether any is not 0.
 */
static bool locate_dy(const bnorm_kernels *k, const bnorm_order *o, bnorm_sum_job c, const bnorm_scratch *s)
{
    const size_t channels = c.units * o->walk.width;
    bnorm_order of_dy = *o;
    bool found = false;
    of_dy.walk.x = o->walk.dy;
    c.terms = BNORM_SQUARES;
    c.first = 0;
    c.rows = bnorm_min(bnorm_ceil_div(BNORM_GROUP, o->walk.rows_per_super_row), o->super_rows);
    c.x = c.dy;
    c.x_type = c.dy_type;
    c.pivot = s->pivot;
    memset(s->pivot, 0, channels * sizeof(*s->pivot));
    sum_chunks(k, &of_dy, c, s);
    k->locate_f64(channels, (double)values_in(o, c.first, c.rows), s->sum[0], s->sum[1], s->pivot);
    for (size_t i = 0; i < channels; i++)
        found |= s->pivot[i] != 0.0f;
    return found;
}

/* Sums d, which BNORM_FUSED leaves out, into sum[2] and total[2], as sum_chunks() does. */
static void sum_deviations(const bnorm_kernels *k, const bnorm_order *o, bnorm_sum_job c, const bnorm_scratch *s)
{
    const bnorm_scratch first = { .sum = { s->sum[2] }, .total = { s->total[2] } };
    bnorm_order of_x = *o;
    of_x.walk.dy = o->walk.x;
    c.terms = BNORM_DEVIATIONS;
    c.dy = c.x;
    c.dy_type = c.x_type;
    sum_chunks(k, &of_x, c, &first);
}

static void products(const bnorm_source *source, const bnorm_order *o, bnorm_sum_job c, const bnorm_scratch *s,
                     double *const *sums)
{
    const bnorm_kernels *k = source->kernels;
    const size_t channels = c.units * o->walk.width;
    const double count = (double)values_in(o, c.first, c.rows);
    c.pivot = s->k[BNORM_CENTER];
    if (c.terms == BNORM_FUSED) {
        c.scale = s->k[BNORM_SCALE];
        c.shift = s->k[BNORM_SHIFT];
        if (!source->low_known)
            sum_deviations(k, o, c, s);
    } else {
        const bool found = source->centered && locate_dy(k, o, c, s);
        if (found || !source->low_known) {
            c.terms = BNORM_CENTERED;
            c.dy_pivot = s->pivot;
            if (!found)
                memset(s->pivot, 0, channels * sizeof(*s->pivot));
        }
    }
    const bool several = sum_chunks(k, o, c, s);
    const float *const sum[BNORM_SUMS] = { s->sum[0], s->sum[1], s->sum[2] };
    k->uncenter_f64(channels, count, c.dy_pivot, source->low_known ? s->low : NULL, sum, several ? s->total : NULL,
                    sums);
}

/* The job for a segment of some units. dy stands in for x where no sum of x is wanted. */
static bnorm_sum_job sum_job_of(const bnorm_source *source, const bnorm_order *o, size_t unit, size_t units,
                                segment_range range)
{
    const bnorm_dtype x_type = source->x ? source->x_type : source->dy_type;
    const void *x = source->x ? source->x : source->dy;
    return (bnorm_sum_job){
        .terms = source->terms,
        .units = units,
        .first = range.begin,
        .rows = range.end - range.begin,
        .x_type = x_type,
        .dy_type = source->dy ? source->dy_type : x_type,
        .x = bnorm_elements(x, x_type, unit * o->walk.x.unit_stride),
        .dy = bnorm_elements(source->dy ? source->dy : x, source->dy ? source->dy_type : x_type,
                             unit * o->walk.dy.unit_stride),
        .fusion = source->fusion,
        .at = source->at + unit * o->walk.dy.unit_stride,
    };
}

void bnorm_segment_statistics(const bnorm_source *source, const bnorm_order *o, size_t unit, size_t units,
                              size_t segment, const bnorm_scratch *s, double *const *statistics)
{
    const segment_range range = range_of(o, segment);
    const bnorm_sum_job c = sum_job_of(source, o, unit, units, range);
    if (source->terms == BNORM_SQUARES)
        moments(source->kernels, o, c, range, s, statistics[0], statistics[1]);
    else
        products(source, o, c, s, statistics);
}

void bnorm_merge_segment(const bnorm_source *source, const bnorm_order *o, size_t channels, size_t segment,
                         double *const *more, double *const *statistics)
{
    const segment_range range = range_of(o, segment);
    if (source->terms == BNORM_SQUARES)
        source->kernels->merge_f64(channels, (double)range.before,
                                   (double)values_in(o, range.begin, range.end - range.begin), statistics[0],
                                   statistics[1], more[0], more[1]);
    else
        for (size_t i = 0; i < bnorm_statistic_count(source->terms); i++)
            for (size_t c = 0; c < channels; c++)
                statistics[i][c] += more[i][c];
}

void bnorm_unit_statistics(const bnorm_source *source, const bnorm_order *o, size_t unit, size_t units,
                           const bnorm_scratch *s)
{
    bnorm_segment_statistics(source, o, unit, units, 0, s, s->all);
    for (size_t segment = 1; segment < o->segments; segment++) {
        bnorm_segment_statistics(source, o, unit, units, segment, s, s->part);
        bnorm_merge_segment(source, o, units * o->walk.width, segment, s->part, s->all);
    }
}
