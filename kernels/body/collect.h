/* SPDX-License-Identifier: MIT */
/* Σd and Σd·d about a pivot, in the order of docs/numerics.md. Written against the vector header included before. */
#include "tile.h"

/* A place in a walk, and how many super-rows are still to go from it. */
typedef struct {
    size_t run;
    size_t row; /* super-row of the run */
    size_t left;
} place;

/* The sums of a tile's lanes. */
typedef struct {
    v_f32 sum[V_TILE], sum_sq[V_TILE];
} tile_sums;

static INLINE tile_sums no_sums(void)
{
    tile_sums t;
    for (int v = 0; v < V_TILE; v++)
        t.sum[v] = t.sum_sq[v] = v_zero();
    return t;
}

static INLINE void collect_vector(tile_sums *t, int v, v_f32 d, bool squares)
{
    t->sum[v] = v_accumulate(t->sum[v], d);
    if (squares)
        t->sum_sq[v] = v_add(t->sum_sq[v], v_mul(d, d));
}

static INLINE void collect_row(const float *x, const v_f32 *pivot, tile_sums *t, bool squares)
{
    for (int v = 0; v < V_TILE; v++)
        collect_vector(t, v, v_sub(v_load(x + v * V_LANES), pivot[v]), squares);
}

/* A row that ends within the tile. What lies beyond counts as d = +0, which changes no sum: none is ever -0. */
static INLINE void collect_part(const float *x, size_t lanes, const v_f32 *pivot, tile_sums *t, bool squares)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        if (first + V_LANES <= lanes)
            collect_vector(t, v, v_sub(v_load(x + first), pivot[v]), squares);
        else if (first < lanes)
            collect_vector(t, v, v_keep_n(v_sub(v_load_n(x + first, lanes - first), pivot[v]), lanes - first), squares);
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

/* Super-rows of a run that lie one after the other, of the tile at `lane`; the last of the run may be short. */
static INLINE void collect_stretch(const bnorm_walk *walk, const float *x, place at, size_t rows, size_t lane,
                                   const v_f32 *pivot, tile_sums *t, bool squares)
{
    size_t width = walk->folded * walk->width;
    size_t whole = lane + BNORM_TILE > width ? at.row : smaller(at.row + rows, walk->run_rows / walk->folded);
    size_t row = at.row;
    const float *p = x + at.run * walk->run_stride + row * walk->super_row_stride + lane;
    for (; row < whole; row++, p += walk->super_row_stride)
        collect_row(p, pivot, t, squares);
    for (; row < at.row + rows; row++, p += walk->super_row_stride) {
        size_t end = super_row_width(walk, row);
        if (end > lane)
            collect_part(p, smaller(end - lane, BNORM_TILE), pivot, t, squares);
    }
}

static INLINE void collect_gathered(const bnorm_walk *walk, const float *x, place at, size_t rows, size_t lane,
                                    const v_f32 *pivot, tile_sums *t, bool squares)
{
    for (; rows; rows--, at.row++) {
        BNORM_ALIGNED float gathered[BNORM_TILE];
        size_t end = super_row_width(walk, at.row), lanes = end > lane ? smaller(end - lane, BNORM_TILE) : 0;
        gather(walk, x, at, lane, lanes, gathered);
        collect_part(gathered, lanes, pivot, t, squares);
    }
}

static INLINE void step(const bnorm_walk *walk, place *at, size_t rows)
{
    at->left -= rows;
    at->row += rows;
    if (at->row == walk->run_super_rows) {
        at->row = 0;
        at->run++;
    }
}

/* Adds the next at->left super-rows of the tile at `lane`; moves the place on. */
static INLINE void collect_rows(const bnorm_walk *walk, const float *x, place *at, size_t lane, const v_f32 *pivot,
                                tile_sums *t, bool squares)
{
    while (at->left) {
        size_t rows = smaller(at->left, walk->run_super_rows - at->row);
        if (walk->dense)
            collect_stretch(walk, x, *at, rows, lane, pivot, t, squares);
        else
            collect_gathered(walk, x, *at, rows, lane, pivot, t, squares);
        step(walk, at, rows);
    }
}

