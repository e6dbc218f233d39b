/* SPDX-License-Identifier: MIT */
/* bnorm on a pthreadpool (the thread pool of XNNPACK and others): a separate, optional library, bnorm-pthreadpool. */
#ifndef BNORM_PTHREADPOOL_H
#define BNORM_PTHREADPOOL_H

#include <pthreadpool.h>

#include "bnorm.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * An executor of the threads of a pool, which must outlive it; NULL: of the calling thread alone. Calls from several
 * threads take turns, as everything does that runs on a pthreadpool; from within a task of the same pool they would
 * wait for themselves.
 */
BNORM_API bnorm_executor bnorm_pthreadpool_executor(pthreadpool_t pool);

#ifdef __cplusplus
}
#endif

#endif
