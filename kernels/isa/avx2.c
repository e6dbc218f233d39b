/* SPDX-License-Identifier: MIT */
/* The kernels for AVX2, with FMA and F16C. */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile this file with -mavx2 -mfma -mf16c"
#endif

#include "../simd/avx2.h"

#include "../body/entries.h"
#include "../body/moments.h"

const bnorm_kernels bnorm_kernels_avx2 = {
    .name = "avx2",
    .cpu = BNORM_CPU_AVX2 | BNORM_CPU_FMA | BNORM_CPU_F16C,
    .sleef = BNORM_SLEEF_NEEDS(BNORM_CPU_AVX2 | BNORM_CPU_FMA),
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
