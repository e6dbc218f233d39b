/* SPDX-License-Identifier: MIT */
/* The sums of kernels.h, in the order of docs/numerics.md. Written against the vector header included before. */
#include "epilogue.h"
#include "tile.h"

/* A place in a walk, and how many super-rows are still to go from it. */
typedef struct {
    size_t run;
    size_t row; /* super-row of the run */
    size_t left;
} place;

/* What is summed. dy is NULL where only x is. */
typedef struct {
    const void *x, *dy;
    bnorm_dtype x_type, dy_type;
    bool plain; /* squares, and products of floats: these have loops in each place; all others share one */
    const bnorm_fusion *fusion;
    size_t at; /* fused: the index of dy in its tensor */
} inputs;

/* What lanes are taken about, and more that their terms follow from: in memory, and of a tile. */
enum { PIVOT, DY_PIVOT, SCALE, SHIFT, PIVOTS };

typedef struct {
    const float *p[PIVOTS];
} pivots;

typedef struct {
    v_f32 p[PIVOTS][V_TILE];
} tile_pivots;

/* The sums of a row and of a tile. */
typedef struct {
    float *sum[BNORM_SUMS];
} row_sums;

typedef struct {
    v_f32 sum[BNORM_SUMS][V_TILE];
} tile_sums;

static INLINE bool collects_dy(bnorm_terms terms)
{
    return terms != BNORM_SQUARES;
}

static INLINE inputs ahead(inputs in, size_t x_lanes, size_t dy_lanes, bnorm_terms terms)
{
    in.x = bnorm_elements(in.x, in.x_type, x_lanes);
    if (collects_dy(terms))
        in.dy = bnorm_elements(in.dy, in.dy_type, dy_lanes);
    if (terms == BNORM_PRODUCTS_FUSED)
        in.at += dy_lanes;
    return in;
}

static INLINE int sums_of(bnorm_terms terms)
{
    return terms == BNORM_SQUARES ? 2 : 3;
}

/* A statement for each sum `i`, or each array `i` of pivots, a constant: what is indexed by one stays in registers. */
#define FOR_CONSTANT(constant, condition, statement) \
    if (condition) { \
        const int i = constant; \
        statement; \
    }
#define EACH_SUM(terms, statement) \
    do { \
        FOR_CONSTANT(0, true, statement) \
        FOR_CONSTANT(1, true, statement) \
        FOR_CONSTANT(2, collects_dy(terms), statement) \
    } while (0)
#define EACH_PIVOT(terms, statement) \
    do { \
        FOR_CONSTANT(PIVOT, true, statement) \
        FOR_CONSTANT(DY_PIVOT, (terms) == BNORM_PRODUCTS, statement) \
        FOR_CONSTANT(SCALE, (terms) == BNORM_PRODUCTS_FUSED, statement) \
        FOR_CONSTANT(SHIFT, (terms) == BNORM_PRODUCTS_FUSED, statement) \
    } while (0)

static INLINE bool is_plain_collection(const bnorm_collection *c)
{
    if (c->terms == BNORM_SQUARES)
        return c->x_type == BNORM_F32 || V_LANES > 1;
    return c->terms == BNORM_PRODUCTS && c->x_type == BNORM_F32 && c->dy_type == BNORM_F32;
}

/* `plain`: as a constant; of products, and in portable C, it stands for floats. */
static INLINE inputs given_inputs(const bnorm_collection *c, bool plain, bnorm_terms terms)
{
    const bool floats = plain && (V_LANES == 1 || collects_dy(terms));
    return (inputs){ c->x,
                     c->dy,
                     floats ? BNORM_F32 : bnorm_known_type(c->x_type),
                     floats ? BNORM_F32 : bnorm_known_type(c->dy_type),
                     plain,
                     c->fusion,
                     c->at };
}

/* With a type that the compiler knows. */
static INLINE inputs of_type(inputs in, bnorm_dtype type)
{
    in.x_type = in.dy_type = type;
    return in;
}

