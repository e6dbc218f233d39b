/* SPDX-License-Identifier: MIT */
/*
 * What is fused behind batch norm: activations and their slopes, the residual, the mask. The formulas stand in bnorm.h;
 * here is how each is computed so that NaN passes, ±Inf gives the limit and nothing overflows on the way. Written
 * against the vector header included before.
 */
#ifndef BNORM_BODY_EPILOGUE_H
#define BNORM_BODY_EPILOGUE_H

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tile.h"

/* ---- Each activation, and its slope, of a vector ---- */

/* Where z is positive or NaN. */
static INLINE v_mask is_positive(v_f32 z)
{
    return v_inside(z, v_zero(), v_set1(NAN));
}

static INLINE v_f32 bounded(v_f32 z, float low, float high)
{
    return v_min(v_max(z, v_set1(low)), v_set1(high));
}

static INLINE v_f32 hard_sigmoid(v_f32 z, v_f32 alpha, v_f32 beta)
{
    return bounded(v_add(v_mul(z, alpha), beta), 0.0f, 1.0f);
}

/* -Inf times the 0 that it has as a factor would be NaN: z is bounded where the result is long 0. So in others below.
 */
static INLINE v_f32 hard_swish(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const v_f32 gate = v_mul(bounded(v_add(z, v_set1(3.0f)), 0.0f, 6.0f), v_set1(1.0f / 6.0f));
    (void)alpha, (void)beta;
    return v_mul(v_max(z, v_set1(-3.0f)), gate);
}

static INLINE v_f32 hard_swish_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const v_f32 middle = v_mul(v_add(v_add(z, z), v_set1(3.0f)), v_set1(1.0f / 6.0f));
    const v_f32 outside = v_select(is_positive(z), v_set1(1.0f), v_zero());
    (void)alpha, (void)beta;
    return v_select(v_inside(z, v_set1(-3.0f), v_set1(3.0f)), middle, outside);
}

#ifdef BNORM_SLEEF

/* e = exp(-|z|) never overflows, and gives sigmoid(z) and 1 - sigmoid(z) without a difference. */
typedef struct {
    v_f32 s, rest;
} sigmoids;

static INLINE sigmoids both_sigmoids(v_f32 z)
{
    const v_f32 one = v_set1(1.0f), e = v_exp(v_sub(v_zero(), v_abs(z))), inverse = v_div(one, v_add(one, e));
    const v_f32 small = v_mul(e, inverse);
    const v_mask positive = is_positive(z);
    return (sigmoids){ v_select(positive, inverse, small), v_select(positive, small, inverse) };
}

static INLINE v_f32 sigmoid(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const v_f32 one = v_set1(1.0f), e = v_exp(v_sub(v_zero(), v_abs(z)));
    (void)alpha, (void)beta;
    return v_div(v_select(is_positive(z), one, e), v_add(one, e));
}

static INLINE v_f32 sigmoid_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const sigmoids y = both_sigmoids(z);
    (void)alpha, (void)beta;
    return v_mul(y.s, y.rest);
}

static INLINE v_f32 silu(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = v_max(z, v_set1(-120.0f));
    return v_mul(z, sigmoid(z, alpha, beta));
}

static INLINE v_f32 silu_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = bounded(z, -120.0f, 120.0f);
    const sigmoids y = both_sigmoids(z);
    (void)alpha, (void)beta;
    return v_mul(y.s, v_add(v_set1(1.0f), v_mul(z, y.rest)));
}

/* SLEEF's u35 takes a third of the time of its u10. */
static INLINE v_f32 hyperbolic(v_f32 z, v_f32 alpha, v_f32 beta)
{
    (void)alpha, (void)beta;
    return v_tanh(z);
}

/* (1 + tanh(z)) / 2 is sigmoid(2 * z). */
static INLINE v_f32 hyperbolic_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const sigmoids y = both_sigmoids(v_add(z, z));
    (void)alpha, (void)beta;
    return v_mul(v_mul(v_set1(4.0f), y.s), y.rest);
}

