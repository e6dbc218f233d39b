/* SPDX-License-Identifier: MIT */
/*
 * bnorm: batch normalisation for CPUs.
 *
 * Functions work on the caller's memory: they allocate nothing, start no thread, take no lock and print nothing, and
 * any number of threads may call them at once. The process has two settings: the ISA (bnorm_set_isa) and the sizes of
 * the caches (bnorm_set_cache_sizes); no result depends on them. Results have the same bits on every ISA, for every
 * thread count, alignment and stride, in place or not. Every failure is a status, found before anything is written.
 */
#ifndef BNORM_H
#define BNORM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "prefix.h"
#include "version.h"

#if defined(_WIN32) && defined(BNORM_SHARED)
#ifdef BNORM_BUILD
#define BNORM_API __declspec(dllexport)
#else
#define BNORM_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define BNORM_API __attribute__((visibility("default")))
#else
#define BNORM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call answers. Anything but BNORM_OK means that nothing was written. */
typedef enum bnorm_status {
    BNORM_OK = 0,

    /* Memory. */
    BNORM_ERROR_NULL_POINTER = 1, /* a required pointer is NULL */
    BNORM_ERROR_ALIGNMENT = 2, /* a pointer is not aligned to its element */
    BNORM_ERROR_OVERLAP = 3, /* an output overlaps another argument other than exactly in place */
    BNORM_ERROR_WORKSPACE_SIZE = 4, /* workspace_size is below what bnorm_workspace_size says */

    /* Descriptions. */
    BNORM_ERROR_STRUCT_SIZE = 10, /* a struct_size is not one that this version knows */
    BNORM_ERROR_SHAPE = 11, /* channels or block is 0, or the tensor is larger than an address can reach */
    BNORM_ERROR_STRIDE = 12, /* strides make elements of one tensor coincide */
    BNORM_ERROR_EXECUTOR = 13, /* an executor without a function, or of width 0 */

    /* Parameters. */
    BNORM_ERROR_EPSILON = 20, /* epsilon is negative, infinite or NaN */
    BNORM_ERROR_MOMENTUM = 21, /* momentum is outside [0, 1] or NaN */
    BNORM_ERROR_VARIANCE = 22, /* not one of bnorm_variance */
    BNORM_ERROR_STATISTICS = 23, /* not one of bnorm_statistics */
    BNORM_ERROR_HINT = 24, /* not one of bnorm_hint */
    BNORM_ERROR_ACTIVATION = 25, /* not one of bnorm_activation, out of its range, or a mask that cannot tell it */

    /* What cannot be done. */
    BNORM_ERROR_SINGLE_VALUE = 30, /* one value per channel has no unbiased variance */
    BNORM_ERROR_ISA = 31, /* no such ISA, or it does not run on this CPU */
    BNORM_ERROR_UNSUPPORTED = 32, /* understood, but not offered by this version or build */

    /* bnorm/mpi.h. */
    BNORM_ERROR_PEER = 40, /* another process that shares the batch failed */
    BNORM_ERROR_COMMUNICATION = 41 /* MPI answered with an error */
} bnorm_status;

/* A short English sentence for a status, for a log; never NULL. */
BNORM_API const char *bnorm_status_string(bnorm_status status);

/* The version of the library that runs, as in BNORM_VERSION. */
BNORM_API const char *bnorm_version(void);

/* ---- Shapes ---------------------------------------------------------------------------------------------------- */

/*
 * The type of a tensor's elements. Arithmetic is on floats: reading is exact, and writing rounds once, to nearest even,
 * to Inf what is too large; subnormal values are kept, and a NaN stays a NaN. Parameters and statistics are float
 * whatever the tensors are.
 */
typedef enum bnorm_dtype {
    BNORM_DTYPE_F32 = 0, /* float */
    BNORM_DTYPE_BF16 = 1, /* bfloat16: the upper half of a float */
    BNORM_DTYPE_F16 = 2 /* IEEE 754 binary16 */
} bnorm_dtype;

