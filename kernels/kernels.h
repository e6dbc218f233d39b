/* SPDX-License-Identifier: MIT */
/* What dispatch/ and kernels/ agree on: the order of the statistics, the arguments of kernels, the table of an ISA. */
#ifndef BNORM_KERNELS_H
#define BNORM_KERNELS_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/bnorm/bnorm.h"

/* The parts of -ffast-math by themselves, too: gcc tells of each, clang of the first alone. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__NO_SIGNED_ZEROS__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    FLT_EVAL_METHOD != 0
#error \
    "bnorm rests on each operation being the IEEE one: without -ffast-math, without digits that the type does not have"
#endif

/*
 * INLINE: takes a constant that decides which code there is. NOINLINE: need not be there for each caller. PURE: has no
 * effect but its result.
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
 * The order of the statistics (docs/numerics.md). Values are taken in super-rows: as many rows of adjacent channels as
 * fill tiles of BNORM_TILE lanes well. A lane sums a group of super-rows, then groups a chunk, in f32; chunks add up
 * in double.
 */
enum {
    BNORM_TILE = 32, /* lanes: two AVX-512, four AVX2 or eight NEON vectors */
    BNORM_GROUP = 16, /* super-rows */
    BNORM_CHUNK = 128, /* super-rows, a multiple of the group */
    BNORM_CACHE_LINE = 64, /* bytes of a cache line, where fetching ahead goes line by line */
    BNORM_MAX_SUPER_ROW = 512 /* lanes of a super-row of several rows, at most; a test holds it */
};

/* Bytes that are fetched ahead beside stores past the caches, and for reads alone. Another CPU may want others. */
#ifndef BNORM_PREFETCH
#define BNORM_PREFETCH 2048
#endif
#ifndef BNORM_PREFETCH_FAR
#define BNORM_PREFETCH_FAR 32768
#endif

/* For arrays that kernels read again and again: a vector that crosses cache lines takes two loads. */
#define BNORM_ALIGNED _Alignas(64)

/* How many rows of `width` lanes share a super-row: what fits the fewest tiles of which they fill 7/8. */
static inline size_t bnorm_rows_per_super_row(size_t width)
{
    size_t tiles = width / BNORM_TILE + (width % BNORM_TILE != 0);
    while (tiles * BNORM_TILE / width * width < tiles * (BNORM_TILE / 8 * 7))
        tiles++;
    return tiles * BNORM_TILE / width;
}

/* How the elements of a tensor are reached: by the first three strides where a walk is dense, else by all but those. */
typedef struct bnorm_reach {
    size_t unit_stride, run_stride, super_row_stride;
    size_t image_stride, point_stride, block_stride;
} bnorm_reach;

/*
 * Where the super-rows of a unit (channels whose statistics are collected together) lie. A run is a sequence of rows
 * of `width` lanes in logical order; super-rows start anew with each run. Lane l belongs to channel l % width.
 */
typedef struct bnorm_walk {
    size_t width; /* lanes of a row */
    size_t folded; /* rows of a super-row: bnorm_rows_per_super_row(width) */
    size_t run_rows; /* rows of a run */
    size_t run_super_rows; /* super-rows of a run; the last may have fewer rows */
    size_t points, block; /* rows count through the points of all images; lanes through blocks */
    size_t runs, group_runs; /* and as many as hold a group */
    bool fetch; /* the tensors come from memory */
    bool dense; /* each super-row's lanes are adjacent */
    bnorm_reach x, dy;
} bnorm_walk;

/* How many values of a channel lie before a super-row. */
static inline size_t bnorm_values_before(const bnorm_walk *w, size_t super_row)
{
    return super_row / w->run_super_rows * w->run_rows + super_row % w->run_super_rows * w->folded;
}

/*
 * What is fused: y = activation(z) of z = (x - center) * scale + shift + residual, and the way back. Each tensor here
 * is laid out as y and of its type, so one index reaches an element of all of them, and its bit of the mask.
 */
typedef struct bnorm_fusion {
    bnorm_activation activation; /* not BNORM_ACT_RELU, which is the BNORM_ACT_CLAMP between 0 and NaN, no bound */
    float alpha, beta;
    float low, high; /* of an activation of two slopes: its mask's bits are those of !(u <= low) && !(u >= high) */
    const void *residual; /* NULL: none */
    uint8_t *mask; /* forward: written; backward: read, in place of z; NULL: none */
    void *dresidual; /* backward: the gradient with respect to z; NULL: not wanted */
} bnorm_fusion;

/* What is summed, with d = x - pivot. */
typedef enum bnorm_terms {
    BNORM_DEVIATIONS, /* d */
    BNORM_SQUARES, /* d and d*d */
    BNORM_PRODUCTS, /* dy and dy*d */
    BNORM_CENTERED, /* e, e*d and d, with e = dy - dy_pivot */
    BNORM_FUSED /* dz and dz*d, with dz = the gradient with respect to z */
} bnorm_terms;

enum { BNORM_SUMS = 3 }; /* at most */

/* Whether they are of x alone. */
static inline bool bnorm_of_x(bnorm_terms terms)
{
    return terms <= BNORM_SQUARES;
}

static inline int bnorm_sums_of(bnorm_terms terms)
{
    return terms == BNORM_CENTERED ? 3 : terms == BNORM_DEVIATIONS ? 1 : 2;
}

