/* SPDX-License-Identifier: MIT */
/*
 * Activations and their slopes (derivatives), with the formulas of bnorm.h. They are computed such that NaN gives NaN,
 * ±Inf gives the limit, and no intermediate result overflows. All take the fusion, for its parameters. Needs a vector
 * header of simd/ included before.
 */
#ifndef BNORM_BODY_ACTIVATIONS_H
#define BNORM_BODY_ACTIVATIONS_H

#include <math.h>

#include "pair.h"

/* ---- Each activation and its slope, for a vector ---- */

/* True if z is positive or NaN. */
static INLINE v_mask is_positive(v_f32 z)
{
    return v_inside(z, v_zero(), v_set1(NAN));
}

static INLINE v_f32 clamp(v_f32 z, float low, float high)
{
    return v_min(v_max(z, v_set1(low)), v_set1(high));
}

static INLINE v_f32 hard_sigmoid(v_f32 z, const bnorm_fusion *f)
{
    return clamp(v_add(v_mul(z, v_set1(f->alpha)), v_set1(f->beta)), 0.0f, 1.0f);
}

/* Clamps z where the result is 0 anyhow, as -Inf times a factor 0 would be NaN. Other activations below do the same. */
static INLINE v_f32 hard_swish(v_f32 z, const bnorm_fusion *f)
{
    const v_f32 gate = v_mul(clamp(v_add(z, v_set1(3.0f)), 0.0f, 6.0f), v_set1(1.0f / 6.0f));
    return v_mul(v_max(z, v_set1(-3.0f)), gate);
}

static INLINE v_f32 hard_swish_slope(v_f32 z, const bnorm_fusion *f)
{
    const v_f32 middle = v_mul(v_add(v_add(z, z), v_set1(3.0f)), v_set1(1.0f / 6.0f));
    const v_f32 outside = v_select(is_positive(z), v_set1(1.0f), v_zero());
    return v_select(v_inside(z, v_set1(-3.0f), v_set1(3.0f)), middle, outside);
}

#ifdef BNORM_SLEEF

/* sigmoid(z) and 1 - sigmoid(z) from e = exp(-|z|), which cannot overflow; no subtraction cancels digits. */
typedef struct {
    v_f32 s, rest;
} sigmoids;

static INLINE sigmoids sigmoid_and_complement(v_f32 z)
{
    const v_f32 one = v_set1(1.0f), e = v_exp(v_sub(v_zero(), v_abs(z))), inverse = v_div(one, v_add(one, e));
    const v_f32 small = v_mul(e, inverse);
    const v_mask positive = is_positive(z);
    return (sigmoids){ v_select(positive, inverse, small), v_select(positive, small, inverse) };
}

static INLINE v_f32 sigmoid(v_f32 z, const bnorm_fusion *f)
{
    const v_f32 one = v_set1(1.0f), e = v_exp(v_sub(v_zero(), v_abs(z)));
    return v_div(v_select(is_positive(z), one, e), v_add(one, e));
}

static INLINE v_f32 sigmoid_slope(v_f32 z, const bnorm_fusion *f)
{
    const sigmoids y = sigmoid_and_complement(z);
    return v_mul(y.s, y.rest);
}

static INLINE v_f32 silu(v_f32 z, const bnorm_fusion *f)
{
    z = v_max(z, v_set1(-120.0f));
    return v_mul(z, sigmoid(z, f));
}

static INLINE v_f32 silu_slope(v_f32 z, const bnorm_fusion *f)
{
    z = clamp(z, -120.0f, 120.0f);
    const sigmoids y = sigmoid_and_complement(z);
    return v_mul(y.s, v_add(v_set1(1.0f), v_mul(z, y.rest)));
}

/* v_tanh is SLEEF's function of 3.5 ULP, which takes a third of the time of that of 1 ULP. */
static INLINE v_f32 tanh_activation(v_f32 z, const bnorm_fusion *f)
{
    return v_tanh(z);
}

/* 1 - tanh(z)^2 = 4 * s * (1 - s) with s = sigmoid(2 * z). */
static INLINE v_f32 tanh_activation_slope(v_f32 z, const bnorm_fusion *f)
{
    const sigmoids y = sigmoid_and_complement(v_add(z, z));
    return v_mul(v_mul(v_set1(4.0f), y.s), y.rest);
}

/*
 * The tail of the normal distribution, P(-a) = erfc(a / sqrt(2)) / 2, is computed as e * q, with e = exp(-a * a / 2)
 * and q a polynomial in 1 / (1 + p * a), fitted to a relative error of 2.1e-8. An exp and a division are four times as
 * fast as an erf, and there is no cancellation in the tail.
 */
typedef struct {
    v_f32 e, q;
} normal_tail;

