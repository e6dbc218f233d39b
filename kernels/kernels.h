/* SPDX-License-Identifier: MIT */
/*
 * The interface between dispatch/ and kernels/: the order of the statistics, the arguments of kernels, and the table of
 * kernels that each ISA has.
 */
#ifndef BNORM_KERNELS_H
#define BNORM_KERNELS_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/bnorm/bnorm.h"

/* Rejects each part of -ffast-math too: gcc defines a macro for each, clang for -ffinite-math-only alone. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__NO_SIGNED_ZEROS__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    FLT_EVAL_METHOD != 0
#error "bnorm needs IEEE operations: compile without -ffast-math, and without excess precision (FLT_EVAL_METHOD 0)"
#endif

/*
 * INLINE marks functions whose constant arguments select the code, NOINLINE those for which one copy is enough, and
 * PURE those without side effects.
 */
#if defined(__GNUC__) && !defined(__clang__)
#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline, noclone))
#elif defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#else
#define INLINE inline
#define NOINLINE
#endif
#ifdef __GNUC__
#define PURE __attribute__((pure))
#else
#define PURE
#endif

/*
 * The order of the statistics (docs/numerics.md). A super-row is as many rows of adjacent channels as fill tiles of
 * BNORM_TILE lanes well. Each lane sums a group of super-rows in f32, the groups of a chunk are added in f32, and
 * chunks in double.
 */
enum {
    BNORM_TILE = 32, /* lanes: two AVX-512, four AVX2 or eight NEON vectors */
    BNORM_GROUP = 16, /* super-rows */
    BNORM_CHUNK = 128, /* super-rows, a multiple of the group */
    BNORM_CACHE_LINE = 64, /* bytes: the step of prefetches */
    BNORM_CACHE_LINE_FLOATS = 16, /* as many channels are gathered together, as they may be adjacent */
    BNORM_MAX_SUPER_ROW = 512 /* lanes of a super-row of several rows, at most; a test checks this */
};

/*
 * How many bytes ahead loops prefetch: those with non-temporal stores, and those that only read. The best values differ
 * between CPUs.
 */
#ifndef BNORM_PREFETCH
#define BNORM_PREFETCH 2048
#endif
#ifndef BNORM_PREFETCH_FAR
#define BNORM_PREFETCH_FAR 32768
#endif

/* For arrays that are loaded often: a vector that crosses cache lines takes two loads. */
#define BNORM_ALIGNED _Alignas(64)

/* How many rows of `width` lanes make a super-row: those that fit the fewest tiles of which they fill 7/8 or more. */
static inline size_t bnorm_rows_per_super_row(size_t width)
{
    size_t tiles = width / BNORM_TILE + (width % BNORM_TILE != 0);
    while (tiles * BNORM_TILE / width * width < tiles * (BNORM_TILE / 8 * 7))
        tiles++;
    return tiles * BNORM_TILE / width;
}

/* The strides of a tensor. A dense walk needs the first three alone. */
typedef struct bnorm_reach {
    size_t unit_stride, run_stride, super_row_stride;
    size_t image_stride, point_stride, block_stride;
} bnorm_reach;

/*
 * Where the super-rows of a unit lie; a unit is the channels whose statistics are summed together. A run is a
 * sequence of rows of `width` lanes, and begins with a new super-row. Lane l belongs to channel l % width.
 */
typedef struct bnorm_walk {
    size_t width; /* lanes of a row */
    size_t rows_per_super_row; /* bnorm_rows_per_super_row(width) */
    size_t run_rows; /* rows of a run */
    size_t run_super_rows; /* super-rows of a run; the last may have fewer rows */
    size_t points, block; /* points of an image, channels of a block: they locate rows and lanes if not dense */
    size_t runs, group_runs; /* all runs, and those that hold one group */
    bool prefetch; /* the tensors are not in the caches */
    bool dense; /* the lanes of each super-row are adjacent */
    bnorm_reach x, dy;
} bnorm_walk;

/* How many values per channel precede a super-row. */
static inline size_t bnorm_values_before(const bnorm_walk *w, size_t super_row)
{
    return super_row / w->run_super_rows * w->run_rows + super_row % w->run_super_rows * w->rows_per_super_row;
}

/*
 * The fused epilogue: y = activation(z) with z = (x - center) * scale + shift + residual, and its gradient. Each tensor
 * here has y's layout and type, so one index addresses an element of all of them, and its bit of the mask.
 */
