/* SPDX-License-Identifier: MIT */
/*
 * Pairs of vectors, the step of all loops: as many lanes as one vector of 16-bit values has. Has loads and stores by
 * type, arithmetic and prefetch. Needs a vector header of simd/ included before.
 */
#ifndef BNORM_BODY_PAIR_H
#define BNORM_BODY_PAIR_H

#include <string.h>

#include "../element.h"
#include "../kernels.h"

/* Functions with a common signature do not all use all parameters. */
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif

typedef struct {
    v_f32 a, b;
} pair;

enum {
    PAIR = 2 * V_LANES, /* lanes of a pair */
    PAIRS = BNORM_TILE / PAIR, /* pairs of a tile */
    STORE_BYTES = V_LANES * sizeof(float) /* the alignment that non-temporal stores need */
};

static inline size_t minimum(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many of n lanes follow the first `before`. */
static inline size_t lanes_after(size_t n, size_t before)
{
    return n > before ? n - before : 0;
}

/* ---- Arithmetic ---- */

static INLINE pair zero_pair(void)
{
    return (pair){ v_zero(), v_zero() };
}

static INLINE pair repeat(float value)
{
    return (pair){ v_set1(value), v_set1(value) };
}

static INLINE pair add(pair x, pair y)
{
    return (pair){ v_add(x.a, y.a), v_add(x.b, y.b) };
}

static INLINE pair sub(pair x, pair y)
{
    return (pair){ v_sub(x.a, y.a), v_sub(x.b, y.b) };
}

static INLINE pair mul(pair x, pair y)
{
    return (pair){ v_mul(x.a, y.a), v_mul(x.b, y.b) };
}

/* add(sum, term) on the ports of the multiplier, which balances the ports if a loop mostly adds. */
static INLINE pair accumulate(pair sum, pair term)
{
    return (pair){ v_accumulate(sum.a, term.a), v_accumulate(sum.b, term.b) };
}

/* Zeroes the lanes from n on. */
static INLINE pair keep_n(pair x, size_t n)
{
    return (pair){ n < V_LANES ? v_keep_n(x.a, n) : x.a, n < PAIR ? v_keep_n(x.b, lanes_after(n, V_LANES)) : x.b };
}

/* Takes the first n lanes of x, and the others of y. */
static INLINE pair blend_n(pair x, pair y, size_t n)
{
    return (pair){ n < V_LANES ? v_blend_n(x.a, y.a, n) : x.a, v_blend_n(x.b, y.b, lanes_after(n, V_LANES)) };
}

/*
 * ---- Loads and stores: load_T and store_T take the first n lanes of a pair, whose first element is the tensor's i-th;
 * load_T zeroes the others. stream_T is a non-temporal store of a full pair to an aligned address. T is f32, bf16, f16,
 * or `any`, the only one that reads `type`. ----
 */

static INLINE v_f32 load_vector_n(const float *x, size_t n)
{
    if (V_MASKED)
        return v_load_n(x, minimum(n, V_LANES));
    return n >= V_LANES ? v_load(x) : n ? v_load_n(x, n) : v_zero();
}

static INLINE void store_vector_n(float *y, v_f32 value, size_t n)
{
    if (n >= V_LANES)
        v_store(y, value);
    else if (n)
        v_store_n(y, value, n);
}

static INLINE pair load_f32(const void *tensor, bnorm_dtype type, size_t i, size_t n)
{
    const float *x = (const float *)tensor + i;
    if (n >= PAIR)
        return (pair){ v_load(x), v_load(x + V_LANES) };
    return (pair){ load_vector_n(x, n), load_vector_n(x + V_LANES, lanes_after(n, V_LANES)) };
}

static INLINE void store_f32(void *tensor, bnorm_dtype type, size_t i, size_t n, pair value)
{
    float *y = (float *)tensor + i;
    store_vector_n(y, value.a, n);
    store_vector_n(y + V_LANES, value.b, lanes_after(n, V_LANES));
}

static INLINE void stream_f32(void *tensor, bnorm_dtype type, size_t i, pair value)
{
    float *y = (float *)tensor + i;
    v_stream(y, value.a);
    v_stream(y + V_LANES, value.b);
}

#define SIXTEEN_BITS(T) \
    static INLINE pair from_##T(v_u16 halves) \
    { \
        v_f32 x[2]; \
        v_of_##T(x, halves); \
        return (pair){ x[0], x[1] }; \
    } \
    static INLINE v_u16 to_##T(pair value) \
    { \
        const v_f32 x[2] = { value.a, value.b }; \
        return v_to_##T(x); \
    } \
    static INLINE pair load_##T(const void *tensor, bnorm_dtype type, size_t i, size_t n) \
    { \
        const uint16_t *x = (const uint16_t *)tensor + i; \
        return n >= PAIR ? from_##T(v_load_u16(x)) : n ? from_##T(v_load_u16_n(x, n)) : zero_pair(); \
    } \
    static INLINE void store_##T(void *tensor, bnorm_dtype type, size_t i, size_t n, pair value) \
    { \
        uint16_t *y = (uint16_t *)tensor + i; \
        if (n >= PAIR) \
            v_store_u16(y, to_##T(value)); \
        else if (n) \
            v_store_u16_n(y, to_##T(value), n); \
    } \
    static INLINE void stream_##T(void *tensor, bnorm_dtype type, size_t i, pair value) \
    { \
        v_stream_u16((uint16_t *)tensor + i, to_##T(value)); \
    }
SIXTEEN_BITS(bf16)
SIXTEEN_BITS(f16)
#undef SIXTEEN_BITS

/* bf16 with the CPU's own conversion for full pairs. */
#ifdef V_BF16_TARGET
#define load_bf16_fast load_bf16

static INLINE V_BF16_TARGET void stream_bf16_fast(void *tensor, bnorm_dtype type, size_t i, pair value)
{
    const v_f32 x[2] = { value.a, value.b };
    v_stream_u16((uint16_t *)tensor + i, v_to_bf16_fast(x));
}

static INLINE V_BF16_TARGET void store_bf16_fast(void *tensor, bnorm_dtype type, size_t i, size_t n, pair value)
{
    const v_f32 x[2] = { value.a, value.b };
    if (n >= PAIR)
        v_store_u16((uint16_t *)tensor + i, v_to_bf16_fast(x));
    else
        store_bf16(tensor, type, i, n, value);
}
#endif

#ifdef BNORM_SEVERAL_TYPES
#define BY_TYPE(what) \
    switch (bnorm_known_type(type)) { \
    case BNORM_DTYPE_BF16: \
        what(bf16); \
    case BNORM_DTYPE_F16: \
        what(f16); \
    default: \
        what(f32); \
    }

static NOINLINE pair load_any(const void *tensor, bnorm_dtype type, size_t i, size_t n)
{
#define LOAD(T) return load_##T(tensor, type, i, n)
    BY_TYPE(LOAD)
#undef LOAD
}

static NOINLINE void store_any(void *tensor, bnorm_dtype type, size_t i, size_t n, pair value)
{
#define STORE(T) \
    store_##T(tensor, type, i, n, value); \
    break
    BY_TYPE(STORE)
#undef STORE
}

static NOINLINE void stream_any(void *tensor, bnorm_dtype type, size_t i, pair value)
{
#define STREAM(T) \
    stream_##T(tensor, type, i, value); \
    break
    BY_TYPE(STREAM)
#undef STREAM
}
#undef BY_TYPE
#endif

/* ---- Repeats a row of `width` lanes ---- */

static NOINLINE void repeat_row(float *lanes, const float *row, size_t width, size_t times)
{
    const size_t end = width * times;
    memcpy(lanes, row, width * sizeof(*row));
    for (size_t done = width; done < end; done *= 2)
        memcpy(lanes + done, lanes, minimum(done, end - done) * sizeof(*row));
}

/* Repeats a row narrower than a vector to a pair. */
static NOINLINE PURE pair broadcast_row(const float *row, size_t width)
{
    BNORM_ALIGNED float lanes[PAIR];
    repeat_row(lanes, row, width, PAIR / width);
    return load_f32(lanes, BNORM_DTYPE_F32, 0, PAIR);
}

/* Returns the p-th pair of a tile in which a row of `width` lanes, a divisor of the tile, repeats. */
static INLINE pair repeat_row_pair(const float *row, size_t width, size_t p)
{
    const size_t lane = p * PAIR & (width - 1);
    if (width == 1)
        return repeat(*row);
    if (width >= V_LANES)
        return (pair){ v_load(row + lane), v_load(row + ((lane + V_LANES) & (width - 1))) };
    return broadcast_row(row, width);
}

/* ---- Prefetch ---- */

/* Prefetches the cache lines of a pair of elements, beginning with the i-th, to L1. */

static INLINE void prefetch_pair(const void *tensor, bnorm_dtype type, size_t i)
{
    const char *p = bnorm_elements(tensor, type, i);
    for (size_t b = 0; b < PAIR * bnorm_size_of(type); b += BNORM_CACHE_LINE)
        v_prefetch(p + b);
}

/* Prefetches n elements to L2: a stream of reads from memory would occupy all of L1's line fill buffers. */
static INLINE void prefetch_l2(const void *tensor, bnorm_dtype type, size_t i, size_t n)
{
    const char *p = bnorm_elements(tensor, type, i);
    const size_t bytes = n * bnorm_size_of(type);
    for (size_t b = 0; b < bytes; b += BNORM_CACHE_LINE)
        v_prefetch_l2(p + b);
    if (n < BNORM_TILE) /* else the next call prefetches the last line */
        v_prefetch_l2(p + bytes - 1);
}

#endif
