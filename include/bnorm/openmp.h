/* SPDX-License-Identifier: MIT */
/* bnorm on OpenMP threads: a separate, optional library, bnorm-openmp. */
#ifndef BNORM_OPENMP_H
#define BNORM_OPENMP_H

#include "bnorm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An executor of `width` OpenMP threads; 0: as many as OpenMP would use. */
BNORM_API bnorm_executor bnorm_openmp_executor(size_t width);

#ifdef __cplusplus
}
#endif

#endif
