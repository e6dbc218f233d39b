/* SPDX-License-Identifier: MIT */
/* The gradients of training and of inference, in one call and in steps. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* A call's arguments, checked; first in what each call keeps. */
typedef struct call {
    bnorm_backward_params p;
    bnorm_fusion f;
} call;

static bool is_frozen(const bnorm_backward_params *p)
{
    return p->statistics == BNORM_STATISTICS_FROZEN;
}

static bool is_activated(const call *c)
{
    return c->f.activation != BNORM_ACT_IDENTITY;
}

static bnorm_map map_of(const call *c, const void *dx)
{
    return is_frozen(&c->p) || !dx ? BNORM_FROZEN : BNORM_GRADIENT;
}

static const bnorm_fusion *fusion_of(const call *c)
{
    return is_activated(c) || c->f.dresidual ? &c->f : NULL;
}

static bnorm_source collector_of(const bnorm_machine *m, const call *c, const void *x, const void *dy)
{
    return (bnorm_source){ .kernels = m->kernels,
                           .terms = is_activated(c) ? BNORM_FUSED : BNORM_PRODUCTS,
                           .centered = !is_activated(c) && !is_frozen(&c->p),
                           .low_known = is_frozen(&c->p) || c->p.mean_low,
                           .x = x,
                           .dy = dy,
                           .fusion = fusion_of(c) };
}

static bool needs_sums(const bnorm_backward_params *p, const void *dx)
{
    return p->dgamma || p->dbeta || (dx && !is_frozen(p));
}

/* For dx and dresidual alone. */
static bool applying_needs_x(const call *c, const void *dx)
{
    return (is_activated(c) && !c->f.mask) || (dx && !is_frozen(&c->p));
}

/* ---- From statistics to coefficients and gradients of the parameters ---- */

/* What the forward pass computed y with. */
static void forward_coefficients(const bnorm_kernels *kernels, const bnorm_backward_params *p, size_t first,
                                 size_t channels, float *const k[BNORM_COEFFICIENTS])
{
    const float *mean = p->mean + first, *gamma = bnorm_from(p->gamma, first), *beta = bnorm_from(p->beta, first);
    if (is_frozen(p))
        bnorm_given_coefficients(kernels, channels, mean, p->var + first, gamma, beta, p->epsilon, k);
    else
        bnorm_saved_coefficients(kernels, channels, mean, bnorm_from(p->mean_low, first), p->rstd + first, gamma, beta,
                                 k);
}

static void store(float *gradients, const double *values, size_t channels, int accumulate)
{
    for (size_t c = 0; c < channels; c++)
        gradients[c] = (float)(accumulate ? (double)gradients[c] + values[c] : values[c]);
}

/* dgamma and dbeta of some channels, whose sums over `count` values begin the arrays. */
static void store_gradients(const bnorm_backward_params *p, double count, size_t first, size_t channels,
                            const double *const *sums)
{
    enum { SLICE = 64 };
    const double inverse = 1.0 / count;
    double dgamma[SLICE];
    if (p->dbeta)
        store(p->dbeta + first, sums[0], channels, p->accumulate);
    for (size_t begin = 0; p->dgamma && begin < channels; begin += SLICE) {
        const size_t length = bnorm_min(channels - begin, SLICE);
        const double *dy = sums[0] + begin, *d = sums[1] + begin, *dy_d = sums[2] + begin;
        if (is_frozen(p))
            for (size_t c = 0; c < length; c++)
                dgamma[c] = dy_d[c] * (1.0 / sqrt((double)p->var[first + begin + c] + (double)p->epsilon));
        else /* the mean of the batch is where Σd is 0; saved as two floats, it misses that by their rounding */
            for (size_t c = 0; c < length; c++)
                dgamma[c] = (dy_d[c] - dy[c] * inverse * d[c]) * (double)p->rstd[first + begin + c];
        store(p->dgamma + first + begin, dgamma, length, p->accumulate);
    }
}

/* Of no values. */
static void store_no_gradients(const bnorm_backward_params *p, size_t channels)
{
    if (p->accumulate)
        return;
    if (p->dgamma)
        memset(p->dgamma, 0, channels * sizeof(float));
    if (p->dbeta)
        memset(p->dbeta, 0, channels * sizeof(float));
}

