/* SPDX-License-Identifier: MIT */
/*
 * SLEEF's functions on one ISA's vectors. Compiled once for each ISA, with its flags, its vector header in
 * BNORM_SIMD_HEADER, its name in BNORM_ISA_NAME and SLEEF's name for it in SLEEF_ISA.
 */
#ifndef FP_FAST_FMA
#define FP_FAST_FMA /* else sleef.h hides portable C's functions; they do not need the compiler's flags */
#endif
#include <sleef.h>

#include "sleef_isa.h"
#include BNORM_SIMD_HEADER

#define JOIN_TABLE(isa) sleef_##isa
#define TABLE(isa) JOIN_TABLE(isa)
#define JOIN_SLEEF(name, lanes, isa) Sleef_finz_##name##f##lanes##_u10##isa
#define SLEEF(name, lanes, isa) JOIN_SLEEF(name, lanes, isa)

#define FUNCTION(name, bound, largest, digest) \
    static void apply_##name(float *y, const float *x, size_t count) \
    { \
        for (size_t i = 0; i < count; i += V_LANES) \
            v_store(y + i, SLEEF(name, V_LANES, SLEEF_ISA)(v_load(x + i))); \
    }
SLEEF_FUNCTIONS(FUNCTION)
#undef FUNCTION

extern sleef_function *const TABLE(BNORM_ISA_NAME)[];

sleef_function *const TABLE(BNORM_ISA_NAME)[] = {
#define FUNCTION(name, bound, largest, digest) apply_##name,
    SLEEF_FUNCTIONS(FUNCTION)
#undef FUNCTION
};
