/* SPDX-License-Identifier: MIT */
/* y = (x - center) * scale + shift. Written against the vector header included before. */
#include "../kernels.h"

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

static void apply_nchw_f32(size_t points, size_t units, const float *x, size_t x_stride, float *y, size_t y_stride,
                           const float *center, const float *scale, const float *shift)
{
    for (size_t u = 0; u < units; u++, x += x_stride, y += y_stride) {
        tile_coefficients k;
        size_t p = 0;
        for (int v = 0; v < V_TILE; v++) {
            k.center[v] = v_set1(center[u]);
            k.scale[v] = v_set1(scale[u]);
            k.shift[v] = v_set1(shift[u]);
        }
        for (; p + BNORM_TILE <= points; p += BNORM_TILE)
            apply_tile(x + p, y + p, &k);
        apply_part(x + p, y + p, points - p, &k);
    }
}

/* Rows that are taken together: a tile's coefficients are loaded once for them. */
enum { APPLY_ROWS = 8 };

static inline void apply_lanes(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                               const float *center, const float *scale, const float *shift)
{
    for (size_t row = 0; row < rows; row += APPLY_ROWS) {
        size_t together = smaller(rows - row, APPLY_ROWS);
        for (size_t lane = 0; lane < width; lane += BNORM_TILE) {
            size_t lanes = smaller(width - lane, BNORM_TILE);
            const float *from = x + row * x_stride + lane;
            float *to = y + row * y_stride + lane;
            tile_coefficients k;
            load_tile(k.center, center + lane, lanes);
            load_tile(k.scale, scale + lane, lanes);
            load_tile(k.shift, shift + lane, lanes);
            if (lanes == BNORM_TILE)
                for (size_t r = 0; r < together; r++)
                    apply_tile(from + r * x_stride, to + r * y_stride, &k);
            else
                for (size_t r = 0; r < together; r++)
                    apply_part(from + r * x_stride, to + r * y_stride, lanes, &k);
        }
    }
}

/* Adjacent narrow rows are taken as a super-row, which fills the vectors. */
static void apply_nhwc_f32(size_t rows, size_t width, const float *x, size_t x_stride, float *y, size_t y_stride,
                           const float *center, const float *scale, const float *shift)
{
    size_t folded = bnorm_folded_rows(width);
    size_t whole = rows / folded;
    size_t rest = rows % folded;
    float lanes[3][BNORM_MAX_FOLDED];
    size_t stride = folded * width;
    if (folded == 1 || x_stride != width || y_stride != width) {
        apply_lanes(rows, width, x, x_stride, y, y_stride, center, scale, shift);
        return;
    }
    repeat_row(lanes[0], center, width, folded);
    repeat_row(lanes[1], scale, width, folded);
    repeat_row(lanes[2], shift, width, folded);
    apply_lanes(whole, stride, x, stride, y, stride, lanes[0], lanes[1], lanes[2]);
    apply_lanes(1, rest * width, x + whole * stride, stride, y + whole * stride, stride, lanes[0], lanes[1], lanes[2]);
}