/* Adjacent lanes, the first of them at the start of a super-row that is one tile. */
static INLINE void collect_adjacent(const float *x, size_t lanes, const v_f32 *pivot, tile_sums *t, bool squares)
{
    for (; lanes >= BNORM_TILE; lanes -= BNORM_TILE, x += BNORM_TILE)
        collect_row(x, pivot, t, squares);
    if (lanes)
        collect_part(x, lanes, pivot, t, squares);
}

/* Whole runs, of the same lanes each: small planes. */
static INLINE void collect_runs(const float *x, size_t stride, size_t runs, size_t lanes, const v_f32 *pivot,
                                tile_sums *t, bool squares)
{
    const size_t whole = lanes / BNORM_TILE * BNORM_TILE, rest = lanes - whole;
    for (; runs; runs--, x += stride) {
        for (size_t l = 0; l < whole; l += BNORM_TILE)
            collect_row(x + l, pivot, t, squares);
        if (rest)
            collect_part(x + whole, rest, pivot, t, squares);
    }
}

/* A group of super-rows of one tile, from zero; moves the place on. */
static INLINE tile_sums collect_tile_group(const bnorm_walk *walk, const float *x, place *at, const v_f32 *pivot,
                                           bool squares)
{
    tile_sums t = no_sums();
    if (!walk->dense)
        collect_rows(walk, x, at, 0, pivot, &t, squares);
    if (at->row == 0 && at->left >= walk->run_super_rows) {
        const size_t runs = at->left / walk->run_super_rows;
        collect_runs(x + at->run * walk->run_stride, walk->run_stride, runs, walk->run_rows * walk->width, pivot, &t,
                     squares);
        at->run += runs;
        at->left -= runs * walk->run_super_rows;
    }
    while (at->left) {
        size_t rows = smaller(at->left, walk->run_super_rows - at->row), begin = at->row * BNORM_TILE;
        collect_adjacent(x + at->run * walk->run_stride + begin,
                         smaller(rows * BNORM_TILE, walk->run_rows * walk->width - begin), pivot, &t, squares);
        step(walk, at, rows);
    }
    return t;
}