static INLINE normal_tail tail_of(v_f32 a)
{
    static const float c[] = { -0.0283930041f, 0.145313501f, -0.271182686f, 0.187158406f, -0.0375859775f,
                               0.111790143f,   0.117244951f, 0.138028011f,  0.137626648f };
    const v_f32 one = v_set1(1.0f), t = v_div(one, v_add(one, v_mul(v_set1(0.345018417f), a)));
    v_f32 q = v_set1(c[0]);
    for (size_t i = 1; i < sizeof(c) / sizeof(*c); i++)
        q = v_add(v_mul(q, t), v_set1(c[i]));
    return (normal_tail){ v_exp(v_mul(v_mul(v_set1(-0.5f), a), a)), v_mul(q, t) };
}

/* z * P(z), where P(z) = 1 - P(-z) if z is positive. */
static INLINE v_f32 gelu(v_f32 z, const bnorm_fusion *f)
{
    const v_f32 a = v_min(v_abs(z), v_set1(15.0f));
    const normal_tail tail = tail_of(a);
    return v_sub(v_max(z, v_zero()), v_mul(v_mul(a, tail.q), tail.e));
}

/* P(z) + z * P'(z). */
static INLINE v_f32 gelu_slope(v_f32 z, const bnorm_fusion *f)
{
    z = clamp(z, -15.0f, 15.0f);
    const normal_tail tail = tail_of(v_abs(z));
    const v_f32 below = v_mul(tail.q, tail.e), p = v_select(is_positive(z), v_sub(v_set1(1.0f), below), below);
    return v_add(p, v_mul(v_mul(z, tail.e), v_set1(0.3989422804f))); /* 1 / sqrt(2 * pi) */
}

/* (1 + tanh(u)) / 2 = sigmoid(2 * u) replaces tanh by exp; 2 * u = z * (2a + 2ab * z * z) with a = sqrt(2 / pi). */
static const float gelu_2a = 1.5957691216057308f, gelu_2ab = 0.07135481282553536f;

static INLINE v_f32 gelu_tanh(v_f32 z, const bnorm_fusion *f)
{
    z = v_max(z, v_set1(-12.0f));
    const v_f32 u = v_mul(z, v_add(v_set1(gelu_2a), v_mul(v_set1(gelu_2ab), v_mul(z, z))));
    return v_mul(z, sigmoid(u, f));
}

static INLINE v_f32 gelu_tanh_slope(v_f32 z, const bnorm_fusion *f)
{
    z = clamp(z, -12.0f, 12.0f);
    const v_f32 cubic = v_mul(v_set1(gelu_2ab), v_mul(z, z)), first = v_set1(gelu_2a);
    const sigmoids y = sigmoid_and_complement(v_mul(z, v_add(first, cubic)));
    const v_f32 u_slope = v_add(first, v_mul(v_set1(3.0f), cubic));
    return v_mul(y.s, v_add(v_set1(1.0f), v_mul(v_mul(z, y.rest), u_slope)));
}

static INLINE v_f32 elu(v_f32 z, const bnorm_fusion *f)
{
    return v_select(is_positive(z), z, v_mul(v_set1(f->alpha), v_expm1(z)));
}

static INLINE v_f32 elu_slope(v_f32 z, const bnorm_fusion *f)
{
    return v_select(is_positive(z), v_set1(1.0f), v_mul(v_set1(f->alpha), v_exp(z)));
}

static INLINE v_f32 softplus(v_f32 z, const bnorm_fusion *f)
{
    return v_add(v_max(z, v_zero()), v_log1p(v_exp(v_sub(v_zero(), v_abs(z)))));
}

static INLINE v_f32 softplus_slope(v_f32 z, const bnorm_fusion *f)
{
    return sigmoid(z, f);
}

/* tanh(log(1 + e)) = n / (n + 2) with n = e * (e + 2) and e = exp(z); it is 1 for z >= 20. */
static INLINE v_f32 mish(v_f32 z, const bnorm_fusion *f)
{
    const v_f32 two = v_set1(2.0f), e = v_exp(v_min(z, v_set1(20.0f))), n = v_mul(e, v_add(e, two));
    return v_mul(v_max(z, v_set1(-120.0f)), v_div(n, v_add(n, two)));
}

/* t + z * (1 - t * t) * sigmoid(z), with 1 - t = 2 / (n + 2). */
static INLINE v_f32 mish_slope(v_f32 z, const bnorm_fusion *f)
{
    z = clamp(z, -120.0f, 20.0f);
    const v_f32 one = v_set1(1.0f), two = v_set1(2.0f), e = v_exp(z), n = v_mul(e, v_add(e, two));
    const v_f32 inverse = v_div(one, v_add(n, two)), t = v_mul(n, inverse);
    const v_f32 t_slope = v_mul(v_mul(v_mul(two, inverse), v_add(one, t)), v_div(e, v_add(one, e)));
    return v_add(t, v_mul(z, t_slope));
}

