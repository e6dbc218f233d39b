/* SPDX-License-Identifier: MIT */
/* Cutting a tensor into regions for tasks, and normalising a region. */
#include <stdint.h>

#include "internal.h"

/* Tasks for each thread: what one thread loses to another's bad luck is a fraction of a task. */
enum { TASKS_PER_THREAD = 4 };

enum {
    BACKWARDS_LANES = 262144, /* gone through forwards at a time on the way back: enough to be read at full speed */
    LONG_PIECE = 4096 /* bytes beside which two lines that are not filled do not count */
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

/* Whether blocks of a point lie side by side, as where NHWC is described by strides. */
static bool blocks_adjacent(const bnorm_geometry *g)
{
    return g->blocks > 1 && g->points > 1 && g->in.block_stride == g->block && g->out.block_stride == g->block;
}

bnorm_grid bnorm_cut(const bnorm_geometry *g, size_t width)
{
    bnorm_grid grid = { 1, 1, 1 };
    if (width == 1)
        return grid;
    size_t parts = width * TASKS_PER_THREAD;
    grid.images = bnorm_min(g->batch, parts);
    if (!blocks_adjacent(g))
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

size_t bnorm_bytes(const bnorm_traversal *a)
{
    const bool forward = a->map == BNORM_NORMALISE;
    const void *residual = a->fusion ? a->fusion->residual : NULL, *dresidual = a->fusion ? a->fusion->dresidual : NULL;
    const void *const tensors[] = { a->x, a->dy, residual, a->y, dresidual };
    const bool out[] = { false, true, true, forward, true };
    const bnorm_geometry *g = a->geometry;
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); i++) {
        bool counts = tensors[i];
        for (size_t j = 0; j < i; j++)
            counts = counts && tensors[j] != tensors[i];
        if (counts)
            bytes += (out[i] ? bnorm_out_range(g, tensors[i], false) : bnorm_in_range(g, tensors[i], false)).bytes;
    }
    return bytes;
}

bool bnorm_in_place(const bnorm_traversal *a)
{
    return a->y == a->x || a->y == a->dy || (a->fusion && a->y == a->fusion->residual);
}

static inline size_t offset(const bnorm_layout *layout, size_t image, size_t block, size_t point)
{
    return image * layout->image_stride + block * layout->block_stride + point * layout->point_stride;
}

/* An application to a region, and the tensors' strides. */
typedef struct work {
    const bnorm_traversal *job;
    const bnorm_geometry *geometry;
    const bnorm_region *region;
    const bnorm_layout *y_layout; /* x is laid out by `in`, dy by `out` */
    bnorm_map_job start; /* what all pieces have in common; the coefficients of the region's first channel */
} work;

/* Stores past the caches must fill lines: of pieces that begin and end anywhere in one, only of long ones. */
static bool should_stream(const work *w, const void *y, size_t piece, size_t stride)
{
    const size_t size = bnorm_size_of(w->y_layout->dtype);
    bool lines = (uintptr_t)y % BNORM_CACHE_LINE == 0 && piece * size % BNORM_CACHE_LINE == 0 &&
                 stride * size % BNORM_CACHE_LINE == 0;
    return w->job->sweep.stream && (lines || piece * size >= LONG_PIECE);
}

static const void *input_at(const void *tensor, const bnorm_layout *layout, size_t image, size_t block, size_t point,
                            size_t lane)
{
    return tensor ? bnorm_elements(tensor, layout->dtype, offset(layout, image, block, point) + lane) : NULL;
}

static void *output_at(const work *w, size_t image, size_t block, size_t point, size_t lane)
{
    const size_t i = offset(w->y_layout, image, block, point) + lane;
    return w->job->y ? bnorm_output(w->job->y, w->y_layout->dtype, i) : NULL;
}

static work work_of(const bnorm_traversal *job, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_geometry *g = job->geometry;
    work w = { job, g, r, job->map == BNORM_NORMALISE ? &g->out : &g->in, { .map = job->map, .fusion = job->fusion } };
    w.start.bf16_fast = bnorm_runs(BNORM_CPU_AVX512BF16);
    w.start.x_type = g->in.dtype;
    w.start.dy_type = g->out.dtype;
    w.start.y_type = w.y_layout->dtype;
    w.start.x_prefetch = r->blocks * g->in.block_stride;
    w.start.dy_prefetch = r->blocks * g->out.block_stride;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        w.start.k[c] = k[c];
    return w;
}

/* A job of the tensors from an element on, and of the coefficients from a channel on. */
static void place_job(bnorm_map_job *j, const work *w, size_t image, size_t block, size_t point, size_t lane,
                      size_t channel)
{
    const bnorm_geometry *g = w->geometry;
    *j = w->start;
    j->x = input_at(w->job->x, &g->in, image, block, point, lane);
    j->dy = input_at(w->job->dy, &g->out, image, block, point, lane);
    j->y = output_at(w, image, block, point, lane);
    j->at = offset(&g->out, image, block, point) + lane;
    for (int c = 0; channel && c < BNORM_COEFFICIENTS; c++)
        j->k[c] += channel;
}

