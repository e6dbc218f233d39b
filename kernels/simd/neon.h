/* SPDX-License-Identifier: MIT */
/*
 * Vector operations for NEON (AArch64).
 *
 * Latency and throughput per cycle, from LLVM 19 (Apple's are those of an old core):
 *
 *               Cortex-A55   Cortex-A76,    Neoverse V1, V2   Apple
 *                            Neoverse N1
 *   load        3, 1         5, 2           6, 3              4, 2
 *   store       -, 1         -, 1           -, 2              -, 2
 *   add, sub    4, 1         2, 2           2, 4              4, 3
 *   mul         4, 1         3, 2           3, 4              2, 3
 *   fma         4, 2         4, 2           4, 4              8, 2
 *
 * Out-of-order cores hide the latencies, as a tile has eight vectors with one or two independent sums each. docs/arm.md
 * has the cycles of the loops.
 */
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef BNORM_SLEEF
#include <sleef.h>
#endif

#define V_LANES 4
#define V_MASKED 0 /* v_load_n needs 0 < n < V_LANES */
#define V_TYPED 1 /* each 16-bit type has loops of its own */
typedef float32x4_t v_f32;

/* All ones in the first n lanes. */
static inline uint32x4_t v_first(size_t n)
{
    static const uint32_t lane[4] = { 0, 1, 2, 3 };
    return vcltq_u32(vld1q_u32(lane), vdupq_n_u32((uint32_t)n));
}

static inline v_f32 v_zero(void)
{
    return vdupq_n_f32(0.0f);
}

static inline v_f32 v_set1(float value)
{
    return vdupq_n_f32(value);
}

static inline v_f32 v_load(const float *p)
{
    return vld1q_f32(p);
}

static inline void v_store(float *p, v_f32 v)
{
    vst1q_f32(p, v);
}

/* The first n lanes, 0 < n < V_LANES; the others are zero and are not read. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    v_f32 v = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);
    if (n > 1)
        v = vld1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}

static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    vst1q_lane_f32(p, v, 0);
    if (n > 1)
        vst1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        vst1q_lane_f32(p + 2, v, 2);
}

/* Zeroes the lanes from n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), v_first(n)));
}

/* Takes the first n lanes of a, and the others of b. */
static inline v_f32 v_blend_n(v_f32 a, v_f32 b, size_t n)
{
    return vbslq_f32(v_first(n), a, b);
}

/* A plain store: it has not been measured whether non-temporal stores help on ARM. */
static inline void v_stream(float *p, v_f32 v)
{
    vst1q_f32(p, v);
}

/* A vector of 16-bit values: as many as a pair of vectors of floats. */
typedef uint16x8_t v_u16;

static inline v_u16 v_zero_u16(void)
{
    return vdupq_n_u16(0);
}

static inline v_u16 v_load_u16(const uint16_t *p)
{
    return vld1q_u16(p);
}

/* The first n values, 0 < n < 2 * V_LANES; the others are zero and are not read. Loads the last first, and shifts. */
static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    const uint8x16_t zero = vdupq_n_u8(0);
    v_u16 v = vdupq_n_u16(0);
    if (n & 1)
        v = vld1q_lane_u16(p + n - 1, v, 0);
    if (n & 2) {
        uint32_t two;
        memcpy(&two, p + (n & 4), sizeof(two));
        const uint8x16_t up = vextq_u8(zero, vreinterpretq_u8_u16(v), 12);
        v = vreinterpretq_u16_u32(vsetq_lane_u32(two, vreinterpretq_u32_u8(up), 0));
    }
    return n & 4 ? vcombine_u16(vld1_u16(p), vget_low_u16(v)) : v;
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    vst1q_u16(p, v);
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    uint16x4_t part = vget_low_u16(v);
    if (n & 4) {
        vst1_u16(p, part);
        part = vget_high_u16(v);
        p += 4;
    }
    if (n & 2) {
        const uint32_t two = vget_lane_u32(vreinterpret_u32_u16(part), 0);
        memcpy(p, &two, sizeof(two));
        part = vext_u16(part, part, 2);
        p += 2;
    }
    if (n & 1)
        vst1_lane_u16(p, part, 0);
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    vst1q_u16(p, v);
}

