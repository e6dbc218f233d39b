/* SPDX-License-Identifier: MIT */
/*
 * From coefficients a channel to a tensor: the maps of kernels.h. Written against the vector header included before.
 *
 * Planes or rows that lie one after the other are taken as one sequence of lanes, in tiles. Where a unit or a row ends
 * within a tile, what is left of it and the next one's first lanes are one shorter tile of whole vectors: all stores
 * but the first and the last are whole and aligned, and can therefore go past the caches.
 */
#include <stdint.h>

#include "epilogue.h"
#include "tile.h"

/* ---- Coefficients ---- */

static INLINE bool uses(bnorm_map map, int coefficient)
{
    return coefficient <= BNORM_SHIFT || map == BNORM_GRADIENT;
}

/* A statement for each coefficient `c` that the map uses, a constant: what is indexed by one stays in registers. */
#define IF_USED(map, coefficient, statement) \
    if (uses(map, coefficient)) { \
        const int c = coefficient; \
        statement; \
    }
#define EACH_USED(map, statement) \
    do { \
        IF_USED(map, BNORM_CENTER, statement) \
        IF_USED(map, BNORM_SCALE, statement) \
        IF_USED(map, BNORM_SHIFT, statement) \
        IF_USED(map, BNORM_DY_MEAN, statement) \
        IF_USED(map, BNORM_SLOPE, statement) \
        IF_USED(map, BNORM_OFFSET, statement) \
    } while (0)

/* Coefficients in memory, of a unit or a row; of all lanes of a vector, where they are the same; and of a tile. */
typedef struct {
    const float *k[BNORM_COEFFICIENTS];
} coefficients;

typedef struct {
    v_f32 k[BNORM_COEFFICIENTS];
} vector_coefficients;

typedef struct {
    v_f32 k[BNORM_COEFFICIENTS][V_TILE];
} tile_coefficients;

static INLINE coefficients given_coefficients(const float *const *k, bnorm_map map)
{
    coefficients given = { { NULL } };
    EACH_USED(map, given.k[c] = k[c]);
    return given;
}

static INLINE tile_coefficients no_coefficients(bnorm_map map)
{
    tile_coefficients tile;
    for (size_t v = 0; v < V_TILE; v++)
        EACH_USED(map, tile.k[c][v] = v_zero());
    return tile;
}

/* Where the coefficients of some lanes are: one place, in memory from `at` on. */
typedef struct {
    const vector_coefficients *vector;
    const tile_coefficients *tile;
    const coefficients *memory;
    size_t at;
} source;

static INLINE source in_vector(const vector_coefficients *vector)
{
    return (source){ .vector = vector };
}

static INLINE source in_tile(const tile_coefficients *tile)
{
    return (source){ .tile = tile };
}

static INLINE source in_memory(const coefficients *memory, size_t at)
{
    return (source){ .memory = memory, .at = at };
}

static INLINE v_f32 coefficient(source k, int c, size_t v)
{
    if (k.vector)
        return k.vector->k[c];
    return k.tile ? k.tile->k[c][v] : v_load(k.memory->k[c] + k.at + v * V_LANES);
}

/* A statement for each map, as a constant. */
#define EACH_MAP(MAP) \
    MAP(BNORM_NORMALISE) \
    MAP(BNORM_GRADIENT) \
    MAP(BNORM_FROZEN)

/* ---- Some lanes ---- */

/* Adjacent lanes that are computed one after the other. */
typedef struct {
    const float *x, *dy;
    float *y; /* NULL: only dresidual is wanted */
    size_t at; /* the first lane's index in y's layout */
    size_t lanes;
    bool stream;
    size_t fetch_lanes; /* beside each of the first of them, those so many lanes further are fetched: */
    size_t fetch, dy_fetch;
} piece;

/* Fetches beside stores past the caches, where nothing else is fetched. */
static INLINE void fetch_ahead(piece *p)
{
    if (p->stream && !p->fetch_lanes && p->lanes > BNORM_FETCH) {
        p->fetch = p->dy_fetch = BNORM_FETCH;
        p->fetch_lanes = p->lanes - BNORM_FETCH;
    }
}

/* Lanes before the first whose vector in y is aligned. */
static inline size_t lanes_to_aligned(const float *y)
{
    return (0 - (uintptr_t)y / sizeof(*y)) % V_LANES;
}

/* Lanes after `rest` others up to a whole vector. */
static inline size_t lanes_to_whole(size_t rest)
{
    return (0 - rest) % V_LANES;
}

