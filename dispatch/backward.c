/* SPDX-License-Identifier: MIT */
/* The gradients of training and of inference, in one call and in steps. */
#include <math.h>
#include <string.h>

#include "internal.h"

static bool is_frozen(const bnorm_backward_params *p)
{
    return p->statistics == BNORM_FROZEN_STATISTICS;
}

static bnorm_map map_of(const bnorm_backward_params *p)
{
    if (p->activation == BNORM_RELU)
        return is_frozen(p) ? BNORM_FROZEN_RELU : BNORM_GRADIENT_RELU;
    return is_frozen(p) ? BNORM_FROZEN : BNORM_GRADIENT;
}

static bnorm_collector collector_of(const bnorm_machine *m, const bnorm_backward_params *p, const void *x,
                                    const void *dy)
{
    const bool relu = p->activation == BNORM_RELU;
    return (bnorm_collector){ m->kernels, relu ? BNORM_PRODUCTS_RELU : BNORM_PRODUCTS, !relu && !is_frozen(p), x, dy };
}

static bool needs_sums(const bnorm_backward_params *p, const void *dx)
{
    return p->dgamma || p->dbeta || (dx && !is_frozen(p));
}

static bool needs_x(const bnorm_backward_params *p, const void *dx)
{
    return p->activation == BNORM_RELU || p->dgamma || (dx && !is_frozen(p));
}

static const float *from(const float *array, size_t channel)
{
    return array ? array + channel : NULL;
}

/* ---- From statistics to coefficients and gradients of the parameters ---- */

