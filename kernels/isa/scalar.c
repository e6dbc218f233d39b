/* SPDX-License-Identifier: MIT */
/* The kernels for portable C. */
#include "../simd/scalar.h"

#include "../body/apply.h"
#include "../body/collect.h"
#include "../body/moments.h"

const bnorm_kernels bnorm_kernels_scalar = {
    .name = "scalar",
    .cpu = 0,
#define KERNEL(name, parameters) .name = name,
#include "../kernels.def"
#undef KERNEL
};
