/* SPDX-License-Identifier: MIT */
/* Inference: the statistics are given, so any part of the tensor can be computed by itself. */
#include <stdint.h>
#include <string.h>

#include "internal.h"

typedef struct inference {
    const bnorm_kernels *kernels;
    bnorm_geometry geometry;
    bnorm_infer_params params;
    bnorm_grid grid;
    bnorm_sweep sweep;
    const float *x;
    float *y;
} inference;

/*
 * Channels whose coefficients are held at a time: on the stack, as inference needs no workspace. From the caches fewer
 * at a time are faster, as they and the rows share the first one; from memory, longer pieces are.
 */
enum { CHANNELS_AT_ONCE = 2048, CACHED_CHANNELS_AT_ONCE = 1024 };

/* A region of at most CHANNELS_AT_ONCE lanes. */
static void infer_region(const inference *job, const bnorm_region *region)
{
    BNORM_ALIGNED float center[CHANNELS_AT_ONCE];
    BNORM_ALIGNED float scale[CHANNELS_AT_ONCE];
    BNORM_ALIGNED float shift[CHANNELS_AT_ONCE];
    const bnorm_infer_params *p = &job->params;
    size_t first = bnorm_min(region->block * job->geometry.block + region->lane, job->geometry.channels);
    size_t lanes = (region->blocks - 1) * job->geometry.block + region->lanes;
    size_t channels = bnorm_min(lanes, job->geometry.channels - first); /* the others are padding */
    job->kernels->scale_f64(channels, p->var + first, p->gamma ? p->gamma + first : NULL, (double)p->epsilon, scale);
    memcpy(center, p->mean + first, channels * sizeof(*center));
    if (p->beta)
        memcpy(shift, p->beta + first, channels * sizeof(*shift));
    else
        memset(shift, 0, channels * sizeof(*shift));
    bnorm_apply_region(job->kernels, &job->geometry, region, job->sweep, job->x, job->y, center, scale, shift);
}

static void infer_task(void *argument, size_t task)
{
    const inference *job = argument;
    const bnorm_region region = bnorm_grid_region(&job->geometry, job->grid, task);
    bnorm_region part = region;
    size_t channels_at_once = job->sweep.stream ? CHANNELS_AT_ONCE : CACHED_CHANNELS_AT_ONCE;
    size_t blocks_at_once = job->geometry.block < channels_at_once ? channels_at_once / job->geometry.block : 1;
    for (size_t b = 0; b < region.blocks; b += blocks_at_once) {
        part.block = region.block + b;
        part.blocks = bnorm_min(region.blocks - b, blocks_at_once);
        for (part.lane = 0; part.lane < region.lanes; part.lane += channels_at_once) {
            part.lanes = bnorm_min(region.lanes - part.lane, channels_at_once);
            infer_region(job, &part);
        }
    }
}

static bnorm_status check(const inference *job, const void *x, const void *y, const bnorm_executor *executor)
{
    const bnorm_infer_params *p = &job->params;
    const bnorm_geometry *g = &job->geometry;
    bnorm_status status = bnorm_check_executor(executor);
    if (status)
        return status;
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_BAD_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_BAD_HINT;
    if (!p->mean || !p->var)
        return BNORM_NULL_POINTER;
    status = bnorm_check_tensors(g, x, y);
    if (status || g->empty)
        return status;
    const float *const arrays[4] = { p->mean, p->var, p->gamma, p->beta };
    bnorm_range ranges[6] = { { x, g->in_extent * sizeof(float), false }, { y, g->out_extent * sizeof(float), true } };
    for (int i = 0; i < 4; i++) {
        if ((uintptr_t)arrays[i] % sizeof(float))
            return BNORM_MISALIGNED;
        ranges[2 + i] = (bnorm_range){ arrays[i], g->channels * sizeof(float), false };
    }
    return bnorm_check_ranges(ranges, 6);
}

bnorm_status bnorm_infer_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_infer_params *params, const void *x, void *y, const bnorm_executor *executor)
{
    inference job = { .kernels = kernels, .x = x, .y = y };
    bnorm_status status = bnorm_check_shape(shape, &job.geometry);
    if (!status)
        status = bnorm_read_struct(&job.params, sizeof(job.params), params);
    if (!status)
        status = check(&job, x, y, executor);
    if (status || job.geometry.empty)
        return status;
    job.sweep.stream =
        bnorm_should_stream(job.params.hint, bnorm_bytes(&job.geometry, x == y) > tuning->shared_cache, x == y);
    job.grid = bnorm_cut(&job.geometry, bnorm_useful_width(tuning, &job.geometry, executor));
    bnorm_run(executor, bnorm_grid_size(job.grid), infer_task, &job);
    return BNORM_OK;
}

bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                         const bnorm_executor *executor)
{
    const bnorm_tuning tuning = bnorm_default_tuning();
    return bnorm_infer_on(bnorm_kernels_chosen(), &tuning, shape, params, x, y, executor);
}
