/* SPDX-License-Identifier: MIT */
/* Which way a reduction goes, how many tasks it makes, and what memory they need. */
#include <stdint.h>

#include "plan.h"
#include "size.h"

enum {
    GROUP_CHANNELS = 256, /* channels that a task takes at a time, at most; a block may be larger */
    MEMORY_GROUP_CHANNELS = 64, /* the same where tensors come from memory */
    GROUP_COLUMNS = 512, /* the same where channels are adjacent: long pieces of the rows in memory */
    TASKS_PER_THREAD = 4,
    STRIP_LANES = 1024, /* lanes of a strip, at least: each of its rows is a call of a kernel */
    PREFETCHING_TASKS_PER_THREAD = 2, /* each begins with a group that nothing has prefetched */
    ALIGNMENT = 64
};

bnorm_traversal bnorm_reduction_traversal(const bnorm_reduction *job, bnorm_sweep sweep)
{
    const bnorm_source *s = &job->source;
    return (bnorm_traversal){ .kernels = s->kernels,
                              .geometry = &job->geometry,
                              .map = job->map,
                              .sweep = sweep,
                              .x = s->x,
                              .dy = s->dy,
                              .y = job->out,
                              .fusion = s->fusion };
}

bool bnorm_writes(const bnorm_reduction *job)
{
    return job->out || (job->source.fusion && job->source.fusion->dresidual);
}

/* Bytes that are read of a unit. */
static size_t unit_bytes(const bnorm_reduction *job)
{
    const bnorm_geometry *g = &job->geometry;
    const bool with_dy = job->source.terms != BNORM_SQUARES;
    const size_t bytes = bnorm_size_of(g->in.dtype) + (with_dy ? bnorm_size_of(g->out.dtype) : 0);
    return bytes * g->batch * g->points * job->plan.order.walk.width;
}

static size_t most_tasks(const bnorm_plan *p)
{
    return p->width == 1 ? 1 : p->width * (p->prefetching ? PREFETCHING_TASKS_PER_THREAD : TASKS_PER_THREAD);
}

/* How many units share a cache line: those whose channels are adjacent, and yet are units of their own. */
static size_t units_per_line(const bnorm_reduction *job)
{
    const bnorm_geometry *g = &job->geometry;
    const bool adjacent = g->in.block_stride == g->block || g->out.block_stride == g->block;
    return adjacent && g->points > 1 ? bnorm_ceil_div(BNORM_CACHE_LINE / sizeof(uint16_t), g->block) : 1;
}

/* Groups of at most so many channels and bytes, unless a unit, or the units of a cache line, have more. */
static void cut_groups(bnorm_reduction *job, size_t bytes, size_t channels)
{
    bnorm_plan *p = &job->plan;
    const bnorm_order *o = &p->order;
    const size_t line = units_per_line(job), most = (line == 1 ? channels : GROUP_COLUMNS) / o->walk.width;
    size_t units = bnorm_min(bytes / unit_bytes(job), most);
    if (units < line)
        units = line == 1 ? 1 : most;
    units = bnorm_min(units, bnorm_ceil_div(o->units, most_tasks(p)));
    p->group_units = bnorm_min(bnorm_ceil_div(units, line) * line, o->units);
    p->groups = bnorm_ceil_div(o->units, p->group_units);
    p->tasks = bnorm_min(most_tasks(p), p->groups);
}

/* As many groups for each task, all of nearly the same size and none larger than before. */
static void even_groups(bnorm_plan *p)
{
    const size_t groups = bnorm_ceil_div(p->groups, p->tasks) * p->tasks;
    p->group_units = bnorm_ceil_div(p->order.units, groups);
    p->groups = bnorm_ceil_div(p->order.units, p->group_units);
    p->tasks = bnorm_min(p->tasks, p->groups);
}