static void prepare(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    const call *c = job->context;
    const float *low = is_frozen(&c->p) ? NULL : bnorm_from(c->p.mean_low, channel);
    forward_coefficients(job->collector.kernels, &c->p, channel, used, s->k);
    memset(s->low, 0, lanes * sizeof(float));
    if (low)
        memcpy(s->low, low, used * sizeof(float));
    for (int i = BNORM_CENTER; i <= BNORM_SHIFT; i++)
        memset(s->k[i] + used, 0, (lanes - used) * sizeof(float));
}

static void finish(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_backward_params *p = &((const call *)job->context)->p;
    const double count = (double)(job->geometry.batch * job->geometry.points);
    const double *const sums[BNORM_STATISTIC_ARRAYS] = { s->all[0], s->all[1], s->all[2] };
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    store_gradients(p, count, channel, used, sums);
    if (job->out && !is_frozen(p))
        job->collector.kernels->gradient_f64(used, count, sums, p->rstd + channel, s->k[BNORM_DY_MEAN],
                                             s->k[BNORM_SLOPE], s->k[BNORM_OFFSET]);
}

/* ---- Arguments ---- */

static bnorm_status check_params(const bnorm_backward_params *p)
{
    if (p->statistics != BNORM_STATISTICS_BATCH && p->statistics != BNORM_STATISTICS_FROZEN)
        return BNORM_ERROR_STATISTICS;
    if (is_frozen(p) && !bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_ERROR_HINT;
    return p->mean && (is_frozen(p) ? p->var : p->rstd) ? BNORM_OK : BNORM_ERROR_NULL_POINTER;
}

/* What all calls begin with. */
static bnorm_status read_call(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_backward_params *params,
                              const bnorm_executor *executor, bnorm_geometry *g, call *c)
{
    bnorm_status status = bnorm_check_call(shape, g, &c->p, sizeof(c->p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m, c->p.epilogue, &c->f);
    if (status)
        return status;
    c->f.dresidual = c->p.dresidual;
    return check_params(&c->p);
}

/* Whether an output is not an input, nor in its way. */
static bnorm_status check_apart(const bnorm_geometry *g, const void *in, bool in_out, const void *out, bool out_out)
{
    if (!in || !out)
        return BNORM_OK;
    return in == out ? BNORM_ERROR_OVERLAP : bnorm_check_tensors(g, in, in_out, out, out_out);
}

static bnorm_status check_tensors(const bnorm_geometry *g, const bnorm_fusion *f, const void *x, bool x_needed,
                                  const void *dy, const void *dx)
{
    bnorm_status status = BNORM_OK;
    if (g->empty)
        return BNORM_OK;
    if (!dy || (x_needed && !x))
        return BNORM_ERROR_NULL_POINTER;
    if (dx)
        status = bnorm_check_tensors(g, dy, true, dx, false);
    if (!status && dx && x_needed)
        status = bnorm_check_tensors(g, x, false, dx, false);
    if (!status && f->dresidual)
        status = bnorm_check_tensors(g, dy, true, f->dresidual, true);
    if (!status && f->dresidual && f->residual)
        status = bnorm_check_tensors(g, f->residual, true, f->dresidual, true);
    if (!status)
        status = check_apart(g, f->residual, true, dx, false);
    if (!status)
        status = check_apart(g, dx, false, f->dresidual, true);
    return status || !x_needed ? status : check_apart(g, x, false, f->dresidual, true);
}

static bnorm_status check_memory(const bnorm_geometry *g, const call *c, const void *x, const void *dy, const void *dx,
                                 bnorm_range sums, bnorm_range workspace)
{
    const bnorm_backward_params *p = &c->p;
    const bnorm_range ranges[] = {
        bnorm_in_range(g, x, false),
        bnorm_out_range(g, dy, false),
        bnorm_in_range(g, dx, true),
        bnorm_out_range(g, c->f.residual, false),
        bnorm_out_range(g, c->f.dresidual, true),
        bnorm_mask_range(g, &c->f, false),
        sums,
        workspace,
        bnorm_floats(p->gamma, g->channels, false),
        bnorm_floats(p->beta, g->channels, false),
        bnorm_floats(p->mean, g->channels, false),
        bnorm_floats(is_frozen(p) ? NULL : p->mean_low, g->channels, false),
        bnorm_floats(is_frozen(p) ? p->var : p->rstd, g->channels, false),
        bnorm_floats(p->dgamma, g->channels, true),
        bnorm_floats(p->dbeta, g->channels, true),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 5);
}

/* ---- In one call ---- */

/* Coefficients that no sums are needed for. */
static void given_coefficients(const bnorm_elementwise *pass, size_t first, size_t channels,
                               float *const k[BNORM_COEFFICIENTS])
{
    forward_coefficients(pass->application.kernels, &((const call *)pass->context)->p, first, channels, k);
}

/* Checks all, and sets up what the call is made of: a job of two passes where sums are needed, else of one. */
typedef struct backward_call {
    call call; /* first: it is what prepare() and finish() look for */
    bnorm_reduction job;
    bool sums;
} backward_call;

static bnorm_status begin_backward(backward_call *b, const bnorm_machine *m, const bnorm_shape *shape,
                                   const bnorm_backward_params *params, const void *x, const void *dy, void *dx,
                                   const void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    call *c = &b->call;
    const bnorm_geometry *g = &b->job.geometry;
    const bnorm_range no_range = { NULL, 0, 1, false };
    b->job = (bnorm_reduction){ .finish = finish, .prepare = prepare, .out = dx, .context = c };
    bnorm_status status = read_call(m, shape, params, executor, &b->job.geometry, c);
    if (status)
        return status;
    const bool x_needed = applying_needs_x(c, dx) || c->p.dgamma;
    status = check_tensors(g, &c->f, x, x_needed, dy, dx);
    if (status)
        return status;
    x = x_needed ? x : NULL;
    b->job.collector = collector_of(m, c, x, dy);
    b->job.map = map_of(c, dx);
    b->job.hint = c->p.hint;
    b->sums = needs_sums(&c->p, dx) && !g->empty;
    if (b->sums)
        status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&b->job, &m->tuning, executor));
    const bnorm_range scratch = { workspace, workspace_size, 1, true };
    return status ? status : check_memory(g, c, x, dy, dx, no_range, scratch);
}

