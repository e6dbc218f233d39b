/* SPDX-License-Identifier: MIT */
/*
 * Each channel's statistics, and then the tensor that follows from them.
 *
 * With enough units for every thread, a task takes a group of units that fits a cache through all steps ("fused");
 * where the tensors do not fit the caches, the next group is fetched by the loop that computes this one's output, so
 * that memory sees reads and writes side by side, as in a copy. Otherwise the units are cut into segments and strips of
 * lanes, collected by one set of tasks, and the output is computed by another ("split"); wide strips whose rows fit a
 * cache go through all steps by themselves ("alone"). Any way the same operations happen in the same order.
 */
#include <stdint.h>
#include <string.h>

#include "internal.h"

enum {
    GROUP_CHANNELS = 256, /* that a task takes at a time, at most; a block may be larger */
    FAR_CHANNELS = 64, /* the same from memory */
    GROUP_COLUMNS = 512, /* the same where they lie side by side: long pieces of the rows of memory */
    TASKS_PER_THREAD = 4,
    STRIP_LANES = 1024, /* of a strip that goes through all steps, at least: each of its rows is a call */
    FETCHING_TASKS_PER_THREAD = 2, /* each begins with a group that nothing has fetched */
    ALIGNMENT = 64
};

/* ---- The plan ---- */

static bnorm_traversal application_of(const bnorm_reduction *job, bnorm_sweep sweep)
{
    const bnorm_source *c = &job->collector;
    return (bnorm_traversal){ c->kernels, &job->geometry, job->map, sweep, c->x, c->dy, job->out, c->fusion };
}

/* Whether statistics are not all. */
static bool writes(const bnorm_reduction *job)
{
    return job->out || (job->collector.fusion && job->collector.fusion->dresidual);
}

/* Of all that is read. */
static size_t bytes_of_unit(const bnorm_reduction *job)
{
    const bnorm_geometry *g = &job->geometry;
    const bool with_dy = job->collector.terms != BNORM_SQUARES;
    const size_t bytes = bnorm_size_of(g->in.dtype) + (with_dy ? bnorm_size_of(g->out.dtype) : 0);
    return bytes * g->batch * g->points * job->plan.order.walk.width;
}

static size_t most_tasks(const bnorm_plan *p)
{
    return p->width == 1 ? 1 : p->width * (p->fetching ? FETCHING_TASKS_PER_THREAD : TASKS_PER_THREAD);
}

/* Units that share a cache line: channels that lie side by side, and yet are units of their own. */
static size_t units_of_line(const bnorm_reduction *job)
{
    const bnorm_geometry *g = &job->geometry;
    const bool adjacent = g->in.block_stride == g->block || g->out.block_stride == g->block;
    return adjacent && g->points > 1 ? bnorm_ceil_div(BNORM_CACHE_LINE / sizeof(uint16_t), g->block) : 1;
}

/* Groups of at most so many channels, and bytes that are read, if a unit, or a line of units, is not larger. */
static void cut_groups(bnorm_reduction *job, size_t bytes, size_t channels)
{
    bnorm_plan *p = &job->plan;
    const bnorm_order *o = &p->order;
    const size_t line = units_of_line(job), most = (line == 1 ? channels : GROUP_COLUMNS) / o->walk.width;
    size_t units = bnorm_min(bytes / bytes_of_unit(job), most);
    if (units < line)
        units = line == 1 ? 1 : most;
    units = bnorm_min(units, bnorm_ceil_div(o->units, most_tasks(p)));
    p->group_units = bnorm_min(bnorm_ceil_div(units, line) * line, o->units);
    p->groups = bnorm_ceil_div(o->units, p->group_units);
    p->tasks = bnorm_min(most_tasks(p), p->groups);
}

/* As many groups for each of the tasks, which are few, and all nearly as large: no larger than they were. */
static void even_groups(bnorm_plan *p)
{
    const size_t groups = bnorm_ceil_div(p->groups, p->tasks) * p->tasks;
    p->group_units = bnorm_ceil_div(p->order.units, groups);
    p->groups = bnorm_ceil_div(p->order.units, p->group_units);
    p->tasks = bnorm_min(p->tasks, p->groups);
}

