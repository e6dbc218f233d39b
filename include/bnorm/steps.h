/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm_train() and bnorm_backward() in steps, for statistics of more than one tensor: of all processes that share a
 * batch, or of many batches for running statistics. What goes between is plain arrays of one value per channel,
 * whatever the layout, which a message can carry; a count is how many values per channel they are of, and may be 0.
 *
 *     bnorm_train_collect(&shape, x, mean, m2, ...);                     count = batch * points
 *     bnorm_train_merge(channels, count, mean, m2, their_count, their_mean, their_m2);   for each other part
 *     bnorm_train_finish(channels, count of all, mean, m2, &params);     running and saved statistics
 *     bnorm_train_apply(&shape, &params, x, y, executor);
 *
 *     bnorm_backward_reduce(&shape, &params, x, dy, sums, ...);          added up over all parts, as by an MPI_SUM
 *     bnorm_backward_apply(&shape, &params, count of all, sums, x, dy, dx, executor);
 *
 * Without a merge, training gives the bits of bnorm_train(). Merging in the same order in each process gives each the
 * same bits. Backward gives the bits of bnorm_backward() but for the rounding of one sum, of x - mean, which mean_low
 * tells where one tensor is all.
 */
#ifndef BNORM_STEPS_H
#define BNORM_STEPS_H

#include <stdint.h>

#include "params.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Computes the statistics of one tensor. Those of an empty one are 0.
 *
 * @param shape          the shape of x (`in`)
 * @param x              the tensor
 * @param[out] mean      one double per channel: its mean
 * @param[out] m2        one double per channel: the sum of squared deviations from the mean
 * @param workspace      scratch memory as in bnorm_train()
 * @param workspace_size its bytes, at least what bnorm_workspace_size() says for #BNORM_OP_TRAIN
 * @param executor       threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_WORKSPACE_SIZE, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_EXECUTOR, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_train_collect(const bnorm_shape *shape, const void *x, double *mean, double *m2,
                                           void *workspace, size_t workspace_size, const bnorm_executor *executor);

/**
 * Merges the statistics of `more_count` values into those of `count` others (Chan, Golub and LeVeque 1983). Arrays hold
 * one double per channel and must not overlap.
 *
 * @param channels     channels
 * @param count        values per channel that mean and m2 are of
 * @param[in,out] mean their mean; afterwards that of all
 * @param[in,out] m2   their sum of squared deviations; afterwards that of all
 * @param more_count   values per channel that more_mean and more_m2 are of
 * @param more_mean    their mean
 * @param more_m2      their sum of squared deviations
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP, #BNORM_ERROR_SHAPE
 */
BNORM_API bnorm_status bnorm_train_merge(size_t channels, uint64_t count, double *mean, double *m2, uint64_t more_count,
                                         const double *more_mean, const double *more_m2);

/**
 * Updates the running statistics, where wanted, and writes the saved ones. A count of 0 changes nothing.
 *
 * @param channels channels
 * @param count    values per channel that mean and m2 are of
 * @param mean     one double per channel
 * @param m2       one double per channel: the sum of squared deviations from the mean
 * @param params   where statistics go; saved_mean, saved_mean_low and saved_rstd are required
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_EPSILON, #BNORM_ERROR_MOMENTUM,
 *         #BNORM_ERROR_VARIANCE, #BNORM_ERROR_HINT, #BNORM_ERROR_UNSUPPORTED, or, with a count of 1 and
 *         #BNORM_VARIANCE_UNBIASED, #BNORM_ERROR_SINGLE_VALUE
 */
BNORM_API bnorm_status bnorm_train_finish(size_t channels, uint64_t count, const double *mean, const double *m2,
                                          const bnorm_train_params *params);

/**
 * Computes y from x and the saved statistics, which are required and only read, gamma, beta and the epilogue.
 *
 * @param shape    the shape of x (`in`) and y (`out`)
 * @param params   what bnorm_train_finish() was given
 * @param x        the input
 * @param[out] y   the output; may be x where shape->in equals shape->out, and may be the residual
 * @param executor threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE, #BNORM_ERROR_EXECUTOR,
 *         #BNORM_ERROR_EPSILON, #BNORM_ERROR_MOMENTUM, #BNORM_ERROR_VARIANCE, #BNORM_ERROR_HINT,
 *         #BNORM_ERROR_ACTIVATION, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_train_apply(const bnorm_shape *shape, const bnorm_train_params *params, const void *x,
                                         void *y, const bnorm_executor *executor);

/**
 * Computes the sums that the gradients of one tensor follow from. Those of an empty tensor are 0.
 *
 * @param shape          the shape of x (`in`) and dy (`out`)
 * @param params         as for bnorm_backward(); its outputs are not used
 * @param x              the input, required
 * @param dy             the gradient of y
 * @param[out] sums      [3][channels]: of dz, of x - mean, and of their products, with mean without its low part
 * @param workspace      scratch memory as in bnorm_train()
 * @param workspace_size its bytes, at least what bnorm_workspace_size() says for #BNORM_OP_BACKWARD
 * @param executor       threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_WORKSPACE_SIZE, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_EXECUTOR, #BNORM_ERROR_EPSILON, #BNORM_ERROR_STATISTICS, #BNORM_ERROR_HINT,
 *         #BNORM_ERROR_ACTIVATION, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_backward_reduce(const bnorm_shape *shape, const bnorm_backward_params *params,
                                             const void *x, const void *dy, double *sums, void *workspace,
                                             size_t workspace_size, const bnorm_executor *executor);

/**
 * Computes dgamma and dbeta of all that was summed, where wanted, and dx and dresidual of this tensor.
 *
 * @param shape    as for bnorm_backward()
 * @param params   as for bnorm_backward()
 * @param count    values per channel that the sums are of; fewer than this tensor's are #BNORM_ERROR_SHAPE
 * @param sums     of all tensors, added up; may be NULL where none is used
 * @param x        as for bnorm_backward()
 * @param dy       as for bnorm_backward()
 * @param[out] dx  as for bnorm_backward()
 * @param executor threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE, #BNORM_ERROR_EXECUTOR,
 *         #BNORM_ERROR_EPSILON, #BNORM_ERROR_STATISTICS, #BNORM_ERROR_HINT, #BNORM_ERROR_ACTIVATION,
 *         #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_backward_apply(const bnorm_shape *shape, const bnorm_backward_params *params,
                                            uint64_t count, const double *sums, const void *x, const void *dy, void *dx,
                                            const bnorm_executor *executor);

#ifdef __cplusplus
}
#endif

#endif
