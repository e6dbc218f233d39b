/* SPDX-License-Identifier: MIT */
/* What bnorm/prefix.h does for the functions of the interface, for those that files of dispatch/ share. */
#ifndef BNORM_DISPATCH_PREFIX_H
#define BNORM_DISPATCH_PREFIX_H

#include "../include/bnorm/prefix.h"

#ifdef BNORM_PREFIX
#define bnorm_map_strided BNORM_PREFIXED(bnorm_map_strided)
#define bnorm_train_apply_on BNORM_PREFIXED(bnorm_train_apply_on)
#define bnorm_map_region BNORM_PREFIXED(bnorm_map_region)
#define bnorm_backward_apply_on BNORM_PREFIXED(bnorm_backward_apply_on)
#define bnorm_backward_on BNORM_PREFIXED(bnorm_backward_on)
#define bnorm_backward_reduce_on BNORM_PREFIXED(bnorm_backward_reduce_on)
#define bnorm_bytes BNORM_PREFIXED(bnorm_bytes)
#define bnorm_check_call BNORM_PREFIXED(bnorm_check_call)
#define bnorm_check_executor BNORM_PREFIXED(bnorm_check_executor)
#define bnorm_check_forward BNORM_PREFIXED(bnorm_check_forward)
#define bnorm_check_ranges BNORM_PREFIXED(bnorm_check_ranges)
#define bnorm_check_shape BNORM_PREFIXED(bnorm_check_shape)
#define bnorm_check_tensors BNORM_PREFIXED(bnorm_check_tensors)
#define bnorm_check_workspace BNORM_PREFIXED(bnorm_check_workspace)
#define bnorm_train_collect_on BNORM_PREFIXED(bnorm_train_collect_on)
#define bnorm_segment_statistics BNORM_PREFIXED(bnorm_segment_statistics)
#define bnorm_unit_statistics BNORM_PREFIXED(bnorm_unit_statistics)
#define bnorm_cpu_caches BNORM_PREFIXED(bnorm_cpu_caches)
#define bnorm_cpu_detect BNORM_PREFIXED(bnorm_cpu_detect)
#define bnorm_cut BNORM_PREFIXED(bnorm_cut)
#define bnorm_train_finish_on BNORM_PREFIXED(bnorm_train_finish_on)
#define bnorm_given_coefficients BNORM_PREFIXED(bnorm_given_coefficients)
#define bnorm_grid_region BNORM_PREFIXED(bnorm_grid_region)
#define bnorm_in_place BNORM_PREFIXED(bnorm_in_place)
#define bnorm_infer_on BNORM_PREFIXED(bnorm_infer_on)
#define bnorm_is_strided BNORM_PREFIXED(bnorm_is_strided)
#define bnorm_kernels_at BNORM_PREFIXED(bnorm_kernels_at)
#define bnorm_kernels_chosen BNORM_PREFIXED(bnorm_kernels_chosen)
#define bnorm_mask_range BNORM_PREFIXED(bnorm_mask_range)
#define bnorm_train_merge_on BNORM_PREFIXED(bnorm_train_merge_on)
#define bnorm_merge_segment BNORM_PREFIXED(bnorm_merge_segment)
#define bnorm_order_of BNORM_PREFIXED(bnorm_order_of)
#define bnorm_plan_reduction BNORM_PREFIXED(bnorm_plan_reduction)
#define bnorm_read_epilogue BNORM_PREFIXED(bnorm_read_epilogue)
#define bnorm_read_struct BNORM_PREFIXED(bnorm_read_struct)
#define bnorm_run BNORM_PREFIXED(bnorm_run)
#define bnorm_run_elementwise BNORM_PREFIXED(bnorm_run_elementwise)
#define bnorm_run_reduction BNORM_PREFIXED(bnorm_run_reduction)
#define bnorm_runs BNORM_PREFIXED(bnorm_runs)
#define bnorm_saved_coefficients BNORM_PREFIXED(bnorm_saved_coefficients)
#define bnorm_this_machine BNORM_PREFIXED(bnorm_this_machine)
#define bnorm_train_on BNORM_PREFIXED(bnorm_train_on)
#define bnorm_useful_width BNORM_PREFIXED(bnorm_useful_width)
#define bnorm_valid_channels BNORM_PREFIXED(bnorm_valid_channels)
#define bnorm_valid_epsilon BNORM_PREFIXED(bnorm_valid_epsilon)
#define bnorm_valid_hint BNORM_PREFIXED(bnorm_valid_hint)
#define bnorm_whole BNORM_PREFIXED(bnorm_whole)
#define bnorm_workspace_size_on BNORM_PREFIXED(bnorm_workspace_size_on)
#endif

#endif
