/* SPDX-License-Identifier: MIT */
/* y = (x - center) * scale + shift. Written against the vector header included before. */
#include <stdint.h>

#include "tile.h"

/* What a tile's lanes are normalised with. */
typedef struct {
    v_f32 center[V_TILE], scale[V_TILE], shift[V_TILE];
} tile_coefficients;

static inline v_f32 normalise(v_f32 x, v_f32 center, v_f32 scale, v_f32 shift)
{
    return v_add(v_mul(v_sub(x, center), scale), shift);
}

/* All is computed before the first store, so that the compiler need not ask whether y is x. */
static inline void apply_tile(const float *x, float *y, const tile_coefficients *k)
{
    v_f32 t[V_TILE];
    for (int v = 0; v < V_TILE; v++)
        t[v] = normalise(v_load(x + v * V_LANES), k->center[v], k->scale[v], k->shift[v]);
    for (int v = 0; v < V_TILE; v++)
        v_store(y + v * V_LANES, t[v]);
}

static inline void apply_part(const float *x, float *y, size_t lanes, const tile_coefficients *k)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        if (first >= lanes)
            break;
        if (first + V_LANES <= lanes)
            v_store(y + first, normalise(v_load(x + first), k->center[v], k->scale[v], k->shift[v]));
        else
            v_store_n(y + first, normalise(v_load_n(x + first, lanes - first), k->center[v], k->scale[v], k->shift[v]),
                      lanes - first);
    }
}

/* The points from `at` on that whole vectors take before `end`; returns where they stop. */
static inline size_t apply_vectors(const float *x, float *y, size_t at, size_t end, v_f32 c, v_f32 a, v_f32 b)
{
    for (; at + BNORM_TILE <= end; at += BNORM_TILE) {
        v_f32 t[V_TILE];
        for (int v = 0; v < V_TILE; v++)
            t[v] = normalise(v_load(x + at + v * V_LANES), c, a, b);
        for (int v = 0; v < V_TILE; v++)
            v_store(y + at + v * V_LANES, t[v]);
    }
    for (; at + V_LANES <= end; at += V_LANES)
        v_store(y + at, normalise(v_load(x + at), c, a, b));
    return at;
}

/*
 * Planes that lie one after the other, of at least a vector each: taken as one sequence, in which a vector may span two
 * planes, all stores but the first and the last are aligned.
 */
static void apply_sequence(size_t points, size_t units, const float *x, float *y, const float *center,
                           const float *scale, const float *shift)
{
    size_t at = (0 - (uintptr_t)y / sizeof(*y)) % V_LANES;
    v_f32 c = v_set1(center[0]), a = v_set1(scale[0]), b = v_set1(shift[0]);
    if (at)
        v_store_n(y, normalise(v_load_n(x, at), c, a, b), at);
    for (size_t end = points; units; end += points) {
        at = apply_vectors(x, y, at, end, c, a, b);
        size_t rest = end - at;
        if (--units == 0) {
            if (rest)
                v_store_n(y + at, normalise(v_load_n(x + at, rest), c, a, b), rest);
            return;
        }
        v_f32 next_c = v_set1(*++center), next_a = v_set1(*++scale), next_b = v_set1(*++shift);
        if (rest) {
            v_store(y + at, normalise(v_load(x + at), v_join_n(c, next_c, rest), v_join_n(a, next_a, rest),
                                      v_join_n(b, next_b, rest)));
            at += V_LANES;
        }
        c = next_c;
        a = next_a;
        b = next_b;
    }
}

static void apply_nchw_f32(size_t points, size_t units, const float *x, size_t x_stride, float *y, size_t y_stride,
                           const float *center, const float *scale, const float *shift)
{
    if (x_stride == points && y_stride == points && points >= V_LANES && units > 1) {
        apply_sequence(points, units, x, y, center, scale, shift);
        return;
    }
    for (size_t u = 0; u < units; u++, x += x_stride, y += y_stride) {
        const v_f32 c = v_set1(center[u]), a = v_set1(scale[u]), b = v_set1(shift[u]);
        size_t at = apply_vectors(x, y, 0, points, c, a, b);
        if (at < points)
            v_store_n(y + at, normalise(v_load_n(x + at, points - at), c, a, b), points - at);
    }
}

