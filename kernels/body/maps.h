/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of the maps: y or dx of a pair, for each bnorm_map of kernels.h, and the coefficients of a pair. The
 * walks are map_units.inc, over planes and adjacent rows, and map_columns.inc, over strided rows.
 */
#ifndef BNORM_BODY_MAPS_H
#define BNORM_BODY_MAPS_H

#include "fusion.h"
#include "pair.h"

/* The coefficients of the lanes of a pair. */
typedef struct {
    pair center, scale, shift, dy_mean, slope, offset;
} coefficients;

/* A mask of the lanes of a pair that are channels, one bit per lane; the others are padding, which becomes zero. */
enum { ALL_LANES = -1 };

static INLINE int first_lanes(size_t n)
{
    return (int)(((uint64_t)1 << n) - 1);
}

/* How many of the first n lanes are channels, up to the first that is padding. */
static INLINE size_t count_channels(int lanes, size_t n)
{
    size_t count = 0;
    while (lanes != ALL_LANES && count < n && (uint32_t)lanes >> count & 1)
        count++;
    return lanes == ALL_LANES ? n : count;
}

static INLINE pair zero_padding(pair y, int lanes)
{
    if (lanes == ALL_LANES)
        return y;
    return (pair){ v_select(v_of_bits((uint32_t)lanes), y.a, v_zero()),
                   v_select(v_of_bits((uint32_t)lanes >> V_LANES), y.b, v_zero()) };
}

/* ---- y or dx of the first n lanes of a pair; `at` is the index of the first element for fused tensors ---- */

static INLINE pair normalise(pair x, const coefficients *k)
{
    return add(mul(sub(x, k->center), k->scale), k->shift);
}

static INLINE pair gradient(pair x, pair dz, const coefficients *k)
{
    const pair d = sub(x, k->center), line = add(mul(d, k->slope), k->offset);
    return mul(accumulate(sub(dz, k->dy_mean), line), k->scale);
}

static INLINE pair map_normalise(const bnorm_map_job *j, pair x, pair dy, const pair *residual, pair *dz, size_t at,
                                 size_t n, const coefficients *k)
{
    return normalise(x, k);
}

static INLINE pair map_gradient(const bnorm_map_job *j, pair x, pair dy, const pair *residual, pair *dz, size_t at,
                                size_t n, const coefficients *k)
{
    return gradient(x, dy, k);
}

static INLINE pair map_frozen(const bnorm_map_job *j, pair x, pair dy, const pair *residual, pair *dz, size_t at,
                              size_t n, const coefficients *k)
{
    return mul(dy, k->scale);
}

static INLINE pair map_fused_normalise(const bnorm_map_job *j, pair x, pair dy, const pair *residual, pair *dz,
                                       size_t at, size_t n, const coefficients *k)
{
    return fuse(normalise(x, k), residual, j->fusion, (run){ j->begin, j->end }, at, n);
}

static INLINE pair map_fused_gradient(const bnorm_map_job *j, pair x, pair dy, const pair *residual, pair *dz,
                                      size_t at, size_t n, const coefficients *k)
{
    *dz = fuse_backward(dy, normalise(x, k), residual, j->fusion, at, n);
    return j->map == BNORM_FROZEN ? mul(*dz, k->scale) : gradient(x, *dz, k);
}

/* ---- Coefficients of a pair; `slope`: the last three, too ---- */

#define RETURN_COEFFICIENTS(GET) \
    coefficients c = { .center = GET(center, BNORM_CENTER), \
                       .scale = GET(scale, BNORM_SCALE), \
                       .shift = GET(shift, BNORM_SHIFT), \
                       .dy_mean = zero_pair(), \
                       .slope = zero_pair(), \
                       .offset = zero_pair() }; \
    if (slope) { \
        c.dy_mean = GET(dy_mean, BNORM_DY_MEAN); \
        c.slope = GET(slope, BNORM_SLOPE); \
        c.offset = GET(offset, BNORM_OFFSET); \
    } \
    return c

static INLINE coefficients load_coefficients(const float *const *k, size_t lane, size_t n, bool slope)
{
#define GET(field, index) load_f32(k[index], BNORM_DTYPE_F32, lane, n)
    RETURN_COEFFICIENTS(GET);
#undef GET
}

/* Repeats a row of `width` channels, a divisor of a pair. */
static INLINE coefficients repeat_coefficients(const float *const *k, size_t channel, size_t width, bool slope)
{
#define GET(field, index) repeat_row_pair(k[index] + channel, width, 0)
    RETURN_COEFFICIENTS(GET);
#undef GET
}

