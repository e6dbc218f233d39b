/* SPDX-License-Identifier: MIT */
/*
 * Calls whose coefficients follow from statistics of the whole tensor: how their work is cut into tasks, and how the
 * caller's workspace is laid out for them.
 */
#ifndef BNORM_DISPATCH_PLAN_H
#define BNORM_DISPATCH_PLAN_H

#include "machine.h"
#include "region.h"
#include "statistics.h"

/* How many threads a call should use: 1 for a tensor that is too small to share. */
size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *geometry, const bnorm_executor *executor);

/*
 * Three ways, which do the same operations in the same order. Groups: a task takes units through all steps, as many at
 * a time as fit a cache. Strips: the same for strips of the lanes of wide rows. Split: one set of tasks sums parts of
 * the units, and another maps regions.
 */
typedef struct bnorm_plan {
    bnorm_order order;
    size_t width; /* threads worth using */
    bnorm_sweep sweep;
    bool split;
    size_t strips; /* split: per unit and segment */
    size_t strip_lanes; /* of strips that go through all steps; 0: none do */
    bool prefetching; /* groups: each is prefetched by the loop that computes the output of the one before */
    size_t group_units, groups;
    size_t tasks;
} bnorm_plan;

typedef struct bnorm_reduction bnorm_reduction;
struct bnorm_reduction {
    bnorm_source source;
    bnorm_geometry geometry;
    bnorm_map map;
    void *out; /* NULL: not wanted */
    bnorm_hint hint;
    /* Called before the statistics of some channels are computed, and after: `lanes` lanes, past the last channel
     * padding. */
    void (*prepare)(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *scratch);
    void (*finish)(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *scratch);
    const void *context;

    bnorm_plan plan;
    char *scratch;
    size_t scratch_bytes; /* for the channels that a task works on at a time */
    double *segments[BNORM_STATISTIC_ARRAYS]; /* split: [segment][unit][lane] */
    bnorm_scratch whole; /* split: of all channels */
    bnorm_grid grid; /* split */
};

/* Fills in the plan; returns the bytes of workspace that it needs, whatever the hint and the sizes of the caches:
 * PTRDIFF_MAX where no memory is as large. */
size_t bnorm_plan_reduction(bnorm_reduction *job, const bnorm_tuning *tuning, const bnorm_executor *executor);
/* Whether more than statistics is wanted. */
bool bnorm_writes(const bnorm_reduction *job);
bnorm_traversal bnorm_reduction_traversal(const bnorm_reduction *job, bnorm_sweep sweep);

/* Lays the job's arrays out in the workspace. */
void bnorm_lay_out(bnorm_reduction *job, void *workspace);
/* The arrays that a task has for the channels it works on. */
bnorm_scratch bnorm_task_scratch(const bnorm_reduction *job, size_t task);

#endif
