/* SPDX-License-Identifier: MIT */
/* Walking a region: as planes, as rows, or in tiles, whichever its layout allows. */
#include <stdint.h>

#include "machine.h"
#include "region.h"
#include "size.h"

enum {
    BACKWARDS_LANES = 262144, /* walked forwards at a time on the way back: enough to be read at full throughput */
    LONG_PIECE = 4096 /* bytes beside which two cache lines that are not filled do not count */
};

size_t bnorm_traversed_bytes(const bnorm_traversal *t)
{
    const bool forward = t->map == BNORM_NORMALISE;
    const void *residual = t->fusion ? t->fusion->residual : NULL, *dresidual = t->fusion ? t->fusion->dresidual : NULL;
    const void *const tensors[] = { t->x, t->dy, residual, t->y, dresidual };
    const bool out[] = { false, true, true, forward, true };
    const bnorm_geometry *g = t->geometry;
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

static bool is_in_place(const bnorm_traversal *t)
{
    return t->y == t->x || t->y == t->dy || (t->fusion && t->y == t->fusion->residual);
}

bool bnorm_should_stream(const bnorm_traversal *t, bnorm_hint hint, bool cold)
{
    return (hint == BNORM_HINT_STREAM || (hint == BNORM_HINT_AUTO && cold)) && !is_in_place(t);
}

static inline size_t offset(const bnorm_layout *layout, size_t image, size_t block, size_t point)
{
    return image * layout->image_stride + block * layout->block_stride + point * layout->point_stride;
}

/* A traversal of a region. */
typedef struct work {
    const bnorm_traversal *traversal;
    const bnorm_geometry *geometry;
    const bnorm_region *region;
    const bnorm_layout *y_layout; /* x is laid out by `in`, dy by `out` */
    bnorm_map_job start; /* what all pieces have in common; the coefficients of the region's first channel */
} work;

/* Non-temporal stores must fill cache lines: of pieces that begin and end anywhere in one, only of long ones. */
static bool should_stream(const work *w, const void *y, size_t piece, size_t stride)
{
    const size_t size = bnorm_size_of(w->y_layout->dtype);
    bool lines = (uintptr_t)y % BNORM_CACHE_LINE == 0 && piece * size % BNORM_CACHE_LINE == 0 &&
                 stride * size % BNORM_CACHE_LINE == 0;
    return w->traversal->sweep.stream && (lines || piece * size >= LONG_PIECE);
}

static const void *input_at(const void *tensor, const bnorm_layout *layout, size_t image, size_t block, size_t point,
                            size_t lane)
{
    return tensor ? bnorm_elements(tensor, layout->dtype, offset(layout, image, block, point) + lane) : NULL;
}

static void *output_at(const work *w, size_t image, size_t block, size_t point, size_t lane)
{
    const size_t i = offset(w->y_layout, image, block, point) + lane;
    return w->traversal->y ? bnorm_output(w->traversal->y, w->y_layout->dtype, i) : NULL;
}

static work work_of(const bnorm_traversal *t, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_geometry *g = t->geometry;
    work w = { .traversal = t, .geometry = g, .region = r, .start = { .map = t->map, .fusion = t->fusion } };
    w.y_layout = t->map == BNORM_NORMALISE ? &g->out : &g->in;
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

/* Makes a job begin at an element of the tensors and at a channel of the coefficients. */
static void place_job(bnorm_map_job *j, const work *w, size_t image, size_t block, size_t point, size_t lane,
                      size_t channel)
{
    const bnorm_geometry *g = w->geometry;
    *j = w->start;
    j->x = input_at(w->traversal->x, &g->in, image, block, point, lane);
    j->dy = input_at(w->traversal->dy, &g->out, image, block, point, lane);
    j->y = output_at(w, image, block, point, lane);
    j->at = offset(&g->out, image, block, point) + lane;
    for (int c = 0; channel && c < BNORM_COEFFICIENTS; c++)
        j->k[c] += channel;
}

/* Maps some rows of a block of an image, both counted within the region; a row is a point, or an image. */
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
    w->traversal->kernels->map_rows(&t);
}

/* Maps the same lanes of each of some blocks, of one image or more. */
static void map_planes(const work *w, size_t image, size_t images, size_t block, size_t units, size_t first,
                       size_t lanes)
{
    const bnorm_region *r = w->region;
    const bnorm_geometry *g = w->geometry;
    const size_t next = w->traversal->sweep.next_blocks;
    bnorm_planes t;
    t.width = g->block;
    t.units = units;
    t.lanes = lanes;
    t.images = images;
    t.x_stride = g->in.image_stride;
    t.dy_stride = g->out.image_stride;
    t.y_stride = w->y_layout->image_stride;
    place_job(&t.job, w, image + r->image, block + r->block, r->point, first, block * g->block);
    t.job.stream = should_stream(w, t.job.y, units * lanes, images > 1 ? t.y_stride : 0);
    t.job.prefetch_until = block < next ? (next - block) * lanes : 0;
    w->traversal->kernels->map_planes(&t);
}

/* Maps rows that have one stride through the whole region. */
static void map_sequence(const work *w, size_t rows, size_t width, bool along_images, bool repeated)
{
    size_t piece = w->traversal->sweep.backwards ? bnorm_ceil_div(BACKWARDS_LANES, width) : rows;
    for (size_t end = rows; end > 0;) {
        size_t first = end > piece ? end - piece : 0;
        if (repeated)
            map_planes(w, 0, 1, 0, 1, first * width, (end - first) * width);
        else
            map_rows(w, 0, 0, first, end - first, width, along_images);
        end = first;
    }
}

/* Maps images whose blocks are planes: dense, of a width that divides a tile. */
static void map_images(const work *w, size_t image, size_t images)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const size_t lanes = r->points * g->block, full = bnorm_min(r->blocks, g->channels / g->block - r->block);
    const bool adjacent = g->in.block_stride == lanes && g->out.block_stride == lanes;
    for (size_t b = 0; b < full; b += adjacent ? full : 1)
        map_planes(w, image, images, b, adjacent ? full : 1, 0, lanes);
    for (size_t i = 0; i < images && full < r->blocks; i++)
        map_rows(w, image + i, full, 0, r->points, g->block, false);
}

