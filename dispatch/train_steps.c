/* SPDX-License-Identifier: MIT */
/* Training in steps, for statistics of more than one tensor. */
#include <string.h>

#include "calls.h"
#include "coefficients.h"
#include "size.h"
#include "tasks.h"
#include "train.h"

/* Where the statistics go. */
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
    bnorm_reduction job = { .source = { .kernels = m->kernels, .terms = BNORM_SQUARES, .x = x },
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
        bnorm_bytes(workspace, workspace_size, true),
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
    if (!bnorm_valid_channels(channels))
        return BNORM_ERROR_SHAPE;
    if (!mean || !m2 || !more_mean || !more_m2)
        return BNORM_ERROR_NULL_POINTER;
    const bnorm_range ranges[] = {
        bnorm_doubles(mean, channels, true),
        bnorm_doubles(m2, channels, true),
        bnorm_doubles(more_mean, channels, false),
        bnorm_doubles(more_m2, channels, false),
    };
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
    if (!bnorm_valid_channels(channels))
        return BNORM_ERROR_SHAPE;
    bnorm_status status = bnorm_read_struct(&p, sizeof(p), params);
    if (!status)
        status = bnorm_check_train_params(&p);
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
    bnorm_update_running(m->kernels, &p, (double)count, 0, channels, mean, m2);
    return BNORM_OK;
}

bnorm_status bnorm_train_finish(size_t channels, uint64_t count, const double *mean, const double *m2,
                                const bnorm_train_params *params)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_finish_on(&machine, channels, count, mean, m2, params);
}

static void saved_coefficients(const bnorm_elementwise *job, size_t first, size_t channels,
                               float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_train_params *p = job->context;
    bnorm_saved_coefficients(job->traversal.kernels, channels, p->saved_mean + first, p->saved_mean_low + first,
                             p->saved_rstd + first, bnorm_from(p->gamma, first), bnorm_from(p->beta, first), k);
}

static bnorm_status check_apply(const bnorm_geometry *g, const bnorm_train_params *p, const bnorm_fusion *f,
                                const void *x, const void *y)
{
    bnorm_status status = bnorm_check_train_params(p);
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
        status = bnorm_read_epilogue(m->kernels, p.epilogue, &f);
    if (!status)
        status = check_apply(&g, &p, &f, x, y);
    if (status || g.empty)
        return status;
    bnorm_elementwise job = { .traversal = { .kernels = m->kernels,
                                             .geometry = &g,
                                             .map = BNORM_NORMALISE,
                                             .x = x,
                                             .y = y,
                                             .fusion = bnorm_forward_fusion(&f) },
                              .hint = p.hint,
                              .coefficients = saved_coefficients,
                              .context = &p };
    bnorm_run_elementwise(&job, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_train_apply(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                               const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_train_apply_on(&machine, shape, params, x, y, executor);
}
