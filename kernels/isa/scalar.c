/* SPDX-License-Identifier: MIT */
/* The kernels in portable C. */
#include "../simd/scalar.h"

#include "../body/entries.h"
#include "../body/moments.h"

/* On x86, SLEEF compiles its portable C for AVX2 and FMA, so it crashes on CPUs without them. */
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define SLEEF_CPU (BNORM_CPU_AVX2 | BNORM_CPU_FMA)
#else
#define SLEEF_CPU 0
#endif

const bnorm_kernels bnorm_kernels_scalar = {
    .name = "scalar",
    .cpu = 0,
    .sleef = BNORM_SLEEF_NEEDS(SLEEF_CPU),
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