bnorm_status bnorm_backward_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_backward_params *params,
                               const void *x, const void *dy, void *dx, void *workspace, size_t workspace_size,
                               const bnorm_executor *executor)
{
    backward_call b;
    bnorm_status status = begin_backward(&b, m, shape, params, x, dy, dx, workspace, workspace_size, executor);
    const bnorm_geometry *g = &b.job.geometry;
    const call *c = &b.call;
    if (status)
        return status;
    if (g->empty) {
        store_no_gradients(&c->p, g->channels);
    } else if (b.sums) {
        bnorm_run_reduction(&b.job, workspace, executor);
    } else if (dx || c->f.dresidual) {
        bnorm_elementwise pass = {
            .application = { m->kernels, g, b.job.map, { 0 }, b.job.collector.x, dy, dx, fusion_of(c) },
            .hint = c->p.hint,
            .coefficients = given_coefficients,
            .context = c
        };
        bnorm_run_elementwise(&pass, &m->tuning, executor);
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

/* ---- In steps ---- */

/* Where the sums go. */
typedef struct reduction {
    call call; /* first: it is what prepare() looks for */
    double *sums; /* [BNORM_STATISTIC_ARRAYS][channels] */
} reduction;

static void keep_sums(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const reduction *r = job->context;
    const size_t channels = job->geometry.channels, used = bnorm_min(lanes, channels - channel);
    for (size_t i = 0; i < BNORM_STATISTIC_ARRAYS; i++)
        memcpy(r->sums + i * channels + channel, s->all[i], used * sizeof(double));
}

bnorm_status bnorm_backward_reduce_on(const bnorm_machine *m, const bnorm_shape *shape,
                                      const bnorm_backward_params *params, const void *x, const void *dy, double *sums,
                                      void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    reduction r = { .sums = sums };
    call *c = &r.call;
    bnorm_reduction job = { .finish = keep_sums, .prepare = prepare, .context = &r };
    const bnorm_geometry *g = &job.geometry;
    bnorm_status status = read_call(m, shape, params, executor, &job.geometry, c);
    if (!status && !sums)
        status = BNORM_ERROR_NULL_POINTER;
    if (status)
        return status;
    c->p.dgamma = c->p.dbeta = c->f.dresidual = NULL; /* not of this step */
    status = check_tensors(g, &c->f, x, true, dy, NULL);
    if (status)
        return status;
    job.collector = collector_of(m, c, x, dy);
    job.collector.low_known = is_frozen(&c->p) || (is_activated(c) && c->p.mean_low); /* of all tensors, not of each */
    job.map = map_of(c, NULL);
    if (!g->empty)
        status = bnorm_check_workspace(workspace, workspace_size, bnorm_plan_reduction(&job, &m->tuning, executor));
    if (!status)
        status = check_memory(g, c, x, dy, NULL, bnorm_doubles(sums, BNORM_STATISTIC_ARRAYS * g->channels, true),
                              (bnorm_range){ workspace, workspace_size, 1, true });
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

static void reduced_coefficients(const bnorm_elementwise *pass, size_t first, size_t channels,
                                 float *const k[BNORM_COEFFICIENTS])
{
    const reduced *r = pass->context;
    const bnorm_kernels *kernels = pass->application.kernels;
    forward_coefficients(kernels, r->params, first, channels, k);
    if (pass->application.map != BNORM_GRADIENT)
        return;
    const double *const sums[BNORM_STATISTIC_ARRAYS] = { r->sums[0] + first, r->sums[1] + first, r->sums[2] + first };
    kernels->gradient_f64(channels, r->count, sums, r->params->rstd + first, k[BNORM_DY_MEAN], k[BNORM_SLOPE],
                          k[BNORM_OFFSET]);
}

bnorm_status bnorm_backward_apply_on(const bnorm_machine *m, const bnorm_shape *shape,
                                     const bnorm_backward_params *params, uint64_t count, const double *sums,
                                     const void *x, const void *dy, void *dx, const bnorm_executor *executor)
{
    call c;
    bnorm_geometry g;
    const bnorm_range no_range = { NULL, 0, 1, false };
    bnorm_status status = read_call(m, shape, params, executor, &g, &c);
    if (!status && needs_sums(&c.p, dx) && !sums)
        status = BNORM_ERROR_NULL_POINTER;
    if (!status && needs_sums(&c.p, dx) && count < (uint64_t)g.batch * g.points)
        status = BNORM_ERROR_SHAPE;
    if (status)
        return status;
    const bool writes = dx || c.f.dresidual, x_needed = writes && applying_needs_x(&c, dx);
    if (writes)
        status = check_tensors(&g, &c.f, x, x_needed, dy, dx);
    x = x_needed ? x : NULL;
    dy = writes ? dy : NULL;
    if (!status)
        status =
            check_memory(&g, &c, x, dy, dx, bnorm_doubles(sums, BNORM_STATISTIC_ARRAYS * g.channels, false), no_range);
    if (status)
        return status;
    reduced all = { .params = &c.p, .count = (double)count };
    for (size_t i = 0; sums && i < BNORM_STATISTIC_ARRAYS; i++)
        all.sums[i] = sums + i * g.channels;
    if (count == 0)
        store_no_gradients(&c.p, g.channels);
    else if (sums)
        store_gradients(&c.p, (double)count, 0, g.channels, all.sums);
    if (!writes || g.empty)
        return BNORM_OK;
    bnorm_elementwise pass = { .application = { m->kernels, &g, map_of(&c, dx), { 0 }, x, dy, dx, fusion_of(&c) },
                               .hint = c.p.hint,
                               .coefficients = reduced_coefficients,
                               .context = &all };
    bnorm_run_elementwise(&pass, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_backward_apply(const bnorm_shape *shape, const bnorm_backward_params *params, uint64_t count,
                                  const double *sums, const void *x, const void *dy, void *dx,
                                  const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_backward_apply_on(&machine, shape, params, count, sums, x, dy, dx, executor);
}
