/* SPDX-License-Identifier: MIT */
/* A tile: BNORM_TILE lanes in as many vectors as they need. Written against the vector header included before. */
#ifndef BNORM_BODY_TILE_H
#define BNORM_BODY_TILE_H

#include <string.h>

#include "../kernels.h"

enum { V_TILE = BNORM_TILE / V_LANES };

/* For what takes a constant that decides which code there is; and for what need not be there for each. */
#ifdef __GNUC__
#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#else
#define INLINE inline
#define NOINLINE
#endif

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A vector of a tile of which only the first `lanes` lanes are there: the others are zero. */
static INLINE v_f32 load_vector(const float *p, size_t v, size_t lanes)
{
    const size_t first = v * V_LANES;
    if (first + V_LANES <= lanes)
        return v_load(p + first);
    return first < lanes ? v_load_n(p + first, lanes - first) : v_zero();
}

static INLINE void load_tile(v_f32 *tile, const float *p, size_t lanes)
{
    for (size_t v = 0; v < V_TILE; v++)
        tile[v] = load_vector(p, v, lanes);
}

static INLINE void store_tile(float *p, const v_f32 *tile, size_t lanes)
{
    for (int v = 0; v < V_TILE; v++) {
        size_t first = (size_t)v * V_LANES;
        if (first + V_LANES <= lanes)
            v_store(p + first, tile[v]);
        else if (first < lanes)
            v_store_n(p + first, tile[v], lanes - first);
    }
}

static INLINE void put_vector(float *y, v_f32 value, bool stream)
{
    if (stream)
        v_stream(y, value);
    else
        v_store(y, value);
}

static INLINE void put_tile(float *y, const v_f32 *tile, size_t n, bool stream)
{
    for (size_t v = 0; v < V_TILE && v * V_LANES < n; v++) {
        if ((v + 1) * V_LANES > n)
            v_store_n(y + v * V_LANES, tile[v], n - v * V_LANES);
        else
            put_vector(y + v * V_LANES, tile[v], stream);
    }
}

/* Parts of tiles by way of memory, in one place: their branches are long. */
static NOINLINE void load_part(float *lanes, const float *p, size_t n)
{
    v_f32 tile[V_TILE];
    load_tile(tile, p, n);
    store_tile(lanes, tile, BNORM_TILE);
}

static NOINLINE void store_part(float *p, const float *lanes, size_t n, bool stream)
{
    v_f32 tile[V_TILE];
    load_tile(tile, lanes, BNORM_TILE);
    put_tile(p, tile, n, stream);
}

/* `whole`: all of a tile, as a constant; else the first n lanes, and zeros. */
static INLINE void load_lanes(v_f32 *tile, const float *p, size_t n, bool whole)
{
    BNORM_ALIGNED float lanes[BNORM_TILE];
    if (whole) {
        load_tile(tile, p, BNORM_TILE);
    } else {
        load_part(lanes, p, n);
        load_tile(tile, lanes, BNORM_TILE);
    }
}

/* `stream`: whole vectors go past the caches. */
static INLINE void store_lanes(float *p, const v_f32 *tile, size_t n, bool whole, bool stream)
{
    BNORM_ALIGNED float lanes[BNORM_TILE];
    if (!whole) {
        store_tile(lanes, tile, BNORM_TILE);
        store_part(p, lanes, n, stream);
    } else if (stream) {
        put_tile(p, tile, BNORM_TILE, true);
    } else {
        put_tile(p, tile, BNORM_TILE, false);
    }
}

static INLINE void fetch_tile(const float *p)
{
    for (size_t l = 0; l < BNORM_TILE; l += BNORM_LINE)
        v_fetch(p + l);
}

static INLINE void fetch_tile_far(const float *p)
{
    for (size_t l = 0; l < BNORM_TILE; l += BNORM_LINE)
        v_fetch_far(p + l);
}

static INLINE void add_tile(v_f32 *tile, const v_f32 *more)
{
    for (int v = 0; v < V_TILE; v++)
        tile[v] = v_add(tile[v], more[v]);
}

/* Lanes of a row, from `lane` on, repeated to fill a tile. */
static NOINLINE void repeat_lanes(float *tile, const float *row, size_t width, size_t lane)
{
    lane %= width;
    for (size_t l = 0; l < BNORM_TILE; l++) {
        tile[l] = row[lane];
        lane = lane + 1 < width ? lane + 1 : 0; /* a division takes longer than all else here */
    }
}

/* A row of `width` lanes, a divisor of a tile, repeated to fill it. */
static INLINE void load_repeated(v_f32 *tile, const float *row, size_t width)
{
    if (width == 1) {
        for (size_t v = 0; v < V_TILE; v++)
            tile[v] = v_set1(*row);
    } else if (width % V_LANES == 0) {
        for (size_t v = 0; v < V_TILE; v++)
            tile[v] = v_load(row + (v * V_LANES & (width - 1)));
    } else {
        BNORM_ALIGNED float lanes[BNORM_TILE];
        repeat_lanes(lanes, row, width, 0);
        load_tile(tile, lanes, BNORM_TILE);
    }
}

/* A row of `width` lanes, as often as a super-row holds it. */
static NOINLINE void repeat_row(float *lanes, const float *row, size_t width, size_t times)
{
    do {
        memcpy(lanes, row, width * sizeof(*row));
        lanes += width;
    } while (--times);
}

#endif
