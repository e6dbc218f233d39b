/* SPDX-License-Identifier: MIT */
/*
 * Vector operations for AVX2 with FMA.
 *
 *                        Zen 2 to 4                     Haswell to Ice Lake
 *                        latency, per cycle             latency, per cycle
 *   load                 5+, 2                          5+, 2
 *   store                -, 1                           -, 1
 *   add, sub             3, 2 (its own ports)           3 to 4, 1 to 2
 *   mul, fma             3 and 4 to 5, 2                4 to 5, 2
 *   masked load          8, 1                           7 to 8, 2
 *   masked store         12 to 19 cycles each           -, 1
 *
 * Loops of sums add more than they multiply: v_accumulate moves an addition to the multiplier's ports.
 */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef BNORM_SLEEF
#include <sleef.h>
#endif

#define V_LANES 8
#define V_MASKED 0 /* v_load_n needs 0 < n < V_LANES */
#define V_TYPED 1 /* each 16-bit type has loops of its own */
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

/* Uses up to three stores, as a masked store takes 12 cycles or more on AMD's cores. */
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

/* Zeroes the lanes from n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(v_first(n)));
}

/* Takes the first n lanes of a, and the others of b. */
static inline v_f32 v_blend_n(v_f32 a, v_f32 b, size_t n)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(v_first(n)));
}

/* A non-temporal store; p is aligned to the vector. */
static inline void v_stream(float *p, v_f32 v)
{
    _mm256_stream_ps(p, v);
}

/* A vector of 16-bit values: as many as a pair of vectors of floats. */
typedef __m256i v_u16;

static inline v_u16 v_zero_u16(void)
{
    return _mm256_setzero_si256();
}

static inline v_u16 v_load_u16(const uint16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Loads two values; _mm_loadu_si32 and _mm_storeu_si32 are missing or wrong in older compilers. */
static inline __m128i v_load_two_u16(const uint16_t *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof(bits));
    return _mm_cvtsi32_si128(bits);
}

static inline void v_store_two_u16(uint16_t *p, __m128i v)
{
    const int32_t bits = _mm_cvtsi128_si32(v);
    memcpy(p, &bits, sizeof(bits));
}

/* Loads the first n values, n < 8, into the lower half of a register, and reads no others. */
static inline __m128i v_load_lower_u16(const uint16_t *p, size_t n)
{
    __m128i v = _mm_setzero_si128();
    if (n & 1)
        v = _mm_insert_epi16(v, (short)p[n - 1], 0);
    if (n & 2)
        v = _mm_or_si128(_mm_slli_si128(v, 4), v_load_two_u16(p + (n & 4)));
    if (n & 4)
        v = _mm_or_si128(_mm_slli_si128(v, 8), _mm_loadl_epi64((const __m128i *)(const void *)p));
    return v;
}

/* The first n values, 0 < n < 2 * V_LANES; the others are zero and are not read. */
static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    const __m128i *const eight = (const __m128i *)(const void *)p;
    if (n >= 8)
        return _mm256_set_m128i(v_load_lower_u16(p + 8, n - 8), _mm_loadu_si128(eight));
    return _mm256_set_m128i(_mm_setzero_si128(), v_load_lower_u16(p, n));
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    __m128i part = _mm256_castsi256_si128(v);
    if (n & 8) {
        _mm_storeu_si128((__m128i *)(void *)p, part);
        part = _mm256_extracti128_si256(v, 1);
        p += 8;
    }
    if (n & 4) {
        _mm_storel_epi64((__m128i *)(void *)p, part);
        part = _mm_srli_si128(part, 8);
        p += 4;
    }
    if (n & 2) {
        v_store_two_u16(p, part);
        part = _mm_srli_si128(part, 4);
        p += 2;
    }
    if (n & 1)
        *p = (uint16_t)_mm_extract_epi16(part, 0);
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    _mm256_stream_si256((__m256i *)(void *)p, v);
}

/* These conversions give the bits of those of element.h. */
static inline void v_of_bf16(v_f32 *pair, v_u16 h)
{
    const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(h));
    const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(h, 1));
    pair[0] = _mm256_castsi256_ps(_mm256_slli_epi32(low, 16));
    pair[1] = _mm256_castsi256_ps(_mm256_slli_epi32(high, 16));
}

/* Rounds to the lower halves of the lanes; not valid for NaN. */
static inline __m256i v_rounded_bf16(__m256i bits)
{
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
}

static inline __m256i v_quiet_bf16(__m256i rounded, v_f32 v)
{
    const __m256i upper = _mm256_srli_epi32(_mm256_castps_si256(v), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
}

static inline v_u16 v_to_bf16(const v_f32 *pair)
{
    __m256i low = v_rounded_bf16(_mm256_castps_si256(pair[0])), high = v_rounded_bf16(_mm256_castps_si256(pair[1]));
    if (_mm256_movemask_ps(_mm256_cmp_ps(pair[0], pair[1], _CMP_UNORD_Q))) { /* rare */
        low = v_quiet_bf16(low, pair[0]);
        high = v_quiet_bf16(high, pair[1]);
    }
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
}

static inline void v_of_f16(v_f32 *pair, v_u16 h)
{
    pair[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    pair[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
}

static inline v_u16 v_to_f16(const v_f32 *pair)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return _mm256_set_m128i(_mm256_cvtps_ph(pair[1], NEAREST), _mm256_cvtps_ph(pair[0], NEAREST));
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

/* a + b with the bits of v_add, as 1 * b + a on the ports of the multiplier. */
static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return _mm256_fmadd_ps(b, _mm256_set1_ps(1.0f), a);
}

typedef __m256 v_mask;

/* !(z <= low) && !(z >= high): true if z lies between the bounds or is NaN; a NaN is no bound. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    return _mm256_and_ps(_mm256_cmp_ps(z, low, _CMP_NLE_UQ), _mm256_cmp_ps(z, high, _CMP_NGE_UQ));
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    return _mm256_blendv_ps(b, a, m);
}

/* One bit per lane; that of the first lane is the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    return (uint32_t)_mm256_movemask_ps(m);
}

static inline v_mask v_of_bits(uint32_t bits)
{
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lanes), lanes));
}

/* z < limit ? limit : z, and z > limit ? limit : z: the result is z if either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    return _mm256_max_ps(limit, z);
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    return _mm256_min_ps(limit, z);
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    return _mm256_div_ps(a, b);
}

static inline v_f32 v_abs(v_f32 a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

#ifdef BNORM_SLEEF
#define v_exp(a) Sleef_finz_expf8_u10avx2(a)
#define v_expm1(a) Sleef_finz_expm1f8_u10avx2(a)
#define v_log1p(a) Sleef_finz_log1pf8_u10avx2(a)
#define v_tanh(a) Sleef_finz_tanhf8_u35avx2(a)
#endif

/* Reduces a tile's 32 lanes to one: adds lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_reduce(const v_f32 *tile)
{
    __m256 t8 = _mm256_add_ps(_mm256_add_ps(tile[0], tile[2]), _mm256_add_ps(tile[1], tile[3]));
    __m128 t4 = _mm_add_ps(_mm256_castps256_ps128(t8), _mm256_extractf128_ps(t8, 1));
    __m128 t2 = _mm_add_ps(t4, _mm_movehl_ps(t4, t4));
    return _mm_cvtss_f32(_mm_add_ss(t2, _mm_movehdup_ps(t2)));
}