/*
 * Where a tensor's elements lie. Strides count elements; 0 means dense. Elements must stay apart: ordered by size,
 * each stride is at least the extent of what it steps over. A channel slice of a larger tensor, padded planes and
 * pitched rows are therefore all legal. The stride of an axis of one element is not looked at.
 *
 * NHWC may also be told as block 1 with strides (block_stride 1, point_stride channels): then the bits are those of
 * NCHW, whose order of summing follows from the block, and calls take up to twice as long as with block = channels.
 * Where `in` and `out` differ so that elements must be transposed, a call takes several times as long; with a mask,
 * which is then gone through bit by bit, a hundred times.
 */
typedef struct bnorm_layout {
    bnorm_dtype dtype;
    size_t image_stride; /* from an image of the batch to the next */
    size_t block_stride; /* from a channel block to the next */
    size_t point_stride; /* from a point to the next */
} bnorm_layout;

/*
 * A tensor [batch][ceil(channels / block)][points][block]: points is H*W, D*H*W, L or 1, and block is how many
 * channels lie side by side: 1 for NCHW, `channels` for NHWC, 8 or 16 for nChw8c and nChw16c. When block does not
 * divide channels, the lanes past the last channel are padding: they exist in memory and may be read, no statistic
 * sees them, and in an output they are written as zero.
 *
 * `in` lays out x (and its gradient), `out` lays out y (and its gradient).
 */
typedef struct bnorm_shape {
    size_t struct_size; /* sizeof(bnorm_shape) */
    size_t batch;
    size_t channels;
    size_t points;
    size_t block;
    bnorm_layout in;
    bnorm_layout out;
} bnorm_shape;

/* A dense f32 shape of any block; other types and strides are then set in its `in` and `out`. */
static inline bnorm_shape bnorm_blocked(size_t batch, size_t channels, size_t points, size_t block)
{
    bnorm_layout dense;
    bnorm_shape shape;
    dense.dtype = BNORM_DTYPE_F32;
    dense.image_stride = dense.block_stride = dense.point_stride = 0;
    shape.struct_size = sizeof(shape);
    shape.batch = batch;
    shape.channels = channels;
    shape.points = points;
    shape.block = block;
    shape.in = shape.out = dense;
    return shape;
}

/* NCHW, NCL, NCDHW: each channel's points lie together. */
static inline bnorm_shape bnorm_nchw(size_t batch, size_t channels, size_t points)
{
    return bnorm_blocked(batch, channels, points, 1);
}

/* NHWC, NLC, NDHWC, and NC with points = 1: each point's channels lie together. */
static inline bnorm_shape bnorm_nhwc(size_t batch, size_t channels, size_t points)
{
    return bnorm_blocked(batch, channels, points, channels);
}

/* ---- Threads --------------------------------------------------------------------------------------------------- */

/* One piece of a call's work; `task` counts from 0. */
typedef void bnorm_task(void *argument, size_t task);

/*
 * The caller's threads. `run` calls task(argument, i) once for each i in [0, tasks), in any order and on any threads,
 * and returns when all have returned; their memory effects must then be visible to the caller, as after a join.
 * `width` is how many tasks can run at once: it steers the cutting of the work, never a result. Wherever an
 * executor is taken, NULL runs everything on the calling thread.
 */
typedef struct bnorm_executor {
    void (*run)(void *context, size_t tasks, bnorm_task *task, void *argument);
    void *context;
    size_t width;
} bnorm_executor;

/* ---- Memory ---------------------------------------------------------------------------------------------------- */

/*
 * Whether y should be in the caches after a call. Only speed depends on it. Stores past the caches save the read that
 * other stores begin with, but what comes next must then fetch y from memory. In place, and on ARM, y is always kept.
 */
typedef enum bnorm_hint {
    BNORM_HINT_AUTO = 0, /* past the caches where the tensors exceed half of the largest cache */
    BNORM_HINT_KEEP = 1, /* y is read again soon */
    BNORM_HINT_STREAM = 2 /* y is not read again soon, or there is much else in the caches */
} bnorm_hint;