static INLINE pivots given_pivots(const bnorm_collection *c)
{
    return (pivots){ { c->pivot, c->dy_pivot, c->scale, c->shift } };
}

static INLINE pivots pivots_at(pivots p, size_t lane, bnorm_terms terms)
{
    EACH_PIVOT(terms, p.p[i] += lane);
    return p;
}

static INLINE row_sums sums_at(row_sums s, size_t lane, bnorm_terms terms)
{
    EACH_SUM(terms, s.sum[i] += lane);
    return s;
}

/* Zero for all, also those that no terms use: what is not set is not copied. */
static INLINE tile_pivots no_pivots(void)
{
    tile_pivots t;
    for (size_t v = 0; v < V_TILE; v++)
        for (int i = 0; i < PIVOTS; i++)
            t.p[i][v] = v_zero();
    return t;
}

static INLINE tile_pivots load_pivots(pivots p, size_t lanes, bnorm_terms terms)
{
    tile_pivots t = no_pivots();
    EACH_PIVOT(terms, load_tile(t.p[i], p.p[i], lanes));
    return t;
}

static INLINE tile_pivots repeat_pivots(pivots p, size_t width, bnorm_terms terms)
{
    tile_pivots t = no_pivots();
    EACH_PIVOT(terms, load_repeated(t.p[i], p.p[i], width));
    return t;
}

static INLINE tile_sums no_sums(bnorm_terms terms)
{
    tile_sums t;
    for (size_t v = 0; v < V_TILE; v++)
        EACH_SUM(terms, t.sum[i][v] = v_zero());
    return t;
}

/*
 * Adds the terms of a vector, d alone or with e, of which the first n lanes count: the others add +0, which changes no
 * sum, as none is ever -0.
 */
static INLINE void add_terms(v_f32 d, v_f32 e, tile_sums *t, size_t v, size_t n, bnorm_terms terms)
{
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
        t->sum[1][v] = v_add(t->sum[1][v], v_mul(d, d));
    }
}

/* The first n lanes of a tile of floats. */
static INLINE void collect_floats(inputs in, size_t n, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    for (size_t v = 0; v < V_TILE && v * V_LANES < n; v++) {
        const v_f32 d = v_sub(load_vector(in.x, v, n), p->p[PIVOT][v]);
        v_f32 e = d;
        if (terms == BNORM_PRODUCTS)
            e = v_sub(load_vector(in.dy, v, n), p->p[DY_PIVOT][v]);
        add_terms(d, e, t, v, smaller(n - v * V_LANES, V_LANES), terms);
    }
}

/* Of a tile of any types and terms; `whole`: all of it, as a constant. */
static INLINE void collect_any(inputs in, size_t n, const tile_pivots *p, tile_sums *t, bool whole, bnorm_terms terms)
{
    v_f32 d[V_TILE], e[V_TILE], z[V_TILE];
    load_lanes(d, in.x, in.x_type, n, whole);
    if (collects_dy(terms))
        load_lanes(e, in.dy, in.dy_type, n, whole);
    for (size_t v = 0; v < V_TILE; v++) {
        d[v] = v_sub(d[v], p->p[PIVOT][v]);
        if (terms == BNORM_PRODUCTS)
            e[v] = v_sub(e[v], p->p[DY_PIVOT][v]);
        if (terms == BNORM_PRODUCTS_FUSED)
            z[v] = v_add(v_mul(d[v], p->p[SCALE][v]), p->p[SHIFT][v]);
    }
    if (terms == BNORM_PRODUCTS_FUSED)
        take_back(e, z, in.fusion, in.dy_type, in.at, n, whole);
    for (size_t v = 0; v < V_TILE && v * V_LANES < n; v++)
        add_terms(d[v], collects_dy(terms) ? e[v] : d[v], t, v, smaller(n - v * V_LANES, V_LANES), terms);
}

