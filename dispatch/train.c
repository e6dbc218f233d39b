/* SPDX-License-Identifier: MIT */
/* Training: normalising by the statistics of the batch, in one call and in steps. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* ---- What is kept of the statistics ---- */

static void update_running(const bnorm_kernels *kernels, const bnorm_train_params *p, double count, size_t channel,
                           size_t channels, const double *mean, const double *m2)
{
    const double divisor = p->running_variance == BNORM_VARIANCE_BIASED ? count : count - 1.0;
    if (p->momentum != 0.0f && (p->running_mean || p->running_var))
        kernels->average_f64(channels, (double)p->momentum, divisor, mean, m2,
                             p->running_mean ? p->running_mean + channel : NULL,
                             p->running_var ? p->running_var + channel : NULL);
}

static void save(float *saved, const float *values, size_t channel, size_t channels)
{
    if (saved)
        memcpy(saved + channel, values, channels * sizeof(float));
}

/* Coefficients of `lanes` channels, of which those past the last are padding, and what the caller keeps of them. */
static void finish(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_kernels *kernels = job->collector.kernels;
    const bnorm_train_params *p = job->context;
    const double count = (double)(job->geometry.batch * job->geometry.points);
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    float *const center = s->k[BNORM_CENTER];
    kernels->finish_f64(used, count, s->all[0], s->all[1], (double)p->epsilon, center, s->low, s->rstd);
    bnorm_saved_coefficients(kernels, used, center, s->low, s->rstd, bnorm_from(p->gamma, channel),
                             bnorm_from(p->beta, channel), s->k);
    update_running(kernels, p, count, channel, used, s->all[0], s->all[1]);
    save(p->saved_mean, center, channel, used);
    save(p->saved_mean_low, s->low, channel, used);
    save(p->saved_rstd, s->rstd, channel, used);
}

void bnorm_saved_coefficients(const bnorm_kernels *kernels, size_t channels, const float *mean, const float *low,
                              const float *rstd, const float *gamma, const float *beta,
                              float *const k[BNORM_COEFFICIENTS])
{
    if (k[BNORM_CENTER] != mean)
        memcpy(k[BNORM_CENTER], mean, channels * sizeof(float));
    kernels->coefficients_f64(channels, low, rstd, gamma, beta, k[BNORM_SCALE], k[BNORM_SHIFT]);
}

/* ---- In one call ---- */

static bnorm_status check_params(const bnorm_train_params *p)
{
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!(p->momentum >= 0.0f && p->momentum <= 1.0f))
        return BNORM_ERROR_MOMENTUM;
    if (p->running_variance != BNORM_VARIANCE_UNBIASED && p->running_variance != BNORM_VARIANCE_BIASED)
        return BNORM_ERROR_VARIANCE;
    return bnorm_valid_hint(p->hint) ? BNORM_OK : BNORM_ERROR_HINT;
}

static bnorm_status check_train(const bnorm_geometry *g, const bnorm_train_params *p, const bnorm_fusion *f,
                                const void *x, const void *y)
{
    bnorm_status status = check_params(p);
    if (status || g->empty)
        return status;
    status = bnorm_check_forward(g, f, x, y);
    if (status)
        return status;
    return g->batch == 1 && g->points == 1 && p->running_variance == BNORM_VARIANCE_UNBIASED ? BNORM_ERROR_SINGLE_VALUE
                                                                                             : BNORM_OK;
}

static bnorm_status check_train_memory(const bnorm_geometry *g, const bnorm_train_params *p, const bnorm_fusion *f,
                                       const void *x, const void *y, const void *workspace, size_t workspace_size)
{
    const bnorm_range ranges[] = {
        bnorm_in_range(g, x, false),
        bnorm_out_range(g, y, true),
        bnorm_out_range(g, f->residual, false),
        bnorm_mask_range(g, f, true),
        { workspace, workspace_size, 1, true },
        bnorm_floats(p->gamma, g->channels, false),
        bnorm_floats(p->beta, g->channels, false),
        bnorm_floats(p->running_mean, g->channels, true),
        bnorm_floats(p->running_var, g->channels, true),
        bnorm_floats(p->saved_mean, g->channels, true),
        bnorm_floats(p->saved_mean_low, g->channels, true),
        bnorm_floats(p->saved_rstd, g->channels, true),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 3);
}

/* A call's arguments, checked, and its work. */
typedef struct train_call {
    bnorm_train_params p;
    bnorm_fusion f;
    bnorm_reduction job;
} train_call;

