/* SPDX-License-Identifier: MIT */
/* Statuses and the version in words. */
#include "../include/bnorm/bnorm.h"

const char *bnorm_version(void)
{
    return BNORM_VERSION;
}

const char *bnorm_status_string(bnorm_status status)
{
    switch (status) {
    case BNORM_OK:
        return "success";
    case BNORM_ERROR_NULL_POINTER:
        return "a required pointer is NULL";
    case BNORM_ERROR_STRUCT_SIZE:
        return "a struct_size is not one that this version knows";
    case BNORM_ERROR_SHAPE:
        return "channels or block is 0, or the tensor is larger than an address can reach";
    case BNORM_ERROR_STRIDE:
        return "strides make elements of one tensor coincide";
    case BNORM_ERROR_ALIGNMENT:
        return "a pointer is not aligned to its element";
    case BNORM_ERROR_OVERLAP:
        return "an output overlaps another argument";
    case BNORM_ERROR_EPSILON:
        return "epsilon is negative, infinite or NaN";
    case BNORM_ERROR_MOMENTUM:
        return "momentum is outside [0, 1] or NaN";
    case BNORM_ERROR_VARIANCE:
        return "running_variance is not one of bnorm_variance";
    case BNORM_ERROR_SINGLE_VALUE:
        return "one value per channel has no unbiased variance";
    case BNORM_ERROR_EXECUTOR:
        return "an executor without a function, or of width 0";
    case BNORM_ERROR_WORKSPACE_SIZE:
        return "the workspace is smaller than bnorm_workspace_size says";
    case BNORM_ERROR_ISA:
        return "no such ISA, or it does not run on this CPU";
    case BNORM_ERROR_UNSUPPORTED:
        return "not supported by this version or build";
    case BNORM_ERROR_HINT:
        return "hint is not one of bnorm_hint";
    case BNORM_ERROR_STATISTICS:
        return "statistics is not one of bnorm_statistics";
    case BNORM_ERROR_ACTIVATION:
        return "activation is not one of bnorm_activation";
    case BNORM_ERROR_PEER:
        return "another process of a shared batch failed";
    case BNORM_ERROR_COMMUNICATION:
        return "MPI answered with an error";
    }
    return "unknown status";
}
