/* SPDX-License-Identifier: MIT */
/*
 * Training: collect each channel's statistics in the order of docs/numerics.md, then normalise by them.
 *
 * A unit is a channel block, or the whole row where channels lie side by side. With enough units for every thread, a
 * task takes a batch of units that fits a cache through all steps ("fused"). Otherwise the units are cut into segments
 * and strips of lanes, collected by one set of tasks and applied by another ("split"). Either way the same operations
 * happen in the same order.
 */
#include <stdint.h>
#include <string.h>

#include "internal.h"

enum {
    SEGMENT_ROWS = 2048, /* super-rows of a segment, at most: part of the order of the statistics */
    BATCH_CHANNELS = 64, /* that a fused task takes at a time; a block may be larger */
    TASKS_PER_THREAD = 4,
    ALIGNMENT = 64
};

/* How the work of one call is laid out. */
typedef struct plan {
    bnorm_walk walk; /* of a unit in x */
    size_t units, unit_stride;
    size_t super_rows; /* of a unit */
    size_t segments, segment_rows;
    bool split;
    size_t batch_units, batches; /* fused */
    size_t strips; /* split */
    size_t tasks;
} plan;

/* Scratch memory for the channels that a task works on. */
typedef struct scratch {
    float *pivot, *sum, *sum_sq;
    bnorm_coefficients coefficients;
    double *total, *total_sq;
    double *part_mean, *part_m2; /* of one segment */
    double *mean, *m2;
} scratch;

typedef struct training {
    const bnorm_kernels *kernels;
    bnorm_geometry geometry;
    bnorm_train_params params;
    plan plan;
    const float *x;
    float *y;
    char *task_scratch;
    size_t task_scratch_bytes;
    double *segment_mean, *segment_m2; /* split: [segment][unit][lane] */
    scratch whole; /* split: of all channels */
    bnorm_grid grid;
} training;

/* ---- The plan ---- */

static bnorm_walk walk_of(const bnorm_geometry *g, bool one_row)
{
    bnorm_walk w = { .points = g->points, .block = g->block, .image_stride = g->in.image, .point_stride = g->in.point };
    w.block_stride = g->in.block;
    w.width = one_row ? g->blocks * g->block : g->block;
    w.folded = bnorm_folded_rows(w.width);
    w.run_rows = one_row ? g->batch * g->points : g->points;
    w.run_super_rows = bnorm_ceil_div(w.run_rows, w.folded);
    w.run_stride = g->in.image;
    size_t pitch = g->points == 1 ? g->in.image : g->in.point;
    w.super_row_stride = w.folded * pitch;
    bool row_adjacent = !one_row || g->blocks == 1 || g->in.block == g->block;
    bool rows_even = !one_row || g->points == 1 || g->batch == 1 || g->in.image == g->points * g->in.point;
    w.dense = row_adjacent && rows_even && (w.folded == 1 || pitch == w.width);
    return w;
}

