/* SPDX-License-Identifier: MIT */
/*
 * An activation alone, with one ISA's vectors and the library's own arithmetic: what a fused one should cost. Compiled
 * once for each ISA, as copy.c is.
 */
#include BNORM_SIMD_HEADER

#include "kernels/body/epilogue.h"

#define JOIN(a, b) a##b
#define NAME(prefix, isa) JOIN(prefix, isa)

/* y = activation(x [+ residual]) of whole tiles; `y` is aligned to the vector. With `stream`, past the caches. */
void NAME(bench_bare_, BNORM_ISA_NAME)(float *restrict y, const float *restrict x, const bnorm_fusion *fusion,
                                       size_t first, size_t count, int stream);

void NAME(bench_bare_, BNORM_ISA_NAME)(float *restrict y, const float *restrict x, const bnorm_fusion *fusion,
                                       size_t first, size_t count, int stream)
{
    for (size_t i = first; i + BNORM_TILE <= first + count; i += BNORM_TILE) {
        v_f32 z[V_TILE];
        load_tile(z, x + i, BNORM_TILE);
        finish_tile(z, fusion, BNORM_F32, (run){ first, first + count }, i, BNORM_TILE, true);
        if (stream)
            for (size_t v = 0; v < V_TILE; v++)
                v_stream(y + i + v * V_LANES, z[v]);
        else
            store_tile(y + i, z);
    }
    if (stream)
        v_stream_end();
}