/*
 * The normal distribution's tail P(-a) = erfc(a / sqrt(2)) / 2 as e * q, with e = exp(-a * a / 2) and q a polynomial in
 * 1 / (1 + p * a), fitted to a relative error of 2.1e-8: an exp and a division in place of an erf, which takes four
 * times as long, and no difference in the tail.
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

/* z * P(z), with 1 - P(-z) for P(z) where z is positive. */
static INLINE v_f32 gelu(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const v_f32 a = v_min(v_abs(z), v_set1(15.0f));
    const normal_tail tail = tail_of(a);
    (void)alpha, (void)beta;
    return v_sub(v_max(z, v_zero()), v_mul(v_mul(a, tail.q), tail.e));
}

/* P(z) + z * P'(z). */
static INLINE v_f32 gelu_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = bounded(z, -15.0f, 15.0f);
    const normal_tail tail = tail_of(v_abs(z));
    const v_f32 below = v_mul(tail.q, tail.e), p = v_select(is_positive(z), v_sub(v_set1(1.0f), below), below);
    (void)alpha, (void)beta;
    return v_add(p, v_mul(v_mul(z, tail.e), v_set1(0.3989422804f))); /* 1 / sqrt(2 * pi) */
}

/* (1 + tanh(u)) / 2 is sigmoid(2 * u), an exp in place of a tanh; 2 * u = z * (2a + 2ab * z * z), a = sqrt(2 / pi). */
static const float gelu_2a = 1.5957691216057308f, gelu_2ab = 0.07135481282553536f;

static INLINE v_f32 gelu_tanh(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = v_max(z, v_set1(-12.0f));
    const v_f32 u = v_mul(z, v_add(v_set1(gelu_2a), v_mul(v_set1(gelu_2ab), v_mul(z, z))));
    return v_mul(z, sigmoid(u, alpha, beta));
}

static INLINE v_f32 gelu_tanh_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = bounded(z, -12.0f, 12.0f);
    const v_f32 cubic = v_mul(v_set1(gelu_2ab), v_mul(z, z)), first = v_set1(gelu_2a);
    const sigmoids y = both_sigmoids(v_mul(z, v_add(first, cubic)));
    const v_f32 u_slope = v_add(first, v_mul(v_set1(3.0f), cubic));
    (void)alpha, (void)beta;
    return v_mul(y.s, v_add(v_set1(1.0f), v_mul(v_mul(z, y.rest), u_slope)));
}

static INLINE v_f32 elu(v_f32 z, v_f32 alpha, v_f32 beta)
{
    (void)beta;
    return v_select(is_positive(z), z, v_mul(alpha, v_expm1(z)));
}

static INLINE v_f32 elu_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    (void)beta;
    return v_select(is_positive(z), v_set1(1.0f), v_mul(alpha, v_exp(z)));
}

static INLINE v_f32 softplus(v_f32 z, v_f32 alpha, v_f32 beta)
{
    (void)alpha, (void)beta;
    return v_add(v_max(z, v_zero()), v_log1p(v_exp(v_sub(v_zero(), v_abs(z)))));
}

static INLINE v_f32 softplus_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    return sigmoid(z, alpha, beta);
}

/* tanh(log(1 + e)) is n / (n + 2) of n = e * (e + 2), e = exp(z); from 20 on it is 1. */
static INLINE v_f32 mish(v_f32 z, v_f32 alpha, v_f32 beta)
{
    const v_f32 two = v_set1(2.0f), e = v_exp(v_min(z, v_set1(20.0f))), n = v_mul(e, v_add(e, two));
    (void)alpha, (void)beta;
    return v_mul(v_max(z, v_set1(-120.0f)), v_div(n, v_add(n, two)));
}

/* t + z * (1 - t * t) * sigmoid(z), with 1 - t = 2 / (n + 2). */
static INLINE v_f32 mish_slope(v_f32 z, v_f32 alpha, v_f32 beta)
{
    z = bounded(z, -120.0f, 20.0f);
    const v_f32 one = v_set1(1.0f), two = v_set1(2.0f), e = v_exp(z), n = v_mul(e, v_add(e, two));
    const v_f32 inverse = v_div(one, v_add(n, two)), t = v_mul(n, inverse);
    const v_f32 t_slope = v_mul(v_mul(v_mul(two, inverse), v_add(one, t)), v_div(e, v_add(one, e)));
    (void)alpha, (void)beta;
    return v_add(t, v_mul(z, t_slope));
}

