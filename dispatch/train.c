/* SPDX-License-Identifier: MIT */
/*
 * Training: each channel's statistics, then the normalised output.
 *
 * With enough units for every thread, a task takes a group of units that fits a cache through all steps ("fused");
 * where the tensor does not fit the caches, the next group is fetched by the loop that normalises this one, so that
 * memory sees one stream of reads and one of writes, as in a copy. Otherwise the units are cut into segments and strips
 * of lanes, collected by one set of tasks and normalised by another ("split"). Either way the same operations happen in
 * the same order.
 */
#include <stdint.h>
#include <string.h>

#include "internal.h"

enum {
    GROUP_CHANNELS = 64, /* that a task takes at a time, at most; a block may be larger */
    TASKS_PER_THREAD = 4,
    FETCHING_TASKS_PER_THREAD = 2, /* each begins with a group that nothing has fetched */
    ALIGNMENT = 64
};

/* How the work of one call is laid out. */
typedef struct plan {
    bnorm_order order;
    size_t width; /* threads worth using */
    bnorm_sweep sweep;
    bool split;
    size_t strips; /* split */
    bool fetching;
    size_t group_units, groups; /* not split */
    size_t tasks;
} plan;

typedef struct training {
    const bnorm_kernels *kernels;
    bnorm_geometry geometry;
    bnorm_train_params params;
    plan plan;
    const float *x;
    float *y;
    char *scratch;
    size_t scratch_bytes; /* for the channels that a task works on at a time */
    double *segment_mean, *segment_m2; /* split: [segment][unit][lane] */
    bnorm_scratch whole; /* split: of all channels */
    bnorm_grid grid;
} training;

/* ---- The plan ---- */

static size_t bytes_of_unit(const bnorm_geometry *g, const bnorm_order *o)
{
    return g->batch * g->points * o->walk.width * sizeof(float);
}

static size_t most_tasks(const plan *p)
{
    return p->width == 1 ? 1 : p->width * (p->fetching ? FETCHING_TASKS_PER_THREAD : TASKS_PER_THREAD);
}

/* Groups of at most so many bytes of x, if a unit is not larger. */
static void cut_groups(plan *p, const bnorm_geometry *g, size_t bytes)
{
    const bnorm_order *o = &p->order;
    size_t units = bnorm_min(bytes / bytes_of_unit(g, o), GROUP_CHANNELS / o->walk.width);
    p->group_units = units ? bnorm_min(units, bnorm_ceil_div(o->units, most_tasks(p))) : 1;
    p->groups = bnorm_ceil_div(o->units, p->group_units);
    p->tasks = bnorm_min(most_tasks(p), p->groups);
}

/*
 * Groups from cache: half of what a core has leaves room for y. Groups from memory: the longer the runs of an image,
 * the faster memory is, so they take what each thread can have of the largest cache; two groups are there at a time,
 * beside what others keep in it. A unit too large for that is read twice, the second time backwards.
 */
static void plan_groups(plan *p, const bnorm_tuning *tuning, const bnorm_geometry *g, bool cold)
{
    size_t core = tuning->core_cache, share = tuning->shared_cache / p->width;
    p->fetching = cold && bnorm_planes_possible(g) && bytes_of_unit(g, &p->order) <= share / 4;
    p->sweep.backwards = cold && !p->fetching;
    cut_groups(p, g, p->fetching && share / 8 > core / 2 ? share / 8 : core / 2);
}

static void plan_split(plan *p, const bnorm_tuning *tuning)
{
    const bnorm_walk *w = &p->order.walk;
    size_t items = p->order.units * p->order.segments;
    bool strips_possible = p->order.units == 1 && w->dense && w->folded == 1;
    size_t most = strips_possible ? bnorm_ceil_div(w->width, tuning->strip_lanes) : 1;
    p->strips = bnorm_min(most, bnorm_ceil_div(p->width, items));
    p->tasks = bnorm_min(most_tasks(p), items * p->strips);
}

static plan make_plan(const bnorm_tuning *tuning, const bnorm_geometry *g, const bnorm_executor *executor,
                      bnorm_hint hint, bool in_place)
{
    const bool cold = bnorm_bytes(g, in_place) > tuning->shared_cache / 2; /* x is gone through twice */
    plan p = { .order = bnorm_order_of(g), .width = bnorm_useful_width(tuning, g, executor) };
    p.sweep.stream = bnorm_should_stream(hint, cold, in_place);
    p.sweep.backwards = p.order.walk.fetch = cold;
    p.split = p.width > 1 && p.order.units < 2 * p.width;
    if (p.split)
        plan_split(&p, tuning);
    else
        plan_groups(&p, tuning, g, cold);
    return p;
}

