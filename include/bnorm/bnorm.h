/* SPDX-License-Identifier: MIT */
/*
 * bnorm: batch normalisation for CPUs.
 *
 * Every function is stateless over the caller's memory: it allocates nothing, starts no thread, takes no lock and
 * prints nothing, and any number of threads may call it at once. Results have the same bits on every ISA, for every
 * thread count, alignment and stride, in place or not. Every failure is a status, found before anything is written.
 */
#ifndef BNORM_H
#define BNORM_H

#include <stddef.h>

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
    BNORM_NULL_POINTER, /* a required pointer is NULL */
    BNORM_BAD_STRUCT_SIZE, /* a struct_size is not one that this version knows */
    BNORM_BAD_SHAPE, /* channels or block is 0, or the tensor is larger than an address can reach */
    BNORM_BAD_STRIDE, /* strides make elements of one tensor coincide */
    BNORM_MISALIGNED, /* a pointer is not aligned to its element */
    BNORM_OVERLAP, /* an output overlaps another argument other than exactly in place */
    BNORM_BAD_EPSILON, /* epsilon is negative, infinite or NaN */
    BNORM_BAD_MOMENTUM, /* momentum is outside [0, 1] or NaN */
    BNORM_BAD_VARIANCE, /* not one of bnorm_variance */
    BNORM_SINGLE_VALUE, /* one value a channel has no unbiased variance; ask for BNORM_BIASED to train on it */
    BNORM_BAD_EXECUTOR, /* an executor without a function, or of width 0 */
    BNORM_SMALL_WORKSPACE, /* workspace_size is below what bnorm_workspace_size says */
    BNORM_UNKNOWN_ISA, /* no such ISA, or it does not run on this CPU */
    BNORM_UNSUPPORTED, /* understood, but not offered by this version or build */
    BNORM_BAD_HINT /* not one of bnorm_hint */
} bnorm_status;

/* A short English sentence for a status, for a log; never NULL. */
BNORM_API const char *bnorm_status_string(bnorm_status status);

/* The version of the library that runs, as in BNORM_VERSION. */
BNORM_API const char *bnorm_version(void);

/* ---- Shapes ---------------------------------------------------------------------------------------------------- */

/* The type of a tensor's elements. Parameters and statistics are float whatever the tensors are. */
typedef enum bnorm_dtype { BNORM_F32 = 0 } bnorm_dtype;

/*
 * Where a tensor's elements lie. Strides count elements; 0 means dense. Elements must stay apart: ordered by size,
 * each stride is at least the extent of what it steps over. A channel slice of a larger tensor, padded planes and
 * pitched rows are therefore all legal.
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
 * divide channels, the lanes past the last channel are padding: they exist in memory, no statistic sees them, and in
 * an output they are written as zero.
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

/* A dense f32 shape of any block. */
static inline bnorm_shape bnorm_blocked(size_t batch, size_t channels, size_t points, size_t block)
{
    bnorm_layout dense;
    bnorm_shape shape;
    dense.dtype = BNORM_F32;
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
    BNORM_AUTO = 0, /* past the caches where x and y exceed the largest cache, in training half of it */
    BNORM_KEEP = 1, /* y is read again soon */
    BNORM_STREAM = 2 /* y is not read again soon, or there is much else in the caches */
} bnorm_hint;

/*
 * Bytes of the largest cache of a core's own, and of the largest cache of all: as found on this CPU, where it tells, or
 * as bnorm_set_cache_sizes says for the whole process, 0 being what was found. Only speed depends on them; NULL is
 * not stored to.
 */
BNORM_API void bnorm_cache_sizes(size_t *core, size_t *shared);
BNORM_API void bnorm_set_cache_sizes(size_t core, size_t shared);

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
} bnorm_infer_params;

/*
 * y = (x - mean) * gamma / sqrt(var + epsilon) + beta, a channel at a time (Ioffe and Szegedy 2015, algorithm 2).
 *
 * y may be x where shape->in equals shape->out; any other overlap of y is BNORM_OVERLAP. An empty tensor is BNORM_OK.
 * The factor gamma / sqrt(var + epsilon) is computed in double and rounded once; a negative var + epsilon gives NaN.
 */
BNORM_API bnorm_status bnorm_infer(const bnorm_shape *shape, const bnorm_infer_params *params, const void *x, void *y,
                                   const bnorm_executor *executor);

/* ---- Training -------------------------------------------------------------------------------------------------- */

/* Which variance is folded into the running variance; y always uses the biased one. */
typedef enum bnorm_variance {
    BNORM_UNBIASED = 0, /* divided by n - 1: PyTorch, TensorFlow's fused kernel, cuDNN */
    BNORM_BIASED = 1 /* divided by n: ONNX, Keras */
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
     * whatever was there; 1/k in the k-th call gives the cumulative average.
     */
    float momentum;
    bnorm_variance running_variance;
    float *running_mean; /* in and out; NULL: not kept */
    float *running_var; /* in and out; NULL: not kept */

    /* For the backward pass: the batch mean as the unevaluated sum mean + mean_low, and 1/sqrt(var + epsilon). */
    float *saved_mean;
    float *saved_mean_low;
    float *saved_rstd;

    bnorm_hint hint;
} bnorm_train_params;

/*
 * Normalises each channel by the statistics of the batch itself (Ioffe and Szegedy 2015, algorithm 1):
 * y = (x - E[x]) * gamma / sqrt(Var[x] + epsilon) + beta, with the biased variance over batch and points.
 *
 * The variance is never negative, exactly 0 for a constant channel (then y is exactly beta, if epsilon > 0), and as
 * exact at a large mean as at mean 0: docs/numerics.md has the bounds. A NaN or Inf stays in its channel.
 *
 * y may be x where shape->in equals shape->out; any other overlap of an output or the workspace is BNORM_OVERLAP. An
 * empty tensor is BNORM_OK and changes no running or saved statistic. One value a channel is BNORM_SINGLE_VALUE
 * unless running_variance is BNORM_BIASED. The workspace needs no alignment and no initial content.
 */
BNORM_API bnorm_status bnorm_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                                   void *workspace, size_t workspace_size, const bnorm_executor *executor);

/* ---- Workspace ------------------------------------------------------------------------------------------------- */

typedef enum bnorm_operation { BNORM_INFER = 0, BNORM_TRAIN = 1 } bnorm_operation;

/* Stores the bytes of scratch memory that the operation needs with this shape and executor in *size; may be 0. */
BNORM_API bnorm_status bnorm_workspace_size(const bnorm_shape *shape, bnorm_operation operation,
                                            const bnorm_executor *executor, size_t *size);

/* ---- Instruction sets ------------------------------------------------------------------------------------------ */

/*
 * The ISAs that were built in and run on this CPU and operating system, best first: "avx512", "avx2", "neon" and
 * always, last, "scalar". bnorm_isa_name gives NULL from bnorm_isa_count() on.
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
 * they began. BNORM_UNKNOWN_ISA if it does not run here.
 */
BNORM_API bnorm_status bnorm_set_isa(const char *name);

#ifdef __cplusplus
}
#endif

#endif
