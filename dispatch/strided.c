/* SPDX-License-Identifier: MIT */
/*
 * Regions whose rows are short and strided, or whose x and y have different layouts: they go through tiles in L1 that
 * are dense tensors of y's layout.
 */
#include <string.h>

#include "../kernels/transpose.h"
#include "region.h"
#include "size.h"

enum { TILE_ELEMENTS = 1024, TILE_BYTES = TILE_ELEMENTS * sizeof(float) };

/* Some blocks and points of an image. */
typedef struct box {
    size_t image, block, blocks, point, points;
} box;

/* ---- From one layout to another ---- */

static void copy_pieces(size_t count, size_t bytes, const char *from, size_t from_stride, char *to, size_t to_stride)
{
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * to_stride, from + i * from_stride, bytes);
}

static void copy_box(const box *b, size_t block, const bnorm_layout *in, const char *from, const bnorm_layout *out,
                     char *to)
{
    const size_t size = bnorm_size_of(in->dtype);
    if (block == 1 && in->block_stride == 1 && out->point_stride == 1)
        transpose(size, b->points, b->blocks, from, in->point_stride, to, out->block_stride);
    else if (block == 1 && in->point_stride == 1 && out->block_stride == 1)
        transpose(size, b->blocks, b->points, from, in->block_stride, to, out->point_stride);
    else if (in->point_stride == block && out->point_stride == block)
        copy_pieces(b->blocks, b->points * block * size, from, in->block_stride * size, to, out->block_stride * size);
    else
        for (size_t i = 0; i < b->points; i++)
            copy_pieces(b->blocks, block * size, from + i * in->point_stride * size, in->block_stride * size,
                        to + i * out->point_stride * size, out->block_stride * size);
}

static size_t byte_of(const bnorm_layout *l, const box *b)
{
    return (b->image * l->image_stride + b->block * l->block_stride + b->point * l->point_stride) *
           bnorm_size_of(l->dtype);
}

static const void *gather(const box *b, size_t block, const bnorm_layout *layout, const void *tensor,
                          const bnorm_layout *tile_layout, char *tile)
{
    if (!tensor)
        return NULL;
    copy_box(b, block, layout, (const char *)tensor + byte_of(layout, b), tile_layout, tile);
    return tile;
}

static void scatter(const box *b, size_t block, const bnorm_layout *tile_layout, const char *tile,
                    const bnorm_layout *layout, void *tensor)
{
    if (tensor)
        copy_box(b, block, tile_layout, tile, layout, (char *)tensor + byte_of(layout, b));
}

/* ---- A tile of each tensor ---- */

static bnorm_layout tile_layout(const box *b, size_t block, bnorm_dtype type)
{
    return (bnorm_layout){ .dtype = type,
                           .image_stride = b->blocks * b->points * block,
                           .block_stride = b->points * block,
                           .point_stride = block };
}

/* The box as a tensor of its own. */
static bnorm_geometry geometry_of(const bnorm_geometry *g, const box *b)
{
    bnorm_geometry dense = *g;
    dense.batch = 1;
    dense.blocks = b->blocks;
    dense.points = b->points;
    dense.channels = bnorm_min(b->blocks * g->block, g->channels - b->block * g->block);
    dense.in = tile_layout(b, g->block, g->in.dtype);
    dense.out = tile_layout(b, g->block, g->out.dtype);
    return dense;
}

/* dx goes where x was, dresidual where dy was, and y, beside which there is no dy, there too. */
static void map_box(const bnorm_traversal *t, const box *b, const float *const k[BNORM_COEFFICIENTS])
{
    BNORM_ALIGNED char x[TILE_BYTES], dy[TILE_BYTES], residual[TILE_BYTES];
    const bnorm_geometry *g = t->geometry, dense = geometry_of(g, b);
    const bnorm_layout *in = &dense.in, *out = &dense.out;
    const bool forward = t->map == BNORM_NORMALISE;
    const bnorm_region whole = bnorm_whole(&dense);
    bnorm_traversal a = *t;
    bnorm_fusion fusion = { 0 };
    if (t->fusion) {
        fusion = *t->fusion;
        fusion.residual = gather(b, g->block, &g->out, t->fusion->residual, out, residual);
        fusion.dresidual = t->fusion->dresidual ? dy : NULL;
        a.fusion = &fusion;
    }
    a.geometry = &dense;
    a.sweep = (bnorm_sweep){ 0 };
    a.x = gather(b, g->block, &g->in, t->x, in, x);
    a.dy = gather(b, g->block, &g->out, t->dy, out, dy);
    a.y = !t->y ? NULL : forward ? dy : x;
    bnorm_map_region(&a, &whole, k);
    scatter(b, g->block, forward ? out : in, a.y, forward ? &g->out : &g->in, t->y);
    if (t->fusion)
        scatter(b, g->block, out, dy, &g->out, t->fusion->dresidual);
}

/* Whether rows of a block, or blocks, are short and have gaps between them. The bits of a mask cannot be gathered. */
bool bnorm_is_strided(const bnorm_traversal *t, const bnorm_region *r)
{
    const bnorm_geometry *g = t->geometry;
    const size_t block = g->block, lanes = g->points * block;
    const bool pitched = g->points > 1 && (g->in.point_stride != block || g->out.point_stride != block);
    const bool scattered =
        g->blocks > 1 && lanes < BNORM_TILE && (g->in.block_stride != lanes || g->out.block_stride != lanes);
    return block < BNORM_TILE && r->lanes == block && (pitched || scattered) && !(t->fusion && t->fusion->mask);
}

void bnorm_map_strided(const bnorm_traversal *t, const bnorm_region *r, const float *const k[BNORM_COEFFICIENTS])
{
    const size_t block = t->geometry->block;
    const size_t together = bnorm_min(r->blocks, BNORM_CACHE_LINE_FLOATS);
    const size_t points = bnorm_min(r->points, TILE_ELEMENTS / together / block);
    const size_t blocks = TILE_ELEMENTS / block / points / together * together;
    for (size_t i = 0; i < r->images; i++)
        for (size_t first = 0; first < r->blocks; first += blocks) {
            const float *from[BNORM_COEFFICIENTS];
            box b = { .image = r->image + (t->sweep.backwards ? r->images - 1 - i : i), .block = r->block + first };
            b.blocks = bnorm_min(r->blocks - first, blocks);
            for (int c = 0; c < BNORM_COEFFICIENTS; c++)
                from[c] = k[c] + first * block;
            for (size_t done = 0; done < r->points; done += points) {
                b.point = r->point + done;
                b.points = bnorm_min(r->points - done, points);
                map_box(t, &b, from);
            }
        }
}
