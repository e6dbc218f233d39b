/* SPDX-License-Identifier: MIT */
/*
 * Two copies of bnorm in one program: where BNORM_PREFIX is defined, in the library and in what calls it, the linker
 * sees its functions with that in front of their names. Sources write the names as ever.
 */
#ifndef BNORM_PREFIX_H
#define BNORM_PREFIX_H

#ifdef BNORM_PREFIX
#define BNORM_JOINED(a, b) a##b
#define BNORM_JOIN(a, b) BNORM_JOINED(a, b)
#define BNORM_PREFIXED(name) BNORM_JOIN(BNORM_PREFIX, name)

#define bnorm_train_apply BNORM_PREFIXED(bnorm_train_apply)
#define bnorm_backward BNORM_PREFIXED(bnorm_backward)
#define bnorm_backward_apply BNORM_PREFIXED(bnorm_backward_apply)
#define bnorm_backward_check BNORM_PREFIXED(bnorm_backward_check)
#define bnorm_backward_reduce BNORM_PREFIXED(bnorm_backward_reduce)
#define bnorm_cache_sizes BNORM_PREFIXED(bnorm_cache_sizes)
#define bnorm_train_collect BNORM_PREFIXED(bnorm_train_collect)
#define bnorm_train_finish BNORM_PREFIXED(bnorm_train_finish)
#define bnorm_fold BNORM_PREFIXED(bnorm_fold)
#define bnorm_infer BNORM_PREFIXED(bnorm_infer)
#define bnorm_infer_check BNORM_PREFIXED(bnorm_infer_check)
#define bnorm_isa BNORM_PREFIXED(bnorm_isa)
#define bnorm_isa_count BNORM_PREFIXED(bnorm_isa_count)
#define bnorm_isa_name BNORM_PREFIXED(bnorm_isa_name)
#define bnorm_mask_size BNORM_PREFIXED(bnorm_mask_size)
#define bnorm_train_merge BNORM_PREFIXED(bnorm_train_merge)
#define bnorm_mpi_backward BNORM_PREFIXED(bnorm_mpi_backward)
#define bnorm_mpi_train BNORM_PREFIXED(bnorm_mpi_train)
#define bnorm_mpi_workspace_size BNORM_PREFIXED(bnorm_mpi_workspace_size)
#define bnorm_openmp_executor BNORM_PREFIXED(bnorm_openmp_executor)
#define bnorm_pthreadpool_executor BNORM_PREFIXED(bnorm_pthreadpool_executor)
#define bnorm_set_cache_sizes BNORM_PREFIXED(bnorm_set_cache_sizes)
#define bnorm_set_isa BNORM_PREFIXED(bnorm_set_isa)
#define bnorm_status_string BNORM_PREFIXED(bnorm_status_string)
#define bnorm_train BNORM_PREFIXED(bnorm_train)
#define bnorm_train_check BNORM_PREFIXED(bnorm_train_check)
#define bnorm_version BNORM_PREFIXED(bnorm_version)
#define bnorm_workspace_size BNORM_PREFIXED(bnorm_workspace_size)
#endif

#endif