typedef struct bnorm_fusion {
    bnorm_activation activation; /* BNORM_ACT_RELU is given as BNORM_ACT_CLAMP from 0 to Inf, with `high` NaN (none) */
    float alpha, beta;
    float low, high; /* for an activation of two slopes: a bit of the mask is !(u <= low) && !(u >= high) */
    const void *residual; /* NULL: none */
    uint8_t *mask; /* written by forward; read by backward, which then needs no z; NULL: none */
    void *dresidual; /* written by backward: the gradient with respect to z; NULL: not wanted */
} bnorm_fusion;

/* Which terms are summed, with d = x - pivot. */
typedef enum bnorm_terms {
    BNORM_DEVIATIONS, /* d */
    BNORM_SQUARES, /* d and d*d */
    BNORM_PRODUCTS, /* dy and dy*d */
    BNORM_CENTERED, /* e, e*d and d, with e = dy - dy_pivot */
    BNORM_FUSED /* dz and dz*d, where dz is the gradient with respect to z */
} bnorm_terms;

enum { BNORM_SUMS = 3 }; /* the most that any terms have */

/* Whether the terms need x alone. */
static inline bool bnorm_of_x(bnorm_terms terms)
{
    return terms <= BNORM_SQUARES;
}

static inline int bnorm_sums_of(bnorm_terms terms)
{
    return terms == BNORM_CENTERED ? 3 : terms == BNORM_DEVIATIONS ? 1 : 2;
}

/* Sums super-rows [first, first + rows) of each of `units` units, at most BNORM_CHUNK of them. */
typedef struct bnorm_sum_job {
    bnorm_terms terms;
    size_t units, first, rows;
    bnorm_dtype x_type, dy_type;
    const void *x, *dy; /* dy is x again if the terms need x alone */
    const float *pivot, *dy_pivot, *scale, *shift; /* [unit][width]; NULL if the terms do not use them */
    const bnorm_fusion *fusion;
    size_t at; /* the index of dy[0] in its tensor */
    float *sum[BNORM_SUMS]; /* [unit][width], in the order of bnorm_terms */
} bnorm_sum_job;

/* The coefficients that y or dx is computed from: one array each, with one float per channel. */
typedef enum bnorm_coefficient {
    BNORM_CENTER,
    BNORM_SCALE,
    BNORM_SHIFT,
    BNORM_DY_MEAN,
    BNORM_SLOPE,
    BNORM_OFFSET,
    BNORM_COEFFICIENTS
} bnorm_coefficient;

/* What is computed, with d = x - center, and dz = dy if nothing is fused. */
typedef enum bnorm_map {
    BNORM_NORMALISE, /* y = d * scale + shift */
    BNORM_GRADIENT, /* dx = ((dz - dy_mean) + (d * slope + offset)) * scale */
    BNORM_FROZEN /* dx = dz * scale */
} bnorm_map;

static INLINE bool bnorm_uses(bnorm_map map, int coefficient)
{
    return coefficient <= BNORM_SHIFT || map == BNORM_GRADIENT;
}

/* The operation and tensors of a map. The tensors' pointers are to the first element to compute. */
typedef struct bnorm_map_job {
    bnorm_map map;
    bool stream; /* non-temporal stores to y; store_fence() before another thread reads it */
    bool bf16_fast; /* the CPU has BNORM_CPU_AVX512BF16 */
    bnorm_dtype x_type, dy_type, y_type;
    const void *x, *dy; /* NULL if the map does not need it */
    void *y; /* y or dx; NULL: only dresidual is wanted */
    const float *k[BNORM_COEFFICIENTS];
    const bnorm_fusion *fusion; /* NULL: none */
    size_t at; /* the index of dy[0] in its tensor, or of y[0] if there is no dy */
    size_t prefetch_until; /* in planes, while computing this many lanes, prefetch so many elements ahead: */
    size_t x_prefetch, dy_prefetch;
    size_t begin, end; /* set by the kernels: the range of indices, like `at`, that is computed without a gap */
} bnorm_map_job;

/* Computes adjacent units of `lanes` values each; channels repeat every `width` lanes, a divisor of a tile. */
typedef struct bnorm_planes {
    bnorm_map_job job; /* k: [unit][width] */
    size_t width, units, lanes;
    size_t images, x_stride, dy_stride, y_stride; /* the same units of so many images */
} bnorm_planes;