/* Of a vector, d = x - center and dz, what kernels.h says of dx. */
static INLINE v_f32 gradient(v_f32 d, v_f32 dz, source k, size_t v, bnorm_map map)
{
    if (map == BNORM_GRADIENT)
        dz = v_add(v_sub(dz, coefficient(k, BNORM_DY_MEAN, v)),
                   v_add(v_mul(d, coefficient(k, BNORM_SLOPE, v)), coefficient(k, BNORM_OFFSET, v)));
    return v_mul(dz, coefficient(k, BNORM_SCALE, v));
}

static INLINE v_f32 shifted(v_f32 d, source k, size_t v)
{
    return v_add(v_mul(d, coefficient(k, BNORM_SCALE, v)), coefficient(k, BNORM_SHIFT, v));
}

/* A vector of x, and of dz, becomes one of y, or dx. */
static INLINE v_f32 compute(v_f32 x, v_f32 dz, source k, size_t v, bnorm_map map)
{
    v_f32 d = x;
    if (map != BNORM_FROZEN)
        d = v_sub(x, coefficient(k, BNORM_CENTER, v));
    return map == BNORM_NORMALISE ? shifted(d, k, v) : gradient(d, dz, k, v, map);
}

/* The gradient with respect to z of n lanes from the l-th on, in place of dy. */
static INLINE void take_back_lanes(const piece *p, const bnorm_fusion *f, size_t l, size_t n, source k, const v_f32 *x,
                                   v_f32 *dy, bool whole)
{
    v_f32 z[V_TILE];
    for (size_t v = 0; v < V_TILE; v++)
        z[v] = shifted(v_sub(x[v], coefficient(k, BNORM_CENTER, v)), k, v);
    take_back(dy, z, f, p->at + l, n, whole);
    if (f->dresidual)
        store_lanes(f->dresidual + p->at + l, dy, n, whole, false);
}

/*
 * n lanes from the l-th on, at most a tile, of which `out` are stored: those behind the n as zero. All is loaded before
 * the first store, so y may be x or dy.
 */
static INLINE void apply_lanes(const piece *p, const bnorm_fusion *f, size_t l, size_t n, size_t out, source k,
                               bool whole, bnorm_map map)
{
    v_f32 t[V_TILE];
    const bool backward = map != BNORM_NORMALISE;
    if (whole && !(backward && f)) { /* without copies, which portable C would make in memory */
        for (size_t v = 0; v < V_TILE; v++)
            t[v] = compute(map == BNORM_FROZEN ? v_zero() : load_vector(p->x + l, v, BNORM_TILE),
                           backward ? load_vector(p->dy + l, v, BNORM_TILE) : v_zero(), k, v, map);
    } else {
        v_f32 x[V_TILE] = { v_zero() }, dz[V_TILE] = { v_zero() };
        if (map != BNORM_FROZEN || f)
            load_lanes(x, p->x + l, n, whole);
        if (backward)
            load_lanes(dz, p->dy + l, n, whole);
        if (backward && f)
            take_back_lanes(p, f, l, n, k, x, dz, whole);
        if (backward && !p->y)
            return;
        for (size_t v = 0; v < V_TILE; v++)
            t[v] = compute(x[v], dz[v], k, v, map);
    }
    if (map == BNORM_NORMALISE && f)
        finish_tile(t, f, (run){ p->at, p->at + p->lanes }, p->at + l, n, whole);
    for (size_t v = 0; n < out && v < V_TILE; v++)
        t[v] = n > v * V_LANES ? v_keep_n(t[v], smaller(n - v * V_LANES, V_LANES)) : v_zero();
    store_lanes(p->y + l, t, out, whole, p->stream);
}

static NOINLINE void apply_copied(const piece *p, const bnorm_fusion *f, size_t l, size_t n, size_t out,
                                  const tile_coefficients *k, bnorm_map map)
{
#define MAP(constant) \
    if (map == constant && f) \
        apply_lanes(p, f, l, n, out, in_tile(k), false, constant); \
    else if (map == constant) \
        apply_lanes(p, NULL, l, n, out, in_tile(k), false, constant);
    EACH_MAP(MAP)
#undef MAP
}

/*
 * Of n lanes from the l-th on, whose coefficients are zero behind them, the vectors that `out` lanes fill: much of
 * small planes and of padded blocks.
 */
static INLINE void apply_vectors(const piece *p, size_t l, size_t n, size_t out, source k, bnorm_map map)
{
    for (size_t v = 0; v < V_TILE && v * V_LANES < out; v++) {
        const v_f32 x = map != BNORM_FROZEN ? load_vector(p->x + l, v, n) : v_zero();
        const v_f32 dz = map != BNORM_NORMALISE ? load_vector(p->dy + l, v, n) : v_zero();
        put_vector(p->y + l + v * V_LANES, compute(x, dz, k, v, map), p->stream);
    }
}

