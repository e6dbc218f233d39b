/* SPDX-License-Identifier: MIT */
/* Calls whose coefficients are known. */
#include "size.h"
#include "tasks.h"

/*
 * Floats of coefficients on the stack at a time, since these calls have no workspace. From cache, fewer channels at a
 * time are faster, because coefficients and rows share L1; from memory, longer pieces are.
 */
enum { HELD = 6144, CACHED_CHANNELS_AT_ONCE = 1024 };

static size_t arrays_of(bnorm_map map)
{
    return map == BNORM_GRADIENT ? BNORM_COEFFICIENTS : BNORM_SHIFT + 1;
}

static size_t channels_at_once(const bnorm_traversal *t)
{
    const size_t most = HELD / arrays_of(t->map);
    return t->sweep.stream ? most : bnorm_min(most, CACHED_CHANNELS_AT_ONCE);
}

/* A region of at most channels_at_once() lanes. */
static void map_part(const bnorm_elementwise *job, const bnorm_region *region)
{
    BNORM_ALIGNED float held[HELD];
    const bnorm_geometry *g = job->traversal.geometry;
    const size_t first = bnorm_min(region->block * g->block + region->lane, g->channels);
    const size_t lanes = (region->blocks - 1) * g->block + region->lanes, arrays = arrays_of(job->traversal.map);
    float *k[BNORM_COEFFICIENTS];
    const float *known[BNORM_COEFFICIENTS];
    for (size_t c = 0; c < BNORM_COEFFICIENTS; c++)
        known[c] = k[c] = held + (c < arrays ? c * (HELD / arrays) : 0);
    job->coefficients(job, first, bnorm_min(lanes, g->channels - first), k); /* other lanes are padding */
    bnorm_map_region(&job->traversal, region, known);
}

static void elementwise_task(void *argument, size_t task)
{
    const bnorm_elementwise *job = argument;
    const bnorm_geometry *g = job->traversal.geometry;
    const bnorm_region region = bnorm_grid_region(g, job->grid, task);
    const size_t most = channels_at_once(&job->traversal);
    const size_t blocks_at_once = g->block < most ? most / g->block : 1;
    bnorm_region part = region;
    for (size_t b = 0; b < region.blocks; b += blocks_at_once) {
        part.block = region.block + b;
        part.blocks = bnorm_min(region.blocks - b, blocks_at_once);
        for (part.lane = 0; part.lane < region.lanes; part.lane += most) {
            part.lanes = bnorm_min(region.lanes - part.lane, most);
            map_part(job, &part);
        }
    }
}

void bnorm_run_elementwise(bnorm_elementwise *job, const bnorm_tuning *tuning, const bnorm_executor *executor)
{
    bnorm_traversal *t = &job->traversal;
    const bnorm_geometry *g = t->geometry;
    t->sweep.stream = bnorm_should_stream(t, job->hint, bnorm_traversed_bytes(t) > tuning->shared_cache / 2);
    job->grid = bnorm_cut(g, bnorm_useful_width(tuning, g, executor));
    bnorm_run(executor, bnorm_grid_size(job->grid), elementwise_task, job);
}
