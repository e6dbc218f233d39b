/* SPDX-License-Identifier: MIT */
/* The kernels for NEON (AArch64). */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "compile this file for AArch64"
#endif

#include "../simd/neon.h"

#include "../body/entries.h"
#include "../body/moments.h"

const bnorm_kernels bnorm_kernels_neon = {
    .name = "neon",
    .cpu = BNORM_CPU_NEON,
    .sleef = BNORM_SLEEF_NEEDS(BNORM_CPU_NEON),
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
