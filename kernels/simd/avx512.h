/* SPDX-License-Identifier: MIT */
/*
 * Vector operations for AVX-512 (F, CD, BW, DQ, VL).
 *
 *                        Zen 4                          Ice Lake and later server cores
 *                        latency, per cycle             latency, per cycle
 *   load                 5+, 1                          5+, 2
 *   store                -, 1/2                         -, 1
 *   add, sub             3, 1 (its own ports)           4, 2 (ports 0 and 5, with mul and fma)
 *   mul, fma             3 and 4, 1 (its own ports)     4, 2
 *   masked load          5+, 1                          5+, 2
 *
 * Zen 4 executes a 512-bit operation as two halves. Loops of sums add more than they multiply: v_accumulate moves an
 * addition to the multiplier's ports.
 */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifdef BNORM_SLEEF
#include <sleef.h>
#endif

#define V_LANES 16
#define V_MASKED 1 /* v_load_n takes any n, even none or all lanes */
#define V_TYPED 1 /* each 16-bit type has loops of its own */
typedef __m512 v_f32;

static inline __mmask16 v_first(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline v_f32 v_zero(void)
{
    return _mm512_setzero_ps();
}

static inline v_f32 v_set1(float value)
{
    return _mm512_set1_ps(value);
}

static inline v_f32 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, v_f32 v)
{
    _mm512_storeu_ps(p, v);
}

/* The first n lanes, from none to all; the others are zero and are not read. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), p);
}

static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), v);
}

/* Zeroes the lanes from n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return _mm512_maskz_mov_ps(v_first(n), v);
}

/* Takes the first n lanes of a, and the others of b. */
static inline v_f32 v_blend_n(v_f32 a, v_f32 b, size_t n)
{
    return _mm512_mask_mov_ps(b, v_first(n), a);
}

/* A non-temporal store; p is aligned to the vector. */
static inline void v_stream(float *p, v_f32 v)
{
    _mm512_stream_ps(p, v);
}

/* A vector of 16-bit values: as many as a pair of vectors of floats. */
typedef __m512i v_u16;

static inline v_u16 v_zero_u16(void)
{
    return _mm512_setzero_si512();
}

static inline v_u16 v_load_u16(const uint16_t *p)
{
    return _mm512_loadu_si512(p);
}

/* The first n values, from none to all; the others are zero and are not read. */
static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    return _mm512_maskz_loadu_epi16((__mmask32)(((uint64_t)1 << n) - 1), p);
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    _mm512_storeu_si512(p, v);
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    _mm512_mask_storeu_epi16(p, (__mmask32)(((uint64_t)1 << n) - 1), v);
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    _mm512_stream_si512((__m512i *)(void *)p, v);
}

/* These conversions give the bits of those of element.h; vcvtneps2bf16 does not, as it flushes subnormals. */
static inline void v_of_bf16(v_f32 *pair, v_u16 h)
{
    static const _Alignas(64) uint16_t low[32] = { 0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                                                   0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15 };
    const __m512i first = _mm512_load_si512(low), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    pair[0] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, first, h));
    pair[1] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, second, h));
}

/* Rounds to the upper halves of the lanes; not valid for NaN. */
static inline __m512i v_rounded_bf16(v_f32 v)
{
    const __m512i bits = _mm512_castps_si512(v), rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    return _mm512_mask_add_epi32(rounded, odd, rounded, _mm512_set1_epi32(1));
}

static inline __m512i v_quiet_bf16(__m512i rounded, v_f32 v)
{
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(rounded, nan, _mm512_castps_si512(v), _mm512_set1_epi32(0x400000));
}

static inline v_u16 v_to_bf16(const v_f32 *pair)
{
    static const _Alignas(64) uint16_t odd[32] = { 1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                   33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63 };
    __m512i low = v_rounded_bf16(pair[0]), high = v_rounded_bf16(pair[1]);
    if (__builtin_expect(_mm512_cmp_ps_mask(pair[0], pair[1], _CMP_UNORD_Q), 0)) {
        low = v_quiet_bf16(low, pair[0]);
        high = v_quiet_bf16(high, pair[1]);
    }
    return _mm512_permutex2var_epi16(low, _mm512_load_si512(odd), high);
}