/* What the forward pass computed y with. */
static void forward_coefficients(const bnorm_kernels *kernels, const bnorm_backward_params *p, size_t first,
                                 size_t channels, float *const k[BNORM_COEFFICIENTS])
{
    memcpy(k[BNORM_CENTER], p->mean + first, channels * sizeof(float));
    if (!is_frozen(p)) {
        kernels->coefficients_f64(channels, from(p->mean_low, first), p->rstd + first, from(p->gamma, first),
                                  from(p->beta, first), k[BNORM_SCALE], k[BNORM_SHIFT]);
        return;
    }
    kernels->scale_f64(channels, p->var + first, from(p->gamma, first), (double)p->epsilon, k[BNORM_SCALE]);
    if (p->beta)
        memcpy(k[BNORM_SHIFT], p->beta + first, channels * sizeof(float));
    else
        memset(k[BNORM_SHIFT], 0, channels * sizeof(float));
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

static void prepare(const bnorm_two_pass *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    forward_coefficients(job->collector.kernels, job->context, channel, used, s->k);
    for (int c = BNORM_CENTER; c <= BNORM_SHIFT; c++)
        memset(s->k[c] + used, 0, (lanes - used) * sizeof(float));
}

static void finish(const bnorm_two_pass *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const bnorm_backward_params *p = job->context;
    const double count = (double)(job->geometry.batch * job->geometry.points);
    const double *const sums[BNORM_STATISTICS] = { s->all[0], s->all[1], s->all[2] };
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    store_gradients(p, count, channel, used, sums);
    if (job->out && !is_frozen(p))
        job->collector.kernels->gradient_f64(used, count, sums, p->rstd + channel, s->k[BNORM_DY_MEAN],
                                             s->k[BNORM_SLOPE], s->k[BNORM_OFFSET]);
}

/* ---- Arguments ---- */

static bnorm_status check_params(const bnorm_backward_params *p)
{
    if (p->statistics != BNORM_BATCH_STATISTICS && p->statistics != BNORM_FROZEN_STATISTICS)
        return BNORM_BAD_STATISTICS;
    if (p->activation != BNORM_IDENTITY && p->activation != BNORM_RELU)
        return BNORM_BAD_ACTIVATION;
    if (is_frozen(p) && !bnorm_valid_epsilon(p->epsilon))
        return BNORM_BAD_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_BAD_HINT;
    return p->mean && (is_frozen(p) ? p->var : p->rstd) ? BNORM_OK : BNORM_NULL_POINTER;
}

static bnorm_status check_tensors(const bnorm_geometry *g, const void *x, bool x_needed, const void *dy, const void *dx)
{
    bnorm_status status = BNORM_OK;
    if (g->empty)
        return BNORM_OK;
    if (!dy || (x_needed && !x))
        return BNORM_NULL_POINTER;
    if (dx)
        status = bnorm_check_tensors(g, dy, true, dx, false);
    if (!status && dx && x_needed)
        status = bnorm_check_tensors(g, x, false, dx, false);
    return status;
}

static bnorm_status check_memory(const bnorm_geometry *g, const bnorm_backward_params *p, const void *x, const void *dy,
                                 const void *dx, bnorm_range sums, bnorm_range workspace)
{
    const bnorm_range ranges[] = {
        bnorm_floats(x, g->in_extent, false),
        bnorm_floats(dy, g->out_extent, false),
        bnorm_floats(dx, g->in_extent, true),
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
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 3);
}

/* ---- In one call ---- */

/* The tensors that are gone through, each counted once. */
static size_t bytes_of(const bnorm_geometry *g, const void *x, const void *dy, const void *dx)
{
    size_t elements = g->out_extent + (x && x != dy ? g->in_extent : 0);
    return (elements + (dx && dx != x && dx != dy ? g->in_extent : 0)) * sizeof(float);
}

/* Coefficients that no sums are needed for. */
static void frozen_coefficients(const bnorm_one_pass *pass, size_t first, size_t channels,
                                float *const k[BNORM_COEFFICIENTS])
{
    forward_coefficients(pass->application.kernels, pass->context, first, channels, k);
}

static void run_one_pass(bnorm_one_pass *pass, const bnorm_machine *m, bnorm_hint hint, const bnorm_executor *executor)
{
    bnorm_application *a = &pass->application;
    bool in_place = a->y == a->x || a->y == a->dy;
    a->sweep.stream =
        bnorm_should_stream(hint, bytes_of(a->geometry, a->x, a->dy, a->y) > m->tuning.shared_cache, in_place);
    bnorm_run_one_pass(pass, &m->tuning, executor);
}

bnorm_status bnorm_backward_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_backward_params *params,
                               const void *x, const void *dy, void *dx, void *workspace, size_t workspace_size,
                               const bnorm_executor *executor)
{
    bnorm_backward_params p;
    bnorm_two_pass job = { .finish = finish, .prepare = prepare, .out = dx, .context = &p };
    const bnorm_geometry *g = &job.geometry;
    const bnorm_range no_range = { NULL, 0, 1, false };
    bnorm_status status = bnorm_check_call(shape, &job.geometry, &p, sizeof(p), params, executor);
    if (!status)
        status = check_params(&p);
    if (!status)
        status = check_tensors(g, x, needs_x(&p, dx), dy, dx);
    if (status)
        return status;
    const bool sums = needs_sums(&p, dx) && !g->empty;
    x = needs_x(&p, dx) ? x : NULL;
    job.collector = collector_of(m, &p, x, dy);
    job.map = map_of(&p);
    job.hint = p.hint;
    job.in_place = dx == x || dx == dy;
    job.bytes = bytes_of(g, x, dy, dx);
    const size_t needed = sums ? bnorm_plan_two_pass(&job, &m->tuning, executor) : 0;
    if (sums)
        status = bnorm_check_workspace(workspace, workspace_size, needed);
    if (!status)
        status = check_memory(g, &p, x, dy, dx, no_range, (bnorm_range){ workspace, needed, 1, true });
    if (status)
        return status;
    if (g->empty) {
        store_no_gradients(&p, g->channels);
    } else if (sums) {
        bnorm_run_two_pass(&job, workspace, executor);
    } else if (dx) {
        bnorm_one_pass pass = { .application = { m->kernels, g, job.map, { 0 }, x, dy, dx },
                                .coefficients = frozen_coefficients,
                                .context = &p };
        run_one_pass(&pass, m, p.hint, executor);
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

/* ---- In steps ---- */

/* Where the sums go, and the parameters. */
typedef struct reduction {
    const bnorm_backward_params *params;
    double *sums; /* [BNORM_STATISTICS][channels] */
} reduction;

static void prepare_reduction(const bnorm_two_pass *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    bnorm_two_pass backward = *job;
    backward.context = ((const reduction *)job->context)->params;
    prepare(&backward, channel, lanes, s);
}

static void keep_sums(const bnorm_two_pass *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const reduction *r = job->context;
    const size_t channels = job->geometry.channels, used = bnorm_min(lanes, channels - channel);
    for (size_t i = 0; i < BNORM_STATISTICS; i++)
        memcpy(r->sums + i * channels + channel, s->all[i], used * sizeof(double));
}

bnorm_status bnorm_backward_reduce_on(const bnorm_machine *m, const bnorm_shape *shape,
                                      const bnorm_backward_params *params, const void *x, const void *dy, double *sums,
                                      void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    bnorm_backward_params p;
    const reduction out = { &p, sums };
    bnorm_two_pass job = { .finish = keep_sums, .prepare = prepare_reduction, .context = &out };
    const bnorm_geometry *g = &job.geometry;
    bnorm_status status = bnorm_check_call(shape, &job.geometry, &p, sizeof(p), params, executor);
    if (!status)
        status = check_params(&p);
    if (!status && !sums)
        status = BNORM_NULL_POINTER;
    if (!status)
        status = check_tensors(g, x, true, dy, NULL);
    if (status)
        return status;
    p.dgamma = p.dbeta = NULL; /* not of this step */
    job.collector = collector_of(m, &p, x, dy);
    job.bytes = bytes_of(g, x, dy, NULL);
    const size_t needed = g->empty ? 0 : bnorm_plan_two_pass(&job, &m->tuning, executor);
    if (!g->empty)
        status = bnorm_check_workspace(workspace, workspace_size, needed);
    if (!status)
        status = check_memory(g, &p, x, dy, NULL, bnorm_doubles(sums, BNORM_STATISTICS * g->channels, true),
                              (bnorm_range){ workspace, needed, 1, true });
    if (status)
        return status;
    if (g->empty)
        memset(sums, 0, BNORM_STATISTICS * g->channels * sizeof(*sums));
    else
        bnorm_run_two_pass(&job, workspace, executor);
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
    const double *sums[BNORM_STATISTICS];
} reduced;

static void reduced_coefficients(const bnorm_one_pass *pass, size_t first, size_t channels,
                                 float *const k[BNORM_COEFFICIENTS])
{
    const reduced *r = pass->context;
    const bnorm_kernels *kernels = pass->application.kernels;
    forward_coefficients(kernels, r->params, first, channels, k);
    if (is_frozen(r->params))
        return;
    const double *const sums[BNORM_STATISTICS] = { r->sums[0] + first, r->sums[1] + first, r->sums[2] + first };
    kernels->gradient_f64(channels, r->count, sums, r->params->rstd + first, k[BNORM_DY_MEAN], k[BNORM_SLOPE],
                          k[BNORM_OFFSET]);
}

bnorm_status bnorm_backward_apply_on(const bnorm_machine *m, const bnorm_shape *shape,
                                     const bnorm_backward_params *params, uint64_t count, const double *sums,
                                     const void *x, const void *dy, void *dx, const bnorm_executor *executor)
{
    bnorm_backward_params p;
    bnorm_geometry g;
    const bnorm_range no_range = { NULL, 0, 1, false };
    bnorm_status status = bnorm_check_call(shape, &g, &p, sizeof(p), params, executor);
    if (!status)
        status = check_params(&p);
    if (!status && needs_sums(&p, dx) && !sums)
        status = BNORM_NULL_POINTER;
    if (!status && needs_sums(&p, dx) && count < (uint64_t)g.batch * g.points)
        status = BNORM_BAD_SHAPE;
    const bool x_needed = dx && map_of(&p) != BNORM_FROZEN;
    if (!status && dx)
        status = check_tensors(&g, x, x_needed, dy, dx);
    x = x_needed ? x : NULL;
    dy = dx ? dy : NULL;
    if (!status)
        status = check_memory(&g, &p, x, dy, dx, bnorm_doubles(sums, BNORM_STATISTICS * g.channels, false), no_range);
    if (status)
        return status;
    reduced all = { .params = &p, .count = (double)count };
    for (size_t i = 0; sums && i < BNORM_STATISTICS; i++)
        all.sums[i] = sums + i * g.channels;
    if (count == 0)
        store_no_gradients(&p, g.channels);
    else if (sums)
        store_gradients(&p, (double)count, 0, g.channels, all.sums);
    if (!dx || g.empty)
        return BNORM_OK;
    bnorm_one_pass pass = { .application = { m->kernels, &g, map_of(&p), { 0 }, x, dy, dx },
                            .coefficients = reduced_coefficients,
                            .context = &all };
    run_one_pass(&pass, m, p.hint, executor);
    return BNORM_OK;
}

bnorm_status bnorm_backward_apply(const bnorm_shape *shape, const bnorm_backward_params *params, uint64_t count,
                                  const double *sums, const void *x, const void *dy, void *dx,
                                  const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_backward_apply_on(&machine, shape, params, count, sums, x, dy, dx, executor);
}