/* Rows that fit a tile: the coefficients stay in registers. */
static inline void apply_narrow(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                                const float *center, const float *scale, const float *shift)
{
    tile_coefficients k;
    load_tile(k.center, center, width);
    load_tile(k.scale, scale, width);
    load_tile(k.shift, shift, width);
    if (width == BNORM_TILE)
        for (size_t row = 0; row < rows; row++)
            apply_tile(x + row * x_stride, y + row * y_stride, &k);
    else
        for (size_t row = 0; row < rows; row++)
            apply_part(x + row * x_stride, y + row * y_stride, width, &k);
}

/* Wide rows, one after the other: several at a time were slower from memory, and from cache where 4 KiB apart. */
static inline void apply_wide(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                              const float *center, const float *scale, const float *shift)
{
    for (size_t row = 0; row < rows; row++, x += x_stride, y += y_stride) {
        size_t l = 0;
        for (; l + BNORM_TILE <= width; l += BNORM_TILE) {
            v_f32 t[V_TILE];
            for (size_t v = 0; v < V_TILE; v++)
                t[v] = normalise(v_load(x + l + v * V_LANES), v_load(center + l + v * V_LANES),
                                 v_load(scale + l + v * V_LANES), v_load(shift + l + v * V_LANES));
            for (size_t v = 0; v < V_TILE; v++)
                v_store(y + l + v * V_LANES, t[v]);
        }
        for (; l + V_LANES <= width; l += V_LANES)
            v_store(y + l, normalise(v_load(x + l), v_load(center + l), v_load(scale + l), v_load(shift + l)));
        if (l < width) {
            size_t n = width - l;
            v_f32 c = v_load_n(center + l, n), a = v_load_n(scale + l, n), b = v_load_n(shift + l, n);
            v_store_n(y + l, normalise(v_load_n(x + l, n), c, a, b), n);
        }
    }
}

static void apply_lanes(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                        const float *center, const float *scale, const float *shift)
{
    if (width <= BNORM_TILE)
        apply_narrow(rows, width, x, x_stride, y, y_stride, center, scale, shift);
    else
        apply_wide(rows, width, x, x_stride, y, y_stride, center, scale, shift);
}

/* Adjacent rows whose width divides a tile. */
static inline void apply_repeated(size_t rows, size_t width, const float *x, float *y, const float *center,
                                  const float *scale, const float *shift)
{
    size_t lanes = rows * width, l = 0;
    tile_coefficients k;
    load_repeated(k.center, center, width);
    load_repeated(k.scale, scale, width);
    load_repeated(k.shift, shift, width);
    for (; l + BNORM_TILE <= lanes; l += BNORM_TILE)
        apply_tile(x + l, y + l, &k);
    apply_part(x + l, y + l, lanes - l, &k);
}

/* Adjacent narrow rows, taken as super-rows, which fill the vectors. */
static void apply_folded(size_t rows, size_t width, size_t folded, const float *x, float *y, const float *center,
                         const float *scale, const float *shift)
{
    const size_t stride = folded * width, whole = rows / folded, rest = rows % folded;
    BNORM_ALIGNED float lanes[3][BNORM_MAX_FOLDED];
    repeat_row(lanes[0], center, width, folded);
    repeat_row(lanes[1], scale, width, folded);
    repeat_row(lanes[2], shift, width, folded);
    apply_lanes(whole, stride, x, stride, y, stride, lanes[0], lanes[1], lanes[2]);
    apply_lanes(1, rest * width, x + whole * stride, stride, y + whole * stride, stride, lanes[0], lanes[1], lanes[2]);
}

static void apply_nhwc_f32(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                           const float *center, const float *scale, const float *shift)
{
    const size_t folded = bnorm_folded_rows(width);
    const bool adjacent = x_stride == width && y_stride == width;
    if (adjacent && BNORM_TILE % width == 0)
        apply_repeated(rows, width, x, y, center, scale, shift);
    else if (adjacent && folded > 1)
        apply_folded(rows, width, folded, x, y, center, scale, shift);
    else
        apply_lanes(rows, width, x, x_stride, y, y_stride, center, scale, shift);
}