static INLINE void copy_sums(tile_sums *to, const tile_sums *from, bnorm_terms terms)
{
    for (size_t v = 0; v < V_TILE; v++)
        EACH_SUM(terms, to->sum[i][v] = from->sum[i][v]);
}

/* Rows of a tile, of one type. */
static INLINE void collect_tiles(inputs in, size_t x_stride, size_t dy_stride, size_t rows, const tile_pivots *p,
                                 tile_sums *t, bnorm_terms terms)
{
    for (; rows; rows--, in = ahead(in, x_stride, dy_stride, terms)) {
        if (in.x_type == BNORM_F32)
            collect_floats(in, BNORM_TILE, p, t, terms);
        else
            collect_any(in, BNORM_TILE, p, t, true, terms);
    }
}

/* Into copies of the sums: a compiler may store those of a caller each time. Tiles of one lane are in memory anyhow. */
static INLINE void collect_tiles_copied(inputs in, size_t x_stride, size_t dy_stride, size_t rows, const tile_pivots *p,
                                        tile_sums *sums, bnorm_terms terms)
{
    tile_sums t;
    if (V_LANES == 1) {
        collect_tiles(in, x_stride, dy_stride, rows, p, sums, terms);
        return;
    }
    copy_sums(&t, sums, terms);
    collect_tiles(in, x_stride, dy_stride, rows, p, &t, terms);
    copy_sums(sums, &t, terms);
}

static INLINE void copy_tile(tile_pivots *p, const tile_pivots *from_p, tile_sums *t, const tile_sums *from_t,
                             bnorm_terms terms)
{
    for (size_t v = 0; v < V_TILE; v++)
        EACH_PIVOT(terms, p->p[i][v] = from_p->p[i][v]);
    copy_sums(t, from_t, terms);
}

/* Either rows of a tile, or one that is less. */
static INLINE void collect_rows_any(inputs in, size_t x_stride, size_t dy_stride, size_t rows, size_t n,
                                    const tile_pivots *given, tile_sums *sums, bnorm_terms terms)
{
    const bool floats = in.x_type == BNORM_F32 && (terms == BNORM_SQUARES || in.dy_type == BNORM_F32);
    /* Rows of squares have loops of their own: a whole tile comes here alone, of elements brought together. */
    const bool one = n < BNORM_TILE || (V_LANES > 1 && terms == BNORM_SQUARES);
    tile_pivots p; /* copies: in registers, where there are enough */
    tile_sums t;
    if (one && floats && terms != BNORM_PRODUCTS_FUSED) {
        collect_floats(in, n, given, sums, terms);
    } else if (one) {
        collect_any(in, n, given, sums, false, terms);
    } else {
        copy_tile(&p, given, &t, sums, terms);
        for (; rows; rows--, in = ahead(in, x_stride, dy_stride, terms))
            collect_any(in, BNORM_TILE, &p, &t, true, terms);
        copy_sums(sums, &t, terms);
    }
}

/* `in` is pointed to: copied as vectors, it would wait for what was just stored a field at a time. */
static NOINLINE void collect_copied(const inputs *in, size_t x_stride, size_t dy_stride, size_t rows, size_t n,
                                    const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    if (terms == BNORM_SQUARES)
        collect_rows_any(*in, x_stride, dy_stride, rows, n, p, t, BNORM_SQUARES);
    else if (terms == BNORM_PRODUCTS)
        collect_rows_any(*in, x_stride, dy_stride, rows, n, p, t, BNORM_PRODUCTS);
    else
        collect_rows_any(*in, x_stride, dy_stride, rows, n, p, t, BNORM_PRODUCTS_FUSED);
}

/* For what is seldom or long: one function, given copies, so that in its callers pivots and sums stay in registers. */
static INLINE void collect_apiece(inputs in, size_t x_stride, size_t dy_stride, size_t rows, size_t n,
                                  const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    tile_pivots pivots_copy;
    tile_sums sums_copy;
    if (!in.plain) { /* its callers' are in memory */
        collect_copied(&in, x_stride, dy_stride, rows, n, p, t, terms);
        return;
    }
    copy_tile(&pivots_copy, p, &sums_copy, t, terms);
    collect_copied(&in, x_stride, dy_stride, rows, n, &pivots_copy, &sums_copy, terms);
    copy_sums(t, &sums_copy, terms);
}

