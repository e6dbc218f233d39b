/* SPDX-License-Identifier: MIT */
/*
 * A copy with one ISA's vectors: what the kernels of that ISA could reach at most. Compiled once for each ISA, with
 * its flags, its vector header in BNORM_SIMD_HEADER and its name in BNORM_ISA_NAME.
 */
#include <stddef.h>
#include <string.h>

#include BNORM_SIMD_HEADER

#define JOIN(a, b) a##b
#define NAME(prefix, isa) JOIN(prefix, isa)

/* Four vectors a step keep the loop's own cost below that of its loads and stores. */
enum { STEP = 4 * V_LANES };

/* Copies `count` floats; `to` is aligned to the vector. With `stream`, past the caches. */
void NAME(bench_copy_, BNORM_ISA_NAME)(float *restrict to, const float *restrict from, size_t count, int stream);

void NAME(bench_copy_, BNORM_ISA_NAME)(float *restrict to, const float *restrict from, size_t count, int stream)
{
    size_t i = 0;
    if (stream) {
        for (; i + STEP <= count; i += STEP)
            for (size_t v = 0; v < STEP; v += V_LANES)
                v_stream(to + i + v, v_load(from + i + v));
        v_stream_end();
    } else {
        for (; i + STEP <= count; i += STEP)
            for (size_t v = 0; v < STEP; v += V_LANES)
                v_store(to + i + v, v_load(from + i + v));
    }
    memcpy(to + i, from + i, (count - i) * sizeof(*to));
}