/*
 * Less than a tile. But for whole vectors that is seldom: one function, given copies, so that what its callers have
 * stays in registers.
 */
static INLINE void apply_part(const piece *p, const bnorm_fusion *f, size_t l, size_t n, size_t out, source k,
                              bnorm_map map)
{
    if (!f && n == out && n % V_LANES == 0) {
        apply_vectors(p, l, n, n, k, map);
        return;
    }
    const piece copy = *p;
    tile_coefficients tile;
    for (size_t v = 0; v < V_TILE; v++)
        EACH_USED(map, tile.k[c][v] = coefficient(k, c, v));
    apply_copied(&copy, f, l, n, out, &tile, map);
}

/* Fetches what a tile is computed from. */
static INLINE void fetch_inputs(const piece *p, const bnorm_fusion *f, size_t l, bnorm_map map)
{
    if (map != BNORM_FROZEN || f)
        fetch_tile(p->x + l + p->fetch);
    if (map != BNORM_NORMALISE)
        fetch_tile(p->dy + l + p->dy_fetch);
}

/* Whole tiles from the l-th lane on, as far as they end before `end`; l becomes where they stop. */
#define APPLY_TILES(p, f, l, end, source_at_l, map) \
    for (; l + BNORM_TILE <= end; l += BNORM_TILE) { \
        if (l + BNORM_TILE <= (p)->fetch_lanes) \
            fetch_inputs(p, f, l, map); \
        if (f && (f)->residual && l + BNORM_TILE + BNORM_FETCH <= (p)->lanes) \
            fetch_tile((f)->residual + (p)->at + l + BNORM_FETCH); \
        apply_lanes(p, f, l, BNORM_TILE, BNORM_TILE, source_at_l, true, map); \
    }

/* ---- Planes: a unit's coefficients repeat with the lanes of a row, which divide a tile ---- */

/*
 * A unit's coefficients and then the next one's: those of lanes in which two meet, or of one alone, begin somewhere. In
 * memory, which the compiler takes to registers where there are enough.
 */
enum { SEAM = 2 * BNORM_TILE };

static INLINE void next_unit(float *seam, const float *row, size_t width, bool first)
{
    v_f32 tile[V_TILE];
    if (!first) {
        load_tile(tile, seam + BNORM_TILE, BNORM_TILE);
        store_tile(seam, tile, BNORM_TILE);
    }
    load_repeated(tile, row, width);
    store_tile(seam + BNORM_TILE, tile, BNORM_TILE);
}

/* Of units of one channel: the first `rest` lanes of one, then what another begins with. */
static INLINE void join_channels(tile_coefficients *both, const vector_coefficients *a, const vector_coefficients *b,
                                 size_t rest, bnorm_map map)
{
    for (size_t v = 0; v < V_TILE; v++) {
        const size_t first = v * V_LANES;
        if (first + V_LANES <= rest)
            EACH_USED(map, both->k[c][v] = a->k[c]);
        else
            EACH_USED(map, both->k[c][v] = v_join_n(a->k[c], b->k[c], first < rest ? rest - first : 0));
    }
}

