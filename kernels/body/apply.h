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

/* A statement for each coefficient `c` that the map uses, a constant: what is indexed by one stays in registers. */
#define IF_USED(map, coefficient, statement) \
    if (bnorm_uses(map, coefficient)) { \
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

/* ---- Some lanes ---- */

/* Adjacent lanes that are computed one after the other. */
typedef struct {
    const void *x, *dy; /* NULL where nothing asks for it */
    void *y; /* NULL: only dresidual is wanted */
    bnorm_dtype x_type, dy_type, y_type;
    const bnorm_fusion *fusion; /* NULL: none */
    bool plain; /* floats with nothing fused: a constant, and so are then the four above */
    size_t at; /* the first lane's index in y's layout */
    size_t lanes;
    bool stream;
    size_t fetch_lanes; /* beside each of the first of them, those so many lanes further are fetched: */
    size_t fetch, dy_fetch;
} piece;

static INLINE void set_types(piece *p, bool plain, bnorm_dtype x, bnorm_dtype dy, bnorm_dtype y,
                             const bnorm_fusion *fusion)
{
    p->plain = plain;
    p->x_type = plain ? BNORM_F32 : bnorm_known_type(x);
    p->dy_type = plain ? BNORM_F32 : bnorm_known_type(dy);
    p->y_type = plain ? BNORM_F32 : bnorm_known_type(y);
    p->fusion = plain ? NULL : fusion;
}

static INLINE piece of_one_type(const piece *p, bnorm_dtype type, const bnorm_fusion *fusion)
{
    piece known = *p;
    set_types(&known, false, type, type, type, fusion);
    return known;
}

/* Fetches beside stores past the caches, where nothing else is fetched. */
static INLINE void fetch_ahead(piece *p)
{
    const size_t x_lanes = lanes_of(BNORM_FETCH, p->x_type), dy_lanes = lanes_of(BNORM_FETCH, p->dy_type);
    const size_t lanes = x_lanes < dy_lanes ? dy_lanes : x_lanes;
    if (p->stream && !p->fetch_lanes && p->lanes > lanes) {
        p->fetch = x_lanes;
        p->dy_fetch = dy_lanes;
        p->fetch_lanes = p->lanes - lanes;
    }
}

/* What is stored at once: so many bytes, and lanes of y's type; portable C does not care. */
enum { STORE = V_LANES * sizeof(float) };

static INLINE size_t store_lanes_of(bnorm_dtype type)
{
    return V_LANES == 1 ? 1 : lanes_of(STORE, type);
}

/* Lanes before the first in y that is aligned to a store. */
static INLINE size_t lanes_to_aligned(const void *y, bnorm_dtype type)
{
    return V_LANES == 1 ? 0 : lanes_of((0 - (uintptr_t)y) % STORE, type);
}

/* Lanes after `rest` others up to a whole store. */
static INLINE size_t lanes_to_whole(size_t rest, bnorm_dtype type)
{
    return (0 - rest) & (store_lanes_of(type) - 1);
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

/* Of n plain lanes from the l-th on, those of a vector. */
static INLINE v_f32 plain_vector(const piece *p, size_t l, size_t n, source k, size_t v, bnorm_map map)
{
    const float *x = p->x, *dy = p->dy;
    return compute(map != BNORM_FROZEN ? load_vector(x + l, v, n) : v_zero(),
                   map != BNORM_NORMALISE ? load_vector(dy + l, v, n) : v_zero(), k, v, map);
}

/* A tile. All is loaded before the first store, as y may be x or dy. */
static INLINE void apply_plain_tile(const piece *p, size_t l, source k, bnorm_map map)
{
    v_f32 t[V_TILE];
    for (size_t v = 0; v < V_TILE; v++)
        t[v] = plain_vector(p, l, BNORM_TILE, k, v, map);
    store_lanes((float *)p->y + l, BNORM_F32, t, BNORM_TILE, true, p->stream);
}

/*
 * Of n lanes whose coefficients are zero behind them, the vectors that `out` lanes fill: much of small planes and of
 * padded blocks.
 */
static INLINE void apply_plain_vectors(const piece *p, size_t l, size_t n, size_t out, source k, bnorm_map map)
{
    for (size_t v = 0; v < V_TILE && v * V_LANES < out; v++)
        put_vector((float *)p->y + l + v * V_LANES, plain_vector(p, l, n, k, v, map), p->stream);
}

/* The gradient with respect to z of n lanes from the l-th on, in place of dy. */
static INLINE void take_back_lanes(const piece *p, size_t l, size_t n, source k, const v_f32 *x, v_f32 *dy, bool whole)
{
    const bnorm_fusion *f = p->fusion;
    v_f32 z[V_TILE];
    for (size_t v = 0; v < V_TILE; v++)
        z[v] = shifted(v_sub(x[v], coefficient(k, BNORM_CENTER, v)), k, v);
    take_back(dy, z, f, p->dy_type, p->at + l, n, whole);
    if (f->dresidual)
        store_lanes(bnorm_output(f->dresidual, p->dy_type, p->at + l), p->dy_type, dy, n, whole, false);
}

/* n lanes from the l-th on, at most a tile, of which `out` are stored: those behind the n as zero. */
static INLINE void apply_any(const piece *p, size_t l, size_t n, size_t out, source k, bool whole, bnorm_map map)
{
    v_f32 x[V_TILE] = { v_zero() }, dz[V_TILE] = { v_zero() };
    if (map != BNORM_FROZEN || (p->fusion && p->x))
        load_lanes(x, bnorm_elements(p->x, p->x_type, l), p->x_type, n, whole);
    if (map != BNORM_NORMALISE) {
        load_lanes(dz, bnorm_elements(p->dy, p->dy_type, l), p->dy_type, n, whole);
        if (p->fusion)
            take_back_lanes(p, l, n, k, x, dz, whole);
        if (!p->y)
            return;
    }
    for (size_t v = 0; v < V_TILE; v++)
        x[v] = compute(x[v], dz[v], k, v, map);
    if (map == BNORM_NORMALISE && p->fusion)
        finish_tile(x, p->fusion, p->y_type, (run){ p->at, p->at + p->lanes }, p->at + l, n, whole);
    for (size_t v = 0; n < out && v < V_TILE; v++)
        x[v] = n > v * V_LANES ? v_keep_n(x[v], smaller(n - v * V_LANES, V_LANES)) : v_zero();
    store_lanes(bnorm_output(p->y, p->y_type, l), p->y_type, x, out, whole, p->stream);
}

/* Fetches what a tile is computed from. */
static INLINE void fetch_inputs(const piece *p, size_t l, bnorm_map map)
{
    if (map != BNORM_FROZEN || (p->fusion && p->x))
        fetch_bytes(bnorm_elements(p->x, p->x_type, l + p->fetch), BNORM_TILE * bnorm_size_of(p->x_type));
    if (map != BNORM_NORMALISE)
        fetch_bytes(bnorm_elements(p->dy, p->dy_type, l + p->dy_fetch), BNORM_TILE * bnorm_size_of(p->dy_type));
}

static INLINE void fetch_residual(const piece *p, size_t l, bnorm_map map)
{
    const bnorm_dtype type = map == BNORM_NORMALISE ? p->y_type : p->dy_type;
    const size_t ahead = lanes_of(BNORM_FETCH, type);
    if (p->fusion && p->fusion->residual && l + BNORM_TILE + ahead <= p->lanes)
        fetch_bytes(bnorm_elements(p->fusion->residual, type, p->at + l + ahead), BNORM_TILE * bnorm_size_of(type));
}

/*
 * Either less than a tile, or a whole one in which two units or rows meet. A part that costs no more than its masks is
 * in one loop for all maps.
 */
static NOINLINE void apply_part_copied(const piece *p, size_t l, size_t n, size_t out, const tile_coefficients *k,
                                       bnorm_map map)
{
    if (map == BNORM_NORMALISE && n == BNORM_TILE)
        apply_any(p, l, BNORM_TILE, BNORM_TILE, in_tile(k), true, BNORM_NORMALISE);
    else if (!V_MASKED && map == BNORM_NORMALISE)
        apply_any(p, l, n, out, in_tile(k), false, BNORM_NORMALISE);
    else
        apply_any(p, l, n, out, in_tile(k), false, map);
}

/*
 * Less than a tile. But for whole vectors that is seldom: one function, given copies, so that what its callers have
 * stays in registers.
 */
static INLINE void apply_part(const piece *p, size_t l, size_t n, size_t out, source k, bnorm_map map)
{
    if (p->plain && n == out && n % V_LANES == 0) {
        apply_plain_vectors(p, l, n, n, k, map);
        return;
    }
    const piece copy = *p;
    tile_coefficients tile;
    for (size_t v = 0; v < V_TILE; v++)
        EACH_USED(map, tile.k[c][v] = coefficient(k, c, v));
    apply_part_copied(&copy, l, n, out, &tile, map);
}

static INLINE void apply_each_tile(const piece *p, size_t l, size_t end, source k, size_t step, bnorm_map map)
{
    for (; l + BNORM_TILE <= end; l += BNORM_TILE, k.at += step) {
        if (l + BNORM_TILE <= p->fetch_lanes)
            fetch_inputs(p, l, map);
        if (p->plain) {
            apply_plain_tile(p, l, k, map);
        } else {
            fetch_residual(p, l, map);
            apply_any(p, l, BNORM_TILE, BNORM_TILE, k, true, map);
        }
    }
}

/*
 * Whole tiles from the l-th lane on, as far as they end before `end`; coefficients in memory lie `step` lanes from a
 * tile to the next. Returns where they stop.
 */
static INLINE size_t apply_tiles(const piece *p, size_t l, size_t end, source k, size_t step, bnorm_map map)
{
    /* Inference of one type: with a loop of its own, whose type the compiler knows. */
    const bool own_loop = !p->plain && V_LANES > 1 && map == BNORM_NORMALISE && p->x_type == p->y_type;
    if (own_loop && p->x_type == BNORM_F32) {
        const piece known = of_one_type(p, BNORM_F32, p->fusion);
        apply_each_tile(&known, l, end, k, step, map);
    } else if (own_loop && p->x_type == BNORM_BF16 && !p->fusion) {
        const piece known = of_one_type(p, BNORM_BF16, NULL);
        apply_each_tile(&known, l, end, k, step, map);
    } else if (own_loop && p->x_type == BNORM_F16 && !p->fusion) {
        const piece known = of_one_type(p, BNORM_F16, NULL);
        apply_each_tile(&known, l, end, k, step, map);
    } else {
        apply_each_tile(p, l, end, k, step, map);
    }
    return l + BNORM_TILE <= end ? l + (end - l) / BNORM_TILE * BNORM_TILE : l;
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
        store_tile(seam, tile);
    }
    load_repeated(tile, row, width);
    store_tile(seam + BNORM_TILE, tile);
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
static INLINE void apply_units(const bnorm_planes *planes, bool plain, bool channels, bnorm_map map)
{
    piece p = { .x = planes->x, .dy = planes->dy, .y = planes->y, .at = planes->at };
    set_types(&p, plain, planes->x_type, planes->dy_type, planes->y_type, planes->fusion);
    /* Stores can be aligned where a vector then still begins with a row's first lane. */
    const size_t to_aligned = lanes_to_aligned(p.y, p.y_type), lanes = planes->lanes;
    const size_t width = channels ? 1 : planes->width;
    const bool whole = lanes >= store_lanes_of(p.y_type), aligned = whole && to_aligned % width == 0;
    p.lanes = planes->units * lanes;
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
        size_t n = rest; /* of the unit before, and then as many of this one as make stores whole */
        if (!last && u == 0)
            n += aligned ? to_aligned : 0;
        else if (!last && whole)
            n += lanes_to_whole(rest, p.y_type);
        before = now;
        if (!last && channels)
            EACH_USED(map, now.k[c] = v_set1(*unit.k[c]));
        else if (!last)
            EACH_USED(map, next_unit(held[c], unit.k[c], width, u == 0));
        if (n && channels && V_LANES == 1) { /* one lane is of one unit */
            apply_part(&p, l, n, n, in_vector(&before), map);
        } else if (n && channels) {
            tile_coefficients both = no_coefficients(BNORM_GRADIENT); /* whatever the map */
            join_channels(&both, &before, &now, rest, map);
            apply_part(&p, l, n, n, in_tile(&both), map);
        } else if (n) {
            apply_part(&p, l, n, n, in_memory(&seam, BNORM_TILE - (last ? 0 : rest)), map);
        }
        if (last)
            return;
        l += n;
        l = apply_tiles(&p, l, end + lanes, channels ? in_vector(&now) : in_memory(&seam, BNORM_TILE), 0, map);
        EACH_USED(map, unit.k[c] += width);
    }
}

/* ---- Rows: a coefficient a lane ---- */

/* The last lanes of a row and then its first. */
static NOINLINE void load_seam(float *seam, const float *row, size_t width)
{
    const size_t some = smaller(width, BNORM_TILE);
    memset(seam, 0, SEAM * sizeof(*seam));
    memcpy(seam + BNORM_TILE - some, row + width - some, some * sizeof(*row));
    memcpy(seam + BNORM_TILE, row, some * sizeof(*row));
}

/* Adjacent rows, one after the other: several at a time were slower from memory. Several are a vector wide at least. */
static INLINE void apply_adjacent(const piece *p, size_t rows, size_t width, size_t padding, const coefficients *given,
                                  const coefficients *seam, bnorm_map map)
{
    const bool aligning = (p->stream || p->lanes > 2 * BNORM_TILE) && !padding;
    const bool whole = width >= store_lanes_of(p->y_type);
    const size_t head = aligning ? smaller(lanes_to_aligned(p->y, p->y_type), width) : 0;
    size_t l = 0, end = 0;
    for (size_t row = 0;; row++, end += width) {
        const size_t rest = end - l;
        const size_t n = rest + (row == 0 ? head : row < rows && whole ? lanes_to_whole(rest, p->y_type) : 0);
        if (n) {
            const source k = in_memory(seam, BNORM_TILE - rest);
            apply_part(p, l, n, row < rows ? n : n + padding, k, map);
        }
        if (row == rows)
            return;
        l += n;
        l = apply_tiles(p, l, end + width, in_memory(given, l - end), BNORM_TILE, map);
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

/* Zero behind the lanes that are used: the same bits in every type. */
static NOINLINE void clear_padding(const bnorm_rows *r, void *row, bnorm_dtype type)
{
    memset(bnorm_output(row, type, r->used), 0, (r->width - r->used) * bnorm_size_of(type));
}

static INLINE void next_piece(piece *p, size_t x_stride, size_t dy_stride, size_t y_stride, bnorm_map map)
{
    if (p->x)
        p->x = bnorm_elements(p->x, p->x_type, x_stride);
    if (map != BNORM_NORMALISE)
        p->dy = bnorm_elements(p->dy, p->dy_type, dy_stride);
    if (p->y)
        p->y = bnorm_output(p->y, p->y_type, y_stride);
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
    p.stream = r->stream && lanes_to_aligned(r->y, BNORM_F32) == 0 && r->y_stride % V_LANES == 0;
    for (size_t row = 0; row < r->rows; row++) {
        apply_plain_vectors(&p, 0, r->used, r->width, in_tile(&k), map);
        next_piece(&p, r->x_stride, r->dy_stride, r->y_stride, map);
    }
}

static INLINE void apply_pieces(const bnorm_rows *r, bool plain, const row_pieces *s, const coefficients *given,
                                bnorm_map map)
{
    BNORM_ALIGNED float lanes[BNORM_COEFFICIENTS][SEAM];
    coefficients seam = { { NULL } };
    const size_t padding = r->width - r->used;
    const bool stored_together = s->width % BNORM_TILE + padding <= BNORM_TILE && s->width % BNORM_TILE;
    piece p = { .x = r->x, .dy = r->dy, .y = r->y, .at = r->at };
    set_types(&p, plain, r->x_type, r->dy_type, r->y_type, r->fusion);
    /* Rows that end in padding are not aligned one by one. */
    const bool aligned =
        !padding || (lanes_to_aligned(r->y, p.y_type) == 0 && lanes_to_whole(r->y_stride, p.y_type) == 0);
    p.stream = r->stream && aligned && (s->rows == 1 || s->width >= store_lanes_of(p.y_type));
    if (plain && !s->rest && s->rows == 1 && r->width <= BNORM_TILE && r->width % V_LANES == 0) {
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
        apply_adjacent(&p, rows, width, stored_together ? padding : 0, given, &seam, map);
        if (padding && !stored_together && p.y)
            clear_padding(r, p.y, p.y_type);
        if (padding && map != BNORM_NORMALISE && p.fusion && p.fusion->dresidual)
            clear_padding(r, bnorm_output(p.fusion->dresidual, p.dy_type, p.at), p.dy_type);
        next_piece(&p, s->x_stride, s->dy_stride, s->y_stride, map);
    }
}

static INLINE void apply_rows_map(const bnorm_rows *r, bool plain, bnorm_map map)
{
    coefficients given = given_coefficients(r->k, map);
    BNORM_ALIGNED float repeated[BNORM_COEFFICIENTS][BNORM_MAX_FOLDED];
    const bool adjacent = r->used == r->width && r->y_stride == r->width && (!r->x || r->x_stride == r->width) &&
                          (map == BNORM_NORMALISE || r->dy_stride == r->width);
    const size_t folded = adjacent ? bnorm_folded_rows(r->width) : 1;
    const row_pieces pieces = adjacent ? adjacent_rows(r, folded) : single_rows(r);
    if (folded > 1)
        EACH_USED(map, repeat_row(repeated[c], given.k[c], r->width, folded); given.k[c] = repeated[c]);
    apply_pieces(r, plain, &pieces, &given, map);
}

/* ---- One loop each way for plain tensors, and for all others, where the way back is of either map ---- */

static INLINE void apply_planes_either(const bnorm_planes *p, bool plain, bnorm_map map)
{
    if (p->width == 1)
        apply_units(p, plain, true, map);
    else
        apply_units(p, plain, false, map);
}

static void apply_planes(const bnorm_planes *p)
{
    const bool plain = bnorm_is_plain(p->map, p->x_type, p->dy_type, p->y_type, p->fusion);
    if (plain && p->map == BNORM_NORMALISE)
        apply_planes_either(p, true, BNORM_NORMALISE);
    else if (plain)
        apply_planes_either(p, true, BNORM_GRADIENT);
    else if (p->map == BNORM_NORMALISE)
        apply_planes_either(p, false, BNORM_NORMALISE);
    else
        apply_planes_either(p, false, p->map);
}

static void apply_rows(const bnorm_rows *r)
{
    const bool plain = bnorm_is_plain(r->map, r->x_type, r->dy_type, r->y_type, r->fusion);
    if (plain && r->map == BNORM_NORMALISE)
        apply_rows_map(r, true, BNORM_NORMALISE);
    else if (plain)
        apply_rows_map(r, true, BNORM_GRADIENT);
    else if (r->map == BNORM_NORMALISE)
        apply_rows_map(r, false, BNORM_NORMALISE);
    else
        apply_rows_map(r, false, r->map);
}

static void drain(void)
{
    v_stream_end();
}