/*
 * Bytes of the largest cache of a core's own, and of the largest cache of all: as found on this CPU, where it tells, or
 * as bnorm_set_cache_sizes says for the whole process, 0 being what was found. Only speed depends on them; NULL is
 * not stored to.
 */
BNORM_API void bnorm_cache_sizes(size_t *core, size_t *shared);
BNORM_API void bnorm_set_cache_sizes(size_t core, size_t shared);

/* ---- Epilogues ------------------------------------------------------------------------------------------------- */

/*
 * y of z, the normalised, scaled and shifted value to which the residual was added. NaN stays NaN, and +-Inf gives the
 * limit. Those marked S go through SLEEF: BNORM_ERROR_UNSUPPORTED where the library was built without it, and in
 * portable C on an x86 CPU without AVX2 and FMA. Their accuracy stands in docs/numerics.md.
 */
typedef enum bnorm_activation {
    BNORM_ACT_IDENTITY = 0,
    BNORM_ACT_RELU = 1, /* max(z, 0) (Nair and Hinton 2010) */
    BNORM_ACT_CLAMP = 2, /* min(max(z, alpha), beta), alpha <= beta; ReLU6 is from 0 to 6 */
    BNORM_ACT_LEAKY_RELU = 3, /* z > 0 ? z : alpha * z (Maas, Hannun and Ng 2013) */
    BNORM_ACT_HARD_SIGMOID =
        4, /* min(max(alpha * z + beta, 0), 1), alpha > 0; PyTorch: 1/6 and 1/2, ONNX: 0.2 and 1/2 */
    BNORM_ACT_HARD_SWISH = 5, /* z * min(max(z + 3, 0), 6) / 6 (Howard et al. 2019) */
    BNORM_ACT_SIGMOID = 6, /* S: 1 / (1 + exp(-z)) */
    BNORM_ACT_SILU = 7, /* S: z / (1 + exp(-z)), also named Swish (Ramachandran, Zoph and Le 2017) */
    BNORM_ACT_TANH = 8, /* S: tanh(z) */
    BNORM_ACT_GELU = 9, /* S: z / 2 * (1 + erf(z / sqrt(2))) (Hendrycks and Gimpel 2016) */
    BNORM_ACT_GELU_TANH = 10, /* S: z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z^3))) (the same) */
    BNORM_ACT_ELU = 11, /* S: z > 0 ? z : alpha * (exp(z) - 1) (Clevert, Unterthiner and Hochreiter 2015) */
    BNORM_ACT_SOFTPLUS = 12, /* S: log(1 + exp(z)) (Dugas et al. 2001) */
    BNORM_ACT_MISH = 13 /* S: z * tanh(log(1 + exp(z))) (Misra 2019) */
} bnorm_activation;

/*
 * What follows normalising in the same pass: y = activation(z + residual). The backward call takes the epilogue that
 * the forward call had. Its gradient passes where the activation's does: through BNORM_ACT_RELU where z > 0, through
 * BNORM_ACT_CLAMP between alpha and beta, and through both where z is NaN.
 *
 * Without a residual, z is computed again from x in the backward pass, with its own bits. With one, either the residual
 * or a mask must be there again. A mask has a bit for each element, 1 where the gradient passes whole, and so does for
 * BNORM_ACT_RELU, BNORM_ACT_CLAMP, BNORM_ACT_LEAKY_RELU and BNORM_ACT_HARD_SIGMOID: the bit of y[i] is bit i % 8 of
 * byte i / 8, counted from the lowest. It is the same on every ISA. Bits of what lies between y's elements, and of
 * padding, are left alone.
 */
