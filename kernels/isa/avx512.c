/* SPDX-License-Identifier: MIT */
/* The kernels for AVX-512 F, CD, BW, DQ and VL. */
#if !defined(__AVX512F__) || !defined(__AVX512CD__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "compile this file with -mavx512f -mavx512cd -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c"
#endif

#include "../simd/avx512.h"

#include "../body/entries.h"
#include "../body/moments.h"

#ifndef AVX512_CPU /* tests/avx512.h emulates it, and needs less */
#define AVX512_CPU \
    (BNORM_CPU_AVX2 | BNORM_CPU_FMA | BNORM_CPU_F16C | BNORM_CPU_AVX512F | BNORM_CPU_AVX512CD | BNORM_CPU_AVX512BW | \
     BNORM_CPU_AVX512DQ | BNORM_CPU_AVX512VL)
#endif

const bnorm_kernels bnorm_kernels_avx512 = {
    .name = "avx512",
    .cpu = AVX512_CPU,
    .sleef = BNORM_SLEEF_NEEDS(AVX512_CPU),
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