static INLINE tile_sums collect_tile_chunk(const bnorm_walk *walk, const float *x, place at, size_t rows,
                                           const v_f32 *pivot, bool squares)
{
    tile_sums chunk = no_sums();
    for (size_t done = 0; done < rows; done += BNORM_GROUP) {
        at.left = smaller(rows - done, BNORM_GROUP);
        tile_sums group = collect_tile_group(walk, x, &at, pivot, squares);
        add_tile(chunk.sum, group.sum);
        add_tile(chunk.sum_sq, group.sum_sq);
    }
    return chunk;
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

/* The rows of `width` lanes that a tile holds, folded into one. */
static INLINE void store_folded(float *row, const v_f32 *tile, size_t width)
{
    BNORM_ALIGNED float lanes[BNORM_TILE];
    if (width == 1) {
        *row = v_fold(tile);
        return;
    }
    store_tile(lanes, tile, BNORM_TILE);
    fold_rows(lanes, BNORM_TILE / width, width);
    memcpy(row, lanes, width * sizeof(*row));
}

/* Units whose super-rows are a tile each and, where dense, adjacent. */
static INLINE void collect_units(const bnorm_walk *walk, const float *x, size_t units, size_t unit_stride, size_t first,
                                 size_t rows, const float *pivot, float *sum, float *sum_sq, size_t width)
{
    const bool squares = sum_sq != NULL;
    const place start = { first / walk->run_super_rows, first % walk->run_super_rows, 0 };
    if (walk->dense && rows <= BNORM_GROUP && start.row + rows <= walk->run_super_rows) {
        /* Small planes: one stretch is all there is. */
        const size_t begin = start.row * BNORM_TILE;
        const size_t lanes = smaller(rows * BNORM_TILE, walk->run_rows * width - begin);
        x += start.run * walk->run_stride + begin;
        for (size_t u = 0; u < units; u++, x += unit_stride) {
            v_f32 p[V_TILE];
            tile_sums t = no_sums();
            load_repeated(p, pivot + u * width, width);
            collect_adjacent(x, lanes, p, &t, squares);
            store_folded(sum + u * width, t.sum, width);
            if (squares)
                store_folded(sum_sq + u * width, t.sum_sq, width);
        }
        return;
    }
    for (size_t u = 0; u < units; u++, x += unit_stride) {
        v_f32 p[V_TILE];
        load_repeated(p, pivot + u * width, width);
        tile_sums t = collect_tile_chunk(walk, x, start, rows, p, squares);
        store_folded(sum + u * width, t.sum, width);
        if (squares)
            store_folded(sum_sq + u * width, t.sum_sq, width);
    }
}

static void collect_nchw_f32(const bnorm_walk *walk, const float *x, size_t units, size_t unit_stride, size_t first,
                             size_t rows, const float *pivot, float *sum, float *sum_sq)
{
    if (sum_sq)
        collect_units(walk, x, units, unit_stride, first, rows, pivot, sum, sum_sq, 1);
    else
        collect_units(walk, x, units, unit_stride, first, rows, pivot, sum, NULL, 1);
}

/*
 * Wide rows are taken a strip of lanes at a time, and of that a few rows at a time: where rows lie a multiple of 4 KiB
 * apart, more lines on their way to the first cache than a set of it has ways wait for each other. With 16 rows of 2048
 * channels at a time it was half as fast.
 */
enum { STRIP = 512, FEW_ROWS = 4 };

/* Adds rows to the sums of a strip's lanes, which are there in whole tiles; `first` begins them. */
static INLINE void collect_few(const float *x, size_t stride, size_t rows, size_t lanes, const float *pivot, float *sum,
                               float *sum_sq, bool first, bool squares, bool fetch)
{
    for (size_t lane = 0; lane < lanes; lane += BNORM_TILE) {
        const size_t count = smaller(lanes - lane, BNORM_TILE);
        v_f32 p[V_TILE];
        tile_sums t = no_sums();
        if (!first) {
            load_tile(t.sum, sum + lane, BNORM_TILE);
            if (squares)
                load_tile(t.sum_sq, sum_sq + lane, BNORM_TILE);
        }
        load_tile(p, pivot + lane, count);
        if (fetch)
            for (size_t r = 0; r < rows; r++)
                fetch_tile_far(x + r * stride + lane + BNORM_FETCH_FAR);
        if (count == BNORM_TILE)
            for (size_t r = 0; r < rows; r++)
                collect_row(x + r * stride + lane, p, &t, squares);
        else
            for (size_t r = 0; r < rows; r++)
                collect_part(x + r * stride + lane, count, p, &t, squares);
        store_tile(sum + lane, t.sum, BNORM_TILE);
        if (squares)
            store_tile(sum_sq + lane, t.sum_sq, BNORM_TILE);
    }
}

/* A group's sums join those of the chunk. */
static INLINE void add_lanes(float *sum, const float *more, size_t lanes, bool first)
{
    for (size_t l = 0; l < lanes; l++)
        sum[l] = first ? more[l] : sum[l] + more[l];
}

/* A group of whole, dense rows. */
static INLINE void collect_wide_group(const float *x, size_t stride, size_t rows, size_t width, const float *pivot,
                                      float *sum, float *sum_sq, bool first, bool fetch)
{
    const bool squares = sum_sq != NULL;
    for (size_t lane = 0; lane < width; lane += STRIP) {
        const size_t lanes = smaller(width - lane, STRIP);
        BNORM_ALIGNED float s[STRIP];
        BNORM_ALIGNED float q[STRIP];
        collect_few(x + lane, stride, smaller(rows, FEW_ROWS), lanes, pivot + lane, s, q, true, squares, fetch);
        for (size_t done = FEW_ROWS; done < rows; done += FEW_ROWS)
            collect_few(x + done * stride + lane, stride, smaller(rows - done, FEW_ROWS), lanes, pivot + lane, s, q,
                        false, squares, fetch);
        add_lanes(sum + lane, s, lanes, first);
        if (squares)
            add_lanes(sum_sq + lane, q, lanes, first);
    }
}

/* Rows of any kind, a tile at a time; returns the place behind them. */
static INLINE place collect_any_group(const bnorm_walk *walk, const float *x, place at, size_t rows, size_t width,
                                      const float *pivot, float *sum, float *sum_sq, bool first)
{
    const bool squares = sum_sq != NULL;
    place next = at;
    for (size_t lane = 0; lane < width; lane += BNORM_TILE) {
        const size_t lanes = smaller(width - lane, BNORM_TILE);
        BNORM_ALIGNED float s[BNORM_TILE];
        BNORM_ALIGNED float q[BNORM_TILE];
        v_f32 p[V_TILE];
        tile_sums t = no_sums();
        load_tile(p, pivot + lane, lanes);
        next = at;
        next.left = rows;
        collect_rows(walk, x, &next, lane, p, &t, squares);
        store_tile(s, t.sum, BNORM_TILE);
        add_lanes(sum + lane, s, lanes, first);
        if (squares) {
            store_tile(q, t.sum_sq, BNORM_TILE);
            add_lanes(sum_sq + lane, q, lanes, first);
        }
    }
    return next;
}

/* A chunk's sums for each lane of the super-row. */
static INLINE void collect_lanes(const bnorm_walk *walk, const float *x, place at, size_t rows, const float *pivot,
                                 float *sum, float *sum_sq)
{
    const size_t width = walk->folded * walk->width;
    const size_t whole_rows = walk->run_rows / walk->folded;
    for (size_t done = 0; done < rows; done += BNORM_GROUP) {
        const size_t group = smaller(rows - done, BNORM_GROUP);
        if (width > BNORM_TILE && walk->dense && at.row + group <= whole_rows) {
            const size_t stride = walk->super_row_stride, after = (whole_rows - at.row - group) * stride;
            const size_t fetched = BNORM_FETCH_FAR + BNORM_TILE + stride; /* a stride more: the last row may be less */
            collect_wide_group(x + at.run * walk->run_stride + at.row * stride, stride, group, width, pivot, sum,
                               sum_sq, done == 0, walk->fetch && after >= fetched);
            step(walk, &at, group);
        } else {
            at = collect_any_group(walk, x, at, group, width, pivot, sum, sum_sq, done == 0);
        }
    }
}

/* Narrow rows: the pivots are repeated for each row of the super-row, whose sums are then folded. */
static void collect_folded(const bnorm_walk *walk, const float *x, place at, size_t rows, const float *pivot,
                           float *sum, float *sum_sq)
{
    const size_t bytes = walk->width * sizeof(*sum);
    BNORM_ALIGNED float p[BNORM_MAX_FOLDED];
    BNORM_ALIGNED float s[BNORM_MAX_FOLDED];
    BNORM_ALIGNED float q[BNORM_MAX_FOLDED];
    repeat_row(p, pivot, walk->width, walk->folded);
    collect_lanes(walk, x, at, rows, p, s, q);
    fold_rows(s, walk->folded, walk->width);
    memcpy(sum, s, bytes);
    if (sum_sq) {
        fold_rows(q, walk->folded, walk->width);
        memcpy(sum_sq, q, bytes);
    }
}

static void collect_nhwc_f32(const bnorm_walk *walk, const float *x, size_t units, size_t unit_stride, size_t first,
                             size_t rows, const float *pivot, float *sum, float *sum_sq)
{
    const place start = { first / walk->run_super_rows, first % walk->run_super_rows, 0 };
    const bool one_tile =
        walk->folded * walk->width == BNORM_TILE && (walk->super_row_stride == BNORM_TILE || !walk->dense);
    for (size_t u = 0; u < units; u++) {
        const float *unit = x + u * unit_stride, *p = pivot + u * walk->width;
        float *s = sum + u * walk->width, *q = sum_sq ? sum_sq + u * walk->width : NULL;
        if (one_tile && q)
            collect_units(walk, unit, 1, 0, first, rows, p, s, q, walk->width);
        else if (one_tile)
            collect_units(walk, unit, 1, 0, first, rows, p, s, NULL, walk->width);
        else if (walk->folded > 1)
            collect_folded(walk, unit, start, rows, p, s, q);
        else if (q)
            collect_lanes(walk, unit, start, rows, p, s, q);
        else
            collect_lanes(walk, unit, start, rows, p, s, NULL);
    }
}
