/* SPDX-License-Identifier: MIT */
/* Cutting a tensor into regions for tasks, and normalising a region. */
#include "internal.h"

const bnorm_tuning bnorm_default_tuning = { .smallest_task = 16384, .batch_bytes = 256 * 1024, .strip_lanes = 128 };

/* Tasks for each thread: what one thread loses to another's bad luck is a fraction of a task. */
enum { TASKS_PER_THREAD = 4 };

size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *g, const bnorm_executor *executor)
{
    size_t elements = g->batch * g->blocks * g->points * g->block;
    return executor ? bnorm_min(executor->width, bnorm_ceil_div(elements, tuning->smallest_task)) : 1;
}

void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument)
{
    if (tasks == 1)
        task(argument, 0);
    else if (executor)
        executor->run(executor->context, tasks, task, argument);
    else
        for (size_t i = 0; i < tasks; i++)
            task(argument, i);
}

bnorm_region bnorm_whole(const bnorm_geometry *g)
{
    return (bnorm_region){ .images = g->batch, .blocks = g->blocks, .points = g->points, .lanes = g->block };
}

bnorm_grid bnorm_cut(const bnorm_geometry *g, size_t width)
{
    bnorm_grid grid = { 1, 1, 1 };
    if (width == 1)
        return grid;
    size_t parts = width * TASKS_PER_THREAD;
    grid.images = bnorm_min(g->batch, parts);
    grid.blocks = bnorm_min(g->blocks, bnorm_ceil_div(parts, grid.images));
    grid.points = bnorm_min(g->points, bnorm_ceil_div(parts, grid.images * grid.blocks));
    return grid;
}

bnorm_region bnorm_grid_region(const bnorm_geometry *g, bnorm_grid grid, size_t index)
{
    bnorm_region region = bnorm_whole(g);
    if (bnorm_grid_size(grid) == 1)
        return region;
    size_t point = index % grid.points, block = index / grid.points % grid.blocks;
    size_t image = index / grid.points / grid.blocks;
    region.image = bnorm_part(g->batch, grid.images, image);
    region.images = bnorm_part(g->batch, grid.images, image + 1) - region.image;
    region.block = bnorm_part(g->blocks, grid.blocks, block);
    region.blocks = bnorm_part(g->blocks, grid.blocks, block + 1) - region.block;
    region.point = bnorm_part(g->points, grid.points, point);
    region.points = bnorm_part(g->points, grid.points, point + 1) - region.point;
    return region;
}

static inline size_t offset(const bnorm_strides *strides, size_t image, size_t block, size_t point)
{
    return image * strides->image + block * strides->block + point * strides->point;
}

/* The lanes past the last channel, if the region holds any, in some of its images. */
static void clear_padding(const bnorm_geometry *g, const bnorm_region *r, size_t image, size_t images, float *y)
{
    size_t used = g->channels - (g->blocks - 1) * g->block;
    size_t from = used > r->lane ? used : r->lane, end = r->lane + r->lanes;
    if (r->block + r->blocks < g->blocks || from >= end)
        return;
    for (size_t i = image; i < image + images; i++)
        for (size_t p = 0; p < r->points; p++) {
            float *row = y + offset(&g->out, r->image + i, g->blocks - 1, r->point + p);
            for (size_t lane = from; lane < end; lane++)
                row[lane] = 0.0f;
        }
}

typedef struct application {
    const bnorm_kernels *kernels;
    const bnorm_geometry *geometry;
    const bnorm_region *region;
    const float *x;
    float *y;
    const float *center, *scale, *shift; /* of the region's first channel */
} application;

/* Rows of `width` lanes, from a block of an image of the region on; they lie a point apart, or an image. */
static void apply_rows(const application *job, size_t image, size_t block, size_t rows, size_t width, bool along_images)
{
    const bnorm_geometry *g = job->geometry;
    const bnorm_region *r = job->region;
    size_t channel = block * g->block;
    job->kernels->apply_nhwc_f32(
        rows, width, job->x + offset(&g->in, r->image + image, r->block + block, r->point) + r->lane,
        along_images ? g->in.image : g->in.point,
        job->y + offset(&g->out, r->image + image, r->block + block, r->point) + r->lane,
        along_images ? g->out.image : g->out.point, job->center + channel, job->scale + channel, job->shift + channel);
}

static void apply_planes(const application *job)
{
    const bnorm_geometry *g = job->geometry;
    const bnorm_region *r = job->region;
    for (size_t i = r->image; i < r->image + r->images; i++)
        job->kernels->apply_nchw_f32(r->points, r->blocks, job->x + offset(&g->in, i, r->block, r->point), g->in.block,
                                     job->y + offset(&g->out, i, r->block, r->point), g->out.block, job->center,
                                     job->scale, job->shift);
}

void bnorm_apply_region(const bnorm_kernels *kernels, const bnorm_geometry *g, const bnorm_region *r, const float *x,
                        float *y, const float *center, const float *scale, const float *shift)
{
    const application job = { kernels, g, r, x, y, center, scale, shift };
    bool blocks_adjacent = g->in.block == g->block && g->out.block == g->block && r->lanes == g->block;
    bool images_adjacent =
        r->points == g->points && g->in.image == g->points * g->in.point && g->out.image == g->points * g->out.point;
    if (g->block == 1 && g->in.point == 1 && g->out.point == 1 && g->points > 1) {
        apply_planes(&job);
    } else if (g->points == 1 && blocks_adjacent) {
        apply_rows(&job, 0, 0, r->images, r->blocks * g->block, true);
        clear_padding(g, r, 0, r->images, y);
    } else if (g->blocks == 1 && images_adjacent) {
        apply_rows(&job, 0, 0, r->images * r->points, r->lanes, false);
        clear_padding(g, r, 0, r->images, y);
    } else {
        for (size_t i = 0; i < r->images; i++) {
            for (size_t b = 0; b < r->blocks; b++)
                apply_rows(&job, i, b, r->points, r->lanes, false);
            clear_padding(g, r, i, 1, y);
        }
    }
}
