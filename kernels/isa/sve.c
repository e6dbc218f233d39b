/* SPDX-License-Identifier: MIT */
/* The kernels for SVE with vectors of the length that this file is compiled for. */
#if !defined(__ARM_FEATURE_SVE) || !defined(__ARM_FEATURE_SVE_BITS) || __ARM_FEATURE_SVE_BITS < 128 || \
    __ARM_FEATURE_SVE_BITS > 512
#error "compile this file with -march=armv8.2-a+sve and -msve-vector-bits=128, 256 or 512"
#endif

#include "../simd/sve.h"

#include "../body/entries.h"
#include "../body/moments.h"

#define WITH_BITS(prefix, bits) JOIN(prefix, bits)

const bnorm_kernels WITH_BITS(bnorm_kernels_sve, __ARM_FEATURE_SVE_BITS) = {
    .name = "sve",
    .cpu = WITH_BITS(BNORM_CPU_SVE, __ARM_FEATURE_SVE_BITS),
    .sleef = BNORM_SLEEF_NEEDS(WITH_BITS(BNORM_CPU_SVE, __ARM_FEATURE_SVE_BITS)),
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
