/* SPDX-License-Identifier: MIT */
/* What a caller fuses behind batch norm: read, checked, and brought to the form that kernels take. */
#include <math.h>

#include "arguments.h"
#include "machine.h"
#include "size.h"

/* What an activation asks of its parameters. */
typedef enum demand { NOTHING, ALPHA_UP_TO_BETA, FINITE_ALPHA, RISING_LINE } demand;

/* What is to be known of each activation. */
static const struct traits {
    demand parameters;
    bool two_slopes; /* a bit an element tells which of them it is */
    bool sleef; /* computed by SLEEF */
} activation_traits[] = {
    [BNORM_ACT_IDENTITY] = { NOTHING, false, false },
    [BNORM_ACT_RELU] = { NOTHING, true, false },
    [BNORM_ACT_CLAMP] = { ALPHA_UP_TO_BETA, true, false },
    [BNORM_ACT_LEAKY_RELU] = { FINITE_ALPHA, true, false },
    [BNORM_ACT_HARD_SIGMOID] = { RISING_LINE, true, false },
    [BNORM_ACT_HARD_SWISH] = { NOTHING, false, false },
    [BNORM_ACT_SIGMOID] = { NOTHING, false, true },
    [BNORM_ACT_SILU] = { NOTHING, false, true },
    [BNORM_ACT_TANH] = { NOTHING, false, true },
    [BNORM_ACT_GELU] = { NOTHING, false, true },
    [BNORM_ACT_GELU_TANH] = { NOTHING, false, true },
    [BNORM_ACT_ELU] = { FINITE_ALPHA, false, true },
    [BNORM_ACT_SOFTPLUS] = { NOTHING, false, true },
    [BNORM_ACT_MISH] = { NOTHING, false, true },
};

/* NULL where there is no such activation. */
static const struct traits *traits_of(bnorm_activation activation)
{
    const size_t count = sizeof(activation_traits) / sizeof(*activation_traits);
    return (size_t)activation < count ? &activation_traits[activation] : NULL;
}

static bool is_finite(float value)
{
    return bnorm_ascend(-FLT_MAX, value) && bnorm_ascend(value, FLT_MAX);
}

static bool meets(const bnorm_epilogue *e, demand parameters)
{
    switch (parameters) {
    case ALPHA_UP_TO_BETA:
        return bnorm_ascend(e->alpha, e->beta);
    case FINITE_ALPHA:
        return is_finite(e->alpha);
    case RISING_LINE:
        return is_finite(e->alpha) && is_finite(e->beta) && !bnorm_ascend(e->alpha, 0.0f);
    default:
        return true;
    }
}

/* As kernels take it: two activations are others under certain bounds. */
static bnorm_fusion fusion_of(const bnorm_epilogue *e)
{
    bnorm_fusion f = { .activation = e->activation, .alpha = e->alpha, .beta = e->beta, .low = 0.0f, .high = NAN };
    f.residual = e->residual;
    f.mask = e->mask;
    if (e->activation == BNORM_ACT_RELU || (e->activation == BNORM_ACT_LEAKY_RELU && e->alpha == 0.0f)) {
        f.activation = BNORM_ACT_CLAMP;
        f.alpha = 0.0f;
        f.beta = INFINITY; /* where x86 takes a minimum, a NaN would raise a flag */
    } else if (e->activation == BNORM_ACT_CLAMP) {
        f.low = e->alpha;
        f.high = e->beta;
    } else if (e->activation == BNORM_ACT_HARD_SIGMOID) {
        f.high = 1.0f;
    }
    return f;
}

bnorm_status bnorm_read_epilogue(const bnorm_kernels *kernels, const bnorm_epilogue *given, bnorm_fusion *fusion)
{
    bnorm_epilogue e;
    *fusion = (bnorm_fusion){ .activation = BNORM_ACT_IDENTITY };
    if (!given)
        return BNORM_OK;
    bnorm_status status = bnorm_read_struct(&e, sizeof(e), given);
    if (status)
        return status;
    const struct traits *t = traits_of(e.activation);
    if (!t || !meets(&e, t->parameters) || (e.mask && !t->two_slopes))
        return BNORM_ERROR_ACTIVATION;
    if (t->sleef && !bnorm_runs(kernels->sleef))
        return BNORM_ERROR_UNSUPPORTED;
    *fusion = fusion_of(&e);
    return BNORM_OK;
}

static size_t mask_bytes(const bnorm_geometry *g)
{
    return bnorm_ceil_div(g->out_extent, 8);
}

bnorm_range bnorm_mask_range(const bnorm_geometry *g, const bnorm_fusion *f, bool written)
{
    return bnorm_bytes(f->mask, mask_bytes(g), written);
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
        status = BNORM_ERROR_NULL_POINTER;
    if (!status)
        *size = mask_bytes(&g);
    return status;
}
