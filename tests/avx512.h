/* SPDX-License-Identifier: MIT */
/*
 * AVX-512 where the CPU has AVX2 alone, so that its kernels are tested on any machine: SIMDe's intrinsics, and those
 * that it lacks. Included before kernels/isa/avx512.c by -Demulate_avx512=true; far too slow for anything else.
 */
#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What kernels/isa/avx512.c asks the compiler for. */
#define __AVX512F__ 1
#define __AVX512CD__ 1
#define __AVX512BW__ 1
#define __AVX512DQ__ 1
#define __AVX512VL__ 1
#define V_EMULATED /* so AVX512_BF16 is left out */
#define AVX512_CPU (BNORM_CPU_AVX2 | BNORM_CPU_FMA | BNORM_CPU_F16C)

/* The elements whose bits are set are read or written, and no others. */
static inline simde__m512 emulated_maskz_loadu_ps(unsigned mask, const float *p)
{
    float lanes[16] = { 0.0f };
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            lanes[i] = p[i];
    return simde_mm512_loadu_ps(lanes);
}

static inline void emulated_mask_storeu_ps(float *p, unsigned mask, simde__m512 v)
{
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            p[i] = lanes[i];
}

static inline simde__m512i emulated_maskz_loadu_epi16(uint32_t mask, const uint16_t *p)
{
    uint16_t lanes[32] = { 0 };
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1)
            lanes[i] = p[i];
    return simde_mm512_loadu_si512(lanes);
}

static inline void emulated_mask_storeu_epi16(uint16_t *p, uint32_t mask, simde__m512i v)
{
    uint16_t lanes[32];
    simde_mm512_storeu_si512(lanes, v);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1)
            p[i] = lanes[i];
}

static inline simde__m512 emulated_of_halves(__m256 low, __m256 high)
{
    float lanes[16];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
    return simde_mm512_loadu_ps(lanes);
}

static inline __m256 emulated_half(simde__m512 v, int upper)
{
    float lanes[16];
    simde_mm512_storeu_ps(lanes, v);
    return _mm256_loadu_ps(lanes + (upper ? 8 : 0));
}

static inline simde__m512 emulated_cvtph_ps(simde__m256i halves)
{
    uint16_t h[16];
    memcpy(h, &halves, sizeof(h));
    return emulated_of_halves(_mm256_cvtph_ps(_mm_loadu_si128((const void *)h)),
                              _mm256_cvtph_ps(_mm_loadu_si128((const void *)(h + 8))));
}

static inline simde__m256i emulated_cvtps_ph(simde__m512 v)
{
    uint16_t h[16];
    simde__m256i halves;
    _mm_storeu_si128((void *)h, _mm256_cvtps_ph(emulated_half(v, 0), 0));
    _mm_storeu_si128((void *)(h + 8), _mm256_cvtps_ph(emulated_half(v, 1), 0));
    memcpy(&halves, h, sizeof(halves));
    return halves;
}

#undef _mm512_stream_ps
#undef _mm512_stream_si512
#undef _mm512_extractf32x8_ps
#define _mm512_maskz_loadu_ps(mask, p) emulated_maskz_loadu_ps(mask, p)
#define _mm512_mask_storeu_ps(p, mask, v) emulated_mask_storeu_ps(p, mask, v)
#define _mm512_maskz_loadu_epi16(mask, p) emulated_maskz_loadu_epi16(mask, p)
#define _mm512_mask_storeu_epi16(p, mask, v) emulated_mask_storeu_epi16(p, mask, v)
#define _mm512_stream_ps(p, v) simde_mm512_store_ps(p, v)
#define _mm512_stream_si512(p, v) simde_mm512_store_si512(p, v)
#define _mm512_extractf32x8_ps(v, upper) emulated_half(v, upper)
#define _mm512_cvtph_ps(h) emulated_cvtph_ps(h)
#define _mm512_cvtps_ph(v, rounding) ((void)(rounding), emulated_cvtps_ph(v))
#define _mm512_mask_cmp_ps_mask(mask, a, b, how) ((simde__mmask16)((mask) & _mm512_cmp_ps_mask(a, b, how)))

#ifdef BNORM_SLEEF
#include <sleef.h>
#define EMULATED_SLEEF(name) \
    static inline simde__m512 emulated_##name(simde__m512 v) \
    { \
        return emulated_of_halves(name(emulated_half(v, 0)), name(emulated_half(v, 1))); \
    }
EMULATED_SLEEF(Sleef_finz_expf8_u10avx2)
EMULATED_SLEEF(Sleef_finz_expm1f8_u10avx2)
EMULATED_SLEEF(Sleef_finz_log1pf8_u10avx2)
EMULATED_SLEEF(Sleef_finz_tanhf8_u35avx2)
#define Sleef_finz_expf16_u10avx512f(v) emulated_Sleef_finz_expf8_u10avx2(v)
#define Sleef_finz_expm1f16_u10avx512f(v) emulated_Sleef_finz_expm1f8_u10avx2(v)
#define Sleef_finz_log1pf16_u10avx512f(v) emulated_Sleef_finz_log1pf8_u10avx2(v)
#define Sleef_finz_tanhf16_u35avx512f(v) emulated_Sleef_finz_tanhf8_u35avx2(v)
#endif
