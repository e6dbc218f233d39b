/* SPDX-License-Identifier: MIT */
/* Σd and Σd·d about a pivot, in the order of docs/numerics.md. Written against the vector header included before. */
#include <string.h>

#include "../kernels.h"

enum { V_TILE = BNORM_TILE / V_LANES };

/* A place in a walk, and how many super-rows are still to go from it. */
typedef struct {
    size_t run;
    size_t row; /* super-row of the run */
    size_t left;
} place;

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline void clear_tile(v_f32 *tile)
{
    for (int v = 0; v < V_TILE; v++)
        tile[v] = v_zero();
}

static inline void add_tile(v_f32 *tile, const v_f32 *more)
{
    for (int v = 0; v < V_TILE; v++)
        tile[v] = v_add(tile[v], more[v]);
}

/* The first `lanes` lanes of a tile, the others zero. */
static inline void load_tile(v_f32 *tile, const float *p, size_t lanes)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        if (first + V_LANES <= lanes)
            tile[v] = v_load(p + first);
        else
            tile[v] = first < lanes ? v_load_n(p + first, lanes - first) : v_zero();
    }
}

static inline void store_tile(float *p, const v_f32 *tile, size_t lanes)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        if (first + V_LANES <= lanes)
            v_store(p + first, tile[v]);
        else if (first < lanes)
            v_store_n(p + first, tile[v], lanes - first);
    }
}

static inline void collect_row(const float *x, const v_f32 *pivot, v_f32 *sum, v_f32 *sum_sq)
{
    for (int v = 0; v < V_TILE; v++) {
        v_f32 d = v_sub(v_load(x + v * V_LANES), pivot[v]);
        sum[v] = v_accumulate(sum[v], d);
        sum_sq[v] = v_add(sum_sq[v], v_mul(d, d));
    }
}

/* A row that ends within the tile. What lies beyond counts as d = +0, which changes no sum: none is ever -0. */
static inline void collect_part(const float *x, size_t lanes, const v_f32 *pivot, v_f32 *sum, v_f32 *sum_sq)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        v_f32 d;
        if (first >= lanes)
            break;
        if (first + V_LANES <= lanes)
            d = v_sub(v_load(x + first), pivot[v]);
        else
            d = v_keep_n(v_sub(v_load_n(x + first, lanes - first), pivot[v]), lanes - first);
        sum[v] = v_accumulate(sum[v], d);
        sum_sq[v] = v_add(sum_sq[v], v_mul(d, d));
    }
}

/* The lanes of a super-row: the run's last one may be short. */
static inline size_t super_row_width(const bnorm_walk *walk, size_t row)
{
    return smaller(walk->folded, walk->run_rows - row * walk->folded) * walk->width;
}

/* Copies `lanes` lanes of a super-row, from `lane` on, element by element: the way of strides that are not dense. */
static void gather(const bnorm_walk *walk, const float *x, place at, size_t lane, size_t lanes, float *out)
{
    size_t row = at.run * walk->run_rows + at.row * walk->folded + lane / walk->width;
    size_t image = row / walk->points, point = row % walk->points;
    size_t block = lane % walk->width / walk->block, channel = lane % walk->width % walk->block;
    size_t blocks = walk->width / walk->block;
    for (size_t l = 0; l < lanes; l++) {
        out[l] = x[image * walk->image_stride + point * walk->point_stride + block * walk->block_stride + channel];
        if (++channel < walk->block)
            continue;
        channel = 0;
        if (++block < blocks)
            continue;
        block = 0;
        if (++point < walk->points)
            continue;
        point = 0;
        image++;
    }
}

static inline place advance(const bnorm_walk *walk, place at, size_t rows)
{
    at.left -= rows;
    at.row += rows;
    while (at.left && at.row >= walk->run_super_rows) {
        at.row -= walk->run_super_rows;
        at.run++;
    }
    return at;
}

/* Adds the next at.left super-rows of the tile at `lane` to sum and sum_sq. */
static inline void collect_tile(const bnorm_walk *walk, const float *x, place at, size_t lane, const v_f32 *pivot,
                                v_f32 *sum, v_f32 *sum_sq)
{
    bool whole_tile = lane + BNORM_TILE <= walk->folded * walk->width;
    size_t whole_rows = walk->run_rows / walk->folded; /* of a run */
    while (at.left) {
        size_t rows = 0;
        if (walk->dense && whole_tile && at.row < whole_rows) {
            const float *p = x + at.run * walk->run_stride + at.row * walk->super_row_stride + lane;
            rows = smaller(at.left, whole_rows - at.row);
            for (size_t r = 0; r < rows; r++, p += walk->super_row_stride)
                collect_row(p, pivot, sum, sum_sq);
        } else {
            size_t width = super_row_width(walk, at.row);
            size_t lanes = width > lane ? smaller(width - lane, BNORM_TILE) : 0;
            if (walk->dense && lanes) {
                collect_part(x + at.run * walk->run_stride + at.row * walk->super_row_stride + lane, lanes, pivot, sum,
                             sum_sq);
            } else if (lanes) {
                float gathered[BNORM_TILE];
                gather(walk, x, at, lane, lanes, gathered);
                collect_part(gathered, lanes, pivot, sum, sum_sq);
            }
            rows = 1;
        }
        at = advance(walk, at, rows);
    }
}

