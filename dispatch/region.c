/* SPDX-License-Identifier: MIT */
/* Cutting a tensor into regions, and what its layout makes possible. */
#include "region.h"
#include "size.h"

/* Regions for each thread: what one thread loses to another's bad luck is a fraction of a region. */
enum { REGIONS_PER_THREAD = 4 };

bnorm_region bnorm_whole(const bnorm_geometry *g)
{
    return (bnorm_region){ .images = g->batch, .blocks = g->blocks, .points = g->points, .lanes = g->block };
}

bool bnorm_blocks_adjacent(const bnorm_geometry *g)
{
    return g->blocks > 1 && g->points > 1 && g->in.block_stride == g->block && g->out.block_stride == g->block;
}

bool bnorm_planes_possible(const bnorm_geometry *g)
{
    return BNORM_TILE % g->block == 0 && g->in.point_stride == g->block && g->out.point_stride == g->block;
}

bnorm_grid bnorm_cut(const bnorm_geometry *g, size_t width)
{
    bnorm_grid grid = { 1, 1, 1 };
    if (width == 1)
        return grid;
    size_t parts = width * REGIONS_PER_THREAD;
    grid.images = bnorm_min(g->batch, parts);
    if (!bnorm_blocks_adjacent(g))
        grid.blocks = bnorm_min(g->blocks, bnorm_ceil_div(parts, grid.images));
    grid.points = bnorm_min(g->points, bnorm_ceil_div(parts, grid.images * grid.blocks));
    return grid;
}

size_t bnorm_grid_size(bnorm_grid grid)
{
    return grid.images * grid.blocks * grid.points;
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