/* Takes the first n lanes of a, and the others of b. */
static INLINE coefficients blend_coefficients(const coefficients *a, const coefficients *b, size_t n, bool slope)
{
#define GET(field, index) blend_n(a->field, b->field, n)
    RETURN_COEFFICIENTS(GET);
#undef GET
}
#undef RETURN_COEFFICIENTS

/*
 * Rows: coefficients per lane, in memory. A seam is a pair that begins in one row and ends in the next; `seam` has the
 * coefficients of a row's last lanes, followed by those of its first.
 */
typedef struct {
    const float *k[BNORM_COEFFICIENTS];
    const float *seam[BNORM_COEFFICIENTS];
} row_coefficients;

static INLINE row_coefficients begin_rows(const row_coefficients *given)
{
    return *given;
}

/* Planes: the coefficients of the unit and of the one before stay in registers. */
typedef struct {
    coefficients before, now;
} plane_coefficients;

static INLINE plane_coefficients begin_planes(const row_coefficients *given)
{
    return (plane_coefficients){ 0 };
}

static INLINE void next_plane(plane_coefficients *f, const float *const *k, size_t unit, size_t units, size_t width,
                              bool slope)
{
    f->before = f->now;
    if (unit < units)
        f->now = repeat_coefficients(k, unit * width, width, slope);
}

static INLINE coefficients across_plane(const plane_coefficients *f, size_t rest, bool slope)
{
    return blend_coefficients(&f->before, &f->now, rest, slope);
}

static INLINE coefficients within_plane(const plane_coefficients *f, size_t lane, bool slope)
{
    return f->now;
}

/* Planes of one channel: both vectors of a pair have the same coefficients, which takes half the registers. */
typedef plane_coefficients channel_coefficients;
#define begin_channels begin_planes
#define across_channel across_plane
#define within_channel within_plane

static INLINE void next_channel(plane_coefficients *f, const float *const *k, size_t unit, size_t units, size_t width,
                                bool slope)
{
    next_plane(f, k, unit, units, 1, slope);
}

static INLINE void next_row(row_coefficients *f, const float *const *k, size_t unit, size_t units, size_t width,
                            bool slope)
{
}

static INLINE coefficients across_row(const row_coefficients *f, size_t rest, bool slope)
{
    return load_coefficients(f->seam, PAIR - rest, PAIR, slope);
}

static INLINE coefficients within_row(const row_coefficients *f, size_t lane, bool slope)
{
    return load_coefficients(f->k, lane, PAIR, slope);
}

/* Sets the range to one row, as another task may compute what lies between rows. */
static INLINE void begin_row(bnorm_map_job *j, const bnorm_rows *r, size_t row, bool backward)
{
    j->begin = j->at + row * (backward ? r->dy_stride : r->y_stride);
    j->end = j->begin + r->used;
}

/* ---- Prefetch and alignment ---- */

static INLINE void prefetch_inputs(const bnorm_map_job *j, size_t l, bool backward)
{
    if (l + PAIR > j->prefetch_until)
        return;
    prefetch_pair(j->x, j->x_type, l + j->x_prefetch);
    if (backward)
        prefetch_pair(j->dy, j->dy_type, l + j->dy_prefetch);
}

/* How many lanes precede the first at which y is aligned to a vector. */
static INLINE size_t lanes_to_aligned(const void *y, bnorm_dtype type)
{
    return (0 - (uintptr_t)y) % STORE_BYTES / bnorm_size_of(type);
}

/* ---- Properties of each arithmetic, and the types of the walks ---- */

enum {
    is_backward_normalise = 0,
    is_backward_gradient = 1,
    is_backward_frozen = 1,
    is_backward_fused_normalise = 0,
    is_backward_fused_gradient = 1,
    has_slope_normalise = 0,
    has_slope_gradient = 1,
    has_slope_frozen = 0,
    has_slope_fused_normalise = 0,
    has_slope_fused_gradient = 1,
    is_fused_normalise = 0,
    is_fused_gradient = 0,
    is_fused_frozen = 0,
    is_fused_fused_normalise = 1,
    is_fused_fused_gradient = 1
};

typedef void unit_function(bnorm_map_job j, const row_coefficients *given, size_t units, size_t lanes, size_t width,
                           size_t head);
typedef void column_function(bnorm_map_job j, const bnorm_rows *r, size_t rows_at_once);
typedef void padded_function(bnorm_map_job j, size_t rows, int lanes);

#endif
