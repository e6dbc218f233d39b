/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm: batch normalisation for CPUs.
 *
 * Functions work on the caller's memory: they allocate nothing, start no thread, take no lock and print nothing, and
 * any number of threads may call them at once. The process has two settings, the ISA and the sizes of the caches
 * (bnorm/cpu.h); no result depends on them. Results have the same bits on every ISA, for every thread count, alignment
 * and stride, in place or not. Every failure is a #bnorm_status, found before anything is written.
 */
#ifndef BNORM_H
#define BNORM_H

#include "cpu.h"
#include "params.h"
#include "steps.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Says in a short English sentence what a status means, for a log.
 *
 * @param status any value
 * @return the sentence, never NULL
 */
BNORM_API const char *bnorm_status_string(bnorm_status status);

/** @return the version of the library that runs, as in BNORM_VERSION */
BNORM_API const char *bnorm_version(void);

/* ---- Inference ------------------------------------------------------------------------------------------------- */

/**
 * Normalises by given statistics: y = (x - mean) * gamma / sqrt(var + epsilon) + beta per channel (Ioffe and Szegedy
 * 2015, algorithm 2), and then the epilogue. The factor gamma / sqrt(var + epsilon) is computed in double and rounded
 * once; a negative var + epsilon gives NaN. An empty tensor is #BNORM_OK.
 *
 * @param shape    the shape of x (`in`) and y (`out`)
 * @param params   statistics and parameters
 * @param x        the input
 * @param[out] y   the output; may be x where shape->in equals shape->out, and may be the residual
 * @param executor threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE, #BNORM_ERROR_EXECUTOR,
 *         #BNORM_ERROR_EPSILON, #BNORM_ERROR_HINT, #BNORM_ERROR_ACTIVATION, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                                   const bnorm_executor *executor);

/**
 * Folds bnorm_infer() into the convolution or linear layer before it, which then gives by itself what both gave: with
 * s = gamma / sqrt(var + epsilon),
 *
 *     folded_weights = weights * s,   folded_bias = (bias - mean) * s + beta
 *
 * computed in double and rounded once (in 16 bits by way of float). To the shape, weights are a tensor whose channels
 * are the layer's outputs (O outputs, I inputs, H*W places):
 *
 *     OIHW, OHWI; depthwise O1HW; linear [out][in]     bnorm_nchw(1, O, I * H * W), I being 1 or that of a group
 *     HWIO; depthwise HWO; linear [in][out]            bnorm_nhwc(1, O, H * W * I)
 *     transposed IOHW                                  bnorm_nchw(I, O, H * W), in a call for each group
 *     OIhw16i16o and other blocks                      bnorm_blocked(1, O, I * H * W, 16), I with its padding
 *
 * The layer's own sums cancel where a mean is large: the error per channel grows with |mean| / std, which it does not
 * in bnorm_infer().
 *
 * @param shape               the shape of weights (`in`) and folded_weights (`out`)
 * @param params              what bnorm_infer() would take; the hint is ignored, and an epilogue, which stays behind
 * the layer, is #BNORM_ERROR_UNSUPPORTED
 * @param weights             the layer's weights
 * @param bias                one float per output; NULL: 0
 * @param[out] folded_weights may be weights where shape->in equals shape->out
 * @param[out] folded_bias    one float per output; may be bias
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE, #BNORM_ERROR_EPSILON,
 *         #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_fold(const bnorm_shape *shape, const bnorm_infer_params *params, const void *weights,
                                  const float *bias, void *folded_weights, float *folded_bias);

/* ---- Training -------------------------------------------------------------------------------------------------- */

/**
 * Normalises by the statistics of the batch itself (Ioffe and Szegedy 2015, algorithm 1): per channel,
 * y = (x - E[x]) * gamma / sqrt(Var[x] + epsilon) + beta, with the biased variance over batch and points, and then the
 * epilogue.
 *
 * The variance is never negative, exactly 0 for a constant channel (then y is exactly beta), and as exact at a large
 * mean as at mean 0: docs/numerics.md has the bounds. They hold for values at most 1e17 apart that have a standard
 * deviation of 1e-19 or more. The variance of smaller ones is off by up to 1e-45, which matters only where epsilon is
 * less than 1e-36; that of larger ones may be infinite or NaN, and then y is, too. A NaN or Inf stays in its channel.
 * An empty tensor is #BNORM_OK and changes no running or saved statistic.
 *
 * @param shape          the shape of x (`in`) and y (`out`)
 * @param params         parameters, and where statistics go
 * @param x              the input
 * @param[out] y         the output; may be x where shape->in equals shape->out, and may be the residual
 * @param workspace      scratch memory of any alignment and content, all of which belongs to the call
 * @param workspace_size its bytes, at least what bnorm_workspace_size() says for #BNORM_OP_TRAIN
 * @param executor       threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_WORKSPACE_SIZE, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_EXECUTOR, #BNORM_ERROR_EPSILON, #BNORM_ERROR_MOMENTUM, #BNORM_ERROR_VARIANCE,
 *         #BNORM_ERROR_HINT, #BNORM_ERROR_ACTIVATION, #BNORM_ERROR_UNSUPPORTED, or, with one value per channel and
 *         #BNORM_VARIANCE_UNBIASED, #BNORM_ERROR_SINGLE_VALUE
 */