typedef struct bnorm_epilogue {
    size_t struct_size; /* sizeof(bnorm_epilogue) */
    bnorm_activation activation;
    float alpha, beta; /* of the activations that name them, finite but for BNORM_ACT_CLAMP's; else not looked at */
    const void *residual; /* laid out as y, and may be y, or x; NULL: 0 */
    void *mask; /* bnorm_mask_size bytes, without alignment; forward: written; backward: read, in place of residual */
} bnorm_epilogue;

/* To start from: no activation, no residual, no mask. */
static inline bnorm_epilogue bnorm_epilogue_defaults(void)
{
    bnorm_epilogue params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    return params;
}

/* Stores the bytes of a mask for y of this shape in *size. */
BNORM_API bnorm_status bnorm_mask_size(const bnorm_shape *shape, size_t *size);

/* ---- Inference ------------------------------------------------------------------------------------------------- */

/* Arrays hold one float a channel. */
typedef struct bnorm_infer_params {
    size_t struct_size; /* sizeof(bnorm_infer_params) */
    const float *mean;
    const float *var;
    const float *gamma; /* NULL: 1 */
    const float *beta; /* NULL: 0 */
    float epsilon; /* added to var; at least 0 */
    bnorm_hint hint;
    const bnorm_epilogue *epilogue; /* NULL: none */
} bnorm_infer_params;

/* To start from: epsilon 1e-5, all else zero. mean and var must be given. */
static inline bnorm_infer_params bnorm_infer_defaults(void)
{
    bnorm_infer_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    return params;
}

/*
 * y = (x - mean) * gamma / sqrt(var + epsilon) + beta, a channel at a time (Ioffe and Szegedy 2015, algorithm 2), and
 * what the epilogue says.
 *
 * y may be x where shape->in equals shape->out, and may be the residual; any other overlap of y is BNORM_ERROR_OVERLAP.
 * An empty tensor is BNORM_OK. The factor gamma / sqrt(var + epsilon) is computed in double and rounded once; a
 * negative var + epsilon gives NaN.
 */
BNORM_API bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                                   const bnorm_executor *executor);

/*
 * Folds bnorm_infer into the convolution or linear layer before it, which then gives by itself what both gave: with
 * s = gamma / sqrt(var + epsilon),
 *
 *     folded_weights = weights * s,   folded_bias = (bias - mean) * s + beta
 *
 * computed in double and rounded once, in 16 bits by way of float. To the shape, weights are a tensor whose channels
 * are those that the layer puts out (O, of I that it takes, through H*W places):
 *
 *     OIHW, OHWI; depthwise O1HW; linear [out][in]     bnorm_nchw(1, O, I * H * W), I being 1 or that of a group
 *     HWIO; depthwise HWO; linear [in][out]            bnorm_nhwc(1, O, H * W * I)
 *     transposed IOHW                                  bnorm_nchw(I, O, H * W), in a call for each group
 *     OIhw16i16o and other blocks                      bnorm_blocked(1, O, I * H * W, 16), I with its padding
 *
 * `in` lays out weights and `out` folded_weights, which may be weights where both are equal. bias may be NULL: 0, and
 * folded_bias may be bias; any other overlap of an output is BNORM_ERROR_OVERLAP. params->hint is not looked at, and an
 * epilogue is BNORM_ERROR_UNSUPPORTED: it stays behind the layer. The layer's own sums cancel where a mean is large:
 * what this loses of a channel grows with |mean| / std, which it does not in bnorm_infer.
 */
BNORM_API bnorm_status bnorm_fold(const bnorm_shape *shape, const bnorm_infer_params *params, const void *weights,
                                  const float *bias, void *folded_weights, float *folded_bias);

/* ---- Training -------------------------------------------------------------------------------------------------- */

/* Which variance is folded into the running variance; y always uses the biased one. */
typedef enum bnorm_variance {
    BNORM_VARIANCE_UNBIASED = 0, /* divided by n - 1: PyTorch, TensorFlow's fused kernel, cuDNN */
    BNORM_VARIANCE_BIASED = 1 /* divided by n: ONNX, Keras */
} bnorm_variance;