/* Computes rows of `width` lanes: the first `used` are channels, and the others padding, which becomes zero. */
typedef struct bnorm_rows {
    bnorm_map_job job;
    size_t rows, width, used;
    size_t x_stride, dy_stride, y_stride;
} bnorm_rows;

/*
 * The kernels of one ISA. Those named _f64 take arrays with one value per channel.
 *
 * sum_units         computes the sums of a bnorm_sum_job.
 * recenter_f64      moves the pivot to the mean that the sums about it give, rounded.
 * locate_f64        computes a pivot from sums and sums of squares: the mean if it is 8 standard deviations or more
 *                   from 0, else 0.
 * accumulate_f64    total += sum.
 * add_epoch_f64     adds an epoch of `count` values to the mean and m2 (the sum of squared deviations from the mean) of
 *                   the `before` values that precede it (Chan, Golub and LeVeque 1983). The epoch's sums about the
 *                   pivot are total + sum; total NULL: sum alone. before = 0: mean and m2 are only written. The pivot
 *                   becomes the new mean.
 * merge_f64         merges the moments of `more_count` values into those of `count` values.
 * finish_f64        splits the mean into floats, mean = center + low, and computes rstd = 1/sqrt(m2 / count + epsilon);
 *                   rstd is 0 if that sum is less than 2^-149, the smallest float.
 * coefficients_f64  computes scale and shift of y = (x - center) * scale + shift. gamma, beta and low may be NULL.
 * average_f64       running = (1 - momentum) * running + momentum * batch, in double, for the mean and m2 / divisor.
 *                   Unless momentum is 1, a channel whose mean or variance is not finite as a float keeps both running
 *                   values. Either running array may be NULL.
 * scale_f64         computes gamma / sqrt(var + epsilon). gamma may be NULL.
 * uncenter_f64      turns the sums of products over `count` values, total + sum (total NULL: sum alone), into those of
 *                   dy, d and dy * d. dy_pivot NULL: none. The sum of d is count * low; low NULL: it is the third sum.
 * gradient_f64      computes dy_mean, slope and offset of BNORM_GRADIENT from the sums over `count` values.
 * map_planes,       apply the map to planes or rows. y may be x or dy, with the same strides.
 * map_rows
 * store_fence       orders non-temporal stores before later stores, so that another thread can be told of them.
 */
typedef struct bnorm_kernels {
    const char *name;
    unsigned cpu; /* the BNORM_CPU_ bits that the kernels need */
    unsigned sleef; /* those that activations through SLEEF need; BNORM_CPU_NONE if SLEEF is not built in */
#define KERNEL(name, parameters) void(*name) parameters;
#include "kernels.def"
#undef KERNEL
} bnorm_kernels;

/* Features of a CPU; a bit is set only if the operating system saves the registers too. */
enum {
    BNORM_CPU_AVX2 = 1 << 0,
    BNORM_CPU_FMA = 1 << 1,
    BNORM_CPU_F16C = 1 << 2,
    BNORM_CPU_AVX512F = 1 << 3,
    BNORM_CPU_AVX512CD = 1 << 4,
    BNORM_CPU_AVX512BW = 1 << 5,
    BNORM_CPU_AVX512DQ = 1 << 6,
    BNORM_CPU_AVX512VL = 1 << 7,
    BNORM_CPU_NEON = 1 << 8,
    BNORM_CPU_AVX512BF16 = 1 << 12, /* optional: the AVX-512 kernels use it if the CPU has it */
    BNORM_CPU_SVE128 = 1 << 9, /* SVE with vectors of exactly that many bits */
    BNORM_CPU_SVE256 = 1 << 10,
    BNORM_CPU_SVE512 = 1 << 11,
    BNORM_CPU_NONE = 1 << 29 /* set for no CPU */
};

#ifdef BNORM_SLEEF
#define BNORM_SLEEF_NEEDS(cpu) (cpu)
#else
#define BNORM_SLEEF_NEEDS(cpu) BNORM_CPU_NONE
#endif

extern const bnorm_kernels bnorm_kernels_scalar;
extern const bnorm_kernels bnorm_kernels_avx2;
extern const bnorm_kernels bnorm_kernels_avx512;
extern const bnorm_kernels bnorm_kernels_neon;
extern const bnorm_kernels bnorm_kernels_sve128;
extern const bnorm_kernels bnorm_kernels_sve256;
extern const bnorm_kernels bnorm_kernels_sve512;

#endif