#define SMOOTH(ACTIVATION) \
    ACTIVATION(SIGMOID, sigmoid) \
    ACTIVATION(SILU, silu) \
    ACTIVATION(TANH, hyperbolic) \
    ACTIVATION(GELU, gelu) \
    ACTIVATION(GELU_TANH, gelu_tanh) \
    ACTIVATION(ELU, elu) \
    ACTIVATION(SOFTPLUS, softplus) \
    ACTIVATION(MISH, mish)
#else
#define SMOOTH(ACTIVATION)
#endif

/* ---- Of a tile in memory: for what is not worth a place in each loop ---- */

#define CALLED(ACTIVATION, SLOPE) \
    ACTIVATION(HARD_SIGMOID, hard_sigmoid) \
    SLOPE(HARD_SWISH, hard_swish) \
    SMOOTH(ACTIVATION) \
    SMOOTH(SLOPE)

#define ACTIVATION(symbol, name) \
    static void name##_tile(v_f32 *z, size_t vectors, const bnorm_fusion *f) \
    { \
        for (size_t v = 0; v < vectors; v++) \
            z[v] = name(z[v], v_set1(f->alpha), v_set1(f->beta)); \
    }
#define SLOPE(symbol, name) ACTIVATION(symbol, name##_slope)
CALLED(ACTIVATION, SLOPE)
#undef ACTIVATION
#undef SLOPE

typedef void tile_function(v_f32 *z, size_t vectors, const bnorm_fusion *f);

/* dispatch/ asks for none that is not there. */
#define NOTHING(symbol, name)
#define ENTRY(symbol, name) [BNORM_##symbol] = name##_tile,
static tile_function *const activations[] = { CALLED(ENTRY, NOTHING) };
#undef ENTRY
#define ENTRY(symbol, name) [BNORM_##symbol] = name##_slope_tile,
static tile_function *const slopes[] = { CALLED(NOTHING, ENTRY) };
#undef ENTRY
#undef NOTHING

/* Of the vectors that hold n lanes. The tile stays in registers where nothing is called. */
static INLINE void call_tile(tile_function *function, v_f32 *z, size_t n, const bnorm_fusion *f)
{
    v_f32 t[V_TILE];
    for (size_t v = 0; v < V_TILE; v++)
        t[v] = z[v];
    function(t, (n + V_LANES - 1) / V_LANES, f);
    for (size_t v = 0; v < V_TILE; v++)
        z[v] = t[v];
}

static INLINE void activate(v_f32 *z, size_t n, const bnorm_fusion *f)
{
    switch (f->activation) {
    case BNORM_IDENTITY:
        break;
    case BNORM_CLAMP:
        for (size_t v = 0; v < V_TILE; v++)
            z[v] = bounded(z[v], f->low, f->high);
        break;
    case BNORM_LEAKY_RELU:
        for (size_t v = 0; v < V_TILE; v++)
            z[v] = v_select(is_positive(z[v]), z[v], v_mul(z[v], v_set1(f->alpha)));
        break;
    case BNORM_HARD_SWISH: /* memory is its limit, so that a call would show */
        for (size_t v = 0; v < V_TILE; v++)
            z[v] = hard_swish(z[v], v_zero(), v_zero());
        break;
    default:
        call_tile(activations[f->activation], z, n, f);
    }
}

/* ---- The mask ---- */

/* n bits from `at` on, n <= BNORM_TILE. */
static NOINLINE uint32_t get_bits(const uint8_t *mask, size_t at, size_t n)
{
    const size_t first = at / 8, shift = at % 8;
    uint64_t bits = 0;
    for (size_t bytes = (shift + n + 7) / 8; bytes--;)
        bits = bits << 8 | mask[first + bytes];
    return (uint32_t)(bits >> shift);
}

/* Some bits of a byte: at the ends of a run, another thread may be changing others of them. */
static inline void put_part(uint8_t *byte, uint8_t which, uint8_t bits, bool shared)
{
    if (shared) {
        _Atomic uint8_t *const b = (_Atomic uint8_t *)byte;
        atomic_fetch_or_explicit(b, bits & which, memory_order_relaxed);
        atomic_fetch_and_explicit(b, (uint8_t)(bits | ~which), memory_order_relaxed);
    } else {
        *byte = (uint8_t)((*byte & ~which) | (bits & which));
    }
}

