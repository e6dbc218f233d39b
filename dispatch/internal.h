/* SPDX-License-Identifier: MIT */
/* What the files of dispatch/ share and tests reach for: checked shapes, regions of work, tables of kernels. */
#ifndef BNORM_INTERNAL_H
#define BNORM_INTERNAL_H

#include <stdint.h>

#include "../include/bnorm/bnorm.h"
#include "../kernels/element.h"
#include "../kernels/kernels.h"

/* ---- cpu.c, isa.c ---- */

unsigned bnorm_cpu_detect(void);
/* Bytes of the largest cache of a core's own, and of the largest of all; unchanged where that is not known. */
void bnorm_cpu_caches(size_t *core, size_t *shared);
/* The index-th best table that runs here, or NULL. */
const bnorm_kernels *bnorm_kernels_at(size_t index);
const bnorm_kernels *bnorm_kernels_chosen(void);
/* Whether this CPU has what BNORM_CPU_ bits name. */
bool bnorm_runs(unsigned cpu);

/* ---- shape.c ---- */

/* A shape that was checked: sizes whose products fit, strides filled in. */
typedef struct bnorm_geometry {
    size_t batch, channels, points, block;
    size_t blocks;
    bnorm_layout in, out;
    size_t in_extent, out_extent; /* elements from the first to one past the last */
    bool empty;
} bnorm_geometry;

/* Memory that an argument covers; none where it is NULL. */
typedef struct bnorm_range {
    const void *start;
    size_t bytes, alignment;
    bool written;
} bnorm_range;

static inline bnorm_range bnorm_floats(const void *array, size_t count, bool written)
{
    return (bnorm_range){ array, count * sizeof(float), sizeof(float), written };
}

static inline bnorm_range bnorm_doubles(const double *array, size_t count, bool written)
{
    return (bnorm_range){ array, count * sizeof(double), _Alignof(double), written };
}

/* Of a tensor laid out by `in`, and by `out`. */
static inline bnorm_range bnorm_in_range(const bnorm_geometry *g, const void *tensor, bool written)
{
    const size_t size = bnorm_size_of(g->in.dtype);
    return (bnorm_range){ tensor, g->in_extent * size, size, written };
}

static inline bnorm_range bnorm_out_range(const bnorm_geometry *g, const void *tensor, bool written)
{
    const size_t size = bnorm_size_of(g->out.dtype);
    return (bnorm_range){ tensor, g->out_extent * size, size, written };
}

/* Copies a struct that starts with its size; what it has beyond `size` must be zero. */
bnorm_status bnorm_read_struct(void *to, size_t size, const void *from);
bnorm_status bnorm_check_shape(const bnorm_shape *shape, bnorm_geometry *geometry);
/* What most calls begin with: shape, the struct of parameters (NULL: none), executor. */
bnorm_status bnorm_check_call(const bnorm_shape *shape, bnorm_geometry *geometry, void *to, size_t size,
                              const void *params, const bnorm_executor *executor);
/* A tensor that an operation reads, laid out by `in` or by `out`, beside one that it writes: both there and aligned,
 * and either apart or one, in which each element is read where it is written. */
bnorm_status bnorm_check_tensors(const bnorm_geometry *geometry, const void *from, bool from_out, const void *to,
                                 bool to_out);
/* Each aligned, and what is written apart from all others; of the first `tensors` that was judged before. */
bnorm_status bnorm_check_ranges(const bnorm_range *ranges, size_t count, size_t tensors);
bnorm_status bnorm_check_executor(const bnorm_executor *executor);
bnorm_status bnorm_check_workspace(const void *workspace, size_t size, size_t needed);
bool bnorm_valid_channels(size_t channels);
bool bnorm_valid_epsilon(float epsilon);
bool bnorm_valid_hint(bnorm_hint hint);

/* An array's part from a channel on, if there is an array. */
static inline const float *bnorm_from(const float *array, size_t channel)
{
    return array ? array + channel : NULL;
}

static inline size_t bnorm_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t bnorm_ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* Where part i of `parts` nearly equal parts of `total` begins. */
static inline size_t bnorm_part(size_t total, size_t parts, size_t i)
{
    return parts == 1 ? total * i : total / parts * i + bnorm_min(i, total % parts); /* a division costs 5 ns */
}

/* ---- tuning.c ---- */

/* What only steers how the work is cut, never a result. Tests make it small, so that small tensors take every path. */
typedef struct bnorm_tuning {
    size_t smallest_task; /* elements below which a task is over before another thread has heard of it */
    size_t strip_lanes; /* of a row that is cut for several threads, at least */
    size_t core_cache, shared_cache; /* bytes */
} bnorm_tuning;

/* What a call runs on. */
typedef struct bnorm_machine {
    const bnorm_kernels *kernels;
    bnorm_tuning tuning;
} bnorm_machine;

bnorm_machine bnorm_this_machine(void);

/* ---- epilogue.c ---- */

