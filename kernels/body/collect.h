/* SPDX-License-Identifier: MIT */
/* The sums of kernels.h, in the order of docs/numerics.md. Written against the vector header included before. */
#include "tile.h"

/* A place in a walk, and how many super-rows are still to go from it. */
typedef struct {
    size_t run;
    size_t row; /* super-row of the run */
    size_t left;
} place;

/* What a tile's lanes are taken about, and their sums. */
typedef struct {
    v_f32 pivot[V_TILE], dy_pivot[V_TILE], scale[V_TILE], shift[V_TILE];
} tile_pivots;

typedef struct {
    v_f32 sum[BNORM_SUMS][V_TILE];
} tile_sums;

/* The same in memory. */
typedef struct {
    const float *pivot, *dy_pivot, *scale, *shift;
} pivots;

typedef struct {
    float *sum[BNORM_SUMS];
} row_sums;

static INLINE bool collects_dy(bnorm_terms terms)
{
    return terms == BNORM_PRODUCTS || terms == BNORM_PRODUCTS_RELU;
}

static INLINE inputs ahead(inputs in, size_t x_lanes, size_t dy_lanes, bnorm_terms terms)
{
    return inputs_at(in, x_lanes, true, dy_lanes, collects_dy(terms));
}

static INLINE int sums_of(bnorm_terms terms)
{
    return terms == BNORM_VALUES ? 1 : terms == BNORM_SQUARES ? 2 : 3;
}

static INLINE pivots pivots_at(pivots p, size_t lane, bnorm_terms terms)
{
    p.pivot += lane;
    if (terms == BNORM_PRODUCTS)
        p.dy_pivot += lane;
    if (terms == BNORM_PRODUCTS_RELU) {
        p.scale += lane;
        p.shift += lane;
    }
    return p;
}

static INLINE row_sums sums_at(row_sums s, size_t lane, bnorm_terms terms)
{
    for (int i = 0; i < sums_of(terms); i++)
        s.sum[i] += lane;
    return s;
}

static INLINE tile_pivots load_pivots(pivots p, size_t lanes, bnorm_terms terms)
{
    tile_pivots t;
    load_tile(t.pivot, p.pivot, lanes);
    if (terms == BNORM_PRODUCTS)
        load_tile(t.dy_pivot, p.dy_pivot, lanes);
    if (terms == BNORM_PRODUCTS_RELU) {
        load_tile(t.scale, p.scale, lanes);
        load_tile(t.shift, p.shift, lanes);
    }
    return t;
}

static INLINE tile_pivots repeat_pivots(pivots p, size_t width, bnorm_terms terms)
{
    tile_pivots t;
    load_repeated(t.pivot, p.pivot, width);
    if (terms == BNORM_PRODUCTS)
        load_repeated(t.dy_pivot, p.dy_pivot, width);
    if (terms == BNORM_PRODUCTS_RELU) {
        load_repeated(t.scale, p.scale, width);
        load_repeated(t.shift, p.shift, width);
    }
    return t;
}

static INLINE tile_sums no_sums(bnorm_terms terms)
{
    tile_sums t;
    for (int i = 0; i < sums_of(terms); i++)
        for (size_t v = 0; v < V_TILE; v++)
            t.sum[i][v] = v_zero();
    return t;
}

/* A vector's terms, of which the first n lanes count: the others add +0, which changes no sum, as none is ever -0. */
static INLINE void collect_vector(v_f32 x, v_f32 dy, const tile_pivots *p, tile_sums *t, size_t v, size_t n,
                                  bnorm_terms terms)
{
    v_f32 d = v_sub(x, p->pivot[v]), e = dy;
    if (terms == BNORM_PRODUCTS)
        e = v_sub(dy, p->dy_pivot[v]);
    if (terms == BNORM_PRODUCTS_RELU)
        e = v_if_positive(v_add(v_mul(d, p->scale[v]), p->shift[v]), dy);
    if (n < V_LANES) {
        d = v_keep_n(d, n);
        e = v_keep_n(e, n);
    }
    if (collects_dy(terms)) {
        t->sum[0][v] = v_accumulate(t->sum[0][v], e);
        t->sum[1][v] = v_accumulate(t->sum[1][v], d);
        t->sum[2][v] = v_add(t->sum[2][v], v_mul(e, d));
    } else {
        t->sum[0][v] = v_accumulate(t->sum[0][v], d);
        if (terms == BNORM_SQUARES)
            t->sum[1][v] = v_add(t->sum[1][v], v_mul(d, d));
    }
}

