/* SPDX-License-Identifier: MIT */
/*
 * Vector operations in portable C, for four lanes; with GNU C's vector types, they use the CPU's vector registers if it
 * has any. These operations define the bits that every other ISA must give.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../element.h"

#ifdef BNORM_SLEEF
#ifndef FP_FAST_FMA
#define FP_FAST_FMA /* sleef.h hides its functions for one lane otherwise */
#endif
#include <sleef.h>
#ifdef __ALTIVEC__ /* altivec.h, which sleef.h includes, defines these words as macros */
#undef bool
#undef vector
#undef pixel
#define bool _Bool
#endif
#endif

#define V_LANES 4
#define V_MASKED 0 /* v_load_n needs 0 < n < V_LANES */
#define V_TYPED 0 /* 16-bit types share loops, as their conversions dominate the time */

#ifdef __GNUC__
typedef float v_f32 __attribute__((vector_size(16)));
typedef uint32_t v_u32 __attribute__((vector_size(16)));
#define LANE(v, i) ((v)[i])
#define EACH_LANE(a, operation, b) return (a)operation(b)
#else
typedef struct {
    float lane[4];
} v_f32;
typedef struct {
    uint32_t lane[4];
} v_u32;
#define LANE(v, i) ((v).lane[i])
#define EACH_LANE(a, operation, b) \
    for (int i = 0; i < V_LANES; i++) \
        LANE(a, i) = LANE(a, i) operation LANE(b, i); \
    return a
#endif

static inline v_f32 v_set1(float value)
{
    v_f32 v;
    for (int i = 0; i < V_LANES; i++)
        LANE(v, i) = value;
    return v;
}

static inline v_f32 v_zero(void)
{
    return v_set1(0.0f);
}

