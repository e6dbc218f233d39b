/* SPDX-License-Identifier: MIT */
/* The public headers compile alone, as C99 and as C++, and their inline functions mean the same in both. */
#include "bnorm/bnorm.h"
#include "bnorm/openmp.h"

int main(void)
{
    bnorm_shape nchw = bnorm_nchw(2, 3, 4), nhwc = bnorm_nhwc(2, 3, 4);
    return nchw.block == 1 && nhwc.block == 3 && nchw.struct_size == sizeof(bnorm_shape) ? 0 : 1;
}
