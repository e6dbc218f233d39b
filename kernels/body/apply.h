/* SPDX-License-Identifier: MIT */
/*
 * y = (x - center) * scale + shift. Written against the vector header included before.
 *
 * Planes or rows that lie one after the other are taken as one sequence, in which a vector may span two of them: all
 * stores but the first and the last are whole and aligned, and can therefore go past the caches.
 */
#include <stdint.h>

#include "tile.h"

/* What a tile's lanes are normalised with. */
typedef struct {
    v_f32 center[V_TILE], scale[V_TILE], shift[V_TILE];
} tile_coefficients;

/* The same in memory, for a unit or a row. */
typedef struct {
    const float *center, *scale, *shift;
} coefficients;

static inline v_f32 normalise(v_f32 x, v_f32 center, v_f32 scale, v_f32 shift)
{
    return v_add(v_mul(v_sub(x, center), scale), shift);
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

/* The first n lanes, 0 < n < V_LANES. */
static inline void apply_n(const float *x, float *y, size_t n, v_f32 center, v_f32 scale, v_f32 shift)
{
    v_store_n(y, normalise(v_load_n(x, n), center, scale, shift), n);
}

/* All is computed before the first store, so that the compiler need not ask whether y is x. */
static INLINE void apply_tile(const float *x, float *y, const tile_coefficients *k, bool stream)
{
    v_f32 t[V_TILE];
    for (int v = 0; v < V_TILE; v++)
        t[v] = normalise(v_load(x + v * V_LANES), k->center[v], k->scale[v], k->shift[v]);
    for (int v = 0; v < V_TILE; v++)
        put(y + v * V_LANES, t[v], stream);
}

/* ---- Planes: a unit's coefficients repeat with the lanes of a row, which divide a tile ---- */

/* Adjacent units of a vector at least, and how far they are normalised. */
typedef struct {
    const float *x;
    float *y;
    size_t lanes; /* of a unit */
    size_t at, end; /* lanes of all units: done, and up to the end of the current one */
    size_t left; /* units after the current one */
    coefficients unit; /* of the current one */
    size_t fetch,
        fetch_lanes; /* beside each of the first fetch_lanes lanes, the one `fetch` lanes further is fetched */
} sweep;

static INLINE tile_coefficients repeat_coefficients(const coefficients *unit, size_t width)
{
    tile_coefficients k;
    load_repeated(k.center, unit->center, width);
    load_repeated(k.scale, unit->scale, width);
    load_repeated(k.shift, unit->shift, width);
    return k;
}

/* Stores can be aligned where a vector then still begins with a row's first lane. */
static inline bool can_align(const bnorm_planes *p)
{
    return lanes_to_aligned(p->y) % p->width == 0;
}

static INLINE sweep begin_sweep(const bnorm_planes *p, size_t width, bool stream)
{
    const size_t all = p->units * p->lanes;
    sweep s = { p->x, p->y, p->lanes, 0, p->lanes, p->units - 1, { p->center, p->scale, p->shift }, p->fetch, 0 };
    if (p->fetch) {
        s.fetch_lanes = p->fetch_units * p->lanes;
    } else if (stream && all > BNORM_FETCH) {
        s.fetch = BNORM_FETCH;
        s.fetch_lanes = all - BNORM_FETCH;
    }
    size_t head = lanes_to_aligned(p->y);
    if (head && can_align(p)) {
        const tile_coefficients k = repeat_coefficients(&s.unit, width);
        apply_n(s.x, s.y, head, k.center[0], k.scale[0], k.shift[0]);
        s.at = head;
    }
    return s;
}

/* The vector in which a unit ends after `rest` lanes: the others are the first of the next unit, if there is one. */
static INLINE void end_vector(const sweep *s, size_t at, size_t rest, v_f32 center, v_f32 scale, v_f32 shift,
                              size_t width, bool stream)
{
    if (s->left) {
        const coefficients unit = { s->unit.center + width, s->unit.scale + width, s->unit.shift + width };
        const tile_coefficients next = repeat_coefficients(&unit, width);
        put(s->y + at,
            normalise(v_load(s->x + at), v_join_n(center, next.center[0], rest), v_join_n(scale, next.scale[0], rest),
                      v_join_n(shift, next.shift[0], rest)),
            stream);
    } else {
        apply_n(s->x + at, s->y + at, rest, center, scale, shift);
    }
}

/* The current unit, or what is left of it; the next one becomes the current. */
static INLINE void apply_unit(sweep *s, size_t width, bool stream)
{
    const tile_coefficients k = repeat_coefficients(&s->unit, width);
    const size_t fetched = smaller(s->end, s->fetch_lanes);
    size_t at = s->at;
    for (; at + BNORM_TILE <= fetched; at += BNORM_TILE) {
        fetch_tile(s->x + at + s->fetch);
        apply_tile(s->x + at, s->y + at, &k, stream);
    }
    for (; at + BNORM_TILE <= s->end; at += BNORM_TILE)
        apply_tile(s->x + at, s->y + at, &k, stream);
    for (int v = 0; v < V_TILE && at < s->end; v++, at += V_LANES)
        if (at + V_LANES <= s->end)
            put(s->y + at, normalise(v_load(s->x + at), k.center[v], k.scale[v], k.shift[v]), stream);
        else
            end_vector(s, at, s->end - at, k.center[v], k.scale[v], k.shift[v], width, stream);
    s->at = at;
    s->end += s->lanes;
    s->left--;
    s->unit.center += width;
    s->unit.scale += width;
    s->unit.shift += width;
}

static INLINE void apply_planes(const bnorm_planes *p, size_t width, bool stream)
{
    sweep s = begin_sweep(p, width, stream);
    for (size_t u = 0; u < p->units; u++)
        apply_unit(&s, width, stream);
}

/* Units smaller than a vector. */
static void apply_small_planes(const bnorm_planes *p)
{
    for (size_t u = 0; u < p->units; u++) {
        const size_t first = u * p->width;
        const coefficients unit = { p->center + first, p->scale + first, p->shift + first };
        const tile_coefficients k = repeat_coefficients(&unit, p->width);
        apply_n(p->x + u * p->lanes, p->y + u * p->lanes, p->lanes, k.center[0], k.scale[0], k.shift[0]);
    }
}

static void apply_planes_f32(const bnorm_planes *planes)
{
    const bool stream = planes->stream && can_align(planes);
    if (planes->lanes < V_LANES)
        apply_small_planes(planes);
    else if (planes->width == 1 && stream)
        apply_planes(planes, 1, true);
    else if (planes->width == 1)
        apply_planes(planes, 1, false);
    else if (stream)
        apply_planes(planes, planes->width, true);
    else
        apply_planes(planes, planes->width, false);
}

/* ---- Rows: a coefficient a lane ---- */

/* The lanes from `at` on that whole vectors take; returns where they stop. */
static INLINE size_t apply_row(const float *x, float *y, size_t at, size_t width, const coefficients *k, bool stream,
                               bool fetch)
{
    for (; at + BNORM_TILE <= width; at += BNORM_TILE) {
        v_f32 t[V_TILE];
        if (fetch)
            fetch_tile(x + at + BNORM_FETCH);
        for (size_t v = 0; v < V_TILE; v++)
            t[v] = normalise(v_load(x + at + v * V_LANES), v_load(k->center + at + v * V_LANES),
                             v_load(k->scale + at + v * V_LANES), v_load(k->shift + at + v * V_LANES));
        for (size_t v = 0; v < V_TILE; v++)
            put(y + at + v * V_LANES, t[v], stream);
    }
    for (; at + V_LANES <= width; at += V_LANES)
        put(y + at, normalise(v_load(x + at), v_load(k->center + at), v_load(k->scale + at), v_load(k->shift + at)),
            stream);
    return at;
}

/* n lanes of a row from `at` on, 0 <= n < V_LANES. */
static inline void apply_row_n(const float *x, float *y, size_t at, size_t n, const coefficients *k)
{
    if (n)
        apply_n(x + at, y + at, n, v_load_n(k->center + at, n), v_load_n(k->scale + at, n), v_load_n(k->shift + at, n));
}

/* The last lanes of a row and then its first: the coefficients of a vector in which two rows meet begin somewhere. */
typedef struct {
    float center[2 * V_LANES], scale[2 * V_LANES], shift[2 * V_LANES];
} seam;

static inline void load_seam(float *lanes, const float *row, size_t width)
{
    v_store(lanes, v_load(row + width - V_LANES));
    v_store(lanes + V_LANES, v_load(row));
}

/* Adjacent rows of a vector at least, one after the other: several at a time were slower from memory. */
static INLINE void apply_wide(size_t rows, size_t width, const float *x, float *y, const coefficients *k, bool stream)
{
    seam s;
    size_t at = lanes_to_aligned(y);
    if (rows > 1 && (at || width % V_LANES)) {
        load_seam(s.center, k->center, width);
        load_seam(s.scale, k->scale, width);
        load_seam(s.shift, k->shift, width);
    }
    apply_row_n(x, y, 0, at, k);
    for (;; x += width, y += width) {
        at = apply_row(x, y, at, width, k, stream, stream && rows * width >= width + BNORM_FETCH);
        size_t rest = width - at;
        if (--rows == 0) {
            apply_row_n(x, y, at, rest, k);
            return;
        }
        if (rest) {
            size_t from = V_LANES - rest;
            put(y + at,
                normalise(v_load(x + at), v_load(s.center + from), v_load(s.scale + from), v_load(s.shift + from)),
                stream);
            at = from;
        } else {
            at = 0;
        }
    }
}

/* Adjacent narrow rows, taken as super-rows, which fill the vectors. */
static INLINE void apply_folded(size_t rows, size_t width, size_t folded, const float *x, float *y,
                                const coefficients *k, bool stream)
{
    const size_t wide = folded * width, whole = rows / folded, rest = rows % folded * width;
    BNORM_ALIGNED float lanes[3][BNORM_MAX_FOLDED];
    const coefficients repeated = { lanes[0], lanes[1], lanes[2] };
    repeat_row(lanes[0], k->center, width, folded);
    repeat_row(lanes[1], k->scale, width, folded);
    repeat_row(lanes[2], k->shift, width, folded);
    if (whole)
        apply_wide(whole, wide, x, y, &repeated, stream);
    x += whole * wide;
    y += whole * wide;
    if (rest >= V_LANES)
        apply_wide(1, rest, x, y, &repeated, stream);
    else
        apply_row_n(x, y, 0, rest, &repeated);
}

/* Narrow rows of whole vectors, apart from each other or ending in padding: the coefficients stay in registers. */
static INLINE void apply_narrow(const bnorm_rows *r, bool stream)
{
    const float *x = r->x;
    float *y = r->y;
    tile_coefficients k; /* 0 in the padding, which is taken for 0, and so becomes 0 */
    load_tile(k.center, r->center, r->used);
    load_tile(k.scale, r->scale, r->used);
    load_tile(k.shift, r->shift, r->used);
    for (size_t row = 0; row < r->rows; row++, x += r->x_stride, y += r->y_stride) {
        v_f32 t[V_TILE];
        load_tile(t, x, r->used);
        for (size_t v = 0; v < V_TILE; v++)
            if (v * V_LANES < r->width)
                put(y + v * V_LANES, normalise(t[v], k.center[v], k.scale[v], k.shift[v]), stream);
    }
}

/* Other rows apart from each other, or that end in padding. */
static INLINE void apply_apart(const bnorm_rows *r, const coefficients *k, bool stream)
{
    const float *x = r->x;
    float *y = r->y;
    for (size_t row = 0; row < r->rows; row++, x += r->x_stride, y += r->y_stride) {
        if (r->used >= V_LANES)
            apply_wide(1, r->used, x, y, k, stream);
        else
            apply_row_n(x, y, 0, r->used, k);
        for (size_t lane = r->used; lane < r->width; lane++)
            y[lane] = 0.0f;
    }
}

static INLINE void apply_rows(const bnorm_rows *r, bool stream)
{
    const coefficients k = { r->center, r->scale, r->shift };
    const size_t folded = bnorm_folded_rows(r->width);
    const bool adjacent = r->used == r->width && r->x_stride == r->width && r->y_stride == r->width;
    const bool aligned = lanes_to_aligned(r->y) == 0 && r->y_stride % V_LANES == 0;
    if (!adjacent && r->width <= BNORM_TILE && r->width % V_LANES == 0)
        apply_narrow(r, stream && aligned);
    else if (!adjacent)
        apply_apart(r, &k, stream);
    else if (folded > 1)
        apply_folded(r->rows, r->width, folded, r->x, r->y, &k, stream);
    else
        apply_wide(r->rows, r->width, r->x, r->y, &k, stream);
}

static void apply_rows_f32(const bnorm_rows *rows)
{
    if (rows->stream)
        apply_rows(rows, true);
    else
        apply_rows(rows, false);
}

static void drain(void)
{
    v_stream_end();
}