/* ---- Scratch memory ---- */

/* The next `bytes` of memory that begins at `base`; with base NULL it only counts. */
static void *carve(char *base, size_t *used, size_t bytes)
{
    void *piece = base ? base + *used : NULL;
    *used += bnorm_ceil_div(bytes, ALIGNMENT) * ALIGNMENT;
    return piece;
}

static bnorm_scratch carve_scratch(char *base, size_t *used, size_t channels)
{
    bnorm_scratch s;
    float **floats[] = { &s.pivot,
                         &s.sum,
                         &s.sum_sq,
                         &s.coefficients.center,
                         &s.coefficients.scale,
                         &s.coefficients.shift,
                         &s.coefficients.low,
                         &s.coefficients.rstd };
    double **doubles[] = { &s.total, &s.total_sq, &s.part_mean, &s.part_m2, &s.mean, &s.m2 };
    for (size_t i = 0; i < sizeof(floats) / sizeof(*floats); i++)
        *floats[i] = carve(base, used, channels * sizeof(float));
    for (size_t i = 0; i < sizeof(doubles) / sizeof(*doubles); i++)
        *doubles[i] = carve(base, used, channels * sizeof(double));
    return s;
}

/* Of the channels that a task works on at a time. */
static bnorm_scratch carve_task_scratch(const plan *p, char *base, size_t *used)
{
    size_t width = p->order.walk.width;
    return carve_scratch(base, used, p->split ? bnorm_ceil_div(width, p->strips) : p->group_units * width);
}

static bnorm_scratch scratch_of(const training *job, size_t task)
{
    size_t used = 0;
    return carve_task_scratch(&job->plan, job->scratch + task * job->scratch_bytes, &used);
}

/* Lays out the workspace, which begins at an aligned base, and returns its size; with base NULL it only counts. */
static size_t lay_out(training *job, char *base)
{
    const plan *p = &job->plan;
    size_t used = 0, all = p->order.units * p->order.walk.width;
    job->scratch_bytes = 0;
    carve_task_scratch(p, NULL, &job->scratch_bytes);
    job->scratch = carve(base, &used, p->tasks * job->scratch_bytes);
    if (p->split) {
        job->segment_mean = carve(base, &used, p->order.segments * all * sizeof(double));
        job->segment_m2 = carve(base, &used, p->order.segments * all * sizeof(double));
        job->whole = carve_scratch(base, &used, all);
    }
    return used;
}

/* Enough for every hint and size of the caches, which may change between the query and the call. */
static size_t workspace_bytes(const training *job)
{
    training most = *job;
    plan *p = &most.plan;
    if (!p->split) {
        p->fetching = true; /* fewer tasks, so larger groups */
        cut_groups(p, &job->geometry, SIZE_MAX);
        p->fetching = false;
        p->tasks = bnorm_min(most_tasks(p), p->order.units);
    }
    return lay_out(&most, NULL) + ALIGNMENT - 1;
}

/* ---- What is kept of the statistics ---- */

static void update_running(const bnorm_train_params *p, double count, size_t channel, size_t channels,
                           const double *mean, const double *m2)
{
    double divisor = p->running_variance == BNORM_BIASED ? count : count - 1.0;
    double weight = (double)p->momentum;
    float *running[2] = { p->running_mean, p->running_var };
    for (int i = 0; i < 2; i++) {
        if (!running[i] || weight == 0.0)
            continue;
        for (size_t c = 0; c < channels; c++) {
            double batch = i == 0 ? mean[c] : m2[c] / divisor;
            float *kept = running[i] + channel + c;
            *kept = (float)(weight == 1.0 ? batch : (1.0 - weight) * (double)*kept + weight * batch);
        }
    }
}

/* Coefficients of `lanes` channels, of which those past the last are padding, and what the caller keeps of them. */
static void finish(const training *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_train_params *p = &job->params;
    const bnorm_coefficients *c = &s->coefficients;
    double count = (double)(job->geometry.batch * job->geometry.points);
    size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    job->kernels->coefficients_f64(used, count, s->mean, s->m2, p->gamma ? p->gamma + channel : NULL,
                                   p->beta ? p->beta + channel : NULL, (double)p->epsilon, c);
    update_running(p, count, channel, used, s->mean, s->m2);
    if (p->saved_mean)
        memcpy(p->saved_mean + channel, c->center, used * sizeof(float));
    if (p->saved_mean_low)
        memcpy(p->saved_mean_low + channel, c->low, used * sizeof(float));
    if (p->saved_rstd)
        memcpy(p->saved_rstd + channel, c->rstd, used * sizeof(float));
}

