/* SPDX-License-Identifier: MIT */
/* Inference: statistics are given. */
#include <string.h>

#include "internal.h"

static void coefficients(const bnorm_one_pass *pass, size_t first, size_t channels, float *const k[BNORM_COEFFICIENTS])
{
    const bnorm_infer_params *p = pass->context;
    pass->application.kernels->scale_f64(channels, p->var + first, p->gamma ? p->gamma + first : NULL,
                                         (double)p->epsilon, k[BNORM_SCALE]);
    memcpy(k[BNORM_CENTER], p->mean + first, channels * sizeof(float));
    if (p->beta)
        memcpy(k[BNORM_SHIFT], p->beta + first, channels * sizeof(float));
    else
        memset(k[BNORM_SHIFT], 0, channels * sizeof(float));
}

static bnorm_status check(const bnorm_geometry *g, const bnorm_infer_params *p, const void *x, const void *y)
{
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_BAD_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_BAD_HINT;
    if (!p->mean || !p->var)
        return BNORM_NULL_POINTER;
    if (g->empty)
        return BNORM_OK;
    bnorm_status status = bnorm_check_tensors(g, x, false, y, true);
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_floats(x, g->in_extent, false),       bnorm_floats(y, g->out_extent, true),
        bnorm_floats(p->mean, g->channels, false),  bnorm_floats(p->var, g->channels, false),
        bnorm_floats(p->gamma, g->channels, false), bnorm_floats(p->beta, g->channels, false),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 2);
}

bnorm_status bnorm_infer_on(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_infer_params *params,
                            const void *x, void *y, const bnorm_executor *executor)
{
    bnorm_geometry g;
    bnorm_infer_params p;
    bnorm_status status = bnorm_check_call(shape, &g, &p, sizeof(p), params, executor);
    if (!status)
        status = check(&g, &p, x, y);
    if (status || g.empty)
        return status;
    bnorm_one_pass pass = { .application = { m->kernels, &g, BNORM_NORMALISE, { 0 }, x, NULL, y },
                            .coefficients = coefficients,
                            .context = &p };
    bool cold = bnorm_bytes(&g, x == y) > m->tuning.shared_cache;
    pass.application.sweep.stream = bnorm_should_stream(p.hint, cold, x == y);
    bnorm_run_one_pass(&pass, &m->tuning, executor);
    return BNORM_OK;
}

bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                         const bnorm_executor *executor)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_infer_on(&machine, shape, params, x, y, executor);
}