BNORM_API bnorm_status bnorm_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                                   void *workspace, size_t workspace_size, const bnorm_executor *executor);

/* ---- Backward -------------------------------------------------------------------------------------------------- */

/**
 * Computes the gradients of a loss with respect to x, the residual, gamma and beta, given dy, the one with respect to y
 * (Ioffe and Szegedy 2015, section 3). With h = (x - mean) * rstd, and sums over the n values of a channel:
 *
 *     dresidual = dz = dy * activation'(z);   dz = dy without an activation
 *     dbeta = sum dz,   dgamma = sum dz * h
 *     batch:   dx = gamma * rstd * (dz - dbeta / n - h * dgamma / n)
 *     frozen:  dx = gamma * rstd * dz
 *
 * For an empty tensor, dgamma and dbeta are 0.
 *
 * @param shape          the shape of x and dx (`in`) and of dy (`out`)
 * @param params         what the forward pass had and saved, and where the other gradients go
 * @param x              the input; may be NULL where nothing needs it: frozen, without dgamma, and without an
 * activation or with its mask
 * @param dy             the gradient of y
 * @param[out] dx        the gradient of x; NULL: not wanted; may be x, or dy where shape->in equals shape->out and
 *                       dresidual is not dy
 * @param workspace      scratch memory as in bnorm_train(); may be NULL where no sum is needed: frozen, without dgamma
 *                       and dbeta
 * @param workspace_size its bytes, at least what bnorm_workspace_size() says for #BNORM_OP_BACKWARD
 * @param executor       threads, or NULL
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_ALIGNMENT, #BNORM_ERROR_OVERLAP,
 *         #BNORM_ERROR_WORKSPACE_SIZE, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_EXECUTOR, #BNORM_ERROR_EPSILON, #BNORM_ERROR_STATISTICS, #BNORM_ERROR_HINT,
 *         #BNORM_ERROR_ACTIVATION, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_backward(const bnorm_shape *shape, const bnorm_backward_params *params, const void *x,
                                      const void *dy, void *dx, void *workspace, size_t workspace_size,
                                      const bnorm_executor *executor);

/* ---- Sizes of memory that the caller brings -------------------------------------------------------------------- */

/** What a workspace is for. */
typedef enum bnorm_operation {
    BNORM_OP_INFER = 0, /**< bnorm_infer(), which needs none */
    BNORM_OP_TRAIN = 1, /**< bnorm_train(), bnorm_train_collect() */
    BNORM_OP_BACKWARD = 2 /**< bnorm_backward(), bnorm_backward_reduce() */
} bnorm_operation;

/**
 * Tells how much scratch memory an operation needs with this shape and executor, whatever the hint, the ISA and the
 * sizes of the caches.
 *
 * @param shape     the shape of the call
 * @param operation what is called
 * @param executor  the executor of the call, or NULL
 * @param[out] size bytes; may be 0
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_EXECUTOR, #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation,
                                            const bnorm_executor *executor, size_t *size);

/**
 * Tells how large the mask of an epilogue is.
 *
 * @param shape     the shape of the call
 * @param[out] size bytes: one bit for each element from y's first to its last, and for the gaps between
 * @return #BNORM_OK, or #BNORM_ERROR_NULL_POINTER, #BNORM_ERROR_STRUCT_SIZE, #BNORM_ERROR_SHAPE, #BNORM_ERROR_STRIDE,
 *         #BNORM_ERROR_UNSUPPORTED
 */
BNORM_API bnorm_status bnorm_mask_size(const bnorm_shape *shape, size_t *size);

/* ---- Checking ahead: for an engine that lays out its memory, or a process that others will wait for ------------ */

/**
 * Tells what bnorm_infer() would answer to the same arguments. Nothing is computed or written.
 *
 * @param shape    as there
 * @param params   as there
 * @param x        as there
 * @param y        as there
 * @param executor as there
 * @return as there
 */
BNORM_API bnorm_status bnorm_infer_check(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x,
                                         void *y, const bnorm_executor *executor);

/**
 * Tells what bnorm_train() would answer to the same arguments. Nothing is computed or written.
 *
 * @param shape          as there
 * @param params         as there
 * @param x              as there
 * @param y              as there
 * @param workspace      as there
 * @param workspace_size as there
 * @param executor       as there
 * @return as there
 */
BNORM_API bnorm_status bnorm_train_check(const bnorm_shape *shape, const bnorm_train_params *params, const void *x,
                                         void *y, void *workspace, size_t workspace_size,
                                         const bnorm_executor *executor);

/**
 * Tells what bnorm_backward() would answer to the same arguments. Nothing is computed or written.
 *
 * @param shape          as there
 * @param params         as there
 * @param x              as there
 * @param dy             as there
 * @param dx             as there
 * @param workspace      as there
 * @param workspace_size as there
 * @param executor       as there
 * @return as there
 */
BNORM_API bnorm_status bnorm_backward_check(const bnorm_shape *shape, const bnorm_backward_params *params,
                                            const void *x, const void *dy, void *dx, void *workspace,
                                            size_t workspace_size, const bnorm_executor *executor);

#ifdef __cplusplus
}
#endif

#endif