/*
 * A group from cache takes half of L2, which leaves room for the output. A group from memory takes an eighth of the
 * thread's share of the largest cache, because memory is faster the longer the runs of an image are: two groups are in
 * that cache at a time, beside what others keep there. A unit too large for that is read twice, the second time
 * backwards.
 */
static void plan_groups(bnorm_reduction *job, const bnorm_tuning *tuning, bool cold)
{
    bnorm_plan *p = &job->plan;
    size_t core = tuning->core_cache, share = tuning->shared_cache / p->width;
    p->prefetching = bnorm_writes(job) && cold && bnorm_planes_possible(&job->geometry) && unit_bytes(job) <= share / 4;
    p->sweep.backwards = cold && !p->prefetching;
    cut_groups(job, p->prefetching && share / 8 > core / 2 ? share / 8 : core / 2,
               cold ? MEMORY_GROUP_CHANNELS : GROUP_CHANNELS);
    if (p->prefetching)
        even_groups(p);
}

static void plan_split(bnorm_plan *p, const bnorm_tuning *tuning)
{
    const bnorm_walk *w = &p->order.walk;
    size_t items = p->order.units * p->order.segments;
    bool strips_possible = p->order.units == 1 && w->dense && w->rows_per_super_row == 1;
    size_t most = strips_possible ? bnorm_ceil_div(w->width, tuning->strip_lanes) : 1;
    p->strips = bnorm_min(most, bnorm_ceil_div(p->width, items));
    p->tasks = bnorm_min(most_tasks(p), items * p->strips);
}

/* Strips are for rows in cache that hold all channels. */
static void plan_strips(bnorm_reduction *job, const bnorm_tuning *tuning)
{
    bnorm_plan *p = &job->plan;
    const bnorm_geometry *g = &job->geometry;
    const bnorm_walk *w = &p->order.walk;
    if (g->blocks != 1 || g->channels != g->block || !w->dense || w->rows_per_super_row != 1 || p->order.segments != 1)
        return;
    const size_t fitting = tuning->core_cache / 2 / (unit_bytes(job) / w->width);
    const size_t share = bnorm_ceil_div(bnorm_ceil_div(w->width, p->width), BNORM_TILE);
    const size_t lanes = bnorm_min(fitting / BNORM_TILE, share) * BNORM_TILE;
    if (lanes < STRIP_LANES || lanes >= w->width)
        return;
    p->strip_lanes = lanes;
    p->tasks = bnorm_min(p->tasks, bnorm_ceil_div(w->width, lanes));
}

size_t bnorm_useful_width(const bnorm_tuning *tuning, const bnorm_geometry *g, const bnorm_executor *executor)
{
    size_t elements = g->batch * g->blocks * g->points * g->block;
    return executor ? bnorm_min(executor->width, bnorm_ceil_div(elements, tuning->smallest_task)) : 1;
}

static void make_plan(bnorm_reduction *job, const bnorm_tuning *tuning, const bnorm_executor *executor)
{
    job->source.x_type = job->geometry.in.dtype;
    job->source.dy_type = job->geometry.out.dtype;
    const bnorm_traversal traversal = bnorm_reduction_traversal(job, job->plan.sweep);
    const bool cold = bnorm_traversed_bytes(&traversal) > tuning->shared_cache / 2; /* inputs are read twice */
    bnorm_plan *p = &job->plan;
    *p = (bnorm_plan){ .order = bnorm_order_of(&job->geometry, job->source.terms != BNORM_SQUARES) };
    if (!job->source.x)
        p->order.walk.x = p->order.walk.dy;
    p->width = bnorm_useful_width(tuning, &job->geometry, executor);
    p->sweep.stream = bnorm_should_stream(&traversal, job->hint, cold);
    p->sweep.backwards = p->order.walk.prefetch = cold;
    p->split = p->width > 1 && p->order.units < 2 * p->width;
    if (p->split)
        plan_split(p, tuning);
    else
        plan_groups(job, tuning, cold);
    if (!cold)
        plan_strips(job, tuning);
}

/* ---- Scratch memory ---- */

