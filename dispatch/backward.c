/* SPDX-License-Identifier: MIT */
/* The gradients of training and of inference. */
#include "backward.h"
#include "calls.h"
#include "size.h"
#include "tasks.h"

static void finish(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_backward_params *p = &((const bnorm_backward_args *)job->context)->p;
    const double count = (double)(job->geometry.batch * job->geometry.points);
    const double *const sums[BNORM_STATISTIC_ARRAYS] = { s->all[0], s->all[1], s->all[2] };
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    bnorm_store_gradients(p, count, channel, used, sums);
    if (job->out && !bnorm_is_frozen(p))
        job->source.kernels->gradient_f64(used, count, sums, p->rstd + channel, s->k[BNORM_DY_MEAN], s->k[BNORM_SLOPE],
                                          s->k[BNORM_OFFSET]);
}

/* Coefficients that no sums are needed for. */
static void given_coefficients(const bnorm_elementwise *job, size_t first, size_t channels,
                               float *const k[BNORM_COEFFICIENTS])
{
    bnorm_forward_coefficients(job->traversal.kernels, &((const bnorm_backward_args *)job->context)->p, first, channels,
                               k);
}

/* A call: a reduction where sums are needed, else elementwise. */
typedef struct backward_call {
    bnorm_backward_args call; /* first: it is what bnorm_prepare_backward() and finish() look for */
    bnorm_reduction job;
    bool sums;
} backward_call;

static bnorm_status begin_backward(backward_call *b, const bnorm_machine *m, const bnorm_shape *shape,
                                   const bnorm_backward_params *params, const void *x, const void *dy, void *dx,
                                   const void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    bnorm_backward_args *c = &b->call;
    const bnorm_geometry *g = &b->job.geometry;
    const bnorm_range no_range = bnorm_bytes(NULL, 0, false);
    b->job = (bnorm_reduction){ .finish = finish, .prepare = bnorm_prepare_backward, .out = dx, .context = c };
    bnorm_status status = bnorm_read_backward(m, shape, params, executor, &b->job.geometry, c);
    if (status)
        return status;
    const bool x_needed = bnorm_gradient_needs_x(c, dx) || c->p.dgamma;
    status = bnorm_check_gradient_tensors(g, &c->f, x, x_needed, dy, dx);
    if (status)
        return status;
    x = x_needed ? x : NULL;
    b->job.source = bnorm_backward_source(m, c, x, dy);
    b->job.map = bnorm_backward_map(c, dx);
    b->job.hint = c->p.hint;
    b->sums = bnorm_backward_needs_sums(&c->p, dx) && !g->empty;
    if (b->sums)
        status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&b->job, &m->tuning, executor));
    const bnorm_range scratch = bnorm_bytes(workspace, workspace_size, true);
    return status ? status : bnorm_check_backward_memory(g, c, x, dy, dx, no_range, scratch);
}

bnorm_status bnorm_backward_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_backward_params *params,
                               const void *x, const void *dy, void *dx, void *workspace, size_t workspace_size,
                               const bnorm_executor *executor)
{
    backward_call b;
    bnorm_status status = begin_backward(&b, m, shape, params, x, dy, dx, workspace, workspace_size, executor);
    const bnorm_geometry *g = &b.job.geometry;
    const bnorm_backward_args *c = &b.call;
    if (status)
        return status;
    if (g->empty) {
        bnorm_store_no_gradients(&c->p, g->channels);
    } else if (b.sums) {
        bnorm_run_reduction(&b.job, workspace, executor);
    } else if (dx || c->f.dresidual) {
        bnorm_elementwise job = { .traversal = bnorm_reduction_traversal(&b.job, (bnorm_sweep){ 0 }),
                                  .hint = c->p.hint,
                                  .coefficients = given_coefficients,
                                  .context = c };
        bnorm_run_elementwise(&job, &m->tuning, executor);
    }
    return BNORM_OK;
}

bnorm_status bnorm_backward(const bnorm_shape *shape, const bnorm_backward_params *params, const void *x,
                            const void *dy, void *dx, void *workspace, size_t workspace_size,
                            const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_backward_on(&machine, shape, params, x, dy, dx, workspace, workspace_size, executor);
}

bnorm_status bnorm_backward_check(const bnorm_shape *shape, const bnorm_backward_params *params, const void *x,
                                  const void *dy, void *dx, void *workspace, size_t workspace_size,
                                  const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    backward_call b;
    return begin_backward(&b, &machine, shape, params, x, dy, dx, workspace, workspace_size, executor);
}