/* Arrays hold one float a channel; the statistics that a caller does not want stay NULL. */
typedef struct bnorm_train_params {
    size_t struct_size; /* sizeof(bnorm_train_params) */
    const float *gamma; /* NULL: 1 */
    const float *beta; /* NULL: 0 */
    float epsilon; /* added to the variance; at least 0 */

    /*
     * running = (1 - momentum) * running + momentum * batch. Momentum is the weight of the new value, as in PyTorch;
     * ONNX, TensorFlow and Keras name the weight of the old one, 1 - momentum. 1 stores the batch's own statistics,
     * whatever was there; 1/k in the k-th call gives the cumulative average. A channel whose batch mean or variance is
     * not a finite float (NaN or Inf in x, or an overflow) keeps the running ones that it has, unless momentum is 1.
     */
    float momentum;
    bnorm_variance running_variance;
    float *running_mean; /* in and out; NULL: not kept */
    float *running_var; /* in and out; NULL: not kept */

    /*
     * For the backward pass: the batch mean as the unevaluated sum mean + mean_low, and 1/sqrt(var + epsilon), which is
     * 0 where var + epsilon is less than 2^-149, the smallest float.
     */
    float *saved_mean;
    float *saved_mean_low;
    float *saved_rstd;

    bnorm_hint hint;
    const bnorm_epilogue *epilogue; /* NULL: none; only the calls that write y look at it */
} bnorm_train_params;

/* To start from: epsilon 1e-5, momentum 0.1, all else zero: statistics that are asked for nowhere are kept nowhere. */
static inline bnorm_train_params bnorm_train_defaults(void)
{
    bnorm_train_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    params.momentum = 0.1f;
    return params;
}

/*
 * Normalises each channel by the statistics of the batch itself (Ioffe and Szegedy 2015, algorithm 1):
 * y = (x - E[x]) * gamma / sqrt(Var[x] + epsilon) + beta, with the biased variance over batch and points, and what the
 * epilogue says.
 *
 * The variance is never negative, exactly 0 for a constant channel (then y is exactly beta), and as exact at a large
 * mean as at mean 0: docs/numerics.md has the bounds. They hold for values at most 1e17 apart that have a standard
 * deviation of 1e-19 or more. The variance of smaller ones is off by up to 1e-45, which matters only where epsilon is
 * less than 1e-36; that of larger ones may be infinite or NaN, and then y is, too. A NaN or Inf stays in its channel.
 *
 * y may be x where shape->in equals shape->out, and may be the residual; any other overlap of an output or the
 * workspace is BNORM_ERROR_OVERLAP. An empty tensor is BNORM_OK and changes no running or saved statistic. One value a
 * channel is BNORM_ERROR_SINGLE_VALUE unless running_variance is BNORM_VARIANCE_BIASED. The workspace needs no
 * alignment and no initial content; all of its workspace_size bytes are the call's.
 */
BNORM_API bnorm_status bnorm_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                                   void *workspace, size_t workspace_size, const bnorm_executor *executor);

/*
 * bnorm_train in steps, for statistics of more than one tensor: of all processes that share a batch, or of many batches
 * for running statistics. What goes between is plain arrays of a value a channel, whatever the layout, which a message
 * can carry; a count is how many values of a channel they are of, and may be 0.
 *
 *     bnorm_train_collect(&shape, x, mean, m2, ...);                    count = batch * points
 *     bnorm_train_merge(channels, count, mean, m2, their_count, their_mean, their_m2);   for each other part
 *     bnorm_train_finish(channels, count of all, mean, m2, &params);    running and saved statistics
 *     bnorm_train_apply(&shape, &params, x, y, executor);
 *
 * Without a merge these give the bits of bnorm_train. Merging in the same order on each process gives each the same
 * bits. Arrays must not overlap each other.
 *
 * collect: mean[c], and m2[c], the sum of squared deviations from it; of an empty tensor 0. The workspace is that of
 *          BNORM_OP_TRAIN.
 * merge:   the moments of `count` values become those of count + more_count values (Chan, Golub and LeVeque 1983).
 * finish:  updates what params says to keep; saved_mean, saved_mean_low and saved_rstd are required. A count of 0
 *          changes nothing; a count of 1 is BNORM_ERROR_SINGLE_VALUE as in bnorm_train.
 * apply:   y from x and params' saved statistics, which are required and only read, gamma and beta; y may be x.
 */