/* Adjacent elements that one task computes: indices from `begin` to before `end`. */
typedef struct {
    size_t begin, end;
} run;

/* n bits from `at` on, n <= BNORM_TILE, within a run. */
static NOINLINE void put_bits(uint8_t *mask, run r, size_t at, size_t n, uint32_t given)
{
    const size_t first = at / 8, shift = at % 8, bytes = (shift + n + 7) / 8;
    const uint64_t bits = (uint64_t)given << shift, which = (((uint64_t)1 << n) - 1) << shift;
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t changed = (uint8_t)(which >> 8 * i);
        if (changed == 0xff)
            mask[first + i] = (uint8_t)(bits >> 8 * i);
        else
            put_part(mask + first + i, changed, (uint8_t)(bits >> 8 * i),
                     first + i == r.begin / 8 || first + i == (r.end - 1) / 8);
    }
}

/* Where the argument of an activation of two slopes is between its two bounds: what a mask tells. */
static INLINE v_mask is_inside(v_f32 z, const bnorm_fusion *f)
{
    if (f->activation == BNORM_HARD_SIGMOID)
        z = v_add(v_mul(z, v_set1(f->alpha)), v_set1(f->beta));
    return v_inside(z, v_set1(f->low), v_set1(f->high));
}

static INLINE uint32_t inside_bits(const v_f32 *z, const bnorm_fusion *f)
{
    uint32_t bits = 0;
    for (size_t v = 0; v < V_TILE; v++)
        bits |= v_bits(is_inside(z[v], f)) << v * V_LANES;
    return bits;
}

/* ---- Both ways, for n lanes of a tile that begin at an index of y's layout; `type` is that of y or dy ---- */

static INLINE void add_residual(v_f32 *z, const bnorm_fusion *f, bnorm_dtype type, size_t at, size_t n, bool whole)
{
    v_f32 r[V_TILE];
    load_lanes(r, bnorm_elements(f->residual, type, at), type, n, whole);
    add_tile(z, r);
}

/* z becomes y. */
static INLINE void finish_tile(v_f32 *z, const bnorm_fusion *f, bnorm_dtype type, run r, size_t at, size_t n,
                               bool whole)
{
    if (f->residual)
        add_residual(z, f, type, at, n, whole);
    if (f->mask)
        put_bits(f->mask, r, at, n, inside_bits(z, f));
    activate(z, n, f);
}

/* A vector of two slopes. */
static INLINE v_f32 sloped(v_mask inside, v_f32 dy, const bnorm_fusion *f)
{
    if (f->activation == BNORM_CLAMP)
        return v_select(inside, dy, v_zero());
    const v_f32 scaled = v_mul(dy, v_set1(f->alpha));
    return f->activation == BNORM_LEAKY_RELU ? v_select(inside, dy, scaled) : v_select(inside, scaled, v_zero());
}

/* dy becomes the gradient with respect to z, which is there unless a mask is. */
static INLINE void take_back(v_f32 *dy, v_f32 *z, const bnorm_fusion *f, bnorm_dtype type, size_t at, size_t n,
                             bool whole)
{
    if (f->mask) {
        const uint32_t bits = get_bits(f->mask, at, n);
        for (size_t v = 0; v < V_TILE; v++)
            dy[v] = sloped(v_of_bits(bits >> v * V_LANES), dy[v], f);
        return;
    }
    if (f->residual)
        add_residual(z, f, type, at, n, whole);
    switch (f->activation) {
    case BNORM_IDENTITY:
        break;
    case BNORM_CLAMP:
    case BNORM_LEAKY_RELU:
    case BNORM_HARD_SIGMOID:
        for (size_t v = 0; v < V_TILE; v++)
            dy[v] = sloped(is_inside(z[v], f), dy[v], f);
        break;
    default:
        call_tile(slopes[f->activation], z, n, f);
        for (size_t v = 0; v < V_TILE; v++)
            dy[v] = v_mul(dy[v], z[v]);
    }
}

#endif