/*
 * Groups from cache: half of what a core has leaves room for the output. Groups from memory: the longer the runs of an
 * image, the faster memory is, so they take what each thread can have of the largest cache; two groups are there at a
 * time, beside what others keep in it. A unit too large for that is read twice, the second time backwards.
 */
static void plan_groups(bnorm_reduction *job, const bnorm_tuning *tuning, bool cold)
{
    bnorm_plan *p = &job->plan;
    size_t core = tuning->core_cache, share = tuning->shared_cache / p->width;
    p->fetching = writes(job) && cold && bnorm_planes_possible(&job->geometry) && bytes_of_unit(job) <= share / 4;
    p->sweep.backwards = cold && !p->fetching;
    cut_groups(job, p->fetching && share / 8 > core / 2 ? share / 8 : core / 2, cold ? FAR_CHANNELS : GROUP_CHANNELS);
    if (p->fetching)
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

/* Strips that go through all steps: of rows in cache whose channels are all side by side. */
static void plan_strips(bnorm_reduction *job, const bnorm_tuning *tuning)
{
    bnorm_plan *p = &job->plan;
    const bnorm_geometry *g = &job->geometry;
    const bnorm_walk *w = &p->order.walk;
    if (g->blocks != 1 || g->channels != g->block || !w->dense || w->rows_per_super_row != 1 || p->order.segments != 1)
        return;
    const size_t fitting = tuning->core_cache / 2 / (bytes_of_unit(job) / w->width);
    const size_t share = bnorm_ceil_div(bnorm_ceil_div(w->width, p->width), BNORM_TILE);
    const size_t lanes = bnorm_min(fitting / BNORM_TILE, share) * BNORM_TILE;
    if (lanes < STRIP_LANES || lanes >= w->width)
        return;
    p->strip_lanes = lanes;
    p->tasks = bnorm_min(p->tasks, bnorm_ceil_div(w->width, lanes));
}

static void make_plan(bnorm_reduction *job, const bnorm_tuning *tuning, const bnorm_executor *executor)
{
    job->collector.x_type = job->geometry.in.dtype;
    job->collector.dy_type = job->geometry.out.dtype;
    const bnorm_traversal application = application_of(job, job->plan.sweep);
    const bool cold = bnorm_bytes(&application) > tuning->shared_cache / 2; /* what is read is gone through twice */
    bnorm_plan *p = &job->plan;
    *p = (bnorm_plan){ .order = bnorm_order_of(&job->geometry, job->collector.terms != BNORM_SQUARES) };
    if (!job->collector.x)
        p->order.walk.x = p->order.walk.dy;
    p->width = bnorm_useful_width(tuning, &job->geometry, executor);
    p->sweep.stream = bnorm_should_stream(&application, job->hint, cold);
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

/* What no memory holds: sizes stop there. A multiple of the alignment, which rounding up does not pass. */
static const size_t too_much = PTRDIFF_MAX / ALIGNMENT * ALIGNMENT;

/* The next `count` pieces of `bytes` bytes of memory that begins at `base`; with base NULL it only counts. */
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

/* Of the channels that a task works on at a time. */
static bnorm_scratch carve_task_scratch(const bnorm_plan *p, char *base, size_t *used)
{
    size_t width = p->order.walk.width;
    if (p->strip_lanes)
        return carve_scratch(base, used, p->strip_lanes);
    return carve_scratch(base, used, p->split ? bnorm_ceil_div(width, p->strips) : p->group_units * width);
}

static bnorm_scratch scratch_of(const bnorm_reduction *job, size_t task)
{
    size_t used = 0;
    return carve_task_scratch(&job->plan, job->scratch + task * job->scratch_bytes, &used);
}

static size_t all_lanes(const bnorm_order *o)
{
    return o->units * o->walk.width;
}

/* Lays out the workspace, which begins at an aligned base, and returns its size; with base NULL it only counts. */
static size_t lay_out(bnorm_reduction *job, char *base)
{
    const bnorm_plan *p = &job->plan;
    size_t used = 0, all = all_lanes(&p->order);
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
    p->strip_lanes = 0; /* which take no more */
    if (!p->split) {
        p->fetching = true; /* fewer tasks, so larger groups */
        cut_groups(&most, SIZE_MAX, GROUP_CHANNELS);
        p->fetching = false;
        p->tasks = bnorm_min(most_tasks(p), p->order.units);
    }
    return lay_out(&most, NULL) + ALIGNMENT - 1;
}

/* ---- Both passes ---- */

static void prepare(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    if (job->prepare)
        job->prepare(job, channel, lanes, s);
}

/* Over a region whose coefficients begin at `channel` of the scratch memory. */
static void apply(const bnorm_reduction *job, const bnorm_region *region, bnorm_sweep sweep, const bnorm_scratch *s,
                  size_t channel)
{
    const bnorm_traversal application = application_of(job, sweep);
    const float *k[BNORM_COEFFICIENTS];
    for (int i = 0; i < BNORM_COEFFICIENTS; i++)
        k[i] = s->k[i] + channel;
    bnorm_map_region(&application, region, k);
}

/* ---- Fused: all steps for a group of units ---- */

static size_t units_of_group(const bnorm_plan *p, size_t group)
{
    return bnorm_min(p->group_units, p->order.units - group * p->group_units);
}

static void fused_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const bnorm_scratch s = scratch_of(job, task);
    size_t last = bnorm_part(p->groups, p->tasks, task + 1), width = p->order.walk.width;
    for (size_t group = bnorm_part(p->groups, p->tasks, task); group < last; group++) {
        size_t unit = group * p->group_units, units = units_of_group(p, group);
        prepare(job, unit * width, units * width, &s);
        bnorm_unit_statistics(&job->collector, &p->order, unit, units, &s);
        job->finish(job, unit * width, units * width, &s);
        if (!writes(job))
            continue;
        bnorm_region region = bnorm_whole(&job->geometry);
        bnorm_sweep sweep = p->sweep;
        if (p->order.units > 1) {
            region.block = unit;
            region.blocks = units;
        }
        if (p->fetching && group + 1 < last)
            sweep.next_blocks = units_of_group(p, group + 1);
        apply(job, &region, sweep, &s, 0);
    }
}

/* ---- Strips of lanes ---- */

/* A strip of wide rows as a unit of its own. */
static void narrow(bnorm_order *order, bnorm_source *collector, size_t lane, size_t lanes)
{
    order->walk.width = order->walk.block = lanes;
    collector->x = collector->x ? bnorm_elements(collector->x, collector->x_type, lane) : NULL;
    collector->dy = collector->dy ? bnorm_elements(collector->dy, collector->dy_type, lane) : NULL;
    collector->at += lane;
}

static void strip_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const bnorm_scratch s = scratch_of(job, task);
    const size_t width = p->order.walk.width, strips = bnorm_ceil_div(width, p->strip_lanes);
    const size_t last = bnorm_part(strips, p->tasks, task + 1);
    bnorm_region region = bnorm_whole(&job->geometry);
    for (size_t strip = bnorm_part(strips, p->tasks, task); strip < last; strip++) {
        bnorm_order order = p->order;
        bnorm_source collector = job->collector;
        region.lane = strip * p->strip_lanes;
        region.lanes = bnorm_min(p->strip_lanes, width - region.lane);
        narrow(&order, &collector, region.lane, region.lanes);
        prepare(job, region.lane, region.lanes, &s);
        bnorm_unit_statistics(&collector, &order, 0, 1, &s);
        job->finish(job, region.lane, region.lanes, &s);
        if (writes(job))
            apply(job, &region, p->sweep, &s, 0);
    }
}