/* These conversions give the bits of those of element.h. */
static inline void v_of_bf16(v_f32 *pair, v_u16 h)
{
    pair[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
    pair[1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
}

/* Rounds to the upper halves of the lanes. */
static inline uint32x4_t v_rounded_bf16(v_f32 v)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    return vbslq_u32(vceqq_f32(v, v), rounded, vorrq_u32(bits, vdupq_n_u32(0x400000)));
}

static inline v_u16 v_to_bf16(const v_f32 *pair)
{
    return vuzp2q_u16(vreinterpretq_u16_u32(v_rounded_bf16(pair[0])), vreinterpretq_u16_u32(v_rounded_bf16(pair[1])));
}

static inline void v_of_f16(v_f32 *pair, v_u16 h)
{
    pair[0] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
    pair[1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
}

static inline v_u16 v_to_f16(const v_f32 *pair)
{
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(pair[0]), pair[1]));
}

/*
 * Prefetch a cache line to L1 or L2. Streams of reads alone use L2, as L1 has too few line fill buffers for the latency
 * of memory. These are macros, as gcc removes calls of a function that only prefetches.
 */
#define v_prefetch(p) __builtin_prefetch(p, 0, 3)
#define v_prefetch_l2(p) __builtin_prefetch(p, 0, 2)

static inline void v_stream_end(void)
{
}

static inline v_f32 v_add(v_f32 a, v_f32 b)
{
    return vaddq_f32(a, b);
}

static inline v_f32 v_sub(v_f32 a, v_f32 b)
{
    return vsubq_f32(a, b);
}

static inline v_f32 v_mul(v_f32 a, v_f32 b)
{
    return vmulq_f32(a, b);
}

/* A plain add, as additions and multiplications share their ports. */
static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return vaddq_f32(a, b);
}

typedef uint32x4_t v_mask;

/* !(z <= low) && !(z >= high): true if z lies between the bounds or is NaN; a NaN is no bound. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    return vmvnq_u32(vorrq_u32(vcleq_f32(z, low), vcgeq_f32(z, high)));
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    return vbslq_f32(m, a, b);
}

/* One bit per lane; that of the first lane is the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    static const uint32_t lanes[4] = { 1, 2, 4, 8 };
    return vaddvq_u32(vandq_u32(m, vld1q_u32(lanes)));
}

static inline v_mask v_of_bits(uint32_t bits)
{
    static const uint32_t lanes[4] = { 1, 2, 4, 8 };
    return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lanes));
}

/* z < limit ? limit : z, and z > limit ? limit : z: the result is z if either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    return vbslq_f32(vcgtq_f32(limit, z), limit, z);
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    return vbslq_f32(vcltq_f32(limit, z), limit, z);
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    return vdivq_f32(a, b);
}

static inline v_f32 v_abs(v_f32 a)
{
    return vabsq_f32(a);
}

#ifdef BNORM_SLEEF
#define v_exp(a) Sleef_finz_expf4_u10advsimd(a)
#define v_expm1(a) Sleef_finz_expm1f4_u10advsimd(a)
#define v_log1p(a) Sleef_finz_log1pf4_u10advsimd(a)
#define v_tanh(a) Sleef_finz_tanhf4_u35advsimd(a)
#endif

/* Reduces a tile's 32 lanes to one: adds lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_reduce(const v_f32 *tile)
{
    float32x4_t even = vaddq_f32(vaddq_f32(tile[0], tile[4]), vaddq_f32(tile[2], tile[6]));
    float32x4_t odd = vaddq_f32(vaddq_f32(tile[1], tile[5]), vaddq_f32(tile[3], tile[7]));
    float32x4_t t4 = vaddq_f32(even, odd);
    float32x2_t t2 = vadd_f32(vget_low_f32(t4), vget_high_f32(t4));
    return vget_lane_f32(t2, 0) + vget_lane_f32(t2, 1);
}