static INLINE void collect_row(inputs in, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    for (size_t v = 0; v < V_TILE; v++)
        collect_vector(v_load(in.x + v * V_LANES), collects_dy(terms) ? v_load(in.dy + v * V_LANES) : v_zero(), p, t, v,
                       V_LANES, terms);
}

/* A row that ends within the tile. */
static INLINE void collect_part(inputs in, size_t lanes, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    for (size_t v = 0; v < V_TILE; v++) {
        const size_t first = v * V_LANES, n = lanes - first;
        if (first + V_LANES <= lanes)
            collect_vector(v_load(in.x + first), collects_dy(terms) ? v_load(in.dy + first) : v_zero(), p, t, v,
                           V_LANES, terms);
        else if (first < lanes)
            collect_vector(v_load_n(in.x + first, n), collects_dy(terms) ? v_load_n(in.dy + first, n) : v_zero(), p, t,
                           v, n, terms);
    }
}

/* The lanes of a super-row: the run's last one may be short. */
static inline size_t super_row_width(const bnorm_walk *walk, size_t row)
{
    return smaller(walk->folded, walk->run_rows - row * walk->folded) * walk->width;
}

/* Copies `lanes` lanes of a super-row, from `lane` on, element by element: the way of strides that are not dense. */
static void gather(const bnorm_walk *walk, const bnorm_reach *reach, const float *x, place at, size_t lane,
                   size_t lanes, float *out)
{
    size_t row = at.run * walk->run_rows + at.row * walk->folded + lane / walk->width;
    size_t image = row / walk->points, point = row % walk->points;
    size_t block = lane % walk->width / walk->block, channel = lane % walk->width % walk->block;
    size_t blocks = walk->width / walk->block;
    for (size_t l = 0; l < lanes; l++) {
        out[l] = x[image * reach->image_stride + point * reach->point_stride + block * reach->block_stride + channel];
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

/* A super-row of a run, from `lane` on. */
static INLINE inputs super_row_at(const bnorm_walk *walk, inputs in, place at, size_t lane, bnorm_terms terms)
{
    return ahead(in, at.run * walk->x.run_stride + at.row * walk->x.super_row_stride + lane,
                 at.run * walk->dy.run_stride + at.row * walk->dy.super_row_stride + lane, terms);
}

/* Super-rows of a run that lie one after the other, of the tile at `lane`; the last of the run may be short. */
static INLINE void collect_stretch(const bnorm_walk *walk, inputs in, place at, size_t rows, size_t lane,
                                   const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    const size_t x_stride = walk->x.super_row_stride, dy_stride = walk->dy.super_row_stride;
    size_t width = walk->folded * walk->width;
    size_t whole = lane + BNORM_TILE > width ? at.row : smaller(at.row + rows, walk->run_rows / walk->folded);
    size_t row = at.row;
    in = super_row_at(walk, in, at, lane, terms);
    for (; row < whole; row++, in = ahead(in, x_stride, dy_stride, terms))
        collect_row(in, p, t, terms);
    for (; row < at.row + rows; row++, in = ahead(in, x_stride, dy_stride, terms)) {
        size_t end = super_row_width(walk, row);
        if (end > lane)
            collect_part(in, smaller(end - lane, BNORM_TILE), p, t, terms);
    }
}

static INLINE void collect_gathered(const bnorm_walk *walk, inputs in, place at, size_t rows, size_t lane,
                                    const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    for (; rows; rows--, at.row++) {
        BNORM_ALIGNED float x[BNORM_TILE];
        BNORM_ALIGNED float dy[BNORM_TILE];
        size_t end = super_row_width(walk, at.row), lanes = end > lane ? smaller(end - lane, BNORM_TILE) : 0;
        gather(walk, &walk->x, in.x, at, lane, lanes, x);
        if (collects_dy(terms))
            gather(walk, &walk->dy, in.dy, at, lane, lanes, dy);
        collect_part((inputs){ x, dy }, lanes, p, t, terms);
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
static INLINE void collect_rows(const bnorm_walk *walk, inputs in, place *at, size_t lane, const tile_pivots *p,
                                tile_sums *t, bnorm_terms terms)
{
    while (at->left) {
        size_t rows = smaller(at->left, walk->run_super_rows - at->row);
        if (walk->dense)
            collect_stretch(walk, in, *at, rows, lane, p, t, terms);
        else
            collect_gathered(walk, in, *at, rows, lane, p, t, terms);
        step(walk, at, rows);
    }
}

/* Adjacent lanes, the first of them at the start of a super-row that is one tile. */
static INLINE void collect_adjacent(inputs in, size_t lanes, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    for (; lanes >= BNORM_TILE; lanes -= BNORM_TILE, in = ahead(in, BNORM_TILE, BNORM_TILE, terms))
        collect_row(in, p, t, terms);
    if (lanes)
        collect_part(in, lanes, p, t, terms);
}

/* A group of super-rows of one tile, from zero; moves the place on. */
static INLINE tile_sums collect_tile_group(const bnorm_walk *walk, inputs in, place *at, const tile_pivots *p,
                                           bnorm_terms terms)
{
    tile_sums t = no_sums(terms);
    if (!walk->dense)
        collect_rows(walk, in, at, 0, p, &t, terms);
    if (at->row == 0 && at->left >= walk->run_super_rows) {
        /* Whole runs, of the same lanes each: small planes. */
        const size_t runs = at->left / walk->run_super_rows, lanes = walk->run_rows * walk->width;
        inputs run = super_row_at(walk, in, *at, 0, terms);
        for (size_t r = 0; r < runs; r++, run = ahead(run, walk->x.run_stride, walk->dy.run_stride, terms))
            collect_adjacent(run, lanes, p, &t, terms);
        at->run += runs;
        at->left -= runs * walk->run_super_rows;
    }
    while (at->left) {
        size_t rows = smaller(at->left, walk->run_super_rows - at->row), begin = at->row * BNORM_TILE;
        collect_adjacent(super_row_at(walk, in, *at, 0, terms),
                         smaller(rows * BNORM_TILE, walk->run_rows * walk->width - begin), p, &t, terms);
        step(walk, at, rows);
    }
    return t;
}

static INLINE tile_sums collect_tile_chunk(const bnorm_walk *walk, inputs in, place at, size_t rows,
                                           const tile_pivots *p, bnorm_terms terms)
{
    tile_sums chunk = no_sums(terms);
    for (size_t done = 0; done < rows; done += BNORM_GROUP) {
        at.left = smaller(rows - done, BNORM_GROUP);
        tile_sums group = collect_tile_group(walk, in, &at, p, terms);
        for (int i = 0; i < sums_of(terms); i++)
            add_tile(chunk.sum[i], group.sum[i]);
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
static INLINE void store_folded(row_sums out, const tile_sums *t, size_t width, bnorm_terms terms)
{
    for (int i = 0; i < sums_of(terms); i++) {
        BNORM_ALIGNED float lanes[BNORM_TILE];
        if (width == 1) {
            *out.sum[i] = v_fold(t->sum[i]);
            continue;
        }
        store_tile(lanes, t->sum[i], BNORM_TILE);
        fold_rows(lanes, BNORM_TILE / width, width);
        memcpy(out.sum[i], lanes, width * sizeof(*lanes));
    }
}

static INLINE place place_of(const bnorm_walk *walk, size_t super_row)
{
    return (place){ super_row / walk->run_super_rows, super_row % walk->run_super_rows, 0 };
}

/* Units whose super-rows are a tile each and, where dense, adjacent. */
static INLINE void collect_units(const bnorm_walk *walk, const bnorm_collection *c, size_t width, bnorm_terms terms)
{
    const place start = place_of(walk, c->first);
    inputs in = { c->x, collects_dy(terms) ? c->dy : NULL };
    pivots given = { c->pivot, c->dy_pivot, c->scale, c->shift };
    row_sums out = { { c->sum[0], c->sum[1], c->sum[2] } };
    /* Small planes: one stretch is all there is. */
    const bool small = walk->dense && c->rows <= BNORM_GROUP && start.row + c->rows <= walk->run_super_rows;
    const size_t lanes = smaller(c->rows * BNORM_TILE, walk->run_rows * width - start.row * BNORM_TILE);
    if (small)
        in = super_row_at(walk, in, start, 0, terms);
    for (size_t u = 0; u < c->units; u++) {
        const tile_pivots p = repeat_pivots(given, width, terms);
        tile_sums t = no_sums(terms);
        if (small)
            collect_adjacent(in, lanes, &p, &t, terms);
        else
            t = collect_tile_chunk(walk, in, start, c->rows, &p, terms);
        store_folded(out, &t, width, terms);
        in = ahead(in, walk->x.unit_stride, walk->dy.unit_stride, terms);
        given = pivots_at(given, width, terms);
        out = sums_at(out, width, terms);
    }
}

static void collect_nchw_f32(const bnorm_walk *walk, const bnorm_collection *collection)
{
    switch (collection->terms) {
    case BNORM_VALUES:
        collect_units(walk, collection, 1, BNORM_VALUES);
        break;
    case BNORM_SQUARES:
        collect_units(walk, collection, 1, BNORM_SQUARES);
        break;
    case BNORM_PRODUCTS:
        collect_units(walk, collection, 1, BNORM_PRODUCTS);
        break;
    case BNORM_PRODUCTS_RELU:
        collect_units(walk, collection, 1, BNORM_PRODUCTS_RELU);
        break;
    }
}

/*
 * Wide rows are taken a strip of lanes at a time, and of that a few rows at a time: where rows lie a multiple of 4 KiB
 * apart, more lines on their way to the first cache than a set of it has ways wait for each other. With 16 rows of 2048
 * channels at a time it was half as fast.
 */
enum { STRIP = 512, FEW_ROWS = 4 };

/* Adds rows to the sums of a strip's lanes, which are there in whole tiles; `first` begins them. */
static INLINE void collect_few(inputs in, size_t x_stride, size_t dy_stride, size_t rows, size_t lanes, pivots given,
                               row_sums out, bool first, bool fetch, bnorm_terms terms)
{
    for (size_t lane = 0; lane < lanes; lane += BNORM_TILE) {
        const size_t count = smaller(lanes - lane, BNORM_TILE);
        const tile_pivots p = load_pivots(pivots_at(given, lane, terms), count, terms);
        const row_sums at = sums_at(out, lane, terms);
        tile_sums t = no_sums(terms);
        if (!first)
            for (int i = 0; i < sums_of(terms); i++)
                load_tile(t.sum[i], at.sum[i], BNORM_TILE);
        if (fetch)
            for (size_t r = 0; r < rows; r++) {
                fetch_tile_far(in.x + r * x_stride + lane + BNORM_FETCH_FAR);
                if (collects_dy(terms))
                    fetch_tile_far(in.dy + r * dy_stride + lane + BNORM_FETCH_FAR);
            }
        if (count == BNORM_TILE)
            for (size_t r = 0; r < rows; r++)
                collect_row(ahead(in, r * x_stride + lane, r * dy_stride + lane, terms), &p, &t, terms);
        else
            for (size_t r = 0; r < rows; r++)
                collect_part(ahead(in, r * x_stride + lane, r * dy_stride + lane, terms), count, &p, &t, terms);
        for (int i = 0; i < sums_of(terms); i++)
            store_tile(at.sum[i], t.sum[i], BNORM_TILE);
    }
}

/* A group's sums join those of the chunk. */
static INLINE void add_lanes(float *sum, const float *more, size_t lanes, bool first)
{
    for (size_t l = 0; l < lanes; l++)
        sum[l] = first ? more[l] : sum[l] + more[l];
}

/* A group of whole, dense rows. */
static INLINE void collect_wide_group(inputs in, size_t x_stride, size_t dy_stride, size_t rows, size_t width,
                                      pivots given, row_sums out, bool first, bool fetch, bnorm_terms terms)
{
    BNORM_ALIGNED float strip[BNORM_SUMS][STRIP];
    const row_sums s = { { strip[0], strip[1], strip[2] } };
    for (size_t lane = 0; lane < width; lane += STRIP) {
        const size_t lanes = smaller(width - lane, STRIP);
        const pivots p = pivots_at(given, lane, terms);
        const row_sums at = sums_at(out, lane, terms);
        collect_few(ahead(in, lane, lane, terms), x_stride, dy_stride, smaller(rows, FEW_ROWS), lanes, p, s, true,
                    fetch, terms);
        for (size_t done = FEW_ROWS; done < rows; done += FEW_ROWS)
            collect_few(ahead(in, done * x_stride + lane, done * dy_stride + lane, terms), x_stride, dy_stride,
                        smaller(rows - done, FEW_ROWS), lanes, p, s, false, fetch, terms);
        for (int i = 0; i < sums_of(terms); i++)
            add_lanes(at.sum[i], strip[i], lanes, first);
    }
}

/* Rows of any kind, a tile at a time; returns the place behind them. */
static INLINE place collect_any_group(const bnorm_walk *walk, inputs in, place at, size_t rows, size_t width,
                                      pivots given, row_sums out, bool first, bnorm_terms terms)
{
    place next = at;
    for (size_t lane = 0; lane < width; lane += BNORM_TILE) {
        const size_t lanes = smaller(width - lane, BNORM_TILE);
        const tile_pivots p = load_pivots(pivots_at(given, lane, terms), lanes, terms);
        tile_sums t = no_sums(terms);
        next = at;
        next.left = rows;
        collect_rows(walk, in, &next, lane, &p, &t, terms);
        for (int i = 0; i < sums_of(terms); i++) {
            BNORM_ALIGNED float s[BNORM_TILE];
            store_tile(s, t.sum[i], BNORM_TILE);
            add_lanes(out.sum[i] + lane, s, lanes, first);
        }
    }
    return next;
}

/* A chunk's sums for each lane of the super-row. */
static INLINE void collect_lanes(const bnorm_walk *walk, inputs in, place at, size_t rows, pivots given, row_sums out,
                                 bnorm_terms terms)
{
    const size_t width = walk->folded * walk->width, whole_rows = walk->run_rows / walk->folded;
    const size_t x_stride = walk->x.super_row_stride, dy_stride = walk->dy.super_row_stride;
    for (size_t done = 0; done < rows; done += BNORM_GROUP) {
        const size_t group = smaller(rows - done, BNORM_GROUP);
        if (width > BNORM_TILE && walk->dense && at.row + group <= whole_rows) {
            const size_t after = whole_rows - at.row - group, far = BNORM_FETCH_FAR + BNORM_TILE;
            /* A stride more: the last row may be less. */
            const bool fetch = walk->fetch && after * x_stride >= far + x_stride &&
                               (!collects_dy(terms) || after * dy_stride >= far + dy_stride);
            collect_wide_group(super_row_at(walk, in, at, 0, terms), x_stride, dy_stride, group, width, given, out,
                               done == 0, fetch, terms);
            step(walk, &at, group);
        } else {
            at = collect_any_group(walk, in, at, group, width, given, out, done == 0, terms);
        }
    }
}

/* Narrow rows: the pivots are repeated for each row of the super-row, whose sums are then folded. */
static INLINE void collect_folded(const bnorm_walk *walk, inputs in, place at, size_t rows, pivots given, row_sums out,
                                  bnorm_terms terms)
{
    const size_t width = walk->width, times = walk->folded;
    BNORM_ALIGNED float p[4][BNORM_MAX_FOLDED];
    BNORM_ALIGNED float s[BNORM_SUMS][BNORM_MAX_FOLDED];
    const pivots repeated = { p[0], p[1], p[2], p[3] };
    repeat_row(p[0], given.pivot, width, times);
    if (terms == BNORM_PRODUCTS)
        repeat_row(p[1], given.dy_pivot, width, times);
    if (terms == BNORM_PRODUCTS_RELU) {
        repeat_row(p[2], given.scale, width, times);
        repeat_row(p[3], given.shift, width, times);
    }
    collect_lanes(walk, in, at, rows, repeated, (row_sums){ { s[0], s[1], s[2] } }, terms);
    for (int i = 0; i < sums_of(terms); i++) {
        fold_rows(s[i], times, width);
        memcpy(out.sum[i], s[i], width * sizeof(*s[i]));
    }
}

static INLINE void collect_wide_units(const bnorm_walk *walk, const bnorm_collection *c, bnorm_terms terms)
{
    const size_t width = walk->width;
    inputs in = { c->x, collects_dy(terms) ? c->dy : NULL };
    pivots given = { c->pivot, c->dy_pivot, c->scale, c->shift };
    row_sums out = { { c->sum[0], c->sum[1], c->sum[2] } };
    for (size_t u = 0; u < c->units; u++) {
        if (walk->folded > 1)
            collect_folded(walk, in, place_of(walk, c->first), c->rows, given, out, terms);
        else
            collect_lanes(walk, in, place_of(walk, c->first), c->rows, given, out, terms);
        in = ahead(in, walk->x.unit_stride, walk->dy.unit_stride, terms);
        given = pivots_at(given, width, terms);
        out = sums_at(out, width, terms);
    }
}

static INLINE void collect_blocks(const bnorm_walk *walk, const bnorm_collection *c, bnorm_terms terms)
{
    const bool tiles_adjacent =
        walk->x.super_row_stride == BNORM_TILE && (!collects_dy(terms) || walk->dy.super_row_stride == BNORM_TILE);
    if (walk->folded * walk->width == BNORM_TILE && (tiles_adjacent || !walk->dense))
        collect_units(walk, c, walk->width, terms);
    else
        collect_wide_units(walk, c, terms);
}

static void collect_nhwc_f32(const bnorm_walk *walk, const bnorm_collection *collection)
{
    switch (collection->terms) {
    case BNORM_VALUES:
        collect_blocks(walk, collection, BNORM_VALUES);
        break;
    case BNORM_SQUARES:
        collect_blocks(walk, collection, BNORM_SQUARES);
        break;
    case BNORM_PRODUCTS:
        collect_blocks(walk, collection, BNORM_PRODUCTS);
        break;
    case BNORM_PRODUCTS_RELU:
        collect_blocks(walk, collection, BNORM_PRODUCTS_RELU);
        break;
    }
}
