/* SPDX-License-Identifier: MIT */
/*
 * Vector operations in portable C: one lane. A tile is then an array of 32 floats, and the loops over it are for the
 * compiler to vectorise. These operations define what every other ISA must give, to the bit.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../element.h"

#ifdef BNORM_SLEEF
#ifndef FP_FAST_FMA
#define FP_FAST_FMA /* else sleef.h hides what it has for one lane; these do not need the compiler's flags */
#endif
#include <sleef.h>
#ifdef __ALTIVEC__ /* what its header, included for other functions, makes of these words */
#undef bool
#undef vector
#undef pixel
#define bool _Bool
#endif
#endif

#define V_LANES 1
typedef float v_f32;

static inline v_f32 v_zero(void)
{
    return 0.0f;
}

static inline v_f32 v_set1(float value)
{
    return value;
}

static inline v_f32 v_load(const float *p)
{
    return *p;
}

static inline void v_store(float *p, v_f32 v)
{
    *p = v;
}

/* A vector of one lane is never partial. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    return n ? *p : 0.0f;
}

static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    if (n)
        *p = v;
}

static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return n ? v : 0.0f;
}

static inline v_f32 v_join_n(v_f32 a, v_f32 b, size_t n)
{
    return n ? a : b;
}

static inline void v_stream(float *p, v_f32 v)
{
    *p = v;
}

/* Two values of 16 bits: a pair of vectors. */
typedef struct {
    uint16_t value[2];
} v_u16;

static inline v_u16 v_zero_u16(void)
{
    return (v_u16){ { 0, 0 } };
}

static inline v_u16 v_load_u16(const uint16_t *p)
{
    return (v_u16){ { p[0], p[1] } };
}

static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    return (v_u16){ { p[0], n > 1 ? p[1] : 0 } };
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    p[0] = v.value[0];
    p[1] = v.value[1];
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    p[0] = v.value[0];
    if (n > 1)
        p[1] = v.value[1];
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    v_store_u16(p, v);
}

static inline void v_of_bf16(v_f32 *pair, v_u16 h)
{
    pair[0] = bnorm_of_bf16(h.value[0]);
    pair[1] = bnorm_of_bf16(h.value[1]);
}

static inline v_u16 v_to_bf16(const v_f32 *pair)
{
    return (v_u16){ { bnorm_to_bf16(pair[0]), bnorm_to_bf16(pair[1]) } };
}

static inline void v_of_f16(v_f32 *pair, v_u16 h)
{
    pair[0] = bnorm_of_f16(h.value[0]);
    pair[1] = bnorm_of_f16(h.value[1]);
}

static inline v_u16 v_to_f16(const v_f32 *pair)
{
    return (v_u16){ { bnorm_to_f16(pair[0]), bnorm_to_f16(pair[1]) } };
}

/* Nothing: the compiler vectorises the loops around them, and does not know what would be worth it. */
#define v_fetch(p) ((void)(p))
#define v_fetch_far(p) ((void)(p))

static inline void v_stream_end(void)
{
}

static inline v_f32 v_add(v_f32 a, v_f32 b)
{
    return a + b;
}

static inline v_f32 v_sub(v_f32 a, v_f32 b)
{
    return a - b;
}

static inline v_f32 v_mul(v_f32 a, v_f32 b)
{
    return a * b;
}

static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return a + b;
}

typedef bool v_mask;

/* Where z lies between bounds, of which NaN is none, or is NaN. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    return !(z <= low) & !(z >= high);
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    return m ? a : b;
}

/* A bit a lane, the first lane's the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    return m;
}

static inline v_mask v_of_bits(uint32_t bits)
{
    return bits & 1;
}

/* z where either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    return z < limit ? limit : z;
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    return z > limit ? limit : z;
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    return a / b;
}

static inline v_f32 v_abs(v_f32 a)
{
    return fabsf(a);
}

#ifdef BNORM_SLEEF
#define v_exp(a) Sleef_finz_expf1_u10purecfma(a)
#define v_expm1(a) Sleef_finz_expm1f1_u10purecfma(a)
#define v_log1p(a) Sleef_finz_log1pf1_u10purecfma(a)
#define v_tanh(a) Sleef_finz_tanhf1_u35purecfma(a)
#endif

/* The sum of a tile's 32 lanes: lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_fold(const v_f32 *tile)
{
    float sum[16];
    for (int i = 0; i < 16; i++)
        sum[i] = tile[i] + tile[i + 16];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}
