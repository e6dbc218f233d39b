/* SPDX-License-Identifier: MIT */
/* The statistics of units and of segments, in the order of docs/numerics.md. */
#ifndef BNORM_DISPATCH_STATISTICS_H
#define BNORM_DISPATCH_STATISTICS_H

#include "arguments.h"

/* How the statistics of a shape are summed: a unit is a channel block, or the whole row where channels are adjacent. */
typedef struct bnorm_order {
    bnorm_walk walk; /* of a unit */
    size_t units;
    size_t super_rows; /* of a unit */
    size_t segments, segment_rows;
} bnorm_order;

static inline size_t bnorm_all_lanes(const bnorm_order *order)
{
    return order->units * order->walk.width;
}

/* Arrays of doubles per channel: mean and m2 (BNORM_SQUARES), or Σdz, Σd and Σdz·d. */
enum { BNORM_STATISTIC_ARRAYS = 3 }; /* at most */

static inline size_t bnorm_statistic_count(bnorm_terms terms)
{
    return terms == BNORM_SQUARES ? 2 : 3;
}

/* What statistics are computed from. x may be NULL where only Σdy is wanted: then the other sums are of no use. */
typedef struct bnorm_source {
    const bnorm_kernels *kernels;
    bnorm_terms terms;
    bool centered; /* dy may be summed about a pivot: its mean will be subtracted, and no value is masked */
    bool low_known; /* Σd is the number of values times low: it need not be summed */
    bnorm_dtype x_type, dy_type; /* the plan sets them from the geometry */
    const void *x, *dy;
    const bnorm_fusion *fusion; /* BNORM_FUSED */
    size_t at; /* dy's index in its tensor */
} bnorm_source;

/* Scratch memory for the channels of some units. */
typedef struct bnorm_scratch {
    float *pivot, *sum[BNORM_SUMS], *low, *rstd;
    float *k[BNORM_COEFFICIENTS]; /* where products are summed, low, center, scale and shift are there before */
    double *total[BNORM_SUMS]; /* of several chunks */
    double *part[BNORM_STATISTIC_ARRAYS]; /* of one segment */
    double *all[BNORM_STATISTIC_ARRAYS];
} bnorm_scratch;

bnorm_order bnorm_order_of(const bnorm_geometry *geometry, bool with_dy);
void bnorm_segment_statistics(const bnorm_source *source, const bnorm_order *order, size_t unit, size_t units,
                              size_t segment, const bnorm_scratch *scratch, double *const *statistics);
/* Merges a segment's statistics into those of all segments before it. */
void bnorm_merge_segment(const bnorm_source *source, const bnorm_order *order, size_t channels, size_t segment,
                         double *const *more, double *const *statistics);
/* Computes the statistics of whole units: scratch->all. */
void bnorm_unit_statistics(const bnorm_source *source, const bnorm_order *order, size_t unit, size_t units,
                           const bnorm_scratch *scratch);

#endif