/* ---- A region ---- */

/* Adjacent blocks are one block: rows of all their channels. */
static void map_as_rows(const bnorm_traversal *t, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    bnorm_traversal rows = *t;
    bnorm_geometry g = *t->geometry;
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

static void map_dense(const work *w)
{
    const bnorm_geometry *g = w->geometry;
    const bnorm_region *r = w->region;
    const bnorm_layout *in = &g->in, *out = &g->out;
    const bool backwards = w->traversal->sweep.backwards, planes = bnorm_planes_possible(g) && r->lanes == g->block;
    const bool side_by_side = in->block_stride == g->block && out->block_stride == g->block && r->lanes == g->block;
    const bool images_adjacent = r->points == g->points && in->image_stride == g->points * in->point_stride &&
                                 out->image_stride == g->points * out->point_stride;
    if (g->points == 1 && side_by_side)
        map_sequence(w, r->images, r->blocks * g->block, true, false);
    else if (g->blocks == 1 && images_adjacent)
        map_sequence(w, r->images * r->points, r->lanes, false, planes && g->channels == g->block);
    else if (planes && !backwards)
        map_images(w, 0, r->images);
    else
        for (size_t i = 0; i < r->images; i++) {
            size_t image = backwards ? r->images - 1 - i : i;
            if (planes)
                map_images(w, image, 1);
            else
                for (size_t b = 0; b < r->blocks; b++)
                    map_rows(w, image, b, 0, r->points, r->lanes, false);
        }
}

void bnorm_map_region(const bnorm_traversal *t, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_geometry *g = t->geometry;
    if (bnorm_blocks_adjacent(g)) {
        map_as_rows(t, r, k);
        return;
    }
    if (bnorm_is_strided(t, r)) {
        bnorm_map_strided(t, r, k);
    } else {
        const work w = work_of(t, r, k);
        map_dense(&w);
    }
    if (t->sweep.stream)
        t->kernels->store_fence();
}
