/* SPDX-License-Identifier: MIT */
/* Cutting a tensor into regions for tasks, and normalising a region. */
#include <stdint.h>

#include "internal.h"

/* Tasks for each thread: what one thread loses to another's bad luck is a fraction of a task. */
enum { TASKS_PER_THREAD = 4 };

enum {
    BACKWARDS_LANES = 16384, /* gone through forwards at a time on the way back: enough to be read at full speed */
    LONG_PIECE = 1024 /* lanes beside which two lines that are not filled do not count */
};

size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *g, const bnorm_executor *executor)
{
    size_t elements = g->batch * g->blocks * g->points * g->block;
    return executor ? bnorm_min(executor->width, bnorm_ceil_div(elements, tuning->smallest_task)) : 1;
}

void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument)
{
    if (tasks == 1)
        task(argument, 0);
    else
        executor->run(executor->context, tasks, task, argument);
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

size_t bnorm_bytes(const bnorm_application *a)
{
    const bool forward = a->map == BNORM_NORMALISE;
    const float *residual = a->fusion ? a->fusion->residual : NULL,
                *dresidual = a->fusion ? a->fusion->dresidual : NULL;
    const float *const tensors[] = { a->x, a->dy, residual, a->y, dresidual };
    const bool out[] = { false, true, true, forward, true };
    size_t elements = 0;
    for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); i++) {
        bool counts = tensors[i];
        for (size_t j = 0; j < i; j++)
            counts = counts && tensors[j] != tensors[i];
        elements += !counts ? 0 : out[i] ? a->geometry->out_extent : a->geometry->in_extent;
    }
    return elements * sizeof(float);
}

bool bnorm_in_place(const bnorm_application *a)
{
    return a->y == a->x || a->y == a->dy || (a->fusion && a->y == a->fusion->residual);
}

static inline size_t offset(const bnorm_strides *strides, size_t image, size_t block, size_t point)
{
    return image * strides->image + block * strides->block + point * strides->point;
}

/* An application to a region, and the tensors' strides. */
typedef struct work {
    const bnorm_application *job;
    const bnorm_geometry *geometry;
    const bnorm_region *region;
    const float *x; /* where it is not used, dy, so that it can be loaded nevertheless */
    const bnorm_strides *x_strides, *dy_strides, *y_strides;
    const float *const *k; /* of the region's first channel */
} work;

/* Stores past the caches must fill lines: of pieces that begin and end anywhere in one, only of long ones. */
static bool should_stream(const work *w, const float *y, size_t piece, size_t stride)
{
    bool lines = (uintptr_t)y / sizeof(*y) % BNORM_LINE == 0 && piece % BNORM_LINE == 0 && stride % BNORM_LINE == 0;
    return w->job->sweep.stream && (lines || piece >= LONG_PIECE);
}

static const float *input_at(const float *tensor, const bnorm_strides *strides, size_t image, size_t block,
                             size_t point, size_t lane)
{
    return tensor ? tensor + offset(strides, image, block, point) + lane : NULL;
}

/* Some rows of a block of an image, both counted within the region; rows lie a point apart, or an image. */
static void apply_rows(const work *w, size_t image, size_t block, size_t first, size_t rows, size_t width,
                       bool along_images)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const size_t channel = block * g->block, lane = bnorm_min(r->block * g->block + r->lane + channel, g->channels);
    bnorm_rows t = { .map = w->job->map, .rows = rows, .width = width, .used = bnorm_min(width, g->channels - lane) };
    image += r->image + (along_images ? first : 0);
    block += r->block;
    size_t point = r->point + (along_images ? 0 : first);
    t.x_stride = along_images ? w->x_strides->image : w->x_strides->point;
    t.dy_stride = along_images ? w->dy_strides->image : w->dy_strides->point;
    t.y_stride = along_images ? w->y_strides->image : w->y_strides->point;
    t.x = input_at(w->x, w->x_strides, image, block, point, r->lane);
    t.dy = input_at(w->job->dy, w->dy_strides, image, block, point, r->lane);
    t.y = w->job->y ? w->job->y + offset(w->y_strides, image, block, point) + r->lane : NULL;
    t.fusion = w->job->fusion;
    t.at = offset(&g->out, image, block, point) + r->lane;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        t.k[c] = w->k[c] + channel;
    t.stream = should_stream(w, t.y, t.y_stride == width ? rows * width : width, t.y_stride);
    w->job->kernels->apply_rows_f32(&t);
}