/* What to sum of each of `units` units: super-rows [first, first + rows), at most BNORM_CHUNK of them. */
typedef struct bnorm_sum_job {
    bnorm_terms terms;
    size_t units, first, rows;
    bnorm_dtype x_type, dy_type;
    const void *x, *dy; /* dy: x again where the sums are of x alone */
    const float *pivot, *dy_pivot, *scale, *shift; /* [unit][width]; NULL where the terms do not use them */
    const bnorm_fusion *fusion;
    size_t at; /* dy's index in its tensor */
    float *sum[BNORM_SUMS]; /* [unit][width], in the order of bnorm_terms */
} bnorm_sum_job;

/* What a tensor is computed from, an array each; per channel. */
typedef enum bnorm_coefficient {
    BNORM_CENTER,
    BNORM_SCALE,
    BNORM_SHIFT,
    BNORM_DY_MEAN,
    BNORM_SLOPE,
    BNORM_OFFSET,
    BNORM_COEFFICIENTS
} bnorm_coefficient;

/* How it is computed, with d = x - center, and dz = dy where nothing is fused. */
typedef enum bnorm_map {
    BNORM_NORMALISE, /* y = d * scale + shift */
    BNORM_GRADIENT, /* dx = ((dz - dy_mean) + (d * slope + offset)) * scale */
    BNORM_FROZEN /* dx = dz * scale */
} bnorm_map;

static INLINE bool bnorm_uses(bnorm_map map, int coefficient)
{
    return coefficient <= BNORM_SHIFT || map == BNORM_GRADIENT;
}

/* What is computed of what. Tensors begin with the first element to compute. */
typedef struct bnorm_map_job {
    bnorm_map map;
    bool stream; /* non-temporal stores to y; store_fence() before another thread reads it */
    bool bf16_fast; /* the CPU has BNORM_CPU_AVX512BF16 */
    bnorm_dtype x_type, dy_type, y_type;
    const void *x, *dy; /* NULL where nothing asks for it */
    void *y; /* NULL: only dresidual is wanted */
    const float *k[BNORM_COEFFICIENTS];
    const bnorm_fusion *fusion; /* NULL: none */
    size_t at; /* the index of y, or of dy where there is one, in its tensor */
    size_t prefetch_until; /* planes: beside each of so many lanes, the first, those so many further are fetched: */
    size_t x_prefetch, dy_prefetch;
    size_t begin, end; /* set by the kernels: indices like `at` of what is computed without a gap */
} bnorm_map_job;

/* Adjacent units to compute: `lanes` values each, whose channels repeat with `width`, a divisor of a tile. */
typedef struct bnorm_planes {
    bnorm_map_job job; /* k: [unit][width] */
    size_t width, units, lanes;
} bnorm_planes;

/* Rows to compute: `width` lanes, of which `used` are channels and the others padding that becomes zero. */
typedef struct bnorm_rows {
    bnorm_map_job job;
    size_t rows, width, used;
    size_t x_stride, dy_stride, y_stride;
} bnorm_rows;

/*
 * The kernels of one ISA.
 *
 * sum_units:    the sums of a bnorm_sum_job.
 * recenter:     the pivot becomes the mean that the sums about it give, rounded.
 * locate:       a pivot for values whose sum and sum of squares these are: their mean, if it is 8 standard deviations
 *               or more from 0; else 0.
 * accumulate:   total += sum.
 * conclude:     an epoch of `count` values, whose sums about the pivot are total + sum (total NULL: sum alone), joins
 *               the `before` values whose mean and m2, the sum of squared deviations from the mean, are given (Chan,
 *               Golub and LeVeque 1983; nothing is read of them where before is 0). The pivot becomes the new mean.
 * merge:        the moments of `count` values and of `more_count` values become those of all.
 * finish:       mean = center + low, and rstd = 1/sqrt(m2 / count + epsilon), in float; 0 where the sum is less than
 *               2^-149, the smallest float.
 * coefficients: scale and shift of y = (x - center) * scale + shift. gamma, beta and low may be NULL.
 * average:      running = (1 - momentum) * running + momentum * batch, in double, of the mean and m2 / divisor. Unless
 *               momentum is 1, a channel of which either is not finite as a float keeps both. Either may be NULL.
 * scale:        gamma / sqrt(var + epsilon). gamma may be NULL.
 * uncenter:     from the sums of products over `count` values, total + sum (total NULL: sum alone), to those of dy, d
 *               and dy * d. dy_pivot NULL: none. The sum of d is count * low; low NULL: it is the third.
 * gradient:     dy_mean, slope and offset of BNORM_GRADIENT, from the sums over `count` values.
 * apply:        what the map says, in planes or rows. y may be x or dy, with the same strides.
 * store_fence:        orders stores past the caches before later ones, so that another thread can be told of them.
 */
typedef struct bnorm_kernels {
    const char *name;
    unsigned cpu; /* the BNORM_CPU_ bits that the kernels were compiled for */
    unsigned sleef; /* those that activations through SLEEF need; a bit that no CPU has where it is not built in */
#define KERNEL(name, parameters) void(*name) parameters;
#include "kernels.def"
#undef KERNEL
} bnorm_kernels;

/* Bits of a CPU, set only if the operating system keeps the registers too. */
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
    BNORM_CPU_AVX512BF16 = 1 << 12, /* no kernels ask for it: they use it where it is */
    BNORM_CPU_SVE128 = 1 << 9, /* SVE with vectors of that many bits, and no others */
    BNORM_CPU_SVE256 = 1 << 10,
    BNORM_CPU_SVE512 = 1 << 11,
    BNORM_CPU_NONE = 1 << 29 /* that no CPU has */
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
