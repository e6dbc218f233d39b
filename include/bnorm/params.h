/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The parameters of calls: statistics, what is trained, memory hints, and what is fused behind batch norm.
 */
#ifndef BNORM_PARAMS_H
#define BNORM_PARAMS_H

#include <string.h>

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Memory ---------------------------------------------------------------------------------------------------- */

/**
 * Whether y should be in the caches after a call. Only speed depends on it. Non-temporal stores save the read that
 * other stores begin with, but whoever uses y next must then fetch it from memory. In place, and on ARM, stores are
 * never non-temporal.
 */
typedef enum bnorm_hint {
    BNORM_HINT_AUTO = 0, /**< non-temporal stores where the tensors exceed half of the largest cache */
    BNORM_HINT_KEEP = 1, /**< y is read again soon */
    BNORM_HINT_STREAM = 2 /**< y is not read again soon, or the caches hold much else */
} bnorm_hint;

/* ---- Epilogues ------------------------------------------------------------------------------------------------- */

/**
 * y as a function of z, the normalised, scaled and shifted value to which the residual was added. NaN stays NaN, and
 * +-Inf gives the limit. Those marked S use SLEEF: they are #BNORM_ERROR_UNSUPPORTED in a library without it, and in
 * portable C on an x86 CPU without AVX2 and FMA. docs/numerics.md states their accuracy.
 */
typedef enum bnorm_activation {
    BNORM_ACT_IDENTITY = 0, /**< z */
    BNORM_ACT_RELU = 1, /**< max(z, 0) (Nair and Hinton 2010) */
    BNORM_ACT_CLAMP = 2, /**< min(max(z, alpha), beta), alpha <= beta; ReLU6 is from 0 to 6 */
    BNORM_ACT_LEAKY_RELU = 3, /**< z > 0 ? z : alpha * z (Maas, Hannun and Ng 2013) */
    /** min(max(alpha * z + beta, 0), 1), alpha > 0; PyTorch: 1/6 and 1/2, ONNX: 0.2 and 1/2 */
    BNORM_ACT_HARD_SIGMOID = 4,
    BNORM_ACT_HARD_SWISH = 5, /**< z * min(max(z + 3, 0), 6) / 6 (Howard et al. 2019) */
    BNORM_ACT_SIGMOID = 6, /**< S: 1 / (1 + exp(-z)) */
    BNORM_ACT_SILU = 7, /**< S: z / (1 + exp(-z)), also named Swish (Ramachandran, Zoph and Le 2017) */
    BNORM_ACT_TANH = 8, /**< S: tanh(z) */
    BNORM_ACT_GELU = 9, /**< S: z / 2 * (1 + erf(z / sqrt(2))) (Hendrycks and Gimpel 2016) */
    BNORM_ACT_GELU_TANH = 10, /**< S: z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z^3))) (the same) */
    BNORM_ACT_ELU = 11, /**< S: z > 0 ? z : alpha * (exp(z) - 1) (Clevert, Unterthiner and Hochreiter 2015) */
    BNORM_ACT_SOFTPLUS = 12, /**< S: log(1 + exp(z)) (Dugas et al. 2001) */
    BNORM_ACT_MISH = 13 /**< S: z * tanh(log(1 + exp(z))) (Misra 2019) */
} bnorm_activation;

/**
 * What follows normalisation in the same pass: y = activation(z + residual). The backward call takes the epilogue that
 * the forward call had. Its gradient passes where the activation's does: through #BNORM_ACT_RELU where z > 0, through
 * #BNORM_ACT_CLAMP between alpha and beta, and through both where z is NaN.
 *
 * Without a residual, the backward pass computes z again from x, to the same bits. With one, it needs either the
 * residual or a mask. A mask has one bit per element, 1 where the gradient passes whole, and is offered for
 * #BNORM_ACT_RELU, #BNORM_ACT_CLAMP, #BNORM_ACT_LEAKY_RELU and #BNORM_ACT_HARD_SIGMOID: the bit of y[i] is bit i % 8 of
 * byte i / 8, counted from the lowest. It is the same on every ISA. Bits of gaps between y's elements, and of padding,
 * are left as they are.
 */
typedef struct bnorm_epilogue {
    size_t struct_size; /**< sizeof(bnorm_epilogue) */
    bnorm_activation activation; /**< of z + residual */
    float alpha; /**< of the activations that name it: finite but for #BNORM_ACT_CLAMP's; else ignored */
    float beta; /**< likewise */
    const void *residual; /**< laid out as y, and may be y, or x; NULL: 0 */
    void *mask; /**< bnorm_mask_size() bytes of any alignment; forward: written; backward: read, not the residual */
} bnorm_epilogue;

/** @return an epilogue to start from: no activation, no residual, no mask */
static inline bnorm_epilogue bnorm_epilogue_defaults(void)
{
    bnorm_epilogue params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    return params;
}

/* ---- Inference ------------------------------------------------------------------------------------------------- */

