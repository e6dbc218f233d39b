/* SPDX-License-Identifier: MIT */
/*
 * Vector operations for AVX2 with FMA.
 *
 *                        Zen 2 to 4: latency, per cycle Haswell to Ice Lake
 *   load                 5+, 2                          5+, 2
 *   store                -, 1                           -, 1
 *   add, sub             3, 2 (ports of their own)      3 to 4, 1 to 2
 *   mul, fma             3 and 4 to 5, 2                4 to 5, 2
 *   masked load          8, 1                           7 to 8, 2
 *   masked store         12 to 19 cycles each           -, 1
 *
 * Where adds have ports of their own, one of a statistics row's three goes to the multiplier's: v_accumulate.
 */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define V_LANES 8
typedef __m256 v_f32;

/* All ones in the first n lanes. */
static inline __m256i v_first(size_t n)
{
    static const int32_t ones_then_zeros[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - n));
}

static inline v_f32 v_zero(void)
{
    return _mm256_setzero_ps();
}

static inline v_f32 v_set1(float value)
{
    return _mm256_set1_ps(value);
}

static inline v_f32 v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void v_store(float *p, v_f32 v)
{
    _mm256_storeu_ps(p, v);
}

/* The first n lanes, 0 < n < V_LANES; the others are zero and are not read. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, v_first(n));
}

/* In up to three stores: a masked one takes 12 cycles and more on AMD's cores. */
static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    __m128 part = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, part);
}

/* Zero from lane n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(v_first(n)));
}

/* The first n lanes of a, then those of b. */
static inline v_f32 v_join_n(v_f32 a, v_f32 b, size_t n)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(v_first(n)));
}

/* Past the caches; p is aligned to the vector. */
static inline void v_stream(float *p, v_f32 v)
{
    _mm256_stream_ps(p, v);
}

/*
 * Starts to bring a cache line to the first cache, or to the second: for a stream of reads alone, as the first has too
 * few places for lines that take long. Macros, as gcc takes a function that does nothing else for one without effect.
 */
#define v_fetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define v_fetch_far(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)

static inline void v_stream_end(void)
{
    _mm_sfence();
}

static inline v_f32 v_add(v_f32 a, v_f32 b)
{
    return _mm256_add_ps(a, b);
}

static inline v_f32 v_sub(v_f32 a, v_f32 b)
{
    return _mm256_sub_ps(a, b);
}

static inline v_f32 v_mul(v_f32 a, v_f32 b)
{
    return _mm256_mul_ps(a, b);
}

/* a + b with the bits of v_add, on the ports of the multiplier. */
static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return _mm256_fmadd_ps(b, _mm256_set1_ps(1.0f), a);
}

/* v where z is positive or NaN, else zero. */
static inline v_f32 v_if_positive(v_f32 z, v_f32 v)
{
    return _mm256_and_ps(v, _mm256_cmp_ps(z, _mm256_setzero_ps(), _CMP_NLE_UQ));
}

/* The sum of a tile's 32 lanes: lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_fold(const v_f32 *tile)
{
    __m256 t8 = _mm256_add_ps(_mm256_add_ps(tile[0], tile[2]), _mm256_add_ps(tile[1], tile[3]));
    __m128 t4 = _mm_add_ps(_mm256_castps256_ps128(t8), _mm256_extractf128_ps(t8, 1));
    __m128 t2 = _mm_add_ps(t4, _mm_movehl_ps(t4, t4));
    return _mm_cvtss_f32(_mm_add_ss(t2, _mm_movehdup_ps(t2)));
}
