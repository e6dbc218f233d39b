/* SPDX-License-Identifier: MIT */
/*
 * Vector operations for SVE. They are compiled once for each vector length, as arrays of vectors stay in registers only
 * if the length is known.
 *
 * Latency and throughput per cycle, from LLVM 19:
 *
 *               Neoverse V1   Neoverse V2   A64FX
 *               (256 bits)    (128 bits)    (512 bits)
 *   load        6, 2          6, 3          11, 2
 *   store       -, 2          -, 2          -, 1
 *   add, sub    2, 2          2, 4          9, 2
 *   mul         3, 2          3, 4          9, 2
 *   fma         4, 2          4, 4          9, 2
 *
 * A predicated operation costs the same as one on a full vector.
 */
#include <arm_sve.h>
#include <stddef.h>
#include <stdint.h>

#ifdef BNORM_SLEEF
#include <sleef.h>
#endif

#define V_LANES (__ARM_FEATURE_SVE_BITS / 32)
#define V_MASKED 0 /* v_load_n needs 0 < n < V_LANES */
#define V_TYPED 1 /* each 16-bit type has loops of its own */
#define V_FIXED __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)))
typedef svfloat32_t v_f32 V_FIXED;
typedef svuint32_t v_u32 V_FIXED;
typedef svbool_t v_mask V_FIXED;

static inline v_mask v_all(void)
{
    return svptrue_b32();
}

/* The first n lanes. */
static inline v_mask v_first(size_t n)
{
    return svwhilelt_b32_u64(0, n);
}

static inline v_f32 v_zero(void)
{
    return svdup_n_f32(0.0f);
}

static inline v_f32 v_set1(float value)
{
    return svdup_n_f32(value);
}

static inline v_f32 v_load(const float *p)
{
    return svld1_f32(v_all(), p);
}

static inline void v_store(float *p, v_f32 v)
{
    svst1_f32(v_all(), p, v);
}

/* The first n lanes, 0 < n < V_LANES; the others are zero and are not read. */
static inline v_f32 v_load_n(const float *p, size_t n)
{
    return svld1_f32(v_first(n), p);
}

static inline void v_store_n(float *p, v_f32 v, size_t n)
{
    svst1_f32(v_first(n), p, v);
}

/* Zeroes the lanes from n on. */
static inline v_f32 v_keep_n(v_f32 v, size_t n)
{
    return svsel_f32(v_first(n), v, v_zero());
}

/* Takes the first n lanes of a, and the others of b. */
static inline v_f32 v_blend_n(v_f32 a, v_f32 b, size_t n)
{
    return svsel_f32(v_first(n), a, b);
}

/* A plain store: it has not been measured whether non-temporal stores help on ARM. */
static inline void v_stream(float *p, v_f32 v)
{
    svst1_f32(v_all(), p, v);
}

/* 16-bit values, as many as a pair of vectors of floats has, each in a 32-bit lane: loads and stores widen and narrow.
 */
typedef struct {
    v_u32 half[2];
} v_u16;

static inline v_u16 v_zero_u16(void)
{
    return (v_u16){ { svdup_n_u32(0), svdup_n_u32(0) } };
}

static inline v_u16 v_load_u16(const uint16_t *p)
{
    return (v_u16){ { svld1uh_u32(v_all(), p), svld1uh_u32(v_all(), p + V_LANES) } };
}

/* The first n values, 0 < n < 2 * V_LANES; the others are zero and are not read. */
static inline v_u16 v_load_u16_n(const uint16_t *p, size_t n)
{
    if (n <= V_LANES)
        return (v_u16){ { svld1uh_u32(v_first(n), p), svdup_n_u32(0) } };
    return (v_u16){ { svld1uh_u32(v_all(), p), svld1uh_u32(v_first(n - V_LANES), p + V_LANES) } };
}

static inline void v_store_u16(uint16_t *p, v_u16 v)
{
    svst1h_u32(v_all(), p, v.half[0]);
    svst1h_u32(v_all(), p + V_LANES, v.half[1]);
}

static inline void v_store_u16_n(uint16_t *p, v_u16 v, size_t n)
{
    svst1h_u32(v_first(n), p, v.half[0]);
    if (n > V_LANES)
        svst1h_u32(v_first(n - V_LANES), p + V_LANES, v.half[1]);
}

static inline void v_stream_u16(uint16_t *p, v_u16 v)
{
    v_store_u16(p, v);
}

/* These conversions give the bits of those of element.h. */
static inline void v_of_bf16(v_f32 *pair, v_u16 h)
{
    for (int i = 0; i < 2; i++)
        pair[i] = svreinterpret_f32_u32(svlsl_n_u32_x(v_all(), h.half[i], 16));
}