/* ---- Split: collect segments and strips, then apply ---- */

static void split_collect_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const size_t width = p->order.walk.width, items = p->order.units * p->order.segments * p->strips;
    const size_t last = bnorm_part(items, p->tasks, task + 1);
    bnorm_scratch s = scratch_of(job, task);
    for (size_t item = bnorm_part(items, p->tasks, task); item < last; item++) {
        size_t strip = item % p->strips, segment = item / p->strips % p->order.segments;
        size_t unit = item / p->strips / p->order.segments, lane = bnorm_part(width, p->strips, strip);
        bnorm_order order = p->order;
        bnorm_source collector = job->collector;
        double *part[BNORM_STATISTIC_ARRAYS];
        for (size_t i = 0; i < BNORM_STATISTIC_ARRAYS; i++)
            part[i] = job->segments[i] + (segment * p->order.units + unit) * width + lane;
        for (size_t c = 0; c < BNORM_COEFFICIENTS; c++)
            s.k[c] = job->whole.k[c] + unit * width + lane;
        s.low = job->whole.low + unit * width + lane;
        if (p->strips > 1)
            narrow(&order, &collector, lane, bnorm_part(width, p->strips, strip + 1) - lane);
        bnorm_segment_statistics(&collector, &order, unit, 1, segment, &s, part);
    }
}