/* `channels`: units are of one channel each, as a constant; then registers hold the coefficients. */
static INLINE void apply_units(const bnorm_planes *planes, const bnorm_fusion *f, bool channels, bnorm_map map)
{
    /* Stores can be aligned where a vector then still begins with a row's first lane. */
    const size_t to_aligned = lanes_to_aligned(planes->y), lanes = planes->lanes, width = channels ? 1 : planes->width;
    const bool whole = lanes >= V_LANES, aligned = whole && to_aligned % width == 0;
    piece p = { planes->x, planes->dy, planes->y, planes->at, planes->units * lanes, false, 0, 0, 0 };
    p.stream = planes->stream && aligned;
    p.fetch_lanes = planes->fetch ? planes->fetch_units * lanes : 0;
    p.fetch = planes->fetch;
    p.dy_fetch = planes->dy_fetch;
    if (!planes->fetch)
        fetch_ahead(&p);
    BNORM_ALIGNED float held[BNORM_COEFFICIENTS][SEAM];
    coefficients unit = given_coefficients(planes->k, map), seam = { { NULL } };
    vector_coefficients before, now;
    EACH_USED(map, seam.k[c] = held[c]; now.k[c] = v_zero());
    size_t l = 0, end = 0;
    for (size_t u = 0;; u++, end += lanes) {
        const bool last = u == planes->units;
        const size_t rest = end - l;
        const size_t n = rest + (last ? 0 : u ? (whole ? lanes_to_whole(rest) : 0) : aligned ? to_aligned : 0);
        before = now;
        if (!last && channels)
            EACH_USED(map, now.k[c] = v_set1(*unit.k[c]));
        else if (!last)
            EACH_USED(map, next_unit(held[c], unit.k[c], width, u == 0));
        if (n && channels && V_LANES == 1) { /* one lane is of one unit */
            apply_part(&p, f, l, n, n, in_vector(&before), map);
        } else if (n && channels) {
            tile_coefficients both;
            join_channels(&both, &before, &now, rest, map);
            apply_part(&p, f, l, n, n, in_tile(&both), map);
        } else if (n) {
            apply_part(&p, f, l, n, n, in_memory(&seam, BNORM_TILE - (last ? 0 : rest)), map);
        }
        if (last)
            return;
        l += n;
        const source k = channels ? in_vector(&now) : in_memory(&seam, BNORM_TILE);
        APPLY_TILES(&p, f, l, end + lanes, k, map)
        EACH_USED(map, unit.k[c] += width);
    }
}

/* Where dx is dy scaled, memory is the limit: one loop will do. */
static INLINE void apply_planes(const bnorm_planes *planes, const bnorm_fusion *f, bnorm_map map)
{
    if (planes->width == 1 && map != BNORM_FROZEN)
        apply_units(planes, f, true, map);
    else
        apply_units(planes, f, false, map);
}

/* ---- Rows: a coefficient a lane ---- */

/* The last lanes of a row and then its first. */
static NOINLINE void load_seam(float *seam, const float *row, size_t width)
{
    const size_t last = smaller(width, BNORM_TILE), first = smaller(width, V_LANES);
    memset(seam, 0, SEAM * sizeof(*seam));
    memcpy(seam + BNORM_TILE - last, row + width - last, last * sizeof(*row));
    memcpy(seam + BNORM_TILE, row, first * sizeof(*row));
}

/* Adjacent rows, one after the other: several at a time were slower from memory. Several are a vector wide at least. */
static INLINE void apply_adjacent(const piece *p, const bnorm_fusion *f, size_t rows, size_t width, size_t padding,
                                  const coefficients *given, const coefficients *seam, bnorm_map map)
{
    const bool aligning = (p->stream || p->lanes > 2 * BNORM_TILE) && !padding;
    const size_t head = aligning ? smaller(lanes_to_aligned(p->y), width) : 0;
    size_t l = 0, end = 0;
    for (size_t row = 0;; row++, end += width) {
        const size_t rest = end - l, n = rest + (row == 0 ? head : row < rows ? lanes_to_whole(rest) : 0);
        if (n) {
            const source k = in_memory(seam, BNORM_TILE - rest);
            apply_part(p, f, l, n, row < rows ? n : n + padding, k, map);
        }
        if (row == rows)
            return;
        l += n;
        APPLY_TILES(p, f, l, end + width, in_memory(given, l - end), map)
    }
}

/* How rows are taken: `pieces` of them, each of adjacent rows, and then a part of a row. */
typedef struct {
    size_t pieces, rows, width;
    size_t x_stride, dy_stride, y_stride; /* of pieces */
    size_t rest;
} row_pieces;

/* Adjacent rows: narrow ones as super-rows, which fill the vectors. */
static inline row_pieces adjacent_rows(const bnorm_rows *r, size_t folded)
{
    const size_t whole = r->rows / folded, lanes = whole * folded * r->width;
    return (row_pieces){ whole > 0, whole, folded * r->width, lanes, lanes, lanes, r->rows % folded * r->width };
}

/* Rows apart from each other, or that end in padding. */
static inline row_pieces single_rows(const bnorm_rows *r)
{
    return (row_pieces){ r->rows, 1, r->used, r->x_stride, r->dy_stride, r->y_stride, 0 };
}

/* Zero behind the lanes that are used: of y where they are not stored with those, and of dresidual. */
static NOINLINE void clear_padding(const bnorm_rows *r, float *y, float *dresidual)
{
    for (size_t lane = r->used; lane < r->width; lane++) {
        if (y)
            y[lane] = 0.0f;
        if (dresidual)
            dresidual[lane] = 0.0f;
    }
}

