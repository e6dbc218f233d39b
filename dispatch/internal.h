/* SPDX-License-Identifier: MIT */
/* What the files of dispatch/ share and tests reach for: checked shapes, regions of work, tables of kernels. */
#ifndef BNORM_INTERNAL_H
#define BNORM_INTERNAL_H

#include "../include/bnorm/bnorm.h"
#include "../kernels/kernels.h"

/* ---- cpu.c, isa.c ---- */

unsigned bnorm_cpu_detect(void);
/* Bytes of the largest cache of a core's own, and of the largest of all; unchanged where that is not known. */
void bnorm_cpu_caches(size_t *core, size_t *shared);
/* The index-th best table that runs here, or NULL. */
const bnorm_kernels *bnorm_kernels_at(size_t index);
const bnorm_kernels *bnorm_kernels_chosen(void);

/* ---- shape.c ---- */

typedef struct bnorm_strides {
    size_t image, block, point;
} bnorm_strides;

/* A shape that was checked: sizes whose products fit, strides filled in. */
typedef struct bnorm_geometry {
    size_t batch, channels, points, block;
    size_t blocks;
    bnorm_strides in, out;
    size_t in_extent, out_extent; /* elements from the first to one past the last */
    bool empty;
} bnorm_geometry;

/* Memory that an argument covers. */
typedef struct bnorm_range {
    const void *start;
    size_t bytes;
    bool written;
} bnorm_range;

/* Copies a struct that starts with its size; what it has beyond `size` must be zero. */
bnorm_status bnorm_read_struct(void *to, size_t size, const void *from);
bnorm_status bnorm_check_shape(const bnorm_shape *shape, bnorm_geometry *geometry);
bnorm_status bnorm_check_tensors(const bnorm_geometry *geometry, const void *x, const void *y);
/* ranges[0] is x and ranges[1] is y, whose overlap bnorm_check_tensors has judged. */
bnorm_status bnorm_check_ranges(const bnorm_range *ranges, size_t count);
bnorm_status bnorm_check_executor(const bnorm_executor *executor);
bool bnorm_valid_epsilon(float epsilon);
bool bnorm_valid_hint(bnorm_hint hint);

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

bnorm_tuning bnorm_default_tuning(void);

/* What a call goes through. */
static inline size_t bnorm_bytes(const bnorm_geometry *g, bool in_place)
{
    return (g->in_extent + (in_place ? 0 : g->out_extent)) * sizeof(float);
}

static inline bool bnorm_should_stream(bnorm_hint hint, bool cold, bool in_place)
{
    return !in_place && (hint == BNORM_STREAM || (hint == BNORM_AUTO && cold));
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
    return BNORM_TILE % g->block == 0 && g->in.point == g->block && g->out.point == g->block;
}

typedef struct bnorm_sweep {
    bool stream; /* y goes past the caches */
    bool backwards; /* what was read last is still in a cache */
    size_t next_blocks; /* behind those of the region: fetched meanwhile, where they are planes */
} bnorm_sweep;

/* y = (x - center) * scale + shift in a region, whose first channel's coefficients come first; padding becomes zero. */
void bnorm_apply_region(const bnorm_kernels *kernels, const bnorm_geometry *geometry, const bnorm_region *region,
                        bnorm_sweep sweep, const float *x, float *y, const float *center, const float *scale,
                        const float *shift);

/* How many threads a call should use: 1 for a tensor that is too small to share. */
size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *geometry, const bnorm_executor *executor);
/* Without an executor there is one task. */
void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument);

/* ---- collect.c ---- */

/* How the statistics of a shape are taken: a unit is a channel block, or the whole row where channels lie side by side.
 */
typedef struct bnorm_order {
    bnorm_walk walk; /* of a unit in x */
    size_t units, unit_stride;
    size_t super_rows; /* of a unit */
    size_t segments, segment_rows;
} bnorm_order;

/* Scratch memory for the channels of some units. */
typedef struct bnorm_scratch {
    float *pivot, *sum, *sum_sq;
    bnorm_coefficients coefficients;
    double *total, *total_sq; /* of an epoch */
    double *part_mean, *part_m2; /* of one segment */
    double *mean, *m2;
} bnorm_scratch;

bnorm_order bnorm_order_of(const bnorm_geometry *geometry);
void bnorm_collect_segment(const bnorm_kernels *kernels, const bnorm_order *order, const float *x, size_t units,
                           size_t segment, const bnorm_scratch *scratch, double *mean, double *m2);
/* A segment's moments join those of all segments before it. */
void bnorm_merge_segment(const bnorm_kernels *kernels, const bnorm_order *order, size_t channels, size_t segment,
                         const double *segment_mean, const double *segment_m2, double *mean, double *m2);
/* The moments of whole units: scratch->mean and scratch->m2. */
void bnorm_collect_units(const bnorm_kernels *kernels, const bnorm_order *order, const float *x, size_t units,
                         const bnorm_scratch *scratch);

/* ---- infer.c, train.c: the public calls with kernels and tuning named ---- */

bnorm_status bnorm_infer_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_infer_params *params, const void *x, void *y, const bnorm_executor *executor);
bnorm_status bnorm_train_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_train_params *params, const void *x, void *y, void *workspace,
                            size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_workspace_size_on(const bnorm_tuning *tuning, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size);

#endif