/* NULL is an epilogue that does nothing. */
bnorm_status bnorm_read_epilogue(const bnorm_machine *machine, const bnorm_epilogue *given, bnorm_fusion *fusion);
/* The tensors of a call that writes y. */
bnorm_status bnorm_check_forward(const bnorm_geometry *geometry, const bnorm_fusion *fusion, const void *x,
                                 const void *y);
bnorm_range bnorm_mask_range(const bnorm_geometry *geometry, const bnorm_fusion *fusion, bool written);

/* NULL where a forward call has nothing to fuse. */
static inline const bnorm_fusion *bnorm_forward_fusion(const bnorm_fusion *f)
{
    return f->activation || f->residual ? f : NULL;
}

/* ---- region.c ---- */

/* A box of a tensor: some images, channel blocks, points, and lanes of a block. */
typedef struct bnorm_region {
    size_t image, images;
    size_t block, blocks;
    size_t point, points;
    size_t lane, lanes;
} bnorm_region;

/* How a tensor is cut into regions: parts along each axis. */
typedef struct bnorm_grid {
    size_t images, blocks, points;
} bnorm_grid;

bnorm_region bnorm_whole(const bnorm_geometry *geometry);
/* Enough regions to keep `width` threads busy, none too small to be worth handing to one. */
bnorm_grid bnorm_cut(const bnorm_geometry *geometry, size_t width);
static inline size_t bnorm_grid_size(bnorm_grid grid)
{
    return grid.images * grid.blocks * grid.points;
}
bnorm_region bnorm_grid_region(const bnorm_geometry *geometry, bnorm_grid grid, size_t index);

/* Whether each block's points lie together, in rows that divide a tile. */
static inline bool bnorm_planes_possible(const bnorm_geometry *g)
{
    return BNORM_TILE % g->block == 0 && g->in.point_stride == g->block && g->out.point_stride == g->block;
}

typedef struct bnorm_sweep {
    bool stream; /* y goes past the caches */
    bool backwards; /* what was read last is still in a cache */
    size_t next_blocks; /* behind those of the region: fetched meanwhile, where they are planes */
} bnorm_sweep;

/* A map of kernels.h over tensors: x is laid out by `in`, dy by `out`, y by `out` and, as a gradient, by `in`. */
typedef struct bnorm_traversal {
    const bnorm_kernels *kernels;
    const bnorm_geometry *geometry;
    bnorm_map map;
    bnorm_sweep sweep;
    const void *x, *dy; /* NULL where the map does not use it */
    void *y; /* NULL where only dresidual is wanted */
    const bnorm_fusion *fusion;
} bnorm_traversal;

/* Of the tensors that it goes through, each counted once; and whether one that is read is y. */
size_t bnorm_bytes(const bnorm_traversal *application);
bool bnorm_in_place(const bnorm_traversal *application);

static inline bool bnorm_should_stream(const bnorm_traversal *a, bnorm_hint hint, bool cold)
{
    return (hint == BNORM_HINT_STREAM || (hint == BNORM_HINT_AUTO && cold)) && !bnorm_in_place(a);
}

/* In a region, whose first channel's coefficients come first; padding becomes zero. */
void bnorm_map_region(const bnorm_traversal *application, const bnorm_region *region,
                      const float *const k[BNORM_COEFFICIENTS]);

/* How many threads a call should use: 1 for a tensor that is too small to share. */
size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *geometry, const bnorm_executor *executor);
/* Without an executor there is one task. */
void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument);

/* ---- apart.c ---- */

bool bnorm_is_strided(const bnorm_traversal *application, const bnorm_region *region);
void bnorm_map_strided(const bnorm_traversal *application, const bnorm_region *region,
                       const float *const k[BNORM_COEFFICIENTS]);

/* ---- collect.c ---- */

/* How the statistics of a shape are taken: a unit is a channel block, or the whole row where channels lie side by side.
 */
typedef struct bnorm_order {
    bnorm_walk walk; /* of a unit */
    size_t units;
    size_t super_rows; /* of a unit */
    size_t segments, segment_rows;
} bnorm_order;

/* Statistics of a channel, each an array of doubles: mean and m2 (BNORM_SQUARES), or Σdz, Σd and Σdz·d. */
enum { BNORM_STATISTIC_ARRAYS = 3 }; /* at most */

static inline size_t bnorm_statistic_count(bnorm_terms terms)
{
    return terms == BNORM_SQUARES ? 2 : 3;
}

