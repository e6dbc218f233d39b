/* SPDX-License-Identifier: MIT */
/* The public headers compile alone, as C99 and as C++, and their inline functions mean the same in both. */
#include "bnorm/bnorm.h"
#include "bnorm/openmp.h"

#include <stdio.h>

static int point(int number, int right, const char *name)
{
    printf("%sok %d - %s\n", right ? "" : "not ", number, name);
    return right;
}

int main(void)
{
    bnorm_shape nchw = bnorm_nchw(2, 3, 4), nhwc = bnorm_nhwc(2, 3, 4);
    const bnorm_epilogue epilogue = bnorm_epilogue_defaults();
    const bnorm_infer_params infer = bnorm_infer_defaults();
    const bnorm_train_params train = bnorm_train_defaults();
    const bnorm_backward_params backward = bnorm_backward_defaults();
    const int shapes = nchw.block == 1 && nhwc.block == 3 && nchw.struct_size == sizeof(bnorm_shape);
    const int sizes = epilogue.struct_size == sizeof(epilogue) && infer.struct_size == sizeof(infer) &&
                      train.struct_size == sizeof(train) && backward.struct_size == sizeof(backward);
    /* s390x computes with floats in double: named values are rounded, and say so. */
    const float epsilon = 1e-5f, momentum = 0.1f;
    const int values = infer.epsilon == epsilon && train.epsilon == epsilon && train.momentum == momentum &&
                       backward.epsilon == epsilon && !epilogue.residual && !infer.mean && !train.hint &&
                       !backward.dgamma;
    printf("1..3\n");
    return point(1, shapes, "shapes") & point(2, sizes, "sizes of structs") & point(3, values, "defaults") ? 0 : 1;
}
