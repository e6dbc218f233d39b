/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The two settings of the process: the ISA, and the sizes of the caches. No result depends on them. Any thread may
 * change them at any time; calls that already run finish as they began.
 */
#ifndef BNORM_CPU_H
#define BNORM_CPU_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @return how many ISAs were built in and run on this CPU and operating system; at least 1 */
BNORM_API size_t bnorm_isa_count(void);

/**
 * Names these ISAs, best first: "avx512", "avx2", "sve", "neon" and always, last, "scalar". "sve" has kernels for the
 * vector length that the process has at its first call: no thread may change its own (PR_SVE_SET_VL) after that.
 *
 * @param index which of them, from 0
 * @return its name, or NULL from bnorm_isa_count() on
 */
BNORM_API const char *bnorm_isa_name(size_t index);

/**
 * Names the ISA that calls use: the best that runs here, or the one that the environment variable BNORM_ISA names; a
 * name that does not run here is ignored. Decided at the first use of the library.
 *
 * @return its name
 */
BNORM_API const char *bnorm_isa(void);

/**
 * Makes all later calls of the process use the named ISA.
 *
 * @param name one of bnorm_isa_name(), or NULL: the default again
 * @return #BNORM_OK or #BNORM_ERROR_ISA
 */
BNORM_API bnorm_status bnorm_set_isa(const char *name);

/**
 * Tells the sizes of the caches that calls reckon with: as found on this CPU, where it tells, or as
 * bnorm_set_cache_sizes() said.
 *
 * @param[out] core   bytes of the largest cache private to a core; NULL: not wanted
 * @param[out] shared bytes of the largest cache; NULL: not wanted
 */
BNORM_API void bnorm_cache_sizes(size_t *core, size_t *shared);

/**
 * Sets the sizes of the caches that later calls of the process reckon with.
 *
 * @param core   bytes of the largest cache private to a core; 0: as found
 * @param shared bytes of the largest cache; 0: as found
 */
BNORM_API void bnorm_set_cache_sizes(size_t core, size_t shared);

#ifdef __cplusplus
}
#endif

#endif
