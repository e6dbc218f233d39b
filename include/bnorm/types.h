/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What all calls take and answer: statuses, shapes, threads.
 */
#ifndef BNORM_TYPES_H
#define BNORM_TYPES_H

#include <stddef.h>

#include "prefix.h"
#include "version.h"

/** Marks what the shared library exports. Windows programs that link it as a DLL define BNORM_SHARED. */
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

/** What a call answers. Anything but #BNORM_OK means that nothing was written. New errors take free numbers. */
typedef enum bnorm_status {
    BNORM_OK = 0, /**< Success. */

    BNORM_ERROR_NULL_POINTER = 1, /**< Memory: a required pointer is NULL. */
    BNORM_ERROR_ALIGNMENT = 2, /**< Memory: a pointer is not aligned to its element. */
    BNORM_ERROR_OVERLAP = 3, /**< Memory: an output overlaps another argument other than exactly in place. */
    BNORM_ERROR_WORKSPACE_SIZE = 4, /**< Memory: the workspace is smaller than bnorm_workspace_size() says. */

    BNORM_ERROR_STRUCT_SIZE = 10, /**< Description: a struct_size is not one that this version knows. */
    BNORM_ERROR_SHAPE = 11, /**< Description: channels or block is 0, or the tensor exceeds the address space. */
    BNORM_ERROR_STRIDE = 12, /**< Description: strides make elements of one tensor coincide. */
    BNORM_ERROR_EXECUTOR = 13, /**< Description: an executor has no function, or width 0. */

    BNORM_ERROR_EPSILON = 20, /**< Parameter: epsilon is negative, infinite or NaN. */
    BNORM_ERROR_MOMENTUM = 21, /**< Parameter: momentum is outside [0, 1] or NaN. */
    BNORM_ERROR_VARIANCE = 22, /**< Parameter: running_variance is not one of #bnorm_variance. */
    BNORM_ERROR_STATISTICS = 23, /**< Parameter: statistics is not one of #bnorm_statistics. */
    BNORM_ERROR_HINT = 24, /**< Parameter: hint is not one of #bnorm_hint. */
    /** Parameter: activation is not one of #bnorm_activation, its alpha or beta is out of range, or it has no mask. */
    BNORM_ERROR_ACTIVATION = 25,

    BNORM_ERROR_SINGLE_VALUE = 30, /**< Impossible: one value per channel has no unbiased variance. */
    BNORM_ERROR_ISA = 31, /**< Impossible: no such ISA, or this CPU does not run it. */
    BNORM_ERROR_UNSUPPORTED = 32, /**< Impossible: understood, but not offered by this version or build. */

    BNORM_ERROR_PEER = 40, /**< bnorm/mpi.h: another process that shares the batch failed. */
    BNORM_ERROR_COMMUNICATION = 41 /**< bnorm/mpi.h: MPI answered with an error. */
} bnorm_status;

/* ---- Shapes ---------------------------------------------------------------------------------------------------- */

/**
 * The type of a tensor's elements. Arithmetic is on floats: loads are exact; stores round once, to nearest even, and
 * what is too large becomes Inf. Subnormal values are kept, and a NaN stays a NaN. Parameters and statistics are float
 * whatever the tensors are.
 */
typedef enum bnorm_dtype {
    BNORM_DTYPE_F32 = 0, /**< float */
    BNORM_DTYPE_BF16 = 1, /**< bfloat16: the upper half of a float */
    BNORM_DTYPE_F16 = 2 /**< IEEE 754 binary16 */
} bnorm_dtype;

/**
 * Where a tensor's elements lie. Strides count elements; 0 means dense. Elements must not coincide: in order of size,
 * each stride is at least the extent of what it steps over. Slices of channels, padded planes and pitched rows are
 * therefore all legal. The stride of an axis of one element is ignored.
 *
 * NHWC can also be described as block 1 with strides (block_stride 1, point_stride channels): the bits are then those
 * of NCHW, because the block decides the order of summation, and calls take up to twice as long as with block =
 * channels. Where `in` and `out` differ so that elements must be transposed, a call takes several times as long; with
 * a mask, which is then handled bit by bit, a hundred times.
 */
typedef struct bnorm_layout {
    bnorm_dtype dtype; /**< the type of the elements */
    size_t image_stride; /**< elements from an image of the batch to the next */
    size_t block_stride; /**< elements from a channel block to the next */
    size_t point_stride; /**< elements from a point to the next */
} bnorm_layout;

/**
 * A tensor [batch][ceil(channels / block)][points][block]. When block does not divide channels, the lanes after the
 * last channel are padding: they exist in memory and may be read, no statistic includes them, and in an output they
 * are written as zero. An empty tensor (batch or points 0) is legal.
 */
typedef struct bnorm_shape {
    size_t struct_size; /**< sizeof(bnorm_shape) */
    size_t batch; /**< images: N */
    size_t channels; /**< C, at least 1 */
    size_t points; /**< values of an image per channel: H*W, D*H*W, L or 1 */
    size_t block; /**< adjacent channels: 1 for NCHW, `channels` for NHWC, 8 or 16 for nChw8c and nChw16c */
    bnorm_layout in; /**< x and its gradient */
    bnorm_layout out; /**< y and its gradient */
} bnorm_shape;

/**
 * Describes a dense f32 tensor of any block. Other types and strides are then set in its `in` and `out`.
 *
 * @param batch    images
 * @param channels channels
 * @param points   values of an image per channel
 * @param block    adjacent channels
 * @return the shape
 */
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

/**
 * Describes NCHW, NCL or NCDHW: the points of each channel are adjacent.
 *
 * @param batch    images
 * @param channels channels
 * @param points   values of an image per channel
 * @return the shape, dense and f32
 */
static inline bnorm_shape bnorm_nchw(size_t batch, size_t channels, size_t points)
{
    return bnorm_blocked(batch, channels, points, 1);
}

/**
 * Describes NHWC, NLC, NDHWC, or NC with points = 1: the channels of each point are adjacent.
 *
 * @param batch    images
 * @param channels channels
 * @param points   values of an image per channel
 * @return the shape, dense and f32
 */
static inline bnorm_shape bnorm_nhwc(size_t batch, size_t channels, size_t points)
{
    return bnorm_blocked(batch, channels, points, channels);
}

/* ---- Threads --------------------------------------------------------------------------------------------------- */

/**
 * One piece of a call's work.
 *
 * @param argument what bnorm gave to the executor
 * @param task     which piece, from 0
 */
typedef void bnorm_task(void *argument, size_t task);

/** The caller's threads. Wherever an executor is taken, NULL runs everything on the calling thread. */
typedef struct bnorm_executor {
    /**
     * Calls task(argument, i) once for each i in [0, tasks), in any order and on any threads, and returns when all have
     * returned; their memory effects must then be visible to the caller, as after a join.
     */
    void (*run)(void *context, size_t tasks, bnorm_task *task, void *argument);
    void *context; /**< the first argument of run */
    size_t width; /**< tasks that can run at once, at least 1; it decides how work is cut, never a result */
} bnorm_executor;

#ifdef __cplusplus
}
#endif

#endif