/* ---- Fused: all steps for a group of units ---- */

static size_t units_of_group(const plan *p, size_t group)
{
    return bnorm_min(p->group_units, p->order.units - group * p->group_units);
}

static void fused_task(void *argument, size_t task)
{
    const training *job = argument;
    const plan *p = &job->plan;
    const bnorm_scratch s = scratch_of(job, task);
    const bnorm_coefficients *c = &s.coefficients;
    size_t last = bnorm_part(p->groups, p->tasks, task + 1);
    for (size_t group = bnorm_part(p->groups, p->tasks, task); group < last; group++) {
        size_t unit = group * p->group_units, units = units_of_group(p, group);
        bnorm_collect_units(job->kernels, &p->order, job->x + unit * p->order.unit_stride, units, &s);
        finish(job, unit * p->order.walk.width, units * p->order.walk.width, &s);
        bnorm_region region = bnorm_whole(&job->geometry);
        bnorm_sweep sweep = p->sweep;
        if (p->order.units > 1) {
            region.block = unit;
            region.blocks = units;
        }
        if (p->fetching && group + 1 < last)
            sweep.next_blocks = units_of_group(p, group + 1);
        bnorm_apply_region(job->kernels, &job->geometry, &region, sweep, job->x, job->y, c->center, c->scale, c->shift);
    }
}

/* ---- Split: collect segments and strips, then apply ---- */

static void split_collect_task(void *argument, size_t task)
{
    const training *job = argument;
    const plan *p = &job->plan;
    const bnorm_scratch s = scratch_of(job, task);
    const size_t width = p->order.walk.width, items = p->order.units * p->order.segments * p->strips;
    const size_t last = bnorm_part(items, p->tasks, task + 1);
    for (size_t item = bnorm_part(items, p->tasks, task); item < last; item++) {
        size_t strip = item % p->strips, segment = item / p->strips % p->order.segments;
        size_t unit = item / p->strips / p->order.segments;
        size_t lane = bnorm_part(width, p->strips, strip);
        size_t place = (segment * p->order.units + unit) * width + lane;
        bnorm_order order = p->order;
        if (p->strips > 1) {
            order.walk.width = bnorm_part(width, p->strips, strip + 1) - lane;
            order.walk.block = order.walk.width;
        }
        bnorm_collect_segment(job->kernels, &order, job->x + unit * p->order.unit_stride + lane, 1, segment, &s,
                              job->segment_mean + place, job->segment_m2 + place);
    }
}

static void split_finish(const training *job)
{
    const bnorm_order *o = &job->plan.order;
    const bnorm_scratch *s = &job->whole;
    size_t all = o->units * o->walk.width;
    memcpy(s->mean, job->segment_mean, all * sizeof(*s->mean));
    memcpy(s->m2, job->segment_m2, all * sizeof(*s->m2));
    for (size_t segment = 1; segment < o->segments; segment++)
        bnorm_merge_segment(job->kernels, o, all, segment, job->segment_mean + segment * all,
                            job->segment_m2 + segment * all, s->mean, s->m2);
    finish(job, 0, all, s);
}

/* On the way back from where the collecting ended, as far as tasks run in the order of their numbers. */
static void split_apply_task(void *argument, size_t task)
{
    const training *job = argument;
    const bnorm_coefficients *c = &job->whole.coefficients;
    size_t index = job->plan.sweep.backwards ? bnorm_grid_size(job->grid) - 1 - task : task;
    bnorm_region region = bnorm_grid_region(&job->geometry, job->grid, index);
    size_t channel = region.block * job->geometry.block;
    bnorm_apply_region(job->kernels, &job->geometry, &region, job->plan.sweep, job->x, job->y, c->center + channel,
                       c->scale + channel, c->shift + channel);
}

/* ---- The call ---- */