/* What statistics are taken of. x may be NULL where only Σdy is wanted: then the other sums are of no use. */
typedef struct bnorm_source {
    const bnorm_kernels *kernels;
    bnorm_terms terms;
    bool centered; /* dy may be taken about a pivot: its mean will be subtracted, and no value is masked */
    bool low_known; /* Σd is the number of values times low: no one need sum it */
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
void bnorm_segment_statistics(const bnorm_source *collector, const bnorm_order *order, size_t unit, size_t units,
                              size_t segment, const bnorm_scratch *scratch, double *const *statistics);
/* A segment's statistics join those of all segments before it. */
void bnorm_merge_segment(const bnorm_source *collector, const bnorm_order *order, size_t channels, size_t segment,
                         double *const *more, double *const *statistics);
/* The statistics of whole units: scratch->all. */
void bnorm_unit_statistics(const bnorm_source *collector, const bnorm_order *order, size_t unit, size_t units,
                           const bnorm_scratch *scratch);

/* ---- one_pass.c: coefficients are known, so any part of a tensor can be computed by itself ---- */

typedef struct bnorm_elementwise bnorm_elementwise;
struct bnorm_elementwise {
    bnorm_traversal application;
    bnorm_hint hint;
    bnorm_grid grid;
    /* Stores the coefficients of `channels` channels from `first` on. */
    void (*coefficients)(const bnorm_elementwise *pass, size_t first, size_t channels,
                         float *const k[BNORM_COEFFICIENTS]);
    const void *context;
};

/* Of statistics that are given, and of those that training saved; the arrays begin with the channel that is first. */
void bnorm_given_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *var,
                              const float *gamma, const float *beta, float epsilon, float *const k[BNORM_COEFFICIENTS]);
void bnorm_saved_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *low,
                              const float *rstd, const float *gamma, const float *beta,
                              float *const k[BNORM_COEFFICIENTS]);

void bnorm_run_elementwise(bnorm_elementwise *pass, const bnorm_tuning *tuning, const bnorm_executor *executor);

/* ---- two_pass.c: coefficients follow from statistics of the whole tensor ---- */

/* How the work of one call is laid out. */
typedef struct bnorm_plan {
    bnorm_order order;
    size_t width; /* threads worth using */
    bnorm_sweep sweep;
    bool split;
    size_t strips; /* split */
    size_t strip_lanes; /* of those that go through all steps; 0: none do */
    bool fetching;
    size_t group_units, groups; /* not split */
    size_t tasks;
} bnorm_plan;

typedef struct bnorm_reduction bnorm_reduction;
struct bnorm_reduction {
    bnorm_source collector;
    bnorm_geometry geometry;
    bnorm_map map;
    void *out; /* NULL: not wanted */
    bnorm_hint hint;
    /* Before statistics are taken of some channels, and after: `lanes` lanes, past the last channel padding. */
    void (*prepare)(const bnorm_reduction *pass, size_t channel, size_t lanes, const bnorm_scratch *scratch);
    void (*finish)(const bnorm_reduction *pass, size_t channel, size_t lanes, const bnorm_scratch *scratch);
    const void *context;

    bnorm_plan plan;
    char *scratch;
    size_t scratch_bytes; /* for the channels that a task works on at a time */
    double *segments[BNORM_STATISTIC_ARRAYS]; /* split: [segment][unit][lane] */
    bnorm_scratch whole; /* split: of all channels */
    bnorm_grid grid;
};

/* Fills in the plan; returns the bytes of workspace that it needs, whatever the hint and the sizes of the caches:
 * PTRDIFF_MAX where no memory is as large. */
size_t bnorm_plan_reduction(bnorm_reduction *pass, const bnorm_tuning *tuning, const bnorm_executor *executor);
void bnorm_run_reduction(bnorm_reduction *pass, void *workspace, const bnorm_executor *executor);

/* ---- infer.c, train.c, backward.c: the public calls with kernels and tuning named ---- */

bnorm_status bnorm_infer_on(const bnorm_machine *machine, const bnorm_shape *shape, const bnorm_infer_params *params,
                            const void *x, void *y, const bnorm_executor *executor);
bnorm_status bnorm_train_on(const bnorm_machine *machine, const bnorm_shape *shape, const bnorm_train_params *params,
                            const void *x, void *y, void *workspace, size_t workspace_size,
                            const bnorm_executor *executor);
bnorm_status bnorm_train_collect_on(const bnorm_machine *machine, const bnorm_shape *shape, const void *x, double *mean,
                                    double *m2, void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_train_merge_on(const bnorm_machine *machine, size_t channels, uint64_t count, double *mean,
                                  double *m2, uint64_t more_count, const double *more_mean, const double *more_m2);
bnorm_status bnorm_train_finish_on(const bnorm_machine *machine, size_t channels, uint64_t count, const double *mean,
                                   const double *m2, const bnorm_train_params *params);
bnorm_status bnorm_train_apply_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                  const bnorm_train_params *params, const void *x, void *y,
                                  const bnorm_executor *executor);
bnorm_status bnorm_backward_on(const bnorm_machine *machine, const bnorm_shape *shape,
                               const bnorm_backward_params *params, const void *x, const void *dy, void *dx,
                               void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_backward_reduce_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                      const bnorm_backward_params *params, const void *x, const void *dy, double *sums,
                                      void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_backward_apply_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                     const bnorm_backward_params *params, uint64_t count, const double *sums,
                                     const void *x, const void *dy, void *dx, const bnorm_executor *executor);
bnorm_status bnorm_workspace_size_on(const bnorm_machine *machine, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size);

#endif