BNORM_API bnorm_status bnorm_train_collect(const bnorm_shape *shape, const void *x, double *mean, double *m2,
                                           void *workspace, size_t workspace_size, const bnorm_executor *executor);
BNORM_API bnorm_status bnorm_train_merge(size_t channels, uint64_t count, double *mean, double *m2, uint64_t more_count,
                                         const double *more_mean, const double *more_m2);
BNORM_API bnorm_status bnorm_train_finish(size_t channels, uint64_t count, const double *mean, const double *m2,
                                          const bnorm_train_params *params);
BNORM_API bnorm_status bnorm_train_apply(const bnorm_shape *shape, const bnorm_train_params *params, const void *x,
                                         void *y, const bnorm_executor *executor);

/* ---- Backward -------------------------------------------------------------------------------------------------- */

/* Whether statistics depended on x. */
typedef enum bnorm_statistics {
    BNORM_STATISTICS_BATCH = 0, /* y came from bnorm_train */
    BNORM_STATISTICS_FROZEN = 1 /* y came from bnorm_infer */
} bnorm_statistics;

/* Arrays hold one float a channel. */
typedef struct bnorm_backward_params {
    size_t struct_size; /* sizeof(bnorm_backward_params) */
    bnorm_statistics statistics;
    const bnorm_epilogue *epilogue; /* what the forward call had; NULL: none */
    const float *gamma; /* NULL: 1 */
    const float *beta; /* NULL: 0; only activations ask for it */
    const float *mean; /* saved_mean, or the mean that bnorm_infer was given */
    const float *mean_low; /* batch: saved_mean_low; NULL: 0 */
    const float *rstd; /* batch: saved_rstd */
    const float *var; /* frozen: as bnorm_infer was given it */
    float epsilon; /* frozen: as bnorm_infer was given it */

    int accumulate; /* not 0: gradients of the parameters are added to what the arrays hold */
    float *dgamma; /* NULL: not wanted */
    float *dbeta; /* NULL: not wanted */
    void *dresidual; /* laid out as dy, and may be dy; NULL: not wanted */

    bnorm_hint hint; /* for dx; all tensors count */
} bnorm_backward_params;

/* To start from: batch statistics, epsilon 1e-5 for frozen ones, all else zero. mean and rstd, or var, must be given.
 */
static inline bnorm_backward_params bnorm_backward_defaults(void)
{
    bnorm_backward_params params;
    memset(&params, 0, sizeof(params));
    params.struct_size = sizeof(params);
    params.epsilon = 1e-5f;
    return params;
}

/*
 * The gradients of a loss with respect to x, the residual, gamma and beta, given dy, the one with respect to y (Ioffe
 * and Szegedy 2015, section 3). With h = (x - mean) * rstd, and sums over the n values of a channel:
 *
 *     dresidual = dz = dy * activation'(z);   dz = dy without an activation
 *     dbeta = sum dz,   dgamma = sum dz * h
 *     batch:   dx = gamma * rstd * (dz - dbeta / n - h * dgamma / n)
 *     frozen:  dx = gamma * rstd * dz
 *
 * x and dx are laid out by shape->in, dy by shape->out. dx may be NULL: not wanted; it may be x, or dy where shape->in
 * equals shape->out and dresidual is not dy; any other overlap of an output is BNORM_ERROR_OVERLAP. x may be NULL where
 * nothing asks for it: frozen, without dgamma, and without an activation or with its mask. Of an empty tensor, dgamma
 * and dbeta are 0. The workspace may be NULL where no sum is asked for: frozen, without dgamma and dbeta.
 */
