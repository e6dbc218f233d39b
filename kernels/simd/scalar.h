/* SPDX-License-Identifier: MIT */
/*
 * Vector operations in portable C: one lane. A tile is then an array of 32 floats, and the loops over it are for the
 * compiler to vectorise. These operations define what every other ISA must give, to the bit.
 */
#include <stddef.h>

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

/* v where z is positive or NaN, else zero. */
static inline v_f32 v_if_positive(v_f32 z, v_f32 v)
{
    return z <= 0.0f ? 0.0f : v;
}

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