static plan make_plan(const bnorm_tuning *tuning, const bnorm_geometry *g, const bnorm_executor *executor)
{
    bool one_row = g->blocks == 1 || g->points == 1;
    size_t width = bnorm_useful_width(tuning, g, executor);
    size_t parts = width == 1 ? 1 : width * TASKS_PER_THREAD;
    plan p = { .walk = walk_of(g, one_row), .units = one_row ? 1 : g->blocks, .unit_stride = g->in.block };
    p.super_rows = p.walk.run_super_rows * (one_row ? 1 : g->batch);
    p.segment_rows = bnorm_ceil_div(p.super_rows, bnorm_ceil_div(p.super_rows, SEGMENT_ROWS));
    p.segment_rows = bnorm_ceil_div(p.segment_rows, BNORM_GROUP) * BNORM_GROUP;
    p.segments = bnorm_ceil_div(p.super_rows, p.segment_rows);
    p.split = width > 1 && p.units < 2 * width;
    if (p.split) {
        bool strips_possible = one_row && p.walk.dense && p.walk.folded == 1;
        size_t most = strips_possible ? bnorm_ceil_div(p.walk.width, tuning->strip_lanes) : 1;
        p.strips = bnorm_min(most, bnorm_ceil_div(parts, p.units * p.segments));
        p.tasks = bnorm_min(parts, p.units * p.segments * p.strips);
    } else {
        size_t unit_bytes = g->batch * g->points * p.walk.width * sizeof(float);
        p.batch_units = bnorm_min(tuning->batch_bytes / unit_bytes, BATCH_CHANNELS / p.walk.width);
        p.batch_units = bnorm_min(p.batch_units, bnorm_ceil_div(p.units, parts));
        p.batch_units += p.batch_units == 0;
        p.batches = bnorm_ceil_div(p.units, p.batch_units);
        p.tasks = bnorm_min(parts, p.batches);
    }
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

static scratch carve_scratch(char *base, size_t *used, size_t channels)
{
    scratch s;
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

static size_t task_channels(const plan *p)
{
    return p->split ? bnorm_ceil_div(p->walk.width, p->strips) : p->batch_units * p->walk.width;
}

/* Lays out the workspace, which begins at an aligned base, and returns its size; with base NULL it only counts. */
static size_t lay_out(training *job, char *base)
{
    const plan *p = &job->plan;
    size_t used = 0, all = p->units * p->walk.width;
    job->task_scratch_bytes = 0;
    carve_scratch(NULL, &job->task_scratch_bytes, task_channels(p));
    job->task_scratch = carve(base, &used, p->tasks * job->task_scratch_bytes);
    if (p->split) {
        job->segment_mean = carve(base, &used, p->segments * all * sizeof(double));
        job->segment_m2 = carve(base, &used, p->segments * all * sizeof(double));
        job->whole = carve_scratch(base, &used, all);
    }
    return used;
}

static scratch scratch_of(const training *job, size_t task)
{
    size_t used = 0;
    return carve_scratch(job->task_scratch + task * job->task_scratch_bytes, &used, task_channels(&job->plan));
}

static size_t workspace_bytes(training *job)
{
    return lay_out(job, NULL) + ALIGNMENT - 1;
}

/* ---- Statistics ---- */

/* How many values of a channel lie before a super-row. */
static size_t values_before(const bnorm_walk *w, size_t super_row)
{
    size_t run = super_row / w->run_super_rows, row = super_row % w->run_super_rows;
    return run * w->run_rows + row * w->folded;
}

static size_t values_in_segment(const plan *p, size_t segment)
{
    size_t begin = segment * p->segment_rows, end = bnorm_min(begin + p->segment_rows, p->super_rows);
    return values_before(&p->walk, end) - values_before(&p->walk, begin);
}

/* The first value of each channel from a super-row on. */
static void first_values(const bnorm_walk *w, const float *x, size_t units, size_t unit_stride, size_t super_row,
                         float *pivot)
{
    size_t row = values_before(w, super_row);
    x += row / w->points * w->image_stride + row % w->points * w->point_stride;
    for (size_t u = 0; u < units; u++, x += unit_stride, pivot += w->width)
        for (size_t lane = 0; lane < w->width; lane++)
            pivot[lane] = x[w->width == w->block ? lane : lane / w->block * w->block_stride + lane % w->block];
}

static void collect(const training *job, const bnorm_walk *w, const float *x, size_t units, size_t first, size_t rows,
                    const scratch *s, float *sum_sq)
{
    const bnorm_kernels *k = job->kernels;
    (w->width == 1 ? k->collect_nchw_f32 : k->collect_nhwc_f32)(w, x, units, job->plan.unit_stride, first, rows,
                                                                s->pivot, s->sum, sum_sq);
}

/* Adds `rows` super-rows to the moments of the `before` values that precede them; the pivot follows the mean. */
static void collect_epoch(const training *job, const bnorm_walk *w, const float *x, size_t units, size_t before,
                          size_t first, size_t rows, const scratch *s, double *mean, double *m2)
{
    const bnorm_kernels *k = job->kernels;
    size_t channels = units * w->width, end = first + rows;
    size_t count = values_before(w, end) - values_before(w, first);
    bool chunks = rows > BNORM_CHUNK;
    if (chunks) {
        memset(s->total, 0, channels * sizeof(*s->total));
        memset(s->total_sq, 0, channels * sizeof(*s->total_sq));
    }
    for (size_t row = first; row < end; row += BNORM_CHUNK) {
        collect(job, w, x, units, row, bnorm_min(end - row, BNORM_CHUNK), s, s->sum_sq);
        if (end - row > BNORM_CHUNK)
            k->accumulate_f64(channels, s->sum, s->sum_sq, s->total, s->total_sq);
    }
    k->conclude_f64(channels, (double)before, (double)count, s->sum, s->sum_sq, chunks ? s->total : NULL,
                    chunks ? s->total_sq : NULL, s->pivot, mean, m2);
}

/*
 * The mean and m2 of a segment. Its first group is looked at twice: for the mean about its first value, and then about
 * that mean; each further epoch is as long as all that came before it, and taken about the mean of that.
 */
static void collect_segment(const training *job, const bnorm_walk *w, const float *x, size_t units, size_t segment,
                            const scratch *s, double *mean, double *m2)
{
    const plan *p = &job->plan;
    size_t begin = segment * p->segment_rows, end = bnorm_min(begin + p->segment_rows, p->super_rows);
    size_t epoch = bnorm_min(BNORM_GROUP, end - begin), origin = values_before(w, begin);
    first_values(w, x, units, p->unit_stride, begin, s->pivot);
    collect(job, w, x, units, begin, epoch, s, NULL);
    job->kernels->recenter_f64(units * w->width, (double)(values_before(w, begin + epoch) - origin), s->sum, s->pivot);
    for (size_t row = begin; row < end; row += epoch) {
        epoch = row == begin ? epoch : bnorm_min(row - begin, end - row);
        collect_epoch(job, w, x, units, values_before(w, row) - origin, row, epoch, s, mean, m2);
    }
}

/* A segment's moments join those of all segments before it. */
static void merge_segment(const training *job, size_t channels, size_t segment, const double *mean, const double *m2,
                          const scratch *s)
{
    size_t before = values_before(&job->plan.walk, segment * job->plan.segment_rows);
    size_t count = values_in_segment(&job->plan, segment);
    job->kernels->merge_f64(channels, (double)before, (double)count, s->mean, s->m2, mean, m2);
}

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
static void finish(const training *job, size_t channel, size_t lanes, const scratch *s)
{
    const bnorm_train_params *p = &job->params;
    const bnorm_coefficients *c = &s->coefficients;
    double count = (double)(job->geometry.batch * job->geometry.points);
    size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    job->kernels->coefficients_f64(used, count, s->mean, s->m2, p->gamma ? p->gamma + channel : NULL,
                                   p->beta ? p->beta + channel : NULL, (double)p->epsilon, c);
    memset(c->center + used, 0, (lanes - used) * sizeof(float));
    memset(c->scale + used, 0, (lanes - used) * sizeof(float));
    memset(c->shift + used, 0, (lanes - used) * sizeof(float));
    update_running(p, count, channel, used, s->mean, s->m2);
    if (p->saved_mean)
        memcpy(p->saved_mean + channel, c->center, used * sizeof(float));
    if (p->saved_mean_low)
        memcpy(p->saved_mean_low + channel, c->low, used * sizeof(float));
    if (p->saved_rstd)
        memcpy(p->saved_rstd + channel, c->rstd, used * sizeof(float));
}

/* ---- Fused: all steps for a batch of units ---- */

static void fused_task(void *argument, size_t task)
{
    const training *job = argument;
    const plan *p = &job->plan;
    const scratch s = scratch_of(job, task);
    size_t last = bnorm_part(p->batches, p->tasks, task + 1);
    for (size_t batch = bnorm_part(p->batches, p->tasks, task); batch < last; batch++) {
        size_t unit = batch * p->batch_units;
        size_t units = bnorm_min(p->batch_units, p->units - unit), lanes = units * p->walk.width;
        const float *x = job->x + unit * p->unit_stride;
        collect_segment(job, &p->walk, x, units, 0, &s, s.mean, s.m2);
        for (size_t segment = 1; segment < p->segments; segment++) {
            collect_segment(job, &p->walk, x, units, segment, &s, s.part_mean, s.part_m2);
            merge_segment(job, lanes, segment, s.part_mean, s.part_m2, &s);
        }
        finish(job, unit * p->walk.width, lanes, &s);
        bnorm_region region = bnorm_whole(&job->geometry);
        if (p->units > 1) {
            region.block = unit;
            region.blocks = units;
        }
        bnorm_apply_region(job->kernels, &job->geometry, &region, job->x, job->y, s.coefficients.center,
                           s.coefficients.scale, s.coefficients.shift);
    }
}

/* ---- Split: collect segments and strips, then apply ---- */

static void split_collect_task(void *argument, size_t task)
{
    const training *job = argument;
    const plan *p = &job->plan;
    const scratch s = scratch_of(job, task);
    size_t items = p->units * p->segments * p->strips, last = bnorm_part(items, p->tasks, task + 1);
    for (size_t item = bnorm_part(items, p->tasks, task); item < last; item++) {
        size_t strip = item % p->strips, segment = item / p->strips % p->segments;
        size_t unit = item / p->strips / p->segments;
        size_t lane = bnorm_part(p->walk.width, p->strips, strip);
        size_t place = (segment * p->units + unit) * p->walk.width + lane;
        bnorm_walk walk = p->walk;
        if (p->strips > 1) {
            walk.width = bnorm_part(p->walk.width, p->strips, strip + 1) - lane;
            walk.block = walk.width;
        }
        collect_segment(job, &walk, job->x + unit * p->unit_stride + lane, 1, segment, &s, job->segment_mean + place,
                        job->segment_m2 + place);
    }
}

static void split_finish(const training *job)
{
    size_t all = job->plan.units * job->plan.walk.width;
    memcpy(job->whole.mean, job->segment_mean, all * sizeof(*job->whole.mean));
    memcpy(job->whole.m2, job->segment_m2, all * sizeof(*job->whole.m2));
    for (size_t segment = 1; segment < job->plan.segments; segment++)
        merge_segment(job, all, segment, job->segment_mean + segment * all, job->segment_m2 + segment * all,
                      &job->whole);
    finish(job, 0, all, &job->whole);
}

static void split_apply_task(void *argument, size_t task)
{
    const training *job = argument;
    const bnorm_coefficients *c = &job->whole.coefficients;
    bnorm_region region = bnorm_grid_region(&job->geometry, job->grid, task);
    size_t channel = region.block * job->geometry.block;
    bnorm_apply_region(job->kernels, &job->geometry, &region, job->x, job->y, c->center + channel, c->scale + channel,
                       c->shift + channel);
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
    job.plan = make_plan(tuning, &job.geometry, executor);
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
    return bnorm_train_on(bnorm_kernels_chosen(), &bnorm_default_tuning, shape, params, x, y, workspace, workspace_size,
                          executor);
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
        job.plan = make_plan(tuning, &job.geometry, executor);
        *size = workspace_bytes(&job);
    }
    return BNORM_OK;
}

bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation, const bnorm_executor *executor,
                                  size_t *size)
{
    return bnorm_workspace_size_on(&bnorm_default_tuning, shape, operation, executor, size);
}