/* Larger than any memory: sizes saturate here. A multiple of the alignment, so that rounding up stays below. */
static const size_t too_much = PTRDIFF_MAX / ALIGNMENT * ALIGNMENT;

/* Takes the next `count` pieces of `bytes` bytes from the memory at `base`; with base NULL it only counts. */
static void *carve(char *base, size_t *used, size_t count, size_t bytes)
{
    void *piece = base ? base + *used : NULL;
    if (count > (too_much - *used) / bytes)
        *used = too_much;
    else
        *used += bnorm_ceil_div(count * bytes, ALIGNMENT) * ALIGNMENT;
    return piece;
}

static void carve_floats(char *base, size_t *used, size_t channels, float **arrays, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arrays[i] = carve(base, used, channels, sizeof(float));
}

static void carve_doubles(char *base, size_t *used, size_t channels, double **arrays, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arrays[i] = carve(base, used, channels, sizeof(double));
}

static bnorm_scratch carve_scratch(char *base, size_t *used, size_t channels)
{
    bnorm_scratch s;
    carve_floats(base, used, channels, &s.pivot, 1);
    carve_floats(base, used, channels, s.sum, BNORM_SUMS);
    carve_floats(base, used, channels, &s.low, 1);
    carve_floats(base, used, channels, &s.rstd, 1);
    carve_floats(base, used, channels, s.k, BNORM_COEFFICIENTS);
    carve_doubles(base, used, channels, s.total, BNORM_SUMS);
    carve_doubles(base, used, channels, s.part, BNORM_STATISTIC_ARRAYS);
    carve_doubles(base, used, channels, s.all, BNORM_STATISTIC_ARRAYS);
    return s;
}

/* For the channels that a task works on at a time. */
static bnorm_scratch carve_task_scratch(const bnorm_plan *p, char *base, size_t *used)
{
    size_t width = p->order.walk.width;
    if (p->strip_lanes)
        return carve_scratch(base, used, p->strip_lanes);
    return carve_scratch(base, used, p->split ? bnorm_ceil_div(width, p->strips) : p->group_units * width);
}

bnorm_scratch bnorm_task_scratch(const bnorm_reduction *job, size_t task)
{
    size_t used = 0;
    return carve_task_scratch(&job->plan, job->scratch + task * job->scratch_bytes, &used);
}

/* Lays out the workspace, which begins at an aligned base, and returns its size; with base NULL it only counts. */
static size_t lay_out(bnorm_reduction *job, char *base)
{
    const bnorm_plan *p = &job->plan;
    size_t used = 0, all = bnorm_all_lanes(&p->order);
    job->scratch_bytes = 0;
    carve_task_scratch(p, NULL, &job->scratch_bytes);
    job->scratch = carve(base, &used, p->tasks, job->scratch_bytes);
    if (p->split && !p->strip_lanes) {
        carve_doubles(base, &used, p->order.segments * all, job->segments, BNORM_STATISTIC_ARRAYS);
        job->whole = carve_scratch(base, &used, all);
    }
    return used;
}

size_t bnorm_plan_reduction(bnorm_reduction *job, const bnorm_tuning *tuning, const bnorm_executor *executor)
{
    make_plan(job, tuning, executor);
    bnorm_reduction most = *job;
    bnorm_plan *p = &most.plan;
    p->strip_lanes = 0; /* strips take no more */
    if (!p->split) {
        p->prefetching = true; /* fewer tasks, so larger groups */
        cut_groups(&most, SIZE_MAX, GROUP_CHANNELS);
        p->prefetching = false;
        p->tasks = bnorm_min(most_tasks(p), p->order.units);
    }
    return lay_out(&most, NULL) + ALIGNMENT - 1;
}

void bnorm_lay_out(bnorm_reduction *job, void *workspace)
{
    lay_out(job, (char *)workspace + (ALIGNMENT - (uintptr_t)workspace % ALIGNMENT) % ALIGNMENT);
}
