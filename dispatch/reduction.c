/* SPDX-License-Identifier: MIT */
/* The tasks of a plan: groups, strips, or both sets of a split. */
#include <string.h>

#include "size.h"
#include "tasks.h"

void bnorm_run(const bnorm_executor *executor, size_t tasks, bnorm_task *task, void *argument)
{
    if (tasks == 1)
        task(argument, 0);
    else
        executor->run(executor->context, tasks, task, argument);
}

static void prepare(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    if (job->prepare)
        job->prepare(job, channel, lanes, s);
}

/* Maps a region whose coefficients begin at `channel` of the scratch memory. */
static void map_part(const bnorm_reduction *job, const bnorm_region *region, bnorm_sweep sweep, const bnorm_scratch *s,
                     size_t channel)
{
    const bnorm_traversal traversal = bnorm_reduction_traversal(job, sweep);
    const float *k[BNORM_COEFFICIENTS];
    for (int i = 0; i < BNORM_COEFFICIENTS; i++)
        k[i] = s->k[i] + channel;
    bnorm_map_region(&traversal, region, k);
}

/* ---- Groups: all steps for some units ---- */

static size_t units_of_group(const bnorm_plan *p, size_t group)
{
    return bnorm_min(p->group_units, p->order.units - group * p->group_units);
}

static void group_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const bnorm_scratch s = bnorm_task_scratch(job, task);
    size_t last = bnorm_part(p->groups, p->tasks, task + 1), width = p->order.walk.width;
    for (size_t group = bnorm_part(p->groups, p->tasks, task); group < last; group++) {
        size_t unit = group * p->group_units, units = units_of_group(p, group);
        prepare(job, unit * width, units * width, &s);
        bnorm_unit_statistics(&job->source, &p->order, unit, units, &s);
        job->finish(job, unit * width, units * width, &s);
        if (!bnorm_writes(job))
            continue;
        bnorm_region region = bnorm_whole(&job->geometry);
        bnorm_sweep sweep = p->sweep;
        if (p->order.units > 1) {
            region.block = unit;
            region.blocks = units;
        }
        if (p->prefetching && group + 1 < last)
            sweep.next_blocks = units_of_group(p, group + 1);
        map_part(job, &region, sweep, &s, 0);
    }
}

/* ---- Strips: all steps for some lanes ---- */

/* Makes a strip of wide rows a unit of its own. */
static void narrow(bnorm_order *order, bnorm_source *source, size_t lane, size_t lanes)
{
    order->walk.width = order->walk.block = lanes;
    source->x = source->x ? bnorm_elements(source->x, source->x_type, lane) : NULL;
    source->dy = source->dy ? bnorm_elements(source->dy, source->dy_type, lane) : NULL;
    source->at += lane;
}

static void strip_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const bnorm_scratch s = bnorm_task_scratch(job, task);
    const size_t width = p->order.walk.width, strips = bnorm_ceil_div(width, p->strip_lanes);
    const size_t last = bnorm_part(strips, p->tasks, task + 1);
    bnorm_region region = bnorm_whole(&job->geometry);
    for (size_t strip = bnorm_part(strips, p->tasks, task); strip < last; strip++) {
        bnorm_order order = p->order;
        bnorm_source source = job->source;
        region.lane = strip * p->strip_lanes;
        region.lanes = bnorm_min(p->strip_lanes, width - region.lane);
        narrow(&order, &source, region.lane, region.lanes);
        prepare(job, region.lane, region.lanes, &s);
        bnorm_unit_statistics(&source, &order, 0, 1, &s);
        job->finish(job, region.lane, region.lanes, &s);
        if (bnorm_writes(job))
            map_part(job, &region, p->sweep, &s, 0);
    }
}

/* ---- Split: sums of segments and strips, then maps of regions ---- */

static void split_sum_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    const bnorm_plan *p = &job->plan;
    const size_t width = p->order.walk.width, items = p->order.units * p->order.segments * p->strips;
    const size_t last = bnorm_part(items, p->tasks, task + 1);
    bnorm_scratch s = bnorm_task_scratch(job, task);
    for (size_t item = bnorm_part(items, p->tasks, task); item < last; item++) {
        size_t strip = item % p->strips, segment = item / p->strips % p->order.segments;
        size_t unit = item / p->strips / p->order.segments, lane = bnorm_part(width, p->strips, strip);
        bnorm_order order = p->order;
        bnorm_source source = job->source;
        double *part[BNORM_STATISTIC_ARRAYS];
        for (size_t i = 0; i < BNORM_STATISTIC_ARRAYS; i++)
            part[i] = job->segments[i] + (segment * p->order.units + unit) * width + lane;
        for (size_t c = 0; c < BNORM_COEFFICIENTS; c++)
            s.k[c] = job->whole.k[c] + unit * width + lane;
        s.low = job->whole.low + unit * width + lane;
        if (p->strips > 1)
            narrow(&order, &source, lane, bnorm_part(width, p->strips, strip + 1) - lane);
        bnorm_segment_statistics(&source, &order, unit, 1, segment, &s, part);
    }
}

static void split_finish(const bnorm_reduction *job)
{
    const bnorm_order *o = &job->plan.order;
    const size_t all = bnorm_all_lanes(o), statistics = bnorm_statistic_count(job->source.terms);
    double *part[BNORM_STATISTIC_ARRAYS];
    for (size_t i = 0; i < statistics; i++)
        memcpy(job->whole.all[i], job->segments[i], all * sizeof(double));
    for (size_t segment = 1; segment < o->segments; segment++) {
        for (size_t i = 0; i < statistics; i++)
            part[i] = job->segments[i] + segment * all;
        bnorm_merge_segment(&job->source, o, all, segment, part, job->whole.all);
    }
    job->finish(job, 0, all, &job->whole);
}

/* Backwards from where the sums ended, as far as tasks run in the order of their numbers. */
static void split_map_task(void *argument, size_t task)
{
    const bnorm_reduction *job = argument;
    size_t index = job->plan.sweep.backwards ? bnorm_grid_size(job->grid) - 1 - task : task;
    bnorm_region region = bnorm_grid_region(&job->geometry, job->grid, index);
    map_part(job, &region, job->plan.sweep, &job->whole, region.block * job->geometry.block);
}

void bnorm_run_reduction(bnorm_reduction *job, void *workspace, const bnorm_executor *executor)
{
    bnorm_lay_out(job, workspace);
    if (job->plan.strip_lanes || !job->plan.split) {
        bnorm_run(executor, job->plan.tasks, job->plan.strip_lanes ? strip_task : group_task, job);
        return;
    }
    prepare(job, 0, bnorm_all_lanes(&job->plan.order), &job->whole);
    bnorm_run(executor, job->plan.tasks, split_sum_task, job);
    split_finish(job);
    if (!bnorm_writes(job))
        return;
    job->grid = bnorm_cut(&job->geometry, job->plan.width);
    bnorm_run(executor, bnorm_grid_size(job->grid), split_map_task, job);
}
