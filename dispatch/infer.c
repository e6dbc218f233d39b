/* SPDX-License-Identifier: MIT */
/* Inference: statistics are given. */
#include "calls.h"
#include "coefficients.h"
#include "size.h"
#include "tasks.h"

static void coefficients(const bnorm_elementwise *job, size_t first, size_t channels,
                         float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_infer_params *p = job->context;
    bnorm_given_coefficients(job->traversal.kernels, channels, p->mean + first, p->var + first,
                             bnorm_from(p->gamma, first), bnorm_from(p->beta, first), p->epsilon, k);
}

static bnorm_status check(const bnorm_geometry *g, const bnorm_infer_params *p, const bnorm_fusion *f, const void *x,
                          const void *y)
{
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_ERROR_HINT;
    if (!p->mean || !p->var)
        return BNORM_ERROR_NULL_POINTER;
    if (g->empty)
        return BNORM_OK;
    bnorm_status status = bnorm_check_forward(g, f, x, y);
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_in_range(g, x, false),
        bnorm_out_range(g, y, true),
        bnorm_out_range(g, f->residual, false),
        bnorm_mask_range(g, f, true),
        bnorm_floats(p->mean, g->channels, false),
        bnorm_floats(p->var, g->channels, false),
        bnorm_floats(p->gamma, g->channels, false),
        bnorm_floats(p->beta, g->channels, false),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 3);
}

/* A call's arguments, checked. */
typedef struct infer_call {
    bnorm_geometry g;
    bnorm_infer_params p;
    bnorm_fusion f;
} infer_call;

static bnorm_status begin_infer(infer_call *c, const bnorm_machine *m, const bnorm_shape *shape,
                                const bnorm_infer_params *params, const void *x, const void *y,
                                const bnorm_executor *executor)
{
    bnorm_status status = bnorm_check_call(shape, &c->g, &c->p, sizeof(c->p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m->kernels, c->p.epilogue, &c->f);
    return status ? status : check(&c->g, &c->p, &c->f, x, y);
}

bnorm_status bnorm_infer_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_infer_params *params,
                            const void *x, void *y, const bnorm_executor *executor)
{
    infer_call c;
    bnorm_status status = begin_infer(&c, m, shape, params, x, y, executor);
    if (status || c.g.empty)
        return status;
    bnorm_elementwise job = { .traversal = { .kernels = m->kernels,
                                             .geometry = &c.g,
                                             .map = BNORM_NORMALISE,
                                             .x = x,
                                             .y = y,
                                             .fusion = bnorm_forward_fusion(&c.f) },
                              .hint = c.p.hint,
                              .coefficients = coefficients,
                              .context = &c.p };
    bnorm_run_elementwise(&job, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                         const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_infer_on(&machine, shape, params, x, y, executor);
}

bnorm_status bnorm_infer_check(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                               const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    infer_call c;
    return begin_infer(&c, &machine, shape, params, x, y, executor);
}