static inline v_u32 v_rounded_bf16(v_f32 v)
{
    const v_mask all = v_all();
    const v_u32 bits = svreinterpret_u32_f32(v), odd = svand_n_u32_x(all, svlsr_n_u32_x(all, bits, 16), 1);
    const v_u32 rounded = svadd_u32_x(all, svadd_n_u32_x(all, bits, 0x7fff), odd);
    const v_u32 quiet = svorr_n_u32_x(all, bits, 0x400000);
    return svlsr_n_u32_x(all, svsel_u32(svcmpuo_f32(all, v, v), quiet, rounded), 16);
}

static inline v_u16 v_to_bf16(const v_f32 *pair)
{
    return (v_u16){ { v_rounded_bf16(pair[0]), v_rounded_bf16(pair[1]) } };
}

static inline void v_of_f16(v_f32 *pair, v_u16 h)
{
    for (int i = 0; i < 2; i++)
        pair[i] = svcvt_f32_f16_x(v_all(), svreinterpret_f16_u32(h.half[i]));
}

static inline v_u16 v_to_f16(const v_f32 *pair)
{
    return (v_u16){ { svreinterpret_u32_f16(svcvt_f16_f32_x(v_all(), pair[0])),
                      svreinterpret_u32_f16(svcvt_f16_f32_x(v_all(), pair[1])) } };
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

/* A plain add, as additions and multiplications share their ports. */
static inline v_f32 v_accumulate(v_f32 a, v_f32 b)
{
    return v_add(a, b);
}

/* !(z <= low) && !(z >= high): true if z lies between the bounds or is NaN; a NaN is no bound. */
static inline v_mask v_inside(v_f32 z, v_f32 low, v_f32 high)
{
    const v_mask all = v_all();
    return svnot_b_z(all, svorr_b_z(all, svcmple_f32(all, z, low), svcmpge_f32(all, z, high)));
}

static inline v_f32 v_select(v_mask m, v_f32 a, v_f32 b)
{
    return svsel_f32(m, a, b);
}

/* Each lane has its own bit set. */
static inline v_u32 v_lane_bits(void)
{
    return svlsl_u32_x(v_all(), svdup_n_u32(1), svindex_u32(0, 1));
}

/* One bit per lane; that of the first lane is the lowest. */
static inline uint32_t v_bits(v_mask m)
{
    return (uint32_t)svaddv_u32(m, v_lane_bits());
}

static inline v_mask v_of_bits(uint32_t bits)
{
    return svcmpne_n_u32(v_all(), svand_n_u32_x(v_all(), v_lane_bits(), bits), 0);
}

/* z < limit ? limit : z, and z > limit ? limit : z: the result is z if either is NaN. */
static inline v_f32 v_max(v_f32 z, v_f32 limit)
{
    return svsel_f32(svcmplt_f32(v_all(), z, limit), limit, z);
}

static inline v_f32 v_min(v_f32 z, v_f32 limit)
{
    return svsel_f32(svcmpgt_f32(v_all(), z, limit), limit, z);
}

static inline v_f32 v_div(v_f32 a, v_f32 b)
{
    return a / b;
}

static inline v_f32 v_abs(v_f32 a)
{
    return svabs_f32_x(v_all(), a);
}

#ifdef BNORM_SLEEF
#define v_exp(a) Sleef_finz_expfx_u10sve(a)
#define v_expm1(a) Sleef_finz_expm1fx_u10sve(a)
#define v_log1p(a) Sleef_finz_log1pfx_u10sve(a)
#define v_tanh(a) Sleef_finz_tanhfx_u35sve(a)
#ifdef __ELF__
/* clang does not mark calls that pass SVE vectors: lazy binding would clobber their upper parts in the first call. */
__asm__(".variant_pcs Sleef_finz_expfx_u10sve\n"
        ".variant_pcs Sleef_finz_expm1fx_u10sve\n"
        ".variant_pcs Sleef_finz_log1pfx_u10sve\n"
        ".variant_pcs Sleef_finz_tanhfx_u35sve\n");
#endif
#endif

/* Reduces a tile's 32 lanes to one: adds lane i + lane i+16, then i + i+8, i + i+4, i + i+2, i + i+1. */
static inline float v_reduce(const v_f32 *tile)
{
    enum { VECTORS = 32 / V_LANES };
    v_f32 t[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        t[v] = tile[v];
    for (int half = VECTORS / 2; half; half /= 2)
        for (int v = 0; v < half; v++)
            t[v] = v_add(t[v], t[v + half]);
    v_f32 sum = t[0];
#if V_LANES > 8
    sum = v_add(sum, svext_f32(sum, sum, 8));
#endif
#if V_LANES > 4
    sum = v_add(sum, svext_f32(sum, sum, 4));
#endif
    sum = v_add(sum, svext_f32(sum, sum, 2));
    sum = v_add(sum, svext_f32(sum, sum, 1));
    return svlasta_f32(svpfalse_b(), sum);
}