static void collect_nchw_f32(const bnorm_walk *walk, const float *x, size_t units, size_t unit_stride, size_t first,
                             size_t rows, const float *pivot, float *sum, float *sum_sq)
{
    const place start = { first / walk->run_super_rows, first % walk->run_super_rows, rows };
    for (size_t u = 0; u < units; u++, x += unit_stride) {
        v_f32 p[V_TILE], chunk[V_TILE], chunk_sq[V_TILE];
        for (int v = 0; v < V_TILE; v++)
            p[v] = v_set1(pivot[u]);
        clear_tile(chunk);
        clear_tile(chunk_sq);
        for (place at = start; at.left;) {
            place group = at;
            v_f32 s[V_TILE], q[V_TILE];
            group.left = smaller(at.left, BNORM_GROUP);
            clear_tile(s);
            clear_tile(q);
            collect_tile(walk, x, group, 0, p, s, q);
            add_tile(chunk, s);
            add_tile(chunk_sq, q);
            at = advance(walk, at, group.left);
        }
        sum[u] = v_fold(chunk);
        sum_sq[u] = v_fold(chunk_sq);
    }
}

/* A row of `width` lanes, as often as a super-row holds it. */
static void repeat_row(float *lanes, const float *row, size_t width, size_t times)
{
    for (size_t t = 0; t < times; t++, lanes += width)
        memcpy(lanes, row, width * sizeof(*row));
}

/* Rows of `width` lanes become one: row r + row r + (rows - half), until one is left. */
static void fold_rows(float *lanes, size_t rows, size_t width)
{
    while (rows > 1) {
        size_t half = rows / 2;
        const float *upper = lanes + (rows - half) * width;
        for (size_t l = 0; l < half * width; l++)
            lanes[l] += upper[l];
        rows -= half;
    }
}

/* A chunk's sums for each lane of the super-row. */
static void collect_lanes(const bnorm_walk *walk, const float *x, place at, const float *pivot, float *sum,
                          float *sum_sq)
{
    size_t width = walk->folded * walk->width;
    for (size_t l = 0; l < width; l++)
        sum[l] = sum_sq[l] = 0.0f;
    while (at.left) {
        place group = at;
        group.left = smaller(at.left, BNORM_GROUP);
        for (size_t lane = 0; lane < width; lane += BNORM_TILE) {
            size_t lanes = smaller(width - lane, BNORM_TILE);
            v_f32 p[V_TILE], s[V_TILE], q[V_TILE], total[V_TILE];
            load_tile(p, pivot + lane, lanes);
            clear_tile(s);
            clear_tile(q);
            collect_tile(walk, x, group, lane, p, s, q);
            load_tile(total, sum + lane, lanes);
            add_tile(total, s);
            store_tile(sum + lane, total, lanes);
            load_tile(total, sum_sq + lane, lanes);
            add_tile(total, q);
            store_tile(sum_sq + lane, total, lanes);
        }
        at = advance(walk, at, group.left);
    }
}

static void collect_nhwc_f32(const bnorm_walk *walk, const float *x, size_t units, size_t unit_stride, size_t first,
                             size_t rows, const float *pivot, float *sum, float *sum_sq)
{
    const place start = { first / walk->run_super_rows, first % walk->run_super_rows, rows };
    const size_t width = walk->width;
    for (size_t u = 0; u < units; u++, x += unit_stride, pivot += width, sum += width, sum_sq += width) {
        if (walk->folded == 1) {
            collect_lanes(walk, x, start, pivot, sum, sum_sq);
        } else {
            float p[BNORM_MAX_FOLDED], s[BNORM_MAX_FOLDED], q[BNORM_MAX_FOLDED];
            repeat_row(p, pivot, width, walk->folded);
            collect_lanes(walk, x, start, p, s, q);
            fold_rows(s, walk->folded, width);
            fold_rows(q, walk->folded, width);
            memcpy(sum, s, width * sizeof(*sum));
            memcpy(sum_sq, q, width * sizeof(*sum_sq));
        }
    }
}