static inline v_f32 v_load(const float *p)
{
    v_f32 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void v_store(float *p, v_f32 v)
{
    memcpy(p, &v, sizeof(v));
}

/* The first n lanes, 0 < n < V_LANES; the others are zero and are not read. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    v_f32 v = v_zero();
    for (size_t i = 0; i < n; i++)
        LANE(v, i) = p[i];
    return v;
}

static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = LANE(v, i);
}

typedef v_u32 v_mask; /* each lane is all ones or zero */

static inline v_mask v_first(size_t n)
{
    v_mask m;
    for (size_t i = 0; i < V_LANES; i++)
        LANE(m, i) = i < n ? UINT32_MAX : 0;
    return m;
}

static inline v_u32 v_as_bits(v_f32 v)
{
    v_u32 bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static inline v_f32 v_from_bits(v_u32 bits)
{
    v_f32 v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    v_u32 x = v_as_bits(a), y = v_as_bits(b);
    for (int i = 0; i < V_LANES; i++)
        LANE(x, i) = (LANE(x, i) & LANE(m, i)) | (LANE(y, i) & ~LANE(m, i));
    return v_from_bits(x);
}

/* Zeroes the lanes from n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return v_select(v_first(n), v, v_zero());
}

/* Takes the first n lanes of a, and the others of b. */
static inline v_f32 v_blend_n(v_f32 a, v_f32 b, size_t n)
{
    return v_select(v_first(n), a, b);
}

static inline void v_stream(float *p, v_f32 v)
{
    v_store(p, v);
}

/* A vector of 16-bit values: as many as a pair of vectors of floats. */
typedef struct {
    uint16_t value[2 * V_LANES];
} v_u16;

static inline v_u16 v_load_u16(const uint16_t *p)
{
    v_u16 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    v_u16 v = { { 0 } };
    memcpy(&v, p, n * sizeof(*p));
    return v;
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    memcpy(p, &v, n * sizeof(*p));
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    v_store_u16(p, v);
}

/* The conversions of element.h, for all lanes of a vector at once if the compiler has vector types. */
#ifdef __GNUC__
typedef uint16_t v_half __attribute__((vector_size(8)));
typedef int32_t v_i32 __attribute__((vector_size(16)));

static inline v_u32 v_choose(v_i32 m, v_u32 a, v_u32 b)
{
    return ((v_u32)m & a) | (~(v_u32)m & b);
}

static inline v_u32 v_wide(const uint16_t *h)
{
    v_half half;
    memcpy(&half, h, sizeof(half));
    return __builtin_convertvector(half, v_u32);
}

static inline void v_narrow(uint16_t *h, v_u32 wide)
{
    const v_half half = __builtin_convertvector(wide, v_half);
    memcpy(h, &half, sizeof(half));
}

static inline v_f32 v_from_bf16(v_u32 h)
{
    return (v_f32)(h << 16);
}

static inline v_u32 v_as_bf16(v_f32 v)
{
    const v_u32 bits = (v_u32)v, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return v_choose((v_i32)(bits & 0x7fffffff) > 0x7f800000, bits >> 16 | 0x40, rounded);
}

static inline v_f32 v_from_f16(v_u32 h)
{
    const v_u32 sign = (h & 0x8000) << 16, bits = h & 0x7fff, normal = (bits << 13) + (112u << 23);
    const v_u32 subnormal = (v_u32)(__builtin_convertvector((v_i32)bits, v_f32) * 0x1p-24f);
    const v_u32 nan = (v_u32)((v_i32)bits > 0x7c00) & 0x400000, special = bits << 13 | 0x7f800000 | nan;
    return (v_f32)(sign | v_choose((v_i32)bits > 0x7bff, special, v_choose((v_i32)bits < 0x400, subnormal, normal)));
}

static inline v_u32 v_as_f16(v_f32 v)
{
    const v_u32 bits = (v_u32)v, sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    const v_u32 rounded = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
    const v_u32 subnormal = (v_u32)((v_f32)size + 0.5f) - 0x3f000000;
    const v_u32 inf = { 0x7c00, 0x7c00, 0x7c00, 0x7c00 };
    const v_u32 large = v_choose((v_i32)size > 0x477fefff, inf, rounded);
    const v_u32 finite = v_choose((v_i32)size < 0x38800000, subnormal, large);
    return sign | v_choose((v_i32)size > 0x7f800000, 0x7e00 | (size >> 13 & 0x1ff), finite);
}

#define CONVERSIONS(type) \
    static inline void v_of_##type(v_f32 *pair, v_u16 h) \
    { \
        pair[0] = v_from_##type(v_wide(h.value)); \
        pair[1] = v_from_##type(v_wide(h.value + V_LANES)); \
    } \
    static inline v_u16 v_to_##type(const v_f32 *pair) \
    { \
        v_u16 h; \
        v_narrow(h.value, v_as_##type(pair[0])); \
        v_narrow(h.value + V_LANES, v_as_##type(pair[1])); \
        return h; \
    }
#else
#define CONVERSIONS(type) \
    static inline void v_of_##type(v_f32 *pair, v_u16 h) \
    { \
        for (int i = 0; i < 2 * V_LANES; i++) \
            LANE(pair[i / V_LANES], i % V_LANES) = bnorm_of_##type(h.value[i]); \
    } \
    static inline v_u16 v_to_##type(const v_f32 *pair) \
    { \
        v_u16 h; \
        for (int i = 0; i < 2 * V_LANES; i++) \
            h.value[i] = bnorm_to_##type(LANE(pair[i / V_LANES], i % V_LANES)); \
        return h; \
    }
#endif
CONVERSIONS(bf16)
CONVERSIONS(f16)
#undef CONVERSIONS

/* No prefetch, as nothing is known about the CPU. */
#define v_prefetch(p) ((void)(p))
#define v_prefetch_l2(p) ((void)(p))

static inline void v_stream_end(void)
{
}

static inline v_f32 v_add(v_f32 a, v_f32 b)
{
    EACH_LANE(a, +, b);
}

static inline v_f32 v_sub(v_f32 a, v_f32 b)
{
    EACH_LANE(a, -, b);
}

static inline v_f32 v_mul(v_f32 a, v_f32 b)
{
    EACH_LANE(a, *, b);
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    EACH_LANE(a, /, b);
}

static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return v_add(a, b);
}

/* True if z lies between the bounds or is NaN; a NaN is no bound. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    v_mask m;
    for (int i = 0; i < V_LANES; i++)
        LANE(m, i) = LANE(z, i) <= LANE(low, i) || LANE(z, i) >= LANE(high, i) ? 0 : UINT32_MAX;
    return m;
}

/* One bit per lane; that of the first lane is the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    uint32_t bits = 0;
    for (int i = 0; i < V_LANES; i++)
        bits |= (LANE(m, i) & 1) << i;
    return bits;
}

static inline v_mask v_of_bits(uint32_t bits)
{
    v_mask m;
    for (int i = 0; i < V_LANES; i++)
        LANE(m, i) = bits >> i & 1 ? UINT32_MAX : 0;
    return m;
}

/* The result is z if either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    for (int i = 0; i < V_LANES; i++)
        LANE(z, i) = LANE(z, i) < LANE(limit, i) ? LANE(limit, i) : LANE(z, i);
    return z;
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    for (int i = 0; i < V_LANES; i++)
        LANE(z, i) = LANE(z, i) > LANE(limit, i) ? LANE(limit, i) : LANE(z, i);
    return z;
}

static inline v_f32 v_abs(v_f32 a)
{
    for (int i = 0; i < V_LANES; i++)
        LANE(a, i) = fabsf(LANE(a, i));
    return a;
}

#ifdef BNORM_SLEEF
#define V_SLEEF(name, function) \
    static inline v_f32 name(v_f32 a) \
    { \
        for (int i = 0; i < V_LANES; i++) \
            LANE(a, i) = function(LANE(a, i)); \
        return a; \
    }
V_SLEEF(v_exp, Sleef_finz_expf1_u10purecfma)
V_SLEEF(v_expm1, Sleef_finz_expm1f1_u10purecfma)
V_SLEEF(v_log1p, Sleef_finz_log1pf1_u10purecfma)
V_SLEEF(v_tanh, Sleef_finz_tanhf1_u35purecfma)
#undef V_SLEEF
#endif

/* Reduces a tile's 32 lanes to one: adds lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_reduce(const v_f32 *tile)
{
    v_f32 t[4];
    for (int i = 0; i < 4; i++)
        t[i] = v_add(tile[i], tile[i + 4]);
    const v_f32 s = v_add(v_add(t[0], t[2]), v_add(t[1], t[3]));
    return (LANE(s, 0) + LANE(s, 2)) + (LANE(s, 1) + LANE(s, 3));
}
