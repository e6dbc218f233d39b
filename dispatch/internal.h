/* SPDX-License-Identifier: MIT */
/* What the files of dispatch/ share and tests reach for: checked shapes, regions of work, tables of kernels. */
#ifndef BNORM_INTERNAL_H
#define BNORM_INTERNAL_H

#include "../include/bnorm/bnorm.h"
#include "../kernels/kernels.h"

/* ---- cpu.c, isa.c ---- */

unsigned bnorm_cpu_detect(void);
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

/* ---- region.c ---- */

/* What only steers how the work is cut, never a result. Tests make it small, so that small tensors take every path. */
typedef struct bnorm_tuning {
    size_t smallest_task; /* elements below which a task is over before another thread has heard of it */
    size_t batch_bytes; /* of x that a training task takes through all steps at a time */
    size_t strip_lanes; /* of a row that is cut for several threads, at least */
} bnorm_tuning;

extern const bnorm_tuning bnorm_default_tuning;

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

/* y = (x - center) * scale + shift in a region, whose first channel's coefficients come first; padding becomes zero. */
void bnorm_apply_region(const bnorm_kernels *kernels, const bnorm_geometry *geometry, const bnorm_region *region,
                        const float *x, float *y, const float *center, const float *scale, const float *shift);

/* How many threads a call should use: 1 for a tensor that is too small to share. */
size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *geometry, const bnorm_executor *executor);
void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument);

/* ---- infer.c, train.c: the public calls with kernels and tuning named ---- */

bnorm_status bnorm_infer_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_infer_params *params, const void *x, void *y, const bnorm_executor *executor);
bnorm_status bnorm_train_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_train_params *params, const void *x, void *y, void *workspace,
                            size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_workspace_size_on(const bnorm_tuning *tuning, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size);

#endif