/* Some rows of a block of an image, both counted within the region; rows lie a point apart, or an image. */
static void map_rows(const work *w, size_t image, size_t block, size_t first, size_t rows, size_t width,
                     bool along_images)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const size_t channel = block * g->block, lane = bnorm_min(r->block * g->block + r->lane + channel, g->channels);
    bnorm_rows t;
    t.rows = rows;
    t.width = width;
    t.used = bnorm_min(width, g->channels - lane);
    image += r->image + (along_images ? first : 0);
    block += r->block;
    t.x_stride = along_images ? g->in.image_stride : g->in.point_stride;
    t.dy_stride = along_images ? g->out.image_stride : g->out.point_stride;
    t.y_stride = along_images ? w->y_layout->image_stride : w->y_layout->point_stride;
    place_job(&t.job, w, image, block, r->point + (along_images ? 0 : first), r->lane, channel);
    t.job.stream = should_stream(w, t.job.y, t.y_stride == width ? rows * width : width, t.y_stride);
    w->job->kernels->map_rows(&t);
}

/* Some units of an image, of each the same lanes. */
static void map_planes(const work *w, size_t image, size_t block, size_t units, size_t first, size_t lanes)
{
    const bnorm_region *r = w->region;
    const bnorm_geometry *g = w->geometry;
    const size_t next = w->job->sweep.next_blocks;
    bnorm_planes t;
    t.width = g->block;
    t.units = units;
    t.lanes = lanes;
    place_job(&t.job, w, image + r->image, block + r->block, r->point, first, block * g->block);
    t.job.stream = should_stream(w, t.job.y, units * lanes, 0);
    t.job.prefetch_until = block < next ? (next - block) * lanes : 0;
    w->job->kernels->map_planes(&t);
}

/* Rows that follow each other through the whole region. */
static void apply_sequence(const work *w, size_t rows, size_t width, bool along_images, bool repeated)
{
    size_t piece = w->job->sweep.backwards ? bnorm_ceil_div(BACKWARDS_LANES, width) : rows;
    for (size_t end = rows; end > 0;) {
        size_t first = end > piece ? end - piece : 0;
        if (repeated)
            map_planes(w, 0, 0, 1, first * width, (end - first) * width);
        else
            map_rows(w, 0, 0, first, end - first, width, along_images);
        end = first;
    }
}

/* An image whose blocks are planes: dense, of a width that divides a tile. */
static void apply_image(const work *w, size_t image)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const size_t lanes = r->points * g->block, full = bnorm_min(r->blocks, g->channels / g->block - r->block);
    if (g->in.block_stride == lanes && g->out.block_stride == lanes) {
        if (full)
            map_planes(w, image, 0, full, 0, lanes);
    } else {
        for (size_t b = 0; b < full; b++)
            map_planes(w, image, b, 1, 0, lanes);
    }
    if (full < r->blocks)
        map_rows(w, image, full, 0, r->points, g->block, false);
}

/* ---- A region ---- */

/* Blocks that lie side by side are one: rows of all their channels. */
static void apply_as_rows(const bnorm_traversal *job, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    bnorm_traversal rows = *job;
    bnorm_geometry g = *job->geometry;
    bnorm_region region = *r;
    region.lane += r->block * g.block;
    region.lanes = r->blocks == 1 ? r->lanes : r->blocks * g.block;
    region.block = 0;
    region.blocks = 1;
    g.block *= g.blocks;
    g.blocks = 1;
    rows.geometry = &g;
    bnorm_map_region(&rows, &region, k);
}

static void apply_dense(const work *w)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const bnorm_layout *in = &g->in, *out = &g->out;
    const bool backwards = w->job->sweep.backwards, planes = bnorm_planes_possible(g) && r->lanes == g->block;
    const bool side_by_side = in->block_stride == g->block && out->block_stride == g->block && r->lanes == g->block;
    const bool images_adjacent = r->points == g->points && in->image_stride == g->points * in->point_stride &&
                                 out->image_stride == g->points * out->point_stride;
    if (g->points == 1 && side_by_side)
        apply_sequence(w, r->images, r->blocks * g->block, true, false);
    else if (g->blocks == 1 && images_adjacent)
        apply_sequence(w, r->images * r->points, r->lanes, false, planes && g->channels == g->block);
    else
        for (size_t i = 0; i < r->images; i++) {
            size_t image = backwards ? r->images - 1 - i : i;
            if (planes)
                apply_image(w, image);
            else
                for (size_t b = 0; b < r->blocks; b++)
                    map_rows(w, image, b, 0, r->points, r->lanes, false);
        }
}

void bnorm_map_region(const bnorm_traversal *job, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_geometry *g = job->geometry;
    if (blocks_adjacent(g)) {
        apply_as_rows(job, r, k);
        return;
    }
    if (bnorm_is_strided(job, r)) {
        bnorm_map_strided(job, r, k);
    } else {
        const work w = work_of(job, r, k);
        apply_dense(&w);
    }
    if (job->sweep.stream)
        job->kernels->store_fence();
}