static bnorm_status begin_train(train_call *c, const bnorm_machine *m, const bnorm_shape *shape,
                                const bnorm_train_params *params, const void *x, void *y, const void *workspace,
                                size_t workspace_size, const bnorm_executor *executor)
{
    const bnorm_geometry *g = &c->job.geometry;
    c->job = (bnorm_reduction){ .collector = { .kernels = m->kernels, .terms = BNORM_SQUARES, .x = x },
                                .out = y,
                                .finish = finish,
                                .context = &c->p };
    bnorm_status status = bnorm_check_call(shape, &c->job.geometry, &c->p, sizeof(c->p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m, c->p.epilogue, &c->f);
    if (!status)
        status = check_train(g, &c->p, &c->f, x, y);
    if (status || g->empty)
        return status;
    c->job.collector.fusion = bnorm_forward_fusion(&c->f);
    c->job.hint = c->p.hint;
    status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&c->job, &m->tuning, executor));
    return status ? status : check_train_memory(g, &c->p, &c->f, x, y, workspace, workspace_size);
}

bnorm_status bnorm_train_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_train_params *params,
                            const void *x, void *y, void *workspace, size_t workspace_size,
                            const bnorm_executor *executor)
{
    train_call c;
    bnorm_status status = begin_train(&c, m, shape, params, x, y, workspace, workspace_size, executor);
    if (!status && !c.job.geometry.empty)
        bnorm_run_reduction(&c.job, workspace, executor);
    return status;
}

bnorm_status bnorm_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                         void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_on(&machine, shape, params, x, y, workspace, workspace_size, executor);
}

bnorm_status bnorm_train_check(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                               void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    train_call c;
    return begin_train(&c, &machine, shape, params, x, y, workspace, workspace_size, executor);
}

/* ---- In steps ---- */

/* Where the statistics of the channels of a tensor go. */
typedef struct moments {
    double *mean, *m2;
} moments;

static void keep_moments(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const moments *out = job->context;
    const size_t bytes = bnorm_min(lanes, job->geometry.channels - channel) * sizeof(double);
    memcpy(out->mean + channel, s->all[0], bytes);
    memcpy(out->m2 + channel, s->all[1], bytes);
}

bnorm_status bnorm_train_collect_on(const bnorm_machine *m, const bnorm_shape *shape, const void *x, double *mean,
                                    double *m2, void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    const moments out = { mean, m2 };
    bnorm_reduction job = { .collector = { .kernels = m->kernels, .terms = BNORM_SQUARES, .x = x },
                            .finish = keep_moments,
                            .context = &out };
    const bnorm_geometry *g = &job.geometry;
    bnorm_status status = bnorm_check_call(shape, &job.geometry, NULL, 0, NULL, executor);
    if (!status && (!mean || !m2 || (!x && !g->empty)))
        status = BNORM_ERROR_NULL_POINTER;
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_in_range(g, x, false),
        { workspace, workspace_size, 1, true },
        bnorm_doubles(mean, g->channels, true),
        bnorm_doubles(m2, g->channels, true),
    };
    if (!g->empty)
        status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&job, &m->tuning, executor));
    if (!status)
        status = bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 0);
    if (status)
        return status;
    if (!g->empty) {
        bnorm_run_reduction(&job, workspace, executor);
        return BNORM_OK;
    }
    memset(mean, 0, g->channels * sizeof(*mean));
    memset(m2, 0, g->channels * sizeof(*m2));
    return BNORM_OK;
}

bnorm_status bnorm_train_collect(const bnorm_shape *shape, const void *x, double *mean, double *m2, void *workspace,
                                 size_t workspace_size, const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_collect_on(&machine, shape, x, mean, m2, workspace, workspace_size, executor);
}

bnorm_status bnorm_train_merge_on(const bnorm_machine *m, size_t channels, uint64_t count, double *mean, double *m2,
                                  uint64_t more_count, const double *more_mean, const double *more_m2)
{
    const bnorm_range ranges[] = {
        bnorm_doubles(mean, channels, true),
        bnorm_doubles(m2, channels, true),
        bnorm_doubles(more_mean, channels, false),
        bnorm_doubles(more_m2, channels, false),
    };
    if (!bnorm_valid_channels(channels))
        return BNORM_ERROR_SHAPE;
    if (!mean || !m2 || !more_mean || !more_m2)
        return BNORM_ERROR_NULL_POINTER;
    bnorm_status status = bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 0);
    if (status || more_count == 0)
        return status;
    if (count == 0) {
        memcpy(mean, more_mean, channels * sizeof(*mean));
        memcpy(m2, more_m2, channels * sizeof(*m2));
    } else {
        m->kernels->merge_f64(channels, (double)count, (double)more_count, mean, m2, more_mean, more_m2);
    }
    return BNORM_OK;
}