#define SMOOTH(ACTIVATION) \
    ACTIVATION(SIGMOID, sigmoid) \
    ACTIVATION(SILU, silu) \
    ACTIVATION(TANH, tanh_activation) \
    ACTIVATION(GELU, gelu) \
    ACTIVATION(GELU_TANH, gelu_tanh) \
    ACTIVATION(ELU, elu) \
    ACTIVATION(SOFTPLUS, softplus) \
    ACTIVATION(MISH, mish)
#else
#define SMOOTH(ACTIVATION)
#endif

/* ---- Functions for those activations that are too large to be inlined in each loop ---- */

#define OUT_OF_LINE(ACTIVATION, SLOPE) \
    ACTIVATION(HARD_SIGMOID, hard_sigmoid) \
    SLOPE(HARD_SWISH, hard_swish) \
    SMOOTH(ACTIVATION) \
    SMOOTH(SLOPE)

#define ACTIVATION(symbol, name) \
    static void name##_pair(pair *z, const bnorm_fusion *f) \
    { \
        *z = (pair){ name(z->a, f), name(z->b, f) }; \
    }
#define SLOPE(symbol, name) ACTIVATION(symbol, name##_slope)
OUT_OF_LINE(ACTIVATION, SLOPE)
#undef ACTIVATION
#undef SLOPE

typedef void pair_function(pair *z, const bnorm_fusion *f);

/* dispatch/ refuses activations without an entry. */
#define NOTHING(symbol, name)
#define ENTRY(symbol, name) [BNORM_ACT_##symbol] = name##_pair,
static pair_function *const activations[] = { OUT_OF_LINE(ENTRY, NOTHING) };
#undef ENTRY
#define ENTRY(symbol, name) [BNORM_ACT_##symbol] = name##_slope_pair,
static pair_function *const slopes[] = { OUT_OF_LINE(NOTHING, ENTRY) };
#undef ENTRY
#undef NOTHING

/* Copies z, so that only paths with a call keep it in memory; elsewhere it stays in registers. */
static INLINE pair call_pair(pair_function *function, pair z, const bnorm_fusion *f)
{
    pair copy = z;
    function(&copy, f);
    return copy;
}

static INLINE v_f32 leaky_relu(v_f32 z, const bnorm_fusion *f)
{
    return v_select(is_positive(z), z, v_mul(z, v_set1(f->alpha)));
}

static INLINE pair activate(pair z, const bnorm_fusion *f)
{
    switch (f->activation) {
    case BNORM_ACT_IDENTITY:
        return z;
    case BNORM_ACT_CLAMP:
        return (pair){ clamp(z.a, f->alpha, f->beta), clamp(z.b, f->alpha, f->beta) };
    case BNORM_ACT_LEAKY_RELU:
        return (pair){ leaky_relu(z.a, f), leaky_relu(z.b, f) };
    case BNORM_ACT_HARD_SWISH: /* bound by memory, so that a call would cost time */
        return (pair){ hard_swish(z.a, f), hard_swish(z.b, f) };
    default:
        return call_pair(activations[f->activation], z, f);
    }
}

/* ---- Backward: computes dz, the gradient with respect to z, from dy ---- */

/* For an activation of two slopes: true if its argument lies between its bounds. A mask holds these bits. */
static INLINE v_mask is_inside(v_f32 z, const bnorm_fusion *f)
{
    if (f->activation == BNORM_ACT_HARD_SIGMOID)
        z = v_add(v_mul(z, v_set1(f->alpha)), v_set1(f->beta));
    return v_inside(z, v_set1(f->low), v_set1(f->high));
}

/* For an activation of two slopes. */
static INLINE v_f32 two_slope_backward(v_mask inside, v_f32 dy, const bnorm_fusion *f)
{
    if (f->activation == BNORM_ACT_CLAMP)
        return v_select(inside, dy, v_zero());
    const v_f32 scaled = v_mul(dy, v_set1(f->alpha));
    return f->activation == BNORM_ACT_LEAKY_RELU ? v_select(inside, dy, scaled) : v_select(inside, scaled, v_zero());
}

static INLINE pair clamp_backward(pair dy, pair z, const bnorm_fusion *f)
{
    const v_f32 low = v_set1(f->low), high = v_set1(f->high);
    return (pair){ v_select(v_inside(z.a, low, high), dy.a, v_zero()),
                   v_select(v_inside(z.b, low, high), dy.b, v_zero()) };
}

static INLINE pair activation_backward(pair dy, pair z, const bnorm_fusion *f)
{
    switch (f->activation) {
    case BNORM_ACT_IDENTITY:
        return dy;
    case BNORM_ACT_CLAMP:
    case BNORM_ACT_LEAKY_RELU:
    case BNORM_ACT_HARD_SIGMOID:
        return (pair){ two_slope_backward(is_inside(z.a, f), dy.a, f), two_slope_backward(is_inside(z.b, f), dy.b, f) };
    default:
        return mul(dy, call_pair(slopes[f->activation], z, f));
    }
}

#endif
