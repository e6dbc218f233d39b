/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm on OpenMP threads: a separate, optional library, bnorm-openmp.
 */
#ifndef BNORM_OPENMP_H
#define BNORM_OPENMP_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes an executor of OpenMP threads.
 *
 * @param width how many; 0: as many as OpenMP would use
 * @return the executor, which owns nothing and needs no release
 */
BNORM_API bnorm_executor bnorm_openmp_executor(size_t width);

#ifdef __cplusplus
}
#endif

#endif
