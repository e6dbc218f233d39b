/* SPDX-License-Identifier: MIT */
/* How much scratch memory calls need. */
#include <stdint.h>

#include "calls.h"
#include "plan.h"

bnorm_status bnorm_workspace_size_on(const bnorm_machine *m, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size)
{
    bnorm_reduction job = { .source.terms = operation == BNORM_OP_TRAIN ? BNORM_SQUARES : BNORM_PRODUCTS };
    bnorm_status status = bnorm_check_call(shape, &job.geometry, NULL, 0, NULL, executor);
    if (!status && !size)
        status = BNORM_ERROR_NULL_POINTER;
    if (!status && operation != BNORM_OP_INFER && operation != BNORM_OP_TRAIN && operation != BNORM_OP_BACKWARD)
        status = BNORM_ERROR_UNSUPPORTED;
    if (status)
        return status;
    const bool none = operation == BNORM_OP_INFER || job.geometry.empty;
    const size_t needed = none ? 0 : bnorm_plan_reduction(&job, &m->tuning, executor);
    if (needed >= PTRDIFF_MAX)
        return BNORM_ERROR_SHAPE;
    *size = needed;
    return BNORM_OK;
}

bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation, const bnorm_executor *executor,
                                  size_t *size)
{
    const bnorm_machine machine = bnorm_this_machine();
    return bnorm_workspace_size_on(&machine, shape, operation, executor, size);
}
