/* SPDX-License-Identifier: MIT */
/* The statistics of whole units and of segments, in the order of docs/numerics.md. */
#include <string.h>

#include "internal.h"

enum { SEGMENT_ROWS = 2048 }; /* super-rows of a segment, at most: part of the order */

static bnorm_walk walk_of(const bnorm_geometry *g, bool one_row)
{
    bnorm_walk w = { .points = g->points, .block = g->block, .image_stride = g->in.image, .point_stride = g->in.point };
    w.block_stride = g->in.block;
    w.width = one_row ? g->blocks * g->block : g->block;
    w.folded = bnorm_folded_rows(w.width);
    w.run_rows = one_row ? g->batch * g->points : g->points;
    w.run_super_rows = bnorm_ceil_div(w.run_rows, w.folded);
    w.run_stride = g->in.image;
    size_t pitch = g->points == 1 ? g->in.image : g->in.point;
    w.super_row_stride = w.folded * pitch;
    bool row_adjacent = !one_row || g->blocks == 1 || g->in.block == g->block;
    bool rows_even = !one_row || g->points == 1 || g->batch == 1 || g->in.image == g->points * g->in.point;
    w.dense = row_adjacent && rows_even && (w.folded == 1 || pitch == w.width);
    return w;
}

bnorm_order bnorm_order_of(const bnorm_geometry *g)
{
    bool one_row = g->blocks == 1 || g->points == 1;
    bnorm_order o = { .walk = walk_of(g, one_row), .units = one_row ? 1 : g->blocks, .unit_stride = g->in.block };
    o.super_rows = o.walk.run_super_rows * (one_row ? 1 : g->batch);
    o.segment_rows = bnorm_ceil_div(o.super_rows, bnorm_ceil_div(o.super_rows, SEGMENT_ROWS));
    o.segment_rows = bnorm_ceil_div(o.segment_rows, BNORM_GROUP) * BNORM_GROUP;
    o.segments = bnorm_ceil_div(o.super_rows, o.segment_rows);
    return o;
}

/* The first value of each channel from a super-row on. */
static void first_values(const bnorm_walk *w, const float *x, size_t units, size_t unit_stride, size_t super_row,
                         float *pivot)
{
    size_t row = bnorm_values_before(w, super_row);
    x += row / w->points * w->image_stride + row % w->points * w->point_stride;
    for (size_t u = 0; u < units; u++, x += unit_stride, pivot += w->width)
        for (size_t lane = 0; lane < w->width; lane++)
            pivot[lane] = x[w->width == w->block ? lane : lane / w->block * w->block_stride + lane % w->block];
}

static void collect(const bnorm_kernels *k, const bnorm_order *o, const float *x, size_t units, size_t first,
                    size_t rows, const bnorm_scratch *s, float *sum_sq)
{
    (o->walk.width == 1 ? k->collect_nchw_f32 : k->collect_nhwc_f32)(&o->walk, x, units, o->unit_stride, first, rows,
                                                                     s->pivot, s->sum, sum_sq);
}

/* Adds `rows` super-rows to the moments of the `before` values that precede them; the pivot follows the mean. */
static void collect_epoch(const bnorm_kernels *k, const bnorm_order *o, const float *x, size_t units, size_t before,
                          size_t first, size_t rows, const bnorm_scratch *s, double *mean, double *m2)
{
    size_t channels = units * o->walk.width, end = first + rows;
    size_t count = bnorm_values_before(&o->walk, end) - bnorm_values_before(&o->walk, first);
    bool chunks = rows > BNORM_CHUNK;
    if (chunks) {
        memset(s->total, 0, channels * sizeof(*s->total));
        memset(s->total_sq, 0, channels * sizeof(*s->total_sq));
    }
    for (size_t row = first; row < end; row += BNORM_CHUNK) {
        collect(k, o, x, units, row, bnorm_min(end - row, BNORM_CHUNK), s, s->sum_sq);
        if (end - row > BNORM_CHUNK)
            k->accumulate_f64(channels, s->sum, s->sum_sq, s->total, s->total_sq);
    }
    k->conclude_f64(channels, (double)before, (double)count, s->sum, s->sum_sq, chunks ? s->total : NULL,
                    chunks ? s->total_sq : NULL, s->pivot, mean, m2);
}

/*
 * The first group of a segment is looked at twice: for the mean about its first value, and then about that mean; each
 * further epoch is as long as all that came before it, and taken about the mean of that.
 */
void bnorm_collect_segment(const bnorm_kernels *k, const bnorm_order *o, const float *x, size_t units, size_t segment,
                           const bnorm_scratch *s, double *mean, double *m2)
{
    const bnorm_walk *w = &o->walk;
    size_t begin = segment * o->segment_rows, end = bnorm_min(begin + o->segment_rows, o->super_rows);
    size_t epoch = bnorm_min(BNORM_GROUP, end - begin), origin = bnorm_values_before(w, begin);
    first_values(w, x, units, o->unit_stride, begin, s->pivot);
    collect(k, o, x, units, begin, epoch, s, NULL);
    k->recenter_f64(units * w->width, (double)(bnorm_values_before(w, begin + epoch) - origin), s->sum, s->pivot);
    for (size_t row = begin; row < end; row += epoch) {
        epoch = row == begin ? epoch : bnorm_min(row - begin, end - row);
        collect_epoch(k, o, x, units, bnorm_values_before(w, row) - origin, row, epoch, s, mean, m2);
    }
}

void bnorm_merge_segment(const bnorm_kernels *k, const bnorm_order *o, size_t channels, size_t segment,
                         const double *segment_mean, const double *segment_m2, double *mean, double *m2)
{
    size_t begin = segment * o->segment_rows, end = bnorm_min(begin + o->segment_rows, o->super_rows);
    size_t before = bnorm_values_before(&o->walk, begin), count = bnorm_values_before(&o->walk, end) - before;
    k->merge_f64(channels, (double)before, (double)count, mean, m2, segment_mean, segment_m2);
}

void bnorm_collect_units(const bnorm_kernels *k, const bnorm_order *o, const float *x, size_t units,
                         const bnorm_scratch *s)
{
    bnorm_collect_segment(k, o, x, units, 0, s, s->mean, s->m2);
    for (size_t segment = 1; segment < o->segments; segment++) {
        bnorm_collect_segment(k, o, x, units, segment, s, s->part_mean, s->part_m2);
        bnorm_merge_segment(k, o, units * o->walk.width, segment, s->part_mean, s->part_m2, s->mean, s->m2);
    }
}