/** Parameters of bnorm_infer() and bnorm_fold(). Arrays hold one float per channel. */
typedef struct bnorm_infer_params {
    size_t struct_size; /**< sizeof(bnorm_infer_params) */
    const float *mean; /**< required */
    const float *var; /**< required */
    const float *gamma; /**< NULL: 1 */
    const float *beta; /**< NULL: 0 */
    float epsilon; /**< added to var; at least 0 */
    bnorm_hint hint; /**< whether y should be in the caches afterwards */
    const bnorm_epilogue *epilogue; /**< NULL: none */
} bnorm_infer_params;

/** @return parameters to start from: epsilon 1e-5, all else zero; mean and var must be set */
static inline bnorm_infer_params bnorm_infer_defaults(void)
{
    bnorm_infer_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    return params;
}

/* ---- Training -------------------------------------------------------------------------------------------------- */

/** Which variance the running variance averages; y always uses the biased one. */
typedef enum bnorm_variance {
    BNORM_VARIANCE_UNBIASED = 0, /**< divided by n - 1: PyTorch, TensorFlow's fused kernel, cuDNN */
    BNORM_VARIANCE_BIASED = 1 /**< divided by n: ONNX, Keras */
} bnorm_variance;

/** Parameters of bnorm_train() and its steps. Arrays hold one float per channel; those not wanted are NULL. */
typedef struct bnorm_train_params {
    size_t struct_size; /**< sizeof(bnorm_train_params) */
    const float *gamma; /**< NULL: 1 */
    const float *beta; /**< NULL: 0 */
    float epsilon; /**< added to the variance; at least 0 */

    /**
     * running = (1 - momentum) * running + momentum * batch. Momentum is the weight of the new value, as in PyTorch;
     * ONNX, TensorFlow and Keras name the weight of the old one, 1 - momentum. 1 stores the batch's own statistics,
     * whatever was there; 1/k in the k-th call gives the cumulative average; 0 updates nothing. A channel whose batch
     * mean or variance is not a finite float (NaN or Inf in x, or an overflow) keeps its running ones, unless momentum
     * is 1.
     */
    float momentum;
    bnorm_variance running_variance; /**< what running_var averages */
    float *running_mean; /**< updated; NULL: not kept */
    float *running_var; /**< updated; NULL: not kept */

    float *saved_mean; /**< written, for the backward pass: the batch mean, which is saved_mean + saved_mean_low */
    float *saved_mean_low; /**< written: what rounding saved_mean to float left over */
    /** Written: 1/sqrt(var + epsilon), or 0 where var + epsilon is less than 2^-149, the smallest float. */
    float *saved_rstd;

    bnorm_hint hint; /**< whether y should be in the caches afterwards */
    const bnorm_epilogue *epilogue; /**< NULL: none; only calls that write y use it */
} bnorm_train_params;

/** @return parameters to start from: epsilon 1e-5, momentum 0.1, all else zero: no statistic is kept */
static inline bnorm_train_params bnorm_train_defaults(void)
{
    bnorm_train_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    params.momentum = 0.1f;
    return params;
}

/* ---- Backward -------------------------------------------------------------------------------------------------- */

/** Whether the forward pass's statistics depended on x. */
typedef enum bnorm_statistics {
    BNORM_STATISTICS_BATCH = 0, /**< y came from bnorm_train() */
    BNORM_STATISTICS_FROZEN = 1 /**< y came from bnorm_infer() */
} bnorm_statistics;

/** Parameters of bnorm_backward() and its steps. Arrays hold one float per channel. */
typedef struct bnorm_backward_params {
    size_t struct_size; /**< sizeof(bnorm_backward_params) */
    bnorm_statistics statistics; /**< what y was normalised by */
    const bnorm_epilogue *epilogue; /**< what the forward call had; NULL: none */
    const float *gamma; /**< NULL: 1 */
    const float *beta; /**< NULL: 0; only activations need it */
    const float *mean; /**< saved_mean, or the mean that bnorm_infer() was given */
    const float *mean_low; /**< batch: saved_mean_low; NULL: 0 */
    const float *rstd; /**< batch: saved_rstd */
    const float *var; /**< frozen: as bnorm_infer() was given it */
    float epsilon; /**< frozen: as bnorm_infer() was given it */

    int accumulate; /**< not 0: dgamma and dbeta are added to what the arrays hold */
    float *dgamma; /**< NULL: not wanted */
    float *dbeta; /**< NULL: not wanted */
    void *dresidual; /**< laid out as dy, and may be dy, or the residual; NULL: not wanted */

    bnorm_hint hint; /**< whether dx should be in the caches afterwards */
} bnorm_backward_params;

/** @return parameters to start from: batch statistics, epsilon 1e-5, all else zero; mean and rstd (or var) must be set
 */
static inline bnorm_backward_params bnorm_backward_defaults(void)
{
    bnorm_backward_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    return params;
}

#ifdef __cplusplus
}
#endif

#endif