static INLINE void collect_rows(inputs in, size_t x_stride, size_t dy_stride, size_t rows, const tile_pivots *p,
                                tile_sums *t, bnorm_terms terms)
{
    if (in.plain && in.x_type == BNORM_F32)
        collect_tiles_copied(of_type(in, BNORM_F32), x_stride, dy_stride, rows, p, t, terms);
    else if (in.plain && in.x_type == BNORM_BF16)
        collect_tiles_copied(of_type(in, BNORM_BF16), x_stride, dy_stride, rows, p, t, terms);
    else if (in.plain)
        collect_tiles_copied(of_type(in, BNORM_F16), x_stride, dy_stride, rows, p, t, terms);
    else
        collect_apiece(in, x_stride, dy_stride, rows, BNORM_TILE, p, t, terms);
}

/* A row that ends within the tile. */
static INLINE void collect_part(inputs in, size_t n, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    collect_apiece(in, 0, 0, 1, n, p, t, terms);
}

/* The lanes of a super-row: the run's last one may be short. */
static inline size_t super_row_width(const bnorm_walk *walk, size_t row)
{
    return smaller(walk->folded, walk->run_rows - row * walk->folded) * walk->width;
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
    const size_t width = walk->folded * walk->width, end = at.row + rows;
    const size_t full = lane + BNORM_TILE > width ? at.row : smaller(end, walk->run_rows / walk->folded);
    const size_t whole = full > at.row ? full - at.row : 0;
    in = super_row_at(walk, in, at, lane, terms);
    if (whole)
        collect_rows(in, x_stride, dy_stride, whole, p, t, terms);
    in = ahead(in, whole * x_stride, whole * dy_stride, terms);
    for (size_t row = at.row + whole; row < end; row++, in = ahead(in, x_stride, dy_stride, terms)) {
        const size_t used = super_row_width(walk, row);
        if (used > lane)
            collect_part(in, smaller(used - lane, BNORM_TILE), p, t, terms);
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
static INLINE void collect_stretches(const bnorm_walk *walk, inputs in, place *at, size_t lane, const tile_pivots *p,
                                     tile_sums *t, bnorm_terms terms)
{
    while (at->left) {
        size_t rows = smaller(at->left, walk->run_super_rows - at->row);
        collect_stretch(walk, in, *at, rows, lane, p, t, terms);
        step(walk, at, rows);
    }
}

/* Adjacent lanes, the first of them at the start of a super-row that is one tile. */
static INLINE void collect_adjacent(inputs in, size_t lanes, const tile_pivots *p, tile_sums *t, bnorm_terms terms)
{
    const size_t rows = lanes / BNORM_TILE, rest = lanes % BNORM_TILE;
    if (rows)
        collect_rows(in, BNORM_TILE, BNORM_TILE, rows, p, t, terms);
    in = ahead(in, rows * BNORM_TILE, rows * BNORM_TILE, terms);
    if (rest && in.plain && in.x_type == BNORM_F32) /* much of a small plane: worth being here */
        collect_floats(in, rest, p, t, terms);
    else if (rest && in.plain)
        collect_any(in, rest, p, t, false, terms);
    else if (rest)
        collect_part(in, rest, p, t, terms);
}

/* A group of super-rows of one tile, from zero; moves the place on. */
static INLINE tile_sums collect_tile_group(const bnorm_walk *walk, inputs in, place *at, const tile_pivots *p,
                                           bnorm_terms terms)
{
    const size_t run_lanes = walk->run_rows * walk->width;
    tile_sums t = no_sums(terms);
    /* What is left of a run, and then others from their start: small planes are many runs. */
    size_t begin = at->row * BNORM_TILE;
    for (in = super_row_at(walk, in, *at, 0, terms);; begin = 0) {
        const size_t rows = smaller(at->left, walk->run_super_rows - at->row);
        collect_adjacent(in, smaller(rows * BNORM_TILE, run_lanes - begin), p, &t, terms);
        step(walk, at, rows);
        if (!at->left)
            return t;
        in = ahead(in, walk->x.run_stride - begin, walk->dy.run_stride - begin, terms);
    }
}

static INLINE tile_sums collect_tile_chunk(const bnorm_walk *walk, inputs in, place at, size_t rows,
                                           const tile_pivots *p, bnorm_terms terms)
{
    tile_sums chunk = no_sums(terms);
    for (size_t done = 0; done < rows; done += BNORM_GROUP) {
        at.left = smaller(rows - done, BNORM_GROUP);
        tile_sums group = collect_tile_group(walk, in, &at, p, terms);
        EACH_SUM(terms, add_tile(chunk.sum[i], group.sum[i]));
    }
    return chunk;
}

/* Rows of `width` lanes become one: row r + row r + (rows - half), until one is left. */
static NOINLINE void fold_rows(float *lanes, size_t rows, size_t width)
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
    store_tile(lanes, tile);
    fold_rows(lanes, BNORM_TILE / width, width);
    memcpy(row, lanes, width * sizeof(*row));
}

static INLINE place place_of(const bnorm_walk *walk, size_t super_row)
{
    return (place){ super_row / walk->run_super_rows, super_row % walk->run_super_rows, 0 };
}

/* Units whose super-rows are adjacent tiles. */
static INLINE void collect_units(const bnorm_walk *walk, const bnorm_collection *c, bool plain, bnorm_terms terms)
{
    const size_t width = walk->width;
    const place start = place_of(walk, c->first);
    inputs in = given_inputs(c, plain, terms);
    pivots given = given_pivots(c);
    row_sums out = { { c->sum[0], c->sum[1], c->sum[2] } };
    /* Of small planes, one stretch is all there is. */
    const bool small = c->rows <= BNORM_GROUP && start.row + c->rows <= walk->run_super_rows;
    const size_t lanes = smaller(c->rows * BNORM_TILE, walk->run_rows * width - start.row * BNORM_TILE);
    if (small)
        in = super_row_at(walk, in, start, 0, terms);
    for (size_t u = 0; u < c->units; u++) {
        const tile_pivots p = repeat_pivots(given, width, terms);
        if (small) {
            tile_sums t = no_sums(terms);
            collect_adjacent(in, lanes, &p, &t, terms);
            EACH_SUM(terms, store_folded(out.sum[i], t.sum[i], width));
        } else {
            const tile_sums t = collect_tile_chunk(walk, in, start, c->rows, &p, terms);
            EACH_SUM(terms, store_folded(out.sum[i], t.sum[i], width));
        }
        in = ahead(in, walk->x.unit_stride, walk->dy.unit_stride, terms);
        given = pivots_at(given, width, terms);
        out = sums_at(out, width, terms);
    }
}

/*
 * Wide rows are taken a strip of lanes at a time, and of that a few rows at a time: where rows lie a multiple of 4 KiB
 * apart, more lines on their way to the first cache than a set of it has ways wait for each other. With 16 rows of 2048
 * channels at a time it was half as fast.
 */
enum { STRIP = 512, FEW_ROWS = 4 };

static INLINE void fetch_far(const void *tensor, bnorm_dtype type, size_t i)
{
    fetch_bytes_far((const char *)bnorm_elements(tensor, type, i) + BNORM_FETCH_FAR, BNORM_TILE * bnorm_size_of(type));
}

/* Whether so many rows are still there that as much can be fetched ahead; one more, as the last may be less. */
static INLINE bool can_fetch_far(size_t rows, size_t stride, bnorm_dtype type)
{
    return rows && (rows - 1) * stride >= lanes_of(BNORM_FETCH_FAR, type) + BNORM_TILE;
}

/* Adds rows to the sums of a strip's lanes, which are there in whole tiles; `first` begins them. */
static INLINE void collect_few(inputs in, size_t x_stride, size_t dy_stride, size_t rows, size_t lanes, pivots given,
                               row_sums out, bool first, bool fetch, bnorm_terms terms)
{
    for (size_t lane = 0; lane < lanes; lane += BNORM_TILE) {
        const size_t count = smaller(lanes - lane, BNORM_TILE);
        const tile_pivots p = load_pivots(pivots_at(given, lane, terms), count, terms);
        const row_sums at = sums_at(out, lane, terms);
        tile_sums t;
        if (first)
            t = no_sums(terms);
        else
            EACH_SUM(terms, load_tile(t.sum[i], at.sum[i], BNORM_TILE));
        if (fetch)
            for (size_t r = 0; r < rows; r++) {
                fetch_far(in.x, in.x_type, r * x_stride + lane);
                if (collects_dy(terms))
                    fetch_far(in.dy, in.dy_type, r * dy_stride + lane);
            }
        if (count == BNORM_TILE)
            collect_rows(ahead(in, lane, lane, terms), x_stride, dy_stride, rows, &p, &t, terms);
        else
            for (size_t r = 0; r < rows; r++)
                collect_part(ahead(in, r * x_stride + lane, r * dy_stride + lane, terms), count, &p, &t, terms);
        EACH_SUM(terms, store_tile(at.sum[i], t.sum[i]));
    }
}

/* A group's sums join those of the chunk. */
static NOINLINE void add_lanes(float *sum, const float *more, size_t lanes, bool first)
{
    if (first)
        memcpy(sum, more, lanes * sizeof(*sum));
    else
        for (size_t l = 0; l < lanes; l++)
            sum[l] += more[l];
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
        for (size_t done = 0; done < rows; done += FEW_ROWS)
            collect_few(ahead(in, done * x_stride + lane, done * dy_stride + lane, terms), x_stride, dy_stride,
                        smaller(rows - done, FEW_ROWS), lanes, p, s, done == 0, fetch, terms);
        EACH_SUM(terms, add_lanes(at.sum[i], strip[i], lanes, first));
    }
}

