/* SPDX-License-Identifier: MIT */
/* A call that needs nothing but the library: whether it gives what it must. */
#ifndef BNORM_TESTS_ONE_CALL_H
#define BNORM_TESTS_ONE_CALL_H

#include <stdbool.h>

#include "bnorm/bnorm.h"

typedef bnorm_status infer_function(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                                    const bnorm_executor *executor);

static inline bool one_call(infer_function *infer)
{
    enum { POINTS = 40 };
    static const float mean = 1, var = 4, x[POINTS] = { 2 };
    const bnorm_shape shape = bnorm_nchw(1, 1, POINTS);
    bnorm_infer_params p = bnorm_infer_defaults();
    float y[POINTS] = { 0 };
    p.mean = &mean;
    p.var = &var;
    p.epsilon = 0;
    return infer(&shape, &p, x, y, NULL) == BNORM_OK && y[0] == 0.5f && y[POINTS - 1] == -0.5f;
}

#endif
