/* SPDX-License-Identifier: MIT */
/* What a caller fuses behind batch norm: read, checked, and brought to the form that kernels take. */
#include <math.h>

#include "internal.h"

static bool is_finite(float value)
{
    return isfinite(value);
}

static bool valid_parameters(const bnorm_epilogue *e)
{
    switch (e->activation) {
    case BNORM_CLAMP:
        return e->alpha <= e->beta;
    case BNORM_LEAKY_RELU:
    case BNORM_ELU:
        return is_finite(e->alpha);
    case BNORM_HARD_SIGMOID:
        return e->alpha > 0.0f && is_finite(e->alpha) && is_finite(e->beta);
    default:
        return e->activation >= BNORM_IDENTITY && e->activation <= BNORM_MISH;
    }
}

/* Whether the slope has two values, so that a bit an element tells it. */
static bool has_two_slopes(bnorm_activation activation)
{
    return activation == BNORM_RELU || activation == BNORM_CLAMP || activation == BNORM_LEAKY_RELU ||
           activation == BNORM_HARD_SIGMOID;
}

static bool is_supported(const bnorm_machine *m, bnorm_activation activation)
{
    return activation < BNORM_SIGMOID || bnorm_runs(m->kernels->sleef);
}

/* As kernels take it: two activations are others under certain bounds. */
static bnorm_fusion fusion_of(const bnorm_epilogue *e)
{
    bnorm_fusion f = { .activation = e->activation, .alpha = e->alpha, .beta = e->beta, .low = 0.0f, .high = NAN };
    f.residual = e->residual;
    f.mask = e->mask;
    if (e->activation == BNORM_RELU || (e->activation == BNORM_LEAKY_RELU && e->alpha == 0.0f)) {
        f.activation = BNORM_CLAMP;
    } else if (e->activation == BNORM_CLAMP) {
        f.low = e->alpha;
        f.high = e->beta;
    } else if (e->activation == BNORM_HARD_SIGMOID) {
        f.high = 1.0f;
    }
    return f;
}

bnorm_status bnorm_read_epilogue(const bnorm_machine *m, const bnorm_epilogue *given, bnorm_fusion *fusion)
{
    bnorm_epilogue e;
    *fusion = (bnorm_fusion){ .activation = BNORM_IDENTITY };
    if (!given)
        return BNORM_OK;
    bnorm_status status = bnorm_read_struct(&e, sizeof(e), given);
    if (status)
        return status;
    if (!valid_parameters(&e) || (e.mask && !has_two_slopes(e.activation)))
        return BNORM_BAD_ACTIVATION;
    if (!is_supported(m, e.activation))
        return BNORM_UNSUPPORTED;
    *fusion = fusion_of(&e);
    return BNORM_OK;
}

static size_t mask_bytes(const bnorm_geometry *g)
{
    return bnorm_ceil_div(g->out_extent, 8);
}

bnorm_range bnorm_mask_range(const bnorm_geometry *g, const bnorm_fusion *f, bool written)
{
    return (bnorm_range){ f->mask, mask_bytes(g), 1, written };
}

bnorm_status bnorm_check_forward(const bnorm_geometry *g, const bnorm_fusion *f, const void *x, const void *y)
{
    bnorm_status status = bnorm_check_tensors(g, x, false, y, true);
    return status || !f->residual ? status : bnorm_check_tensors(g, f->residual, true, y, true);
}

bnorm_status bnorm_mask_size(const bnorm_shape *shape, size_t *size)
{
    bnorm_geometry g;
    bnorm_status status = bnorm_check_shape(shape, &g);
    if (!status && !size)
        status = BNORM_NULL_POINTER;
    if (!status)
        *size = mask_bytes(&g);
    return status;
}