static INLINE void add_stored(float *sum, const v_f32 *tile, size_t lanes, bool first)
{
    BNORM_ALIGNED float s[BNORM_TILE];
    store_tile(s, tile);
    add_lanes(sum, s, lanes, first);
}

/* Rows of any width, a tile at a time; returns the place behind them. */
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
        collect_stretches(walk, in, &next, lane, &p, &t, terms);
        EACH_SUM(terms, add_stored(out.sum[i] + lane, t.sum[i], lanes, first));
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
        if (width > BNORM_TILE && at.row + group <= whole_rows) {
            const size_t after = whole_rows - at.row - group;
            const bool fetch = walk->fetch && can_fetch_far(after, x_stride, in.x_type) &&
                               (!collects_dy(terms) || can_fetch_far(after, dy_stride, in.dy_type));
            collect_wide_group(super_row_at(walk, in, at, 0, terms), x_stride, dy_stride, group, width, given, out,
                               done == 0, fetch, terms);
            step(walk, &at, group);
        } else {
            at = collect_any_group(walk, in, at, group, width, given, out, done == 0, terms);
        }
    }
}

/* Lanes that narrow rows repeat for each row of a super-row. */
typedef struct {
    BNORM_ALIGNED float pivot[PIVOTS][BNORM_MAX_FOLDED];
    BNORM_ALIGNED float sum[BNORM_SUMS][BNORM_MAX_FOLDED];
} folded_lanes;