bnorm_status bnorm_train_merge(size_t channels, uint64_t count, double *mean, double *m2, uint64_t more_count,
                               const double *more_mean, const double *more_m2)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_merge_on(&machine, channels, count, mean, m2, more_count, more_mean, more_m2);
}

bnorm_status bnorm_train_finish_on(const bnorm_machine *m, size_t channels, uint64_t count, const double *mean,
                                   const double *m2, const bnorm_train_params *params)
{
    bnorm_train_params p;
    bnorm_status status = bnorm_valid_channels(channels) ? BNORM_OK : BNORM_ERROR_SHAPE;
    if (!status)
        status = bnorm_read_struct(&p, sizeof(p), params);
    if (!status)
        status = check_params(&p);
    if (!status && (!mean || !m2 || !p.saved_mean || !p.saved_mean_low || !p.saved_rstd))
        status = BNORM_ERROR_NULL_POINTER;
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_doubles(mean, channels, false),         bnorm_doubles(m2, channels, false),
        bnorm_floats(p.running_mean, channels, true), bnorm_floats(p.running_var, channels, true),
        bnorm_floats(p.saved_mean, channels, true),   bnorm_floats(p.saved_mean_low, channels, true),
        bnorm_floats(p.saved_rstd, channels, true),
    };
    status = bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 0);
    if (!status && count == 1 && p.running_variance == BNORM_VARIANCE_UNBIASED)
        status = BNORM_ERROR_SINGLE_VALUE;
    if (status || count == 0)
        return status;
    m->kernels->finish_f64(channels, (double)count, mean, m2, (double)p.epsilon, p.saved_mean, p.saved_mean_low,
                           p.saved_rstd);
    update_running(m->kernels, &p, (double)count, 0, channels, mean, m2);
    return BNORM_OK;
}

bnorm_status bnorm_train_finish(size_t channels, uint64_t count, const double *mean, const double *m2,
                                const bnorm_train_params *params)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_finish_on(&machine, channels, count, mean, m2, params);
}

static void saved_coefficients(const bnorm_elementwise *pass, size_t first, size_t channels,
                               float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_train_params *p = pass->context;
    bnorm_saved_coefficients(pass->application.kernels, channels, p->saved_mean + first, p->saved_mean_low + first,
                             p->saved_rstd + first, bnorm_from(p->gamma, first), bnorm_from(p->beta, first), k);
}

static bnorm_status check_apply(const bnorm_geometry *g, const bnorm_train_params *p, const bnorm_fusion *f,
                                const void *x, const void *y)
{
    bnorm_status status = check_params(p);
    if (!status && (!p->saved_mean || !p->saved_mean_low || !p->saved_rstd))
        status = BNORM_ERROR_NULL_POINTER;
    if (status || g->empty)
        return status;
    status = bnorm_check_forward(g, f, x, y);
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_in_range(g, x, false),
        bnorm_out_range(g, y, true),
        bnorm_out_range(g, f->residual, false),
        bnorm_mask_range(g, f, true),
        bnorm_floats(p->gamma, g->channels, false),
        bnorm_floats(p->beta, g->channels, false),
        bnorm_floats(p->saved_mean, g->channels, false),
        bnorm_floats(p->saved_mean_low, g->channels, false),
        bnorm_floats(p->saved_rstd, g->channels, false),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 3);
}

bnorm_status bnorm_train_apply_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_train_params *params,
                                  const void *x, void *y, const bnorm_executor *executor)
{
    bnorm_geometry g;
    bnorm_train_params p;
    bnorm_fusion f;
    bnorm_status status = bnorm_check_call(shape, &g, &p, sizeof(p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m, p.epilogue, &f);
    if (!status)
        status = check_apply(&g, &p, &f, x, y);
    if (status || g.empty)
        return status;
    bnorm_elementwise pass = {
        .application = { m->kernels, &g, BNORM_NORMALISE, { 0 }, x, NULL, y, bnorm_forward_fusion(&f) },
        .hint = p.hint,
        .coefficients = saved_coefficients,
        .context = &p
    };
    bnorm_run_elementwise(&pass, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_train_apply(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                               const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_apply_on(&machine, shape, params, x, y, executor);
}
