/* SPDX-License-Identifier: MIT */
/* Regions of a tensor: cutting it into them (region.c), and walking one (traverse.c, strided.c). */
#ifndef BNORM_DISPATCH_REGION_H
#define BNORM_DISPATCH_REGION_H

#include "arguments.h"

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
size_t bnorm_grid_size(bnorm_grid grid);
bnorm_region bnorm_grid_region(const bnorm_geometry *geometry, bnorm_grid grid, size_t index);
/* Whether blocks of a point are adjacent, as where NHWC is described by strides. */
bool bnorm_blocks_adjacent(const bnorm_geometry *geometry);
/* Whether each block's points are adjacent, in rows that divide a tile. */
bool bnorm_planes_possible(const bnorm_geometry *geometry);

/* How a region is walked. */
typedef struct bnorm_sweep {
    bool stream; /* non-temporal stores to y */
    bool backwards; /* from the end, because what was read last is still in a cache */
    size_t next_blocks; /* after those of the region: prefetched meanwhile, where they are planes */
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

/* Bytes of the tensors that it goes through, each counted once. */
size_t bnorm_traversed_bytes(const bnorm_traversal *traversal);
/* Whether y should be written with non-temporal stores; cold: the tensors do not fit the caches. */
bool bnorm_should_stream(const bnorm_traversal *traversal, bnorm_hint hint, bool cold);

/* Maps a region, the coefficients of whose first channel come first; padding becomes zero. */
void bnorm_map_region(const bnorm_traversal *traversal, const bnorm_region *region,
                      const float *const k[BNORM_COEFFICIENTS]);

/* Whether a region goes through tiles, and the walk that does so. */
bool bnorm_is_strided(const bnorm_traversal *traversal, const bnorm_region *region);
void bnorm_map_strided(const bnorm_traversal *traversal, const bnorm_region *region,
                       const float *const k[BNORM_COEFFICIENTS]);

#endif