static INLINE pivots fold_pivots(folded_lanes *f, const bnorm_walk *walk, pivots given, bnorm_terms terms)
{
    EACH_PIVOT(terms, repeat_row(f->pivot[i], given.p[i], walk->width, walk->folded); given.p[i] = f->pivot[i]);
    return given;
}

static INLINE void collect_wide_units(const bnorm_walk *walk, const bnorm_collection *c, bool plain, bnorm_terms terms)
{
    const size_t width = walk->width;
    const bool folded = walk->folded > 1;
    inputs in = given_inputs(c, plain, terms);
    pivots given = given_pivots(c);
    row_sums out = { { c->sum[0], c->sum[1], c->sum[2] } };
    for (size_t u = 0; u < c->units; u++) {
        folded_lanes f;
        const row_sums lanes = { { f.sum[0], f.sum[1], f.sum[2] } };
        collect_lanes(walk, in, place_of(walk, c->first), c->rows, folded ? fold_pivots(&f, walk, given, terms) : given,
                      folded ? lanes : out, terms);
        for (int i = 0; folded && i < sums_of(terms); i++) {
            fold_rows(f.sum[i], walk->folded, width);
            memcpy(out.sum[i], f.sum[i], width * sizeof(*f.sum[i]));
        }
        in = ahead(in, walk->x.unit_stride, walk->dy.unit_stride, terms);
        given = pivots_at(given, width, terms);
        out = sums_at(out, width, terms);
    }
}

