/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm on a pthreadpool (the thread pool of XNNPACK and others): a separate, optional library, bnorm-pthreadpool.
 */
#ifndef BNORM_PTHREADPOOL_H
#define BNORM_PTHREADPOOL_H

#include <pthreadpool.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes an executor of the threads of a pool. Calls from several threads take turns, as everything does that runs on a
 * pthreadpool; from within a task of the same pool they would wait for themselves.
 *
 * @param pool the pool, which must outlive the executor; NULL: the calling thread alone
 * @return the executor, which owns nothing and needs no release
 */
BNORM_API bnorm_executor bnorm_pthreadpool_executor(pthreadpool_t pool);

#ifdef __cplusplus
}
#endif

#endif