/*
 * The conversion of AVX512_BF16 flushes subnormals, and gives the same bits for all other values. Functions that use it
 * have a target attribute, as not every CPU with AVX-512 has it.
 */
#if defined(__GNUC__) && !defined(V_EMULATED)
#define V_BF16_TARGET __attribute__((target("avx512bf16")))

static inline V_BF16_TARGET v_u16 v_to_bf16_fast(const v_f32 *pair)
{
    enum { SUBNORMAL = 0x20 };
    const __mmask16 a = _mm512_fpclass_ps_mask(pair[0], SUBNORMAL), b = _mm512_fpclass_ps_mask(pair[1], SUBNORMAL);
    if (__builtin_expect(!_kortestz_mask16_u8(a, b), 0))
        return v_to_bf16(pair);
    return (__m512i)_mm512_cvtne2ps_pbh(pair[1], pair[0]);
}
#endif

static inline void v_of_f16(v_f32 *pair, v_u16 h)
{
    pair[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(h));
    pair[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1));
}

static inline v_u16 v_to_f16(const v_f32 *pair)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    const __m256i low = _mm512_cvtps_ph(pair[0], NEAREST), high = _mm512_cvtps_ph(pair[1], NEAREST);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/*
 * Prefetch a cache line to L1 or L2. Streams of reads alone use L2, as L1 has too few line fill buffers for the latency
 * of memory. These are macros, as gcc removes calls of a function that only prefetches.
 */
#define v_prefetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)
#define v_prefetch_l2(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)

static inline void v_stream_end(void)
{
    _mm_sfence();
}

static inline v_f32 v_add(v_f32 a, v_f32 b)
{
    return _mm512_add_ps(a, b);
}

static inline v_f32 v_sub(v_f32 a, v_f32 b)
{
    return _mm512_sub_ps(a, b);
}

static inline v_f32 v_mul(v_f32 a, v_f32 b)
{
    return _mm512_mul_ps(a, b);
}

/* a + b with the bits of v_add, as 1 * b + a on the ports of the multiplier. */
static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return _mm512_fmadd_ps(b, _mm512_set1_ps(1.0f), a);
}

typedef __mmask16 v_mask;

/* !(z <= low) && !(z >= high): true if z lies between the bounds or is NaN; a NaN is no bound. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(z, low, _CMP_NLE_UQ), z, high, _CMP_NGE_UQ);
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    return _mm512_mask_mov_ps(b, m, a);
}

/* One bit per lane; that of the first lane is the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    return m;
}

static inline v_mask v_of_bits(uint32_t bits)
{
    return (v_mask)bits;
}

/* z < limit ? limit : z, and z > limit ? limit : z: the result is z if either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    return _mm512_max_ps(limit, z);
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    return _mm512_min_ps(limit, z);
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    return _mm512_div_ps(a, b);
}

static inline v_f32 v_abs(v_f32 a)
{
    return _mm512_abs_ps(a);
}

#ifdef BNORM_SLEEF
#define v_exp(a) Sleef_finz_expf16_u10avx512f(a)
#define v_expm1(a) Sleef_finz_expm1f16_u10avx512f(a)
#define v_log1p(a) Sleef_finz_log1pf16_u10avx512f(a)
#define v_tanh(a) Sleef_finz_tanhf16_u35avx512f(a)
#endif

/* Reduces a tile's 32 lanes to one: adds lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_reduce(const v_f32 *tile)
{
    __m512 t16 = _mm512_add_ps(tile[0], tile[1]);
    __m256 t8 = _mm256_add_ps(_mm512_castps512_ps256(t16), _mm512_extractf32x8_ps(t16, 1));
    __m128 t4 = _mm_add_ps(_mm256_castps256_ps128(t8), _mm256_extractf128_ps(t8, 1));
    __m128 t2 = _mm_add_ps(t4, _mm_movehl_ps(t4, t4));
    return _mm_cvtss_f32(_mm_add_ss(t2, _mm_movehdup_ps(t2)));
}
