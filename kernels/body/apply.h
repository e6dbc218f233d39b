/* SPDX-License-Identifier: MIT */
/*
 * From coefficients a channel to a tensor: the maps of kernels.h. Written against the vector header included before.
 *
 * Planes or rows that lie one after the other are taken as one sequence, in which a vector may span two of them: all
 * stores but the first and the last are whole and aligned, and can therefore go past the caches.
 */
#include <stdint.h>

#include "tile.h"

static INLINE bool uses_x(bnorm_map map)
{
    return map != BNORM_FROZEN;
}

static INLINE bool uses_dy(bnorm_map map)
{
    return map != BNORM_NORMALISE;
}

static INLINE bool uses(bnorm_map map, int coefficient)
{
    switch (coefficient) {
    case BNORM_CENTER:
        return map != BNORM_FROZEN;
    case BNORM_SCALE:
        return true;
    case BNORM_SHIFT:
        return map == BNORM_NORMALISE || map == BNORM_GRADIENT_RELU || map == BNORM_FROZEN_RELU;
    default:
        return map == BNORM_GRADIENT || map == BNORM_GRADIENT_RELU;
    }
}

static INLINE inputs later_inputs(inputs in, size_t x_lanes, size_t dy_lanes, bnorm_map map)
{
    return inputs_at(in, x_lanes, uses_x(map), dy_lanes, uses_dy(map));
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

/* The coefficients of a vector, of a tile, and in memory: those of a unit or a row. */
typedef struct {
    v_f32 k[BNORM_COEFFICIENTS];
} vector_coefficients;

typedef struct {
    v_f32 k[BNORM_COEFFICIENTS][V_TILE];
} tile_coefficients;

typedef struct {
    const float *k[BNORM_COEFFICIENTS];
} coefficients;

static INLINE coefficients later(coefficients from, size_t lanes, bnorm_map map)
{
    EACH_USED(map, from.k[c] += lanes);
    return from;
}

static INLINE vector_coefficients of_vector(const tile_coefficients *tile, size_t v, bnorm_map map)
{
    vector_coefficients k;
    EACH_USED(map, k.k[c] = tile->k[c][v]);
    return k;
}

static INLINE vector_coefficients load_coefficients(const coefficients *from, size_t at, bnorm_map map)
{
    vector_coefficients k;
    EACH_USED(map, k.k[c] = v_load(from->k[c] + at));
    return k;
}

static INLINE vector_coefficients load_coefficients_n(const coefficients *from, size_t at, size_t n, bnorm_map map)
{
    vector_coefficients k;
    EACH_USED(map, k.k[c] = v_load_n(from->k[c] + at, n));
    return k;
}

/* What kernels.h says of the map. */
static INLINE v_f32 compute(v_f32 x, v_f32 dy, const vector_coefficients *k, bnorm_map map)
{
    const v_f32 scale = k->k[BNORM_SCALE];
    v_f32 d = x;
    if (uses_x(map))
        d = v_sub(x, k->k[BNORM_CENTER]);
    if (map == BNORM_NORMALISE)
        return v_add(v_mul(d, scale), k->k[BNORM_SHIFT]);
    if (uses(map, BNORM_SHIFT))
        dy = v_if_positive(v_add(v_mul(d, scale), k->k[BNORM_SHIFT]), dy);
    if (uses(map, BNORM_SLOPE))
        dy = v_add(v_sub(dy, k->k[BNORM_DY_MEAN]), v_add(v_mul(d, k->k[BNORM_SLOPE]), k->k[BNORM_OFFSET]));
    return v_mul(dy, scale);
}

static INLINE v_f32 compute_at(inputs in, size_t at, const vector_coefficients *k, bnorm_map map)
{
    return compute(uses_x(map) ? v_load(in.x + at) : v_zero(), uses_dy(map) ? v_load(in.dy + at) : v_zero(), k, map);
}

static INLINE void put(float *y, v_f32 v, bool stream)
{
    if (stream)
        v_stream(y, v);
    else
        v_store(y, v);
}

/* Lanes before the first whose vector in y is aligned. */
static inline size_t lanes_to_aligned(const float *y)
{
    return (0 - (uintptr_t)y / sizeof(*y)) % V_LANES;
}

/* n lanes from `at` on, 0 < n < V_LANES. */
static INLINE void apply_n(inputs in, float *y, size_t at, size_t n, const vector_coefficients *k, bnorm_map map)
{
    v_store_n(y + at,
              compute(uses_x(map) ? v_load_n(in.x + at, n) : v_zero(),
                      uses_dy(map) ? v_load_n(in.dy + at, n) : v_zero(), k, map),
              n);
}

/* All is computed before the first store, so that the compiler need not ask whether y is x. */
static INLINE void apply_tile(inputs in, float *y, size_t at, const tile_coefficients *tile, bnorm_map map, bool stream)
{
    v_f32 t[V_TILE];
    for (size_t v = 0; v < V_TILE; v++) {
        const vector_coefficients k = of_vector(tile, v, map);
        t[v] = compute_at(in, at + v * V_LANES, &k, map);
    }
    for (size_t v = 0; v < V_TILE; v++)
        put(y + at + v * V_LANES, t[v], stream);
}

/* Fetches what a tile is computed from. */
static INLINE void fetch_inputs(inputs in, size_t x_lanes, size_t dy_lanes, bnorm_map map)
{
    if (uses_x(map))
        fetch_tile(in.x + x_lanes);
    if (uses_dy(map))
        fetch_tile(in.dy + dy_lanes);
}

/* ---- Planes: a unit's coefficients repeat with the lanes of a row, which divide a tile ---- */

/* Adjacent units of a vector at least, and how far they are computed. */
typedef struct {
    inputs in;
    float *y;
    size_t lanes; /* of a unit */
    size_t at, end; /* lanes of all units: done, and up to the end of the current one */
    size_t left; /* units after the current one */
    coefficients unit; /* of the current one */
    bool stream;
    size_t fetch_lanes; /* beside each of the first of them, those so many lanes further are fetched: */
    size_t fetch, dy_fetch;
} sweep;

static INLINE tile_coefficients repeat_coefficients(const coefficients *unit, size_t width, bnorm_map map)
{
    tile_coefficients tile;
    EACH_USED(map, load_repeated(tile.k[c], unit->k[c], width));
    return tile;
}

/* Stores can be aligned where a vector then still begins with a row's first lane. */
static inline bool can_align(const bnorm_planes *p)
{
    return lanes_to_aligned(p->y) % p->width == 0;
}

static INLINE coefficients given_coefficients(const float *const *k, bnorm_map map)
{
    coefficients given = { { NULL } };
    EACH_USED(map, given.k[c] = k[c]);
    return given;
}

static INLINE sweep begin_sweep(const bnorm_planes *p, size_t width, bnorm_map map)
{
    const size_t all = p->units * p->lanes, head = lanes_to_aligned(p->y);
    sweep s = { .in = { p->x, p->dy }, .y = p->y, .lanes = p->lanes, .end = p->lanes, .left = p->units - 1 };
    s.unit = given_coefficients(p->k, map);
    s.stream = p->stream && can_align(p);
    if (p->fetch) {
        s.fetch = p->fetch;
        s.dy_fetch = p->dy_fetch;
        s.fetch_lanes = p->fetch_units * p->lanes;
    } else if (s.stream && all > BNORM_FETCH) {
        s.fetch = s.dy_fetch = BNORM_FETCH;
        s.fetch_lanes = all - BNORM_FETCH;
    }
    if (head && can_align(p)) {
        const tile_coefficients tile = repeat_coefficients(&s.unit, width, map);
        const vector_coefficients k = of_vector(&tile, 0, map);
        apply_n(s.in, s.y, 0, head, &k, map);
        s.at = head;
    }
    return s;
}

/* The vector in which a unit ends after `rest` lanes: the others are the first of the next unit, if there is one. */
static INLINE void end_vector(const sweep *s, size_t at, size_t rest, const vector_coefficients *k, size_t width,
                              bnorm_map map)
{
    if (s->left) {
        const coefficients unit = later(s->unit, width, map);
        const tile_coefficients next = repeat_coefficients(&unit, width, map);
        vector_coefficients both;
        EACH_USED(map, both.k[c] = v_join_n(k->k[c], next.k[c][0], rest));
        put(s->y + at, compute_at(s->in, at, &both, map), s->stream);
    } else {
        apply_n(s->in, s->y, at, rest, k, map);
    }
}

/* Whole tiles from `at` on, as far as they end before `end`; returns where they stop. */
static INLINE size_t apply_tiles(const sweep *s, size_t at, size_t end, const tile_coefficients *tile, bnorm_map map,
                                 bool fetch, bool stream)
{
    for (; at + BNORM_TILE <= end; at += BNORM_TILE) {
        if (fetch)
            fetch_inputs(s->in, at + s->fetch, at + s->dy_fetch, map);
        apply_tile(s->in, s->y, at, tile, map, stream);
    }
    return at;
}

/* The current unit, or what is left of it; the next one becomes the current. */
static INLINE void apply_unit(sweep *s, size_t width, bnorm_map map)
{
    const tile_coefficients tile = repeat_coefficients(&s->unit, width, map);
    const size_t fetched = smaller(s->end, s->fetch_lanes);
    size_t at = s->at;
    if (s->stream) {
        at = apply_tiles(s, at, fetched, &tile, map, true, true);
        at = apply_tiles(s, at, s->end, &tile, map, false, true);
    } else {
        at = apply_tiles(s, at, fetched, &tile, map, true, false);
        at = apply_tiles(s, at, s->end, &tile, map, false, false);
    }
    for (size_t v = 0; v < V_TILE && at < s->end; v++, at += V_LANES) {
        const vector_coefficients k = of_vector(&tile, v, map);
        if (at + V_LANES <= s->end)
            put(s->y + at, compute_at(s->in, at, &k, map), s->stream);
        else
            end_vector(s, at, s->end - at, &k, width, map);
    }
    s->at = at;
    s->end += s->lanes;
    s->left--;
    s->unit = later(s->unit, width, map);
}

static INLINE void apply_planes(const bnorm_planes *p, size_t width, bnorm_map map)
{
    sweep s = begin_sweep(p, width, map);
    for (size_t u = 0; u < p->units; u++)
        apply_unit(&s, width, map);
}

/* Units smaller than a vector. */
static INLINE void apply_small_planes(const bnorm_planes *p, bnorm_map map)
{
    const inputs in = { p->x, p->dy };
    coefficients unit = given_coefficients(p->k, map);
    for (size_t u = 0; u < p->units; u++, unit = later(unit, p->width, map)) {
        const tile_coefficients tile = repeat_coefficients(&unit, p->width, map);
        const vector_coefficients k = of_vector(&tile, 0, map);
        apply_n(in, p->y, u * p->lanes, p->lanes, &k, map);
    }
}

static INLINE void apply_any_planes(const bnorm_planes *p, bnorm_map map)
{
    if (p->lanes < V_LANES)
        apply_small_planes(p, map);
    else if (p->width == 1)
        apply_planes(p, 1, map);
    else
        apply_planes(p, p->width, map);
}

/* One loop for each map. */
static void apply_planes_f32(const bnorm_planes *planes)
{
    switch (planes->map) {
    case BNORM_NORMALISE:
        apply_any_planes(planes, BNORM_NORMALISE);
        break;
    case BNORM_GRADIENT:
        apply_any_planes(planes, BNORM_GRADIENT);
        break;
    case BNORM_GRADIENT_RELU:
        apply_any_planes(planes, BNORM_GRADIENT_RELU);
        break;
    case BNORM_FROZEN:
        apply_any_planes(planes, BNORM_FROZEN);
        break;
    case BNORM_FROZEN_RELU:
        apply_any_planes(planes, BNORM_FROZEN_RELU);
        break;
    }
}

/* ---- Rows: a coefficient a lane ---- */

/* Whole tiles of a row from `at` on; returns where they stop. */
static INLINE size_t apply_row_tiles(inputs in, float *y, size_t at, size_t width, const coefficients *given,
                                     bnorm_map map, bool stream, bool fetch)
{
    for (; at + BNORM_TILE <= width; at += BNORM_TILE) {
        v_f32 t[V_TILE];
        if (fetch)
            fetch_inputs(in, at + BNORM_FETCH, at + BNORM_FETCH, map);
        for (size_t v = 0; v < V_TILE; v++) {
            const vector_coefficients k = load_coefficients(given, at + v * V_LANES, map);
            t[v] = compute_at(in, at + v * V_LANES, &k, map);
        }
        for (size_t v = 0; v < V_TILE; v++)
            put(y + at + v * V_LANES, t[v], stream);
    }
    return at;
}

/* The lanes from `at` on that whole vectors take; returns where they stop. */
static INLINE size_t apply_row(inputs in, float *y, size_t at, size_t width, const coefficients *given, bnorm_map map,
                               bool stream, bool fetch)
{
    if (fetch)
        at = apply_row_tiles(in, y, at, width, given, map, true, true);
    else if (stream)
        at = apply_row_tiles(in, y, at, width, given, map, true, false);
    else
        at = apply_row_tiles(in, y, at, width, given, map, false, false);
    for (; at + V_LANES <= width; at += V_LANES) {
        const vector_coefficients k = load_coefficients(given, at, map);
        put(y + at, compute_at(in, at, &k, map), stream);
    }
    return at;
}

/* n lanes of a row from `at` on, 0 <= n < V_LANES. */
static INLINE void apply_row_n(inputs in, float *y, size_t at, size_t n, const coefficients *given, bnorm_map map)
{
    if (n) {
        const vector_coefficients k = load_coefficients_n(given, at, n, map);
        apply_n(in, y, at, n, &k, map);
    }
}

/* The last lanes of a row and then its first: the coefficients of a vector in which two rows meet begin somewhere. */
static INLINE void load_seam(float *lanes, const float *row, size_t width)
{
    v_store(lanes, v_load(row + width - V_LANES));
    v_store(lanes + V_LANES, v_load(row));
}

/* Adjacent rows of a vector at least, one after the other: several at a time were slower from memory. */
static INLINE void apply_wide(size_t rows, size_t width, inputs in, float *y, const coefficients *given, bnorm_map map,
                              bool stream)
{
    float lanes[BNORM_COEFFICIENTS][2 * V_LANES];
    coefficients seam = { { NULL } };
    size_t at = lanes_to_aligned(y);
    if (rows > 1 && (at || width % V_LANES))
        EACH_USED(map, load_seam(lanes[c], given->k[c], width); seam.k[c] = lanes[c]);
    apply_row_n(in, y, 0, at, given, map);
    for (;; in = later_inputs(in, width, width, map), y += width) {
        at = apply_row(in, y, at, width, given, map, stream, stream && rows * width >= width + BNORM_FETCH);
        size_t rest = width - at;
        if (--rows == 0) {
            apply_row_n(in, y, at, rest, given, map);
            return;
        }
        if (rest) {
            const vector_coefficients k = load_coefficients(&seam, V_LANES - rest, map);
            put(y + at, compute_at(in, at, &k, map), stream);
            at = V_LANES - rest;
        } else {
            at = 0;
        }
    }
}

/* Narrow rows of whole vectors, apart from each other or ending in padding: the coefficients stay in registers. */
static INLINE void apply_narrow(const bnorm_rows *r, const coefficients *given, bnorm_map map, bool stream)
{
    inputs in = { r->x, r->dy };
    float *y = r->y;
    tile_coefficients tile; /* 0 in the padding, which is taken for 0, and so becomes 0 */
    EACH_USED(map, load_tile(tile.k[c], given->k[c], r->used));
    for (size_t row = 0; row < r->rows;
         row++, in = later_inputs(in, r->x_stride, r->dy_stride, map), y += r->y_stride) {
        v_f32 x[V_TILE], dy[V_TILE];
        if (uses_x(map))
            load_tile(x, in.x, r->used);
        if (uses_dy(map))
            load_tile(dy, in.dy, r->used);
        for (size_t v = 0; v < V_TILE; v++)
            if (v * V_LANES < r->width) {
                const vector_coefficients k = of_vector(&tile, v, map);
                put(y + v * V_LANES, compute(uses_x(map) ? x[v] : v_zero(), uses_dy(map) ? dy[v] : v_zero(), &k, map),
                    stream);
            }
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

static INLINE void apply_pieces(const bnorm_rows *r, const row_pieces *p, const coefficients *given, bnorm_map map)
{
    inputs in = { r->x, r->dy };
    float *y = r->y;
    for (size_t piece = 0; piece < p->pieces + (p->rest > 0); piece++) {
        const bool last = piece == p->pieces;
        const size_t rows = last ? 1 : p->rows, width = last ? p->rest : p->width;
        if (width >= V_LANES)
            apply_wide(rows, width, in, y, given, map, r->stream);
        else
            apply_row_n(in, y, 0, width, given, map);
        for (size_t lane = r->used; lane < r->width; lane++)
            y[lane] = 0.0f;
        in = later_inputs(in, p->x_stride, p->dy_stride, map);
        y += p->y_stride;
    }
}

static INLINE void apply_rows(const bnorm_rows *r, bnorm_map map)
{
    coefficients given = given_coefficients(r->k, map);
    BNORM_ALIGNED float repeated[BNORM_COEFFICIENTS][BNORM_MAX_FOLDED];
    const bool adjacent = r->used == r->width && r->y_stride == r->width && (!uses_x(map) || r->x_stride == r->width) &&
                          (!uses_dy(map) || r->dy_stride == r->width);
    if (!adjacent && r->width <= BNORM_TILE && r->width % V_LANES == 0) {
        apply_narrow(r, &given, map, r->stream && lanes_to_aligned(r->y) == 0 && r->y_stride % V_LANES == 0);
        return;
    }
    const size_t folded = adjacent ? bnorm_folded_rows(r->width) : 1;
    const row_pieces pieces = adjacent ? adjacent_rows(r, folded) : single_rows(r);
    if (folded > 1)
        EACH_USED(map, repeat_row(repeated[c], given.k[c], r->width, folded); given.k[c] = repeated[c]);
    apply_pieces(r, &pieces, &given, map);
}

static void apply_rows_f32(const bnorm_rows *rows)
{
    switch (rows->map) {
    case BNORM_NORMALISE:
        apply_rows(rows, BNORM_NORMALISE);
        break;
    case BNORM_GRADIENT:
        apply_rows(rows, BNORM_GRADIENT);
        break;
    case BNORM_GRADIENT_RELU:
        apply_rows(rows, BNORM_GRADIENT_RELU);
        break;
    case BNORM_FROZEN:
        apply_rows(rows, BNORM_FROZEN);
        break;
    case BNORM_FROZEN_RELU:
        apply_rows(rows, BNORM_FROZEN_RELU);
        break;
    }
}

static void drain(void)
{
    v_stream_end();
}
