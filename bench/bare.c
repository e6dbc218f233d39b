/* SPDX-License-Identifier: MIT */
/*
 * An activation alone, with one ISA's vectors and the library's own arithmetic: what a fused one should cost. Compiled
 * once for each ISA, as copy.c is.
 */
#include BNORM_SIMD_HEADER

#include "kernels/body/fusion.h"

#define JOIN(a, b) a##b
#define NAME(prefix, isa) JOIN(prefix, isa)

/* y = activation(x [+ residual]) of whole pairs; `y` is aligned to the vector. With `stream`, non-temporal stores. */
void NAME(bench_bare_, BNORM_ISA_NAME)(float *restrict y, const float *restrict x, const bnorm_fusion *fusion,
                                       size_t first, size_t count, int stream);

void NAME(bench_bare_, BNORM_ISA_NAME)(float *restrict y, const float *restrict x, const bnorm_fusion *fusion,
                                       size_t first, size_t count, int stream)
{
    for (size_t i = first; i + PAIR <= first + count; i += PAIR) {
        const pair x_pair = load_f32(x, BNORM_DTYPE_F32, i, PAIR);
        pair residual;
        if (fusion->residual)
            residual = load_f32(fusion->residual, BNORM_DTYPE_F32, i, PAIR);
        const pair z =
            fuse(x_pair, fusion->residual ? &residual : NULL, fusion, (run){ first, first + count }, i, PAIR);
        if (stream)
            stream_f32(y, BNORM_DTYPE_F32, i, z);
        else
            store_f32(y, BNORM_DTYPE_F32, i, PAIR, z);
    }
    if (stream)
        v_stream_end();
}
