/* SPDX-License-Identifier: MIT */
/* Backward in steps, for sums of more than one tensor. */
#include <string.h>

#include "backward.h"
#include "calls.h"
#include "size.h"
#include "tasks.h"

/* Where the sums go. */
typedef struct reduce_call {
    bnorm_backward_args call; /* first: it is what bnorm_prepare_backward() looks for */
    double *sums; /* [BNORM_STATISTIC_ARRAYS][channels] */
} reduce_call;

static void keep_sums(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const reduce_call *r = job->context;
    const size_t channels = job->geometry.channels, used = bnorm_min(lanes, channels - channel);
    for (size_t i = 0; i < BNORM_STATISTIC_ARRAYS; i++)
        memcpy(r->sums + i * channels + channel, s->all[i], used * sizeof(double));
}

bnorm_status bnorm_backward_reduce_on(const bnorm_machine *m, const bnorm_shape *shape,
                                      const bnorm_backward_params *params, const void *x, const void *dy, double *sums,
                                      void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    reduce_call r = { .sums = sums };
    bnorm_backward_args *c = &r.call;
    bnorm_reduction job = { .finish = keep_sums, .prepare = bnorm_prepare_backward, .context = &r };
    const bnorm_geometry *g = &job.geometry;
    bnorm_status status = bnorm_read_backward(m, shape, params, executor, &job.geometry, c);
    if (!status && !sums)
        status = BNORM_ERROR_NULL_POINTER;
    if (status)
        return status;
    c->p.dgamma = c->p.dbeta = c->f.dresidual = NULL; /* not of this step */
    status = bnorm_check_gradient_tensors(g, &c->f, x, true, dy, NULL);
    if (status)
        return status;
    job.source = bnorm_backward_source(m, c, x, dy);
    job.source.low_known =
        bnorm_is_frozen(&c->p) || (bnorm_is_activated(c) && c->p.mean_low); /* of all tensors, not of each */
    job.map = bnorm_backward_map(c, NULL);
    if (!g->empty)
        status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&job, &m->tuning, executor));
    if (!status)
        status = bnorm_check_backward_memory(g, c, x, dy, NULL,
                                             bnorm_doubles(sums, BNORM_STATISTIC_ARRAYS * g->channels, true),
                                             bnorm_bytes(workspace, workspace_size, true));
    if (status)
        return status;
    if (g->empty)
        memset(sums, 0, BNORM_STATISTIC_ARRAYS * g->channels * sizeof(*sums));
    else
        bnorm_run_reduction(&job, workspace, executor);
    return BNORM_OK;
}

bnorm_status bnorm_backward_reduce(const bnorm_shape *shape, const bnorm_backward_params *params, const void *x,
                                   const void *dy, double *sums, void *workspace, size_t workspace_size,
                                   const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_backward_reduce_on(&machine, shape, params, x, dy, sums, workspace, workspace_size, executor);
}

/* What dx follows from: the parameters, and sums over all tensors that were reduced. */
typedef struct reduced {
    const bnorm_backward_params *params;
    double count;
    const double *sums[BNORM_STATISTIC_ARRAYS];
} reduced;

static void reduced_coefficients(const bnorm_elementwise *job, size_t first, size_t channels,
                                 float *const k[BNORM_COEFFICIENTS])
{
    const reduced *r = job->context;
    const bnorm_kernels *kernels = job->traversal.kernels;
    bnorm_forward_coefficients(kernels, r->params, first, channels, k);
    if (job->traversal.map != BNORM_GRADIENT)
        return;
    const double *const sums[BNORM_STATISTIC_ARRAYS] = { r->sums[0] + first, r->sums[1] + first, r->sums[2] + first };
    kernels->gradient_f64(channels, r->count, sums, r->params->rstd + first, k[BNORM_DY_MEAN], k[BNORM_SLOPE],
                          k[BNORM_OFFSET]);
}

bnorm_status bnorm_backward_apply_on(const bnorm_machine *m, const bnorm_shape *shape,
                                     const bnorm_backward_params *params, uint64_t count, const double *sums,
                                     const void *x, const void *dy, void *dx, const bnorm_executor *executor)
{
    bnorm_backward_args c;
    bnorm_geometry g;
    const bnorm_range no_range = bnorm_bytes(NULL, 0, false);
    bnorm_status status = bnorm_read_backward(m, shape, params, executor, &g, &c);
    if (!status && bnorm_backward_needs_sums(&c.p, dx) && !sums)
        status = BNORM_ERROR_NULL_POINTER;
    if (!status && bnorm_backward_needs_sums(&c.p, dx) && count < (uint64_t)g.batch * g.points)
        status = BNORM_ERROR_SHAPE;
    if (status)
        return status;
    const bool writes = dx || c.f.dresidual, x_needed = writes && bnorm_gradient_needs_x(&c, dx);
    if (writes)
        status = bnorm_check_gradient_tensors(&g, &c.f, x, x_needed, dy, dx);
    x = x_needed ? x : NULL;
    dy = writes ? dy : NULL;
    if (!status)
        status = bnorm_check_backward_memory(&g, &c, x, dy, dx,
                                             bnorm_doubles(sums, BNORM_STATISTIC_ARRAYS * g.channels, false), no_range);
    if (status)
        return status;
    reduced all = { .params = &c.p, .count = (double)count };
    for (size_t i = 0; sums && i < BNORM_STATISTIC_ARRAYS; i++)
        all.sums[i] = sums + i * g.channels;
    if (count == 0)
        bnorm_store_no_gradients(&c.p, g.channels);
    else if (sums)
        bnorm_store_gradients(&c.p, (double)count, 0, g.channels, all.sums);
    if (!writes || g.empty)
        return BNORM_OK;
    bnorm_elementwise job = { .traversal = { .kernels = m->kernels,
                                             .geometry = &g,
                                             .map = bnorm_backward_map(&c, dx),
                                             .x = x,
                                             .dy = dy,
                                             .y = dx,
                                             .fusion = bnorm_backward_fusion(&c) },
                              .hint = c.p.hint,
                              .coefficients = reduced_coefficients,
                              .context = &all };
    bnorm_run_elementwise(&job, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_backward_apply(const bnorm_shape *shape, const bnorm_backward_params *params, uint64_t count,
                                  const double *sums, const void *x, const void *dy, void *dx,
                                  const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_backward_apply_on(&machine, shape, params, count, sums, x, dy, dx, executor);
}
