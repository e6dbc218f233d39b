/* SPDX-License-Identifier: MIT */
/* Statuses and the version in words. */
#include "internal.h"

const char *bnorm_version(void)
{
    return BNORM_VERSION;
}

const char *bnorm_status_string(bnorm_status status)
{
    switch (status) {
    case BNORM_OK:
        return "success";
    case BNORM_NULL_POINTER:
        return "a required pointer is NULL";
    case BNORM_BAD_STRUCT_SIZE:
        return "a struct_size is not one that this version knows";
    case BNORM_BAD_SHAPE:
        return "channels or block is 0, or the tensor is larger than an address can reach";
    case BNORM_BAD_STRIDE:
        return "strides make elements of one tensor coincide";
    case BNORM_MISALIGNED:
        return "a pointer is not aligned to its element";
    case BNORM_OVERLAP:
        return "an output overlaps another argument";
    case BNORM_BAD_EPSILON:
        return "epsilon is negative, infinite or NaN";
    case BNORM_BAD_MOMENTUM:
        return "momentum is outside [0, 1] or NaN";
    case BNORM_BAD_VARIANCE:
        return "running_variance is not one of bnorm_variance";
    case BNORM_SINGLE_VALUE:
        return "one value a channel has no unbiased variance";
    case BNORM_BAD_EXECUTOR:
        return "an executor without a function, or of width 0";
    case BNORM_SMALL_WORKSPACE:
        return "the workspace is smaller than bnorm_workspace_size says";
    case BNORM_UNKNOWN_ISA:
        return "no such ISA, or it does not run on this CPU";
    case BNORM_UNSUPPORTED:
        return "not supported by this version or build";
    case BNORM_BAD_HINT:
        return "hint is not one of bnorm_hint";
    case BNORM_BAD_STATISTICS:
        return "statistics is not one of bnorm_source";
    case BNORM_BAD_ACTIVATION:
        return "activation is not one of bnorm_activation";
    case BNORM_PEER_FAILED:
        return "another process of a shared batch failed";
    case BNORM_COMMUNICATION_FAILED:
        return "MPI answered with an error";
    }
    return "unknown status";
}
