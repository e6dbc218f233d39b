/* SPDX-License-Identifier: MIT */
/* The public calls with the machine named, which tests reach for. */
#ifndef BNORM_DISPATCH_CALLS_H
#define BNORM_DISPATCH_CALLS_H

#include "machine.h"

bnorm_status bnorm_infer_on(const bnorm_machine *machine, const bnorm_shape *shape, const bnorm_infer_params *params,
                            const void *x, void *y, const bnorm_executor *executor);
bnorm_status bnorm_train_on(const bnorm_machine *machine, const bnorm_shape *shape, const bnorm_train_params *params,
                            const void *x, void *y, void *workspace, size_t workspace_size,
                            const bnorm_executor *executor);
bnorm_status bnorm_train_collect_on(const bnorm_machine *machine, const bnorm_shape *shape, const void *x, double *mean,
                                    double *m2, void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_train_merge_on(const bnorm_machine *machine, size_t channels, uint64_t count, double *mean,
                                  double *m2, uint64_t more_count, const double *more_mean, const double *more_m2);
bnorm_status bnorm_train_finish_on(const bnorm_machine *machine, size_t channels, uint64_t count, const double *mean,
                                   const double *m2, const bnorm_train_params *params);
bnorm_status bnorm_train_apply_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                  const bnorm_train_params *params, const void *x, void *y,
                                  const bnorm_executor *executor);
bnorm_status bnorm_backward_on(const bnorm_machine *machine, const bnorm_shape *shape,
                               const bnorm_backward_params *params, const void *x, const void *dy, void *dx,
                               void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_backward_reduce_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                      const bnorm_backward_params *params, const void *x, const void *dy, double *sums,
                                      void *workspace, size_t workspace_size, const bnorm_executor *executor);
bnorm_status bnorm_backward_apply_on(const bnorm_machine *machine, const bnorm_shape *shape,
                                     const bnorm_backward_params *params, uint64_t count, const double *sums,
                                     const void *x, const void *dy, void *dx, const bnorm_executor *executor);
bnorm_status bnorm_workspace_size_on(const bnorm_machine *machine, const bnorm_shape *shape, bnorm_operation operation,
                                     const bnorm_executor *executor, size_t *size);

#endif