static INLINE void next_piece(piece *p, size_t x_stride, size_t dy_stride, size_t y_stride, bnorm_map map)
{
    if (p->x)
        p->x += x_stride;
    if (map != BNORM_NORMALISE)
        p->dy += dy_stride;
    if (p->y)
        p->y += y_stride;
    p->at += map == BNORM_NORMALISE ? y_stride : dy_stride;
}

/*
 * Rows of some whole vectors, apart from each other or ending in padding: the coefficients stay in registers. They are
 * zero in the padding, which is taken for zero, and so becomes zero.
 */
static INLINE void apply_narrow(const bnorm_rows *r, piece p, const coefficients *given, bnorm_map map)
{
    tile_coefficients k = no_coefficients(map);
    EACH_USED(map, load_tile(k.k[c], given->k[c], r->used));
    p.stream = r->stream && lanes_to_aligned(r->y) == 0 && r->y_stride % V_LANES == 0;
    for (size_t row = 0; row < r->rows; row++) {
        apply_vectors(&p, 0, r->used, r->width, in_tile(&k), map);
        next_piece(&p, r->x_stride, r->dy_stride, r->y_stride, map);
    }
}

static INLINE void apply_pieces(const bnorm_rows *r, const bnorm_fusion *f, const row_pieces *s,
                                const coefficients *given, bnorm_map map)
{
    BNORM_ALIGNED float lanes[BNORM_COEFFICIENTS][SEAM];
    coefficients seam = { { NULL } };
    const size_t padding = r->width - r->used;
    const bool stored_together = s->width % BNORM_TILE + padding <= BNORM_TILE && s->width % BNORM_TILE;
    float *const dresidual = map != BNORM_NORMALISE && f ? f->dresidual : NULL;
    /* Rows that end in padding are not aligned one by one. */
    const bool aligned = !padding || (lanes_to_aligned(r->y) == 0 && r->y_stride % V_LANES == 0);
    piece p = { r->x, r->dy, r->y, r->at, 0, r->stream && aligned, 0, 0, 0 };
    if (!f && !s->rest && s->rows == 1 && r->width <= BNORM_TILE && r->width % V_LANES == 0) {
        apply_narrow(r, p, given, map);
        return;
    }
    for (size_t i = 0; i < s->pieces + (s->rest > 0); i++) {
        const bool last = i == s->pieces;
        const size_t rows = last ? 1 : s->rows, width = last ? s->rest : s->width;
        if (i == 0 || last)
            EACH_USED(map, load_seam(lanes[c], given->k[c], width); seam.k[c] = lanes[c]);
        p.lanes = rows * width;
        p.fetch_lanes = 0;
        fetch_ahead(&p);
        apply_adjacent(&p, f, rows, width, stored_together ? padding : 0, given, &seam, map);
        if (padding && (!stored_together || dresidual))
            clear_padding(r, p.y, dresidual ? dresidual + p.at : NULL);
        next_piece(&p, s->x_stride, s->dy_stride, s->y_stride, map);
    }
}

static INLINE void apply_rows(const bnorm_rows *r, const bnorm_fusion *f, bnorm_map map)
{
    coefficients given = given_coefficients(r->k, map);
    BNORM_ALIGNED float repeated[BNORM_COEFFICIENTS][BNORM_MAX_FOLDED];
    const bool adjacent = r->used == r->width && r->y_stride == r->width && (!r->x || r->x_stride == r->width) &&
                          (map == BNORM_NORMALISE || r->dy_stride == r->width);
    const size_t folded = adjacent ? bnorm_folded_rows(r->width) : 1;
    const row_pieces pieces = adjacent ? adjacent_rows(r, folded) : single_rows(r);
    if (folded > 1)
        EACH_USED(map, repeat_row(repeated[c], given.k[c], r->width, folded); given.k[c] = repeated[c]);
    apply_pieces(r, f, &pieces, &given, map);
}

/* ---- One loop for each map, without a fusion and with one ---- */

static void apply_planes_f32(const bnorm_planes *planes)
{
    switch (planes->map) {
#define MAP(map) \
    case map: \
        if (planes->fusion) \
            apply_planes(planes, planes->fusion, map); \
        else \
            apply_planes(planes, NULL, map); \
        break;
        EACH_MAP(MAP)
#undef MAP
    }
}

static void apply_rows_f32(const bnorm_rows *rows)
{
    switch (rows->map) {
#define MAP(map) \
    case map: \
        if (rows->fusion) \
            apply_rows(rows, rows->fusion, map); \
        else \
            apply_rows(rows, NULL, map); \
        break;
        EACH_MAP(MAP)
#undef MAP
    }
}

static void drain(void)
{
    v_stream_end();
}
