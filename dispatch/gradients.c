/* SPDX-License-Identifier: MIT */
/* From statistics and sums to gradients, and the arguments that these take. */
#include <math.h>
#include <string.h>

#include "backward.h"
#include "coefficients.h"
#include "size.h"

bnorm_map bnorm_backward_map(const bnorm_backward_args *c, const void *dx)
{
    return bnorm_is_frozen(&c->p) || !dx ? BNORM_FROZEN : BNORM_GRADIENT;
}

const bnorm_fusion *bnorm_backward_fusion(const bnorm_backward_args *c)
{
    return bnorm_is_activated(c) || c->f.dresidual ? &c->f : NULL;
}

bnorm_source bnorm_backward_source(const bnorm_machine *m, const bnorm_backward_args *c, const void *x, const void *dy)
{
    return (bnorm_source){ .kernels = m->kernels,
                           .terms = bnorm_is_activated(c) ? BNORM_FUSED : BNORM_PRODUCTS,
                           .centered = !bnorm_is_activated(c) && !bnorm_is_frozen(&c->p),
                           .low_known = bnorm_is_frozen(&c->p) || c->p.mean_low,
                           .x = x,
                           .dy = dy,
                           .fusion = bnorm_backward_fusion(c) };
}

bool bnorm_backward_needs_sums(const bnorm_backward_params *p, const void *dx)
{
    return p->dgamma || p->dbeta || (dx && !bnorm_is_frozen(p));
}

bool bnorm_gradient_needs_x(const bnorm_backward_args *c, const void *dx)
{
    return (bnorm_is_activated(c) && !c->f.mask) || (dx && !bnorm_is_frozen(&c->p));
}

/* ---- From statistics to coefficients and gradients of the parameters ---- */

void bnorm_forward_coefficients(const bnorm_kernels *kernels, const bnorm_backward_params *p, size_t first,
                                size_t channels, float *const k[BNORM_COEFFICIENTS])
{
    const float *mean = p->mean + first, *gamma = bnorm_from(p->gamma, first), *beta = bnorm_from(p->beta, first);
    if (bnorm_is_frozen(p))
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

void bnorm_store_gradients(const bnorm_backward_params *p, double count, size_t first, size_t channels,
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
        if (bnorm_is_frozen(p))
            for (size_t c = 0; c < length; c++)
                dgamma[c] = dy_d[c] * (1.0 / sqrt((double)p->var[first + begin + c] + (double)p->epsilon));
        else /* the mean of the batch is where Σd is 0; saved as two floats, it misses that by their rounding */
            for (size_t c = 0; c < length; c++)
                dgamma[c] = (dy_d[c] - dy[c] * inverse * d[c]) * (double)p->rstd[first + begin + c];
        store(p->dgamma + first + begin, dgamma, length, p->accumulate);
    }
}

void bnorm_store_no_gradients(const bnorm_backward_params *p, size_t channels)
{
    if (p->accumulate)
        return;
    if (p->dgamma)
        memset(p->dgamma, 0, channels * sizeof(float));
    if (p->dbeta)
        memset(p->dbeta, 0, channels * sizeof(float));
}

void bnorm_prepare_backward(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *s)
{
    const size_t used = bnorm_min(lanes, job->geometry.channels - channel);
    const bnorm_backward_args *c = job->context;
    const float *low = bnorm_is_frozen(&c->p) ? NULL : bnorm_from(c->p.mean_low, channel);
    bnorm_forward_coefficients(job->source.kernels, &c->p, channel, used, s->k);
    memset(s->low, 0, lanes * sizeof(float));
    if (low)
        memcpy(s->low, low, used * sizeof(float));
    for (int i = BNORM_CENTER; i <= BNORM_SHIFT; i++)
        memset(s->k[i] + used, 0, (lanes - used) * sizeof(float));
}

/* ---- Arguments ---- */

static bnorm_status check_params(const bnorm_backward_params *p)
{
    if (p->statistics != BNORM_STATISTICS_BATCH && p->statistics != BNORM_STATISTICS_FROZEN)
        return BNORM_ERROR_STATISTICS;
    if (bnorm_is_frozen(p) && !bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!bnorm_valid_hint(p->hint))
        return BNORM_ERROR_HINT;
    return p->mean && (bnorm_is_frozen(p) ? p->var : p->rstd) ? BNORM_OK : BNORM_ERROR_NULL_POINTER;
}

bnorm_status bnorm_read_backward(const bnorm_machine *m, const bnorm_shape *shape, const bnorm_backward_params *params,
                                 const bnorm_executor *executor, bnorm_geometry *g, bnorm_backward_args *c)
{
    bnorm_status status = bnorm_check_call(shape, g, &c->p, sizeof(c->p), params, executor);
    if (!status)
        status = bnorm_read_epilogue(m->kernels, c->p.epilogue, &c->f);
    if (status)
        return status;
    c->f.dresidual = c->p.dresidual;
    return check_params(&c->p);
}

/* An output that must not be this input, nor overlap it. */
static bnorm_status check_disjoint(const bnorm_geometry *g, const void *in, bool in_out, const void *out, bool out_out)
{
    if (!in || !out)
        return BNORM_OK;
    return in == out ? BNORM_ERROR_OVERLAP : bnorm_check_tensors(g, in, in_out, out, out_out);
}

bnorm_status bnorm_check_gradient_tensors(const bnorm_geometry *g, const bnorm_fusion *f, const void *x, bool x_needed,
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
        status = check_disjoint(g, f->residual, true, dx, false);
    if (!status)
        status = check_disjoint(g, dx, false, f->dresidual, true);
    return status || !x_needed ? status : check_disjoint(g, x, false, f->dresidual, true);
}

bnorm_status bnorm_check_backward_memory(const bnorm_geometry *g, const bnorm_backward_args *c, const void *x,
                                         const void *dy, const void *dx, bnorm_range sums, bnorm_range workspace)
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
        bnorm_floats(bnorm_is_frozen(p) ? NULL : p->mean_low, g->channels, false),
        bnorm_floats(bnorm_is_frozen(p) ? p->var : p->rstd, g->channels, false),
        bnorm_floats(p->dgamma, g->channels, true),
        bnorm_floats(p->dbeta, g->channels, true),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 5);
}
