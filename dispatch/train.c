/* SPDX-License-Identifier: MIT */
/* Training: normalisation by the statistics of the batch itself. */
#include <string.h>

#include "calls.h"
#include "coefficients.h"
#include "size.h"
#include "tasks.h"
#include "train.h"

void bnorm_update_running(const bnorm_kernels *kernels, const bnorm_train_params *p, double count, size_t channel,
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

/* Computes the coefficients of `lanes` channels, after the last of which is padding, and what the caller keeps. */
static void finish(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_kernels *kernels = job->source.kernels;
    const bnorm_train_params *p = job->context;
    const double count = (double)(job->geometry.batch * job->geometry.points);
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    float *const center = s->k[BNORM_CENTER];
    kernels->finish_f64(used, count, s->all[0], s->all[1], (double)p->epsilon, center, s->low, s->rstd);
    bnorm_saved_coefficients(kernels, used, center, s->low, s->rstd, bnorm_from(p->gamma, channel),
                             bnorm_from(p->beta, channel), s->k);
    bnorm_update_running(kernels, p, count, channel, used, s->all[0], s->all[1]);
    save(p->saved_mean, center, channel, used);
    save(p->saved_mean_low, s->low, channel, used);
    save(p->saved_rstd, s->rstd, channel, used);
}

bnorm_status bnorm_check_train_params(const bnorm_train_params *p)
{
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!bnorm_ascend(0.0f, p->momentum) || !bnorm_ascend(p->momentum, 1.0f))
        return BNORM_ERROR_MOMENTUM;
    if (p->running_variance != BNORM_VARIANCE_UNBIASED && p->running_variance != BNORM_VARIANCE_BIASED)
        return BNORM_ERROR_VARIANCE;
    return bnorm_valid_hint(p->hint) ? BNORM_OK : BNORM_ERROR_HINT;
}

static bnorm_status check_train(const bnorm_geometry *g, const bnorm_train_params *p, const bnorm_fusion *f,
                                const void *x, const void *y)
{
    bnorm_status status = bnorm_check_train_params(p);
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
        bnorm_bytes(workspace, workspace_size, true),
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

/* A call's checked arguments, and its job. */
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
    c->job = (bnorm_reduction){ .source = { .kernels = m->kernels, .terms = BNORM_SQUARES, .x = x },
                                .out = y,
                                .finish = finish,
                                .context = &c->p };
    bnorm_status status = bnorm_check_call(shape, &c->job.geometry, &c->p, sizeof(c->p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m->kernels, c->p.epilogue, &c->f);
    if (!status)
        status = check_train(g, &c->p, &c->f, x, y);
    if (status || g->empty)
        return status;
    c->job.source.fusion = bnorm_forward_fusion(&c->f);
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