/* ---- Elements apart from each other ---- */

/* Where `lanes` lanes of a super-row are, from `lane` on. */
static void locate_lanes(const bnorm_walk *walk, const bnorm_reach *reach, place at, size_t lane, size_t lanes,
                         size_t *indices)
{
    size_t row = at.run * walk->run_rows + at.row * walk->folded + lane / walk->width;
    size_t image = row / walk->points, point = row % walk->points;
    size_t block = lane % walk->width / walk->block, channel = lane % walk->width % walk->block;
    size_t blocks = walk->width / walk->block;
    for (size_t l = 0; l < lanes; l++) {
        indices[l] = image * reach->image_stride + point * reach->point_stride + block * reach->block_stride + channel;
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

/* A tile of each tensor, brought together. */
typedef struct {
    BNORM_ALIGNED float x[BNORM_TILE], dy[BNORM_TILE], residual[BNORM_TILE];
    uint8_t mask[BNORM_TILE / 8];
    bnorm_fusion fusion;
} gathered_tile;

static inputs gather(const bnorm_walk *walk, inputs in, place at, size_t lane, size_t lanes, gathered_tile *to,
                     bnorm_terms terms)
{
    size_t indices[BNORM_TILE];
    locate_lanes(walk, &walk->x, at, lane, lanes, indices);
    for (size_t l = 0; l < lanes; l++)
        to->x[l] = bnorm_element(in.x, in.x_type, indices[l]);
    if (collects_dy(terms))
        locate_lanes(walk, &walk->dy, at, lane, lanes, indices);
    for (size_t l = 0; collects_dy(terms) && l < lanes; l++)
        to->dy[l] = bnorm_element(in.dy, in.dy_type, indices[l]);
    if (terms == BNORM_PRODUCTS_FUSED) {
        to->fusion = *in.fusion;
        for (size_t l = 0; in.fusion->residual && l < lanes; l++)
            to->residual[l] = bnorm_element(in.fusion->residual, in.dy_type, in.at + indices[l]);
        memset(to->mask, 0, sizeof(to->mask));
        for (size_t l = 0; in.fusion->mask && l < lanes; l++)
            to->mask[l / 8] |= (uint8_t)(get_bits(in.fusion->mask, in.at + indices[l], 1) % 2 << l % 8);
        to->fusion.residual = in.fusion->residual ? to->residual : NULL;
        to->fusion.mask = in.fusion->mask ? to->mask : NULL;
    }
    return (inputs){ to->x, to->dy, BNORM_F32, BNORM_F32, false, &to->fusion, 0 };
}

/* A chunk of the tile at `lane` of a unit's super-rows, to arrays of a tile. */
static void collect_apart_tile(const bnorm_walk *walk, const bnorm_collection *c, inputs in, size_t lane, pivots given,
                               row_sums out)
{
    gathered_tile gathered;
    BNORM_ALIGNED float lanes[PIVOTS][BNORM_TILE] = { { 0.0f } };
    EACH_PIVOT(c->terms, repeat_lanes(lanes[i], given.p[i], walk->width, lane); given.p[i] = lanes[i]);
    const tile_pivots p = load_pivots(given, BNORM_TILE, c->terms);
    place at = place_of(walk, c->first);
    for (size_t done = 0; done < c->rows;) {
        tile_sums t = no_sums(c->terms);
        const size_t begin = done;
        do {
            const size_t end = super_row_width(walk, at.row), used = end > lane ? smaller(end - lane, BNORM_TILE) : 0;
            const inputs tile = gather(walk, in, at, lane, used, &gathered, c->terms);
            collect_copied(&tile, 0, 0, 1, used, &p, &t, c->terms);
            step(walk, &at, 1);
        } while (++done % BNORM_GROUP && done < c->rows);
        for (int i = 0; i < sums_of(c->terms); i++) {
            store_tile(lanes[0], t.sum[i]);
            add_lanes(out.sum[i], lanes[0], BNORM_TILE, begin == 0);
        }
    }
}

/* Once for all terms: what it costs is the gathering. */
static NOINLINE void collect_apart(const bnorm_walk *walk, const bnorm_collection *c)
{
    const size_t width = walk->width, wide = walk->folded * width;
    for (size_t u = 0; u < c->units; u++) {
        const inputs in =
            ahead(given_inputs(c, false, c->terms), u * walk->x.unit_stride, u * walk->dy.unit_stride, c->terms);
        const pivots given = pivots_at(given_pivots(c), u * width, c->terms);
        folded_lanes f;
        for (size_t lane = 0; lane < wide; lane += BNORM_TILE) {
            BNORM_ALIGNED float tile[BNORM_SUMS][BNORM_TILE];
            collect_apart_tile(walk, c, in, lane, given, (row_sums){ { tile[0], tile[1], tile[2] } });
            for (int i = 0; i < sums_of(c->terms); i++)
                memcpy(walk->folded > 1 ? f.sum[i] + lane : c->sum[i] + u * width + lane, tile[i],
                       smaller(wide - lane, BNORM_TILE) * sizeof(*tile[i]));
        }
        for (int i = 0; walk->folded > 1 && i < sums_of(c->terms); i++) {
            fold_rows(f.sum[i], walk->folded, width);
            memcpy(c->sum[i] + u * width, f.sum[i], width * sizeof(*f.sum[i]));
        }
    }
}

/* ---- One loop for each kind of plain terms, and one for all others ---- */

static NOINLINE void collect_tile_units(const bnorm_walk *walk, const bnorm_collection *c)
{
    if (!is_plain_collection(c))
        collect_units(walk, c, false, c->terms);
    else if (c->terms == BNORM_SQUARES)
        collect_units(walk, c, true, BNORM_SQUARES);
    else
        collect_units(walk, c, true, BNORM_PRODUCTS);
}

static void collect_nchw(const bnorm_walk *walk, const bnorm_collection *c)
{
    if (walk->dense)
        collect_tile_units(walk, c);
    else
        collect_apart(walk, c);
}

static void collect_nhwc(const bnorm_walk *walk, const bnorm_collection *c)
{
    const bool tiles_adjacent =
        walk->x.super_row_stride == BNORM_TILE && (!collects_dy(c->terms) || walk->dy.super_row_stride == BNORM_TILE);
    if (!walk->dense)
        collect_apart(walk, c);
    else if (walk->folded * walk->width == BNORM_TILE && tiles_adjacent)
        collect_tile_units(walk, c);
    else if (!is_plain_collection(c))
        collect_wide_units(walk, c, false, c->terms);
    else if (c->terms == BNORM_SQUARES)
        collect_wide_units(walk, c, true, BNORM_SQUARES);
    else
        collect_wide_units(walk, c, true, BNORM_PRODUCTS);
}
