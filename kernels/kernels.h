/* SPDX-License-Identifier: MIT */
/* What dispatch/ and kernels/ agree on: the order of the statistics, the arguments of kernels, the table of an ISA. */
#ifndef BNORM_KERNELS_H
#define BNORM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __FAST_MATH__
#error "bnorm rests on each operation being the IEEE one: compile it without -ffast-math"
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
    BNORM_LINE = 16, /* lanes of a cache line, where fetching ahead goes line by line */
    BNORM_FETCH = 512, /* lanes that are fetched ahead beside stores past the caches */
    BNORM_FETCH_FAR = 8192, /* the same for reads alone */
    BNORM_MAX_FOLDED = 512 /* lanes of a super-row of several rows, at most; a test holds it */
};

/* For arrays that kernels read again and again: a vector that crosses cache lines takes two loads. */
#define BNORM_ALIGNED _Alignas(64)

/* How many rows of `width` lanes share a super-row: what fits the fewest tiles of which they fill 7/8. */
static inline size_t bnorm_folded_rows(size_t width)
{
    size_t tiles = width / BNORM_TILE + (width % BNORM_TILE != 0);
    while (tiles * BNORM_TILE / width * width < tiles * (BNORM_TILE / 8 * 7))
        tiles++;
    return tiles * BNORM_TILE / width;
}

/*
 * Where the super-rows of a unit (channels whose statistics are collected together) lie. A run is a sequence of rows
 * of `width` lanes in logical order; super-rows start anew with each run. Lane l belongs to channel l % width.
 */
typedef struct bnorm_walk {
    size_t width; /* lanes of a row */
    size_t folded; /* rows of a super-row: bnorm_folded_rows(width) */
    size_t run_rows; /* rows of a run */
    size_t run_super_rows; /* super-rows of a run; the last may have fewer rows */

    bool fetch; /* x comes from memory: wide rows are fetched ahead */
    bool dense; /* each super-row's lanes are adjacent, and the two strides hold */
    size_t run_stride;
    size_t super_row_stride;

    /* What finds the elements where not dense: rows count through the points of all images. */
    size_t points;
    size_t block;
    size_t image_stride;
    size_t point_stride;
    size_t block_stride;
} bnorm_walk;

/* How many values of a channel lie before a super-row. */
static inline size_t bnorm_values_before(const bnorm_walk *w, size_t super_row)
{
    return super_row / w->run_super_rows * w->run_rows + super_row % w->run_super_rows * w->folded;
}

/* Adjacent units to normalise: `lanes` values each, whose channels repeat with `width`, a divisor of a tile. */
typedef struct bnorm_planes {
    bool stream; /* y goes past the caches; drain() before another thread reads it */
    size_t fetch, fetch_units; /* beside the first fetch_units units, what lies `fetch` lanes further is fetched */
    size_t width;
    size_t units, lanes;
    const float *x;
    float *y;
    const float *center, *scale, *shift; /* [unit][width] */
} bnorm_planes;

/* Rows to normalise: `width` lanes, of which `used` are channels and the others padding that becomes zero. */
typedef struct bnorm_rows {
    bool stream;
    size_t rows, width, used;
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    const float *center, *scale, *shift;
} bnorm_rows;

/* Per channel: y = (x - center) * scale + shift; center + low is the mean, rstd is 1/sqrt(var + epsilon). */
typedef struct bnorm_coefficients {
    float *center;
    float *scale;
    float *shift;
    float *low;
    float *rstd;
} bnorm_coefficients;

/*
 * The kernels of one ISA.
 *
 * collect:      sum[c] = Σd and sum_sq[c] = Σd·d, d = x - pivot[c], over super-rows [first, first + rows) of each of
 *               `units` units; at most BNORM_CHUNK super-rows. nchw: units of one channel; nhwc: of walk->width.
 *               sum_sq may be NULL.
 * recenter:     the pivot becomes the mean that the sums about it give, rounded.
 * accumulate:   total += sum, total_sq += sum_sq.
 * conclude:     an epoch of `count` values, whose sums about the pivot are total + sum (total NULL: sum alone), joins
 *               the `before` values whose mean and m2, the sum of squared deviations from the mean, are given (Chan,
 *               Golub and LeVeque 1983; nothing is read of them where before is 0). The pivot becomes the new mean.
 * merge:        the moments of `count` values and of `more_count` values become those of all.
 * coefficients: what apply needs, and the statistics to save. gamma and beta may be NULL.
 * scale:        gamma / sqrt(var + epsilon). gamma may be NULL.
 * apply:        y = (x - center) * scale + shift, in planes or rows. y may be x with the same strides.
 * drain:        orders stores past the caches before later ones, so that another thread can be told of them.
 */
typedef struct bnorm_kernels {
    const char *name;
    unsigned cpu; /* the BNORM_CPU_ bits that the kernels were compiled for */
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
    BNORM_CPU_NEON = 1 << 8
};

extern const bnorm_kernels bnorm_kernels_scalar;
extern const bnorm_kernels bnorm_kernels_avx2;
extern const bnorm_kernels bnorm_kernels_avx512;
extern const bnorm_kernels bnorm_kernels_neon;

#endif