static bnorm_status check(const training *job, const void *x, const void *y, const bnorm_executor *executor)
{
    const bnorm_train_params *p = &job->params;
    bnorm_status status = bnorm_check_executor(executor);
    if (status)
        return status;
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_BAD_EPSILON;
    if (!(p->momentum >= 0.0f && p->momentum <= 1.0f))
        return BNORM_BAD_MOMENTUM;
    if (p->running_variance != BNORM_UNBIASED && p->running_variance != BNORM_BIASED)
        return BNORM_BAD_VARIANCE;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_BAD_HINT;
    status = bnorm_check_tensors(&job->geometry, x, y);
    if (status || job->geometry.empty)
        return status;
    if (job->geometry.batch == 1 && job->geometry.points == 1 && p->running_variance == BNORM_UNBIASED)
        return BNORM_SINGLE_VALUE;
    return BNORM_OK;
}

static bnorm_status check_memory(const training *job, const void *x, const void *y, const void *workspace,
                                 size_t workspace_size, size_t needed)
{
    const bnorm_train_params *p = &job->params;
    const bnorm_geometry *g = &job->geometry;
    const float *const inputs[2] = { p->gamma, p->beta };
    const float *const outputs[5] = { p->running_mean, p->running_var, p->saved_mean, p->saved_mean_low,
                                      p->saved_rstd };
    bnorm_range ranges[10] = { { x, g->in_extent * sizeof(float), false },
                               { y, g->out_extent * sizeof(float), true },
                               { workspace, needed, true } };
    for (int i = 0; i < 7; i++) {
        const float *array = i < 2 ? inputs[i] : outputs[i - 2];
        if ((uintptr_t)array % sizeof(float))
            return BNORM_MISALIGNED;
        ranges[3 + i] = (bnorm_range){ array, g->channels * sizeof(float), i >= 2 };
    }
    if (!workspace)
        return BNORM_NULL_POINTER;
    if (workspace_size < needed)
        return BNORM_SMALL_WORKSPACE;
    return bnorm_check_ranges(ranges, 10);
}

bnorm_status bnorm_train_on(const bnorm_kernels *kernels, const bnorm_tuning *tuning, const bnorm_shape *shape,
                            const bnorm_train_params *params, const void *x, void *y, void *workspace,
                            size_t workspace_size, const bnorm_executor *executor)
{
    training job = { .kernels = kernels, .x = x, .y = y };
    bnorm_status status = bnorm_check_shape(shape, &job.geometry);
    if (!status)
        status = bnorm_read_struct(&job.params, sizeof(job.params), params);
    if (!status)
        status = check(&job, x, y, executor);
    if (status || job.geometry.empty)
        return status;
    job.plan = make_plan(tuning, &job.geometry, executor, job.params.hint, x == y);
    status = check_memory(&job, x, y, workspace, workspace_size, workspace_bytes(&job));
    if (status)
        return status;
    lay_out(&job, (char *)workspace + (ALIGNMENT - (uintptr_t)workspace % ALIGNMENT) % ALIGNMENT);
    if (job.plan.split) {
        bnorm_run(executor, job.plan.tasks, split_collect_task, &job);
        split_finish(&job);
        job.grid = bnorm_cut(&job.geometry, bnorm_useful_width(tuning, &job.geometry, executor));
        bnorm_run(executor, bnorm_grid_size(job.grid), split_apply_task, &job);
    } else {
        bnorm_run(executor, job.plan.tasks, fused_task, &job);
    }
    return BNORM_OK;
}

bnorm_status bnorm_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                         void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    const bnorm_tuning tuning = bnorm_default_tuning();
    return bnorm_train_on(bnorm_kernels_chosen(), &tuning, shape, params, x, y, workspace, workspace_size, executor);
}

bnorm_status bnorm_workspace_size_on(const bnorm_tuning *tuning, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size)
{
    training job = { .kernels = NULL };
    bnorm_status status = bnorm_check_shape(shape, &job.geometry);
    if (!status)
        status = bnorm_check_executor(executor);
    if (!status && !size)
        status = BNORM_NULL_POINTER;
    if (!status && operation != BNORM_INFER && operation != BNORM_TRAIN)
        status = BNORM_UNSUPPORTED;
    if (status)
        return status;
    *size = 0;
    if (operation == BNORM_TRAIN && !job.geometry.empty) {
        job.plan = make_plan(tuning, &job.geometry, executor, BNORM_AUTO, false);
        *size = workspace_bytes(&job);
    }
    return BNORM_OK;
}

bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation, const bnorm_executor *executor,
                                  size_t *size)
{
    const bnorm_tuning tuning = bnorm_default_tuning();
    return bnorm_workspace_size_on(&tuning, shape, operation, executor, size);
}