static void split_finish(const bnorm_reduction *job)
{
    const bnorm_order *o = &job->plan.order;
    const size_t all = all_lanes(o), statistics = bnorm_statistic_count(job->collector.terms);
    double *part[BNORM_STATISTIC_ARRAYS];
    for (size_t i = 0; i < statistics; i++)
        memcpy(job->whole.all[i], job->segments[i], all * sizeof(double));
    for (size_t segment = 1; segment < o->segments; segment++) {
        for (size_t i = 0; i < statistics; i++)
            part[i] = job->segments[i] + segment * all;
        bnorm_merge_segment(&job->collector, o, all, segment, part, job->whole.all);
    }
    job->finish(job, 0, all, &job->whole);
}

/* On the way back from where the collecting ended, as far as tasks run in the order of their numbers. */
static void split_apply_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    size_t index = job->plan.sweep.backwards ? bnorm_grid_size(job->grid) - 1 - task : task;
    bnorm_region region = bnorm_grid_region(&job->geometry, job->grid, index);
    apply(job, &region, job->plan.sweep, &job->whole, region.block * job->geometry.block);
}

void bnorm_run_reduction(bnorm_reduction *job, void *workspace, const bnorm_executor *executor)
{
    lay_out(job, (char *)workspace + (ALIGNMENT - (uintptr_t)workspace % ALIGNMENT) % ALIGNMENT);
    if (job->plan.strip_lanes || !job->plan.split) {
        bnorm_run(executor, job->plan.tasks, job->plan.strip_lanes ? strip_task : fused_task, job);
        return;
    }
    prepare(job, 0, all_lanes(&job->plan.order), &job->whole);
    bnorm_run(executor, job->plan.tasks, split_collect_task, job);
    split_finish(job);
    if (!writes(job))
        return;
    job->grid = bnorm_cut(&job->geometry, job->plan.width);
    bnorm_run(executor, bnorm_grid_size(job->grid), split_apply_task, job);
}

/* ---- The memory that the caller brings ---- */

bnorm_status bnorm_workspace_size_on(const bnorm_machine *m, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size)
{
    bnorm_reduction job = { .collector.terms = operation == BNORM_OP_TRAIN ? BNORM_SQUARES : BNORM_PRODUCTS };
    bnorm_status status = bnorm_check_call(shape, &job.geometry, NULL, 0, NULL, executor);
    if (!status && !size)
        status = BNORM_ERROR_NULL_POINTER;
    if (!status && operation != BNORM_OP_INFER && operation != BNORM_OP_TRAIN && operation != BNORM_OP_BACKWARD)
        status = BNORM_ERROR_UNSUPPORTED;
    if (status)
        return status;
    const bool none = operation == BNORM_OP_INFER || job.geometry.empty;
    const size_t needed = none ? 0 : bnorm_plan_reduction(&job, &m->tuning, executor);
    if (needed >= PTRDIFF_MAX)
        return BNORM_ERROR_SHAPE;
    *size = needed;
    return BNORM_OK;
}

bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation, const bnorm_executor *executor,
                                  size_t *size)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_workspace_size_on(&machine, shape, operation, executor, size);
}