/* Some units of an image, of each the same lanes. */
static void apply_planes(const work *w, size_t image, size_t block, size_t units, size_t first, size_t lanes)
{
    const bnorm_region *r = w->region;
    const size_t next = w->job->sweep.next_blocks, channel = block * w->geometry->block;
    bnorm_planes t = { .map = w->job->map, .width = w->geometry->block, .units = units, .lanes = lanes };
    if (next) {
        t.fetch = r->blocks * w->x_strides->block;
        t.dy_fetch = r->blocks * w->dy_strides->block;
        t.fetch_units = block < next ? next - block : 0;
    }
    image += r->image;
    block += r->block;
    t.x = input_at(w->x, w->x_strides, image, block, r->point, first);
    t.dy = input_at(w->job->dy, w->dy_strides, image, block, r->point, first);
    t.y = w->job->y ? w->job->y + offset(w->y_strides, image, block, r->point) + first : NULL;
    t.fusion = w->job->fusion;
    t.at = offset(&w->geometry->out, image, block, r->point) + first;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        t.k[c] = w->k[c] + channel;
    t.stream = should_stream(w, t.y, units * lanes, 0);
    w->job->kernels->apply_planes_f32(&t);
}

/* Rows that follow each other through the whole region. */
static void apply_sequence(const work *w, size_t rows, size_t width, bool along_images, bool repeated)
{
    size_t piece = w->job->sweep.backwards ? bnorm_ceil_div(BACKWARDS_LANES, width) : rows;
    for (size_t end = rows; end > 0;) {
        size_t first = end > piece ? end - piece : 0;
        if (repeated)
            apply_planes(w, 0, 0, 1, first * width, (end - first) * width);
        else
            apply_rows(w, 0, 0, first, end - first, width, along_images);
        end = first;
    }
}

/* An image whose blocks are planes: dense, of a width that divides a tile. */
static void apply_image(const work *w, size_t image)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const size_t lanes = r->points * g->block, full = bnorm_min(r->blocks, g->channels / g->block - r->block);
    if (g->in.block == lanes && g->out.block == lanes) {
        if (full)
            apply_planes(w, image, 0, full, 0, lanes);
    } else {
        for (size_t b = 0; b < full; b++)
            apply_planes(w, image, b, 1, 0, lanes);
    }
    if (full < r->blocks)
        apply_rows(w, image, full, 0, r->points, g->block, false);
}

void bnorm_apply_region(const bnorm_application *job, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_geometry *g = job->geometry;
    const bool forward = job->map == BNORM_NORMALISE;
    const work w = {
        job, g, r, job->x ? job->x : job->dy, job->x ? &g->in : &g->out, &g->out, forward ? &g->out : &g->in, k
    };
    bool blocks_adjacent = g->in.block == g->block && g->out.block == g->block && r->lanes == g->block;
    bool images_adjacent =
        r->points == g->points && g->in.image == g->points * g->in.point && g->out.image == g->points * g->out.point;
    bool planes = bnorm_planes_possible(g);
    if (g->points == 1 && blocks_adjacent)
        apply_sequence(&w, r->images, r->blocks * g->block, true, false);
    else if (g->blocks == 1 && images_adjacent)
        apply_sequence(&w, r->images * r->points, r->lanes, false, planes && g->channels == g->block);
    else
        for (size_t i = 0; i < r->images; i++) {
            size_t image = job->sweep.backwards ? r->images - 1 - i : i;
            if (planes)
                apply_image(&w, image);
            else
                for (size_t b = 0; b < r->blocks; b++)
                    apply_rows(&w, image, b, 0, r->points, r->lanes, false);
        }
    if (job->sweep.stream)
        job->kernels->drain();
}
