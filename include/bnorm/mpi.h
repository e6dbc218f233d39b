/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm over MPI, for training on a batch that processes share: a separate, optional library, bnorm-mpi.
 *
 * Synchronised batch norm: bnorm_train() and bnorm_backward() where each process of a communicator holds some images of
 * the batch: the statistics, and the sums that gradients follow from, are of all. All processes call, with equal
 * channels; all else may differ: batch and points, which may be 0, layouts, types, strides, ISAs. Each call is one
 * MPI_Allreduce of one element, of 24 bytes and 16 more per channel, in backward 24 per channel (docs/syncbn.md has
 * what that costs).
 *
 * Running and saved statistics, dgamma and dbeta are those of the whole batch, and have the same bits in each process,
 * as MPI demands of MPI_Allreduce. dgamma and dbeta must therefore be left out of whatever adds up the other gradients.
 * The same shares in the same order give the same bits again, whatever the ISAs, as long as MPI joins them in the same
 * order; against one process with the whole batch they differ within the bounds of docs/numerics.md.
 *
 * A process whose arguments are wrong still takes part, so that none waits for it: it answers its own status, the
 * others #BNORM_ERROR_PEER, and no process writes anything. Where even the shape cannot be read, or has more than 33
 * million channels, it raises MPI_ERR_ARG with the error handler of the communicator, as MPI does with wrong arguments:
 * by default the processes end. #BNORM_ERROR_COMMUNICATION means that MPI answered with an error, which it does where
 * that handler returns.
 *
 * But for the memory of a message after a failure, nothing is allocated here.
 */
#ifndef BNORM_MPI_H
#define BNORM_MPI_H

#include <mpi.h>

#include "bnorm.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Is bnorm_train() for a batch that the processes of `comm` share. Collective.
 *
 * @param comm           the communicator
 * @param shape          as for bnorm_train(), of this process's share
 * @param params         as for bnorm_train()
 * @param x              as for bnorm_train()
 * @param[out] y         as for bnorm_train()
 * @param workspace      scratch memory of any alignment, required also where the tensor is empty
 * @param workspace_size its bytes, at least what bnorm_mpi_workspace_size() says for #BNORM_OP_TRAIN
 * @param executor       threads, or NULL
 * @return what bnorm_train() can answer, or #BNORM_ERROR_PEER, #BNORM_ERROR_COMMUNICATION
 */
BNORM_API bnorm_status bnorm_mpi_train(MPI_Comm comm, const bnorm_shape *shape, const bnorm_train_params *params,
                                       const void *x, void *y, void *workspace, size_t workspace_size,
                                       const bnorm_executor *executor);

/**
 * Is bnorm_backward() for a batch that the processes of `comm` share. Collective.
 *
 * @param comm           the communicator
 * @param shape          as for bnorm_backward(), of this process's share
 * @param params         as for bnorm_backward()
 * @param x              as for bnorm_backward(), but always required
 * @param dy             as for bnorm_backward()
 * @param[out] dx        as for bnorm_backward()
 * @param workspace      scratch memory of any alignment, required also where the tensor is empty
 * @param workspace_size its bytes, at least what bnorm_mpi_workspace_size() says for #BNORM_OP_BACKWARD
 * @param executor       threads, or NULL
 * @return what bnorm_backward() can answer, or #BNORM_ERROR_PEER, #BNORM_ERROR_COMMUNICATION
 */
BNORM_API bnorm_status bnorm_mpi_backward(MPI_Comm comm, const bnorm_shape *shape, const bnorm_backward_params *params,
                                          const void *x, const void *dy, void *dx, void *workspace,
                                          size_t workspace_size, const bnorm_executor *executor);

/**
 * Tells how much scratch memory these calls need, as bnorm_workspace_size() does. Not collective.
 *
 * @param shape     the shape of the call
 * @param operation #BNORM_OP_TRAIN or #BNORM_OP_BACKWARD
 * @param executor  the executor of the call, or NULL
 * @param[out] size bytes
 * @return what bnorm_workspace_size() can answer
 */
BNORM_API bnorm_status bnorm_mpi_workspace_size(const bnorm_shape *shape, bnorm_operation operation,
                                                const bnorm_executor *executor, size_t *size);

#ifdef __cplusplus
}
#endif

#endif