BNORM_API bnorm_status bnorm_backward(const bnorm_shape *shape, const bnorm_backward_params *params, const void *x,
                                      const void *dy, void *dx, void *workspace, size_t workspace_size,
                                      const bnorm_executor *executor);

/*
 * bnorm_backward in steps, with its bits but for the rounding of one sum: of x - mean, which mean_low tells where one
 * tensor is all. `sums` is an array [3][channels]: of dz, of x - mean, and of their products, with mean without its low
 * part. Sums over several tensors are added, element by element, as by an MPI_SUM; those of an empty tensor are 0.
 *
 * reduce: computes the sums. x is required; params' outputs are not used. The workspace is that of BNORM_OP_BACKWARD.
 * apply:  dgamma and dbeta of all that was summed, where wanted, dx and dresidual of this tensor. `count` is how many
 *         values a channel the sums are of: at least this tensor's, or BNORM_ERROR_SHAPE. sums may be NULL where none
 * is used.
 */
BNORM_API bnorm_status bnorm_backward_reduce(const bnorm_shape *shape, const bnorm_backward_params *params,
                                             const void *x, const void *dy, double *sums, void *workspace,
                                             size_t workspace_size, const bnorm_executor *executor);
BNORM_API bnorm_status bnorm_backward_apply(const bnorm_shape *shape, const bnorm_backward_params *params,
                                            uint64_t count, const double *sums, const void *x, const void *dy, void *dx,
                                            const bnorm_executor *executor);

/* ---- Workspace ------------------------------------------------------------------------------------------------- */

typedef enum bnorm_operation { BNORM_OP_INFER = 0, BNORM_OP_TRAIN = 1, BNORM_OP_BACKWARD = 2 } bnorm_operation;

/* Stores the bytes of scratch memory that the operation needs with this shape and executor in *size; may be 0. */
BNORM_API bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation,
                                            const bnorm_executor *executor, size_t *size);

/* ---- Checking ahead -------------------------------------------------------------------------------------------- */

/*
 * What bnorm_infer, bnorm_train and bnorm_backward would answer to the same arguments; nothing is computed or written.
 * For whoever must know beforehand: an engine that lays out its memory, a process that others will wait for.
 */
BNORM_API bnorm_status bnorm_infer_check(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x,
                                         void *y, const bnorm_executor *executor);
BNORM_API bnorm_status bnorm_train_check(const bnorm_shape *shape, const bnorm_train_params *params, const void *x,
                                         void *y, void *workspace, size_t workspace_size,
                                         const bnorm_executor *executor);
BNORM_API bnorm_status bnorm_backward_check(const bnorm_shape *shape, const bnorm_backward_params *params,
                                            const void *x, const void *dy, void *dx, void *workspace,
                                            size_t workspace_size, const bnorm_executor *executor);

/* ---- Instruction sets ------------------------------------------------------------------------------------------ */

/*
 * The ISAs that were built in and run on this CPU and operating system, best first: "avx512", "avx2", "sve",
 * "neon" and always, last, "scalar". bnorm_isa_name gives NULL from bnorm_isa_count() on. "sve" has kernels for the
 * length of vectors that the process has at its first call: no thread may change its own (PR_SVE_SET_VL) after that.
 */
BNORM_API size_t bnorm_isa_count(void);
BNORM_API const char *bnorm_isa_name(size_t index);

/*
 * The ISA that calls use: the best that runs here, or the one that the environment variable BNORM_ISA names; a name
 * that does not run here is ignored. Decided at the first use of the library.
 */
BNORM_API const char *bnorm_isa(void);

/*
 * Makes all later calls of the process use the named ISA; NULL: the default again. Calls that already run finish as
 * they began. BNORM_ERROR_ISA if it does not run here.
 */
BNORM_API bnorm_status bnorm_set_isa(const char *name);

#ifdef __cplusplus
}
#endif

#endif
