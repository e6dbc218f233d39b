/* SPDX-License-Identifier: MIT */
/* A tile: BNORM_TILE lanes in as many vectors as they need. Written against the vector header included before. */
#ifndef BNORM_BODY_TILE_H
#define BNORM_BODY_TILE_H

#include <string.h>

#include "../element.h"
#include "../kernels.h"

enum { V_TILE = BNORM_TILE / V_LANES };

/* Whether a vector's first lanes, from none to all, are loaded and stored in one instruction. */
#ifndef V_MASKED
#define V_MASKED 0
#endif

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Of n lanes, those between `first` and so many further. */
static INLINE size_t lanes_within(size_t n, size_t first, size_t lanes)
{
    return n > first ? smaller(n - first, lanes) : 0;
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

/* All of it: a part of one is for put_tile. */
static INLINE void store_tile(float *p, const v_f32 *tile)
{
    for (size_t v = 0; v < V_TILE; v++)
        v_store(p + v * V_LANES, tile[v]);
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

/* ---- Tiles of tensors, of any type: `type`, and what is marked so, may be constants ---- */

/* A tile of vectors of one lane is in memory anyhow. */
#if V_LANES == 1
#define CONVERTS NOINLINE
#else
#define CONVERTS INLINE
#endif

enum { V_PAIRS = V_TILE / 2 }; /* as which a tile of 16 bits an element is read and written */

static CONVERTS void convert_halves(v_f32 *tile, const v_u16 *halves, bnorm_dtype type)
{
    if (type == BNORM_BF16)
        for (size_t i = 0; i < V_PAIRS; i++)
            v_of_bf16(tile + 2 * i, halves[i]);
    else
        for (size_t i = 0; i < V_PAIRS; i++)
            v_of_f16(tile + 2 * i, halves[i]);
}

/* Of its first n lanes; the others are zero. */
static INLINE void load_halves(v_f32 *tile, const uint16_t *p, bnorm_dtype type, size_t n)
{
    v_u16 halves[V_PAIRS];
    for (size_t i = 0; i < V_PAIRS; i++) {
        const size_t first = i * 2 * V_LANES;
        if (first + 2 * V_LANES <= n)
            halves[i] = v_load_u16(p + first);
        else if (first < n)
            halves[i] = v_load_u16_n(p + first, n - first);
        else
            halves[i] = v_zero_u16();
    }
    convert_halves(tile, halves, type);
}

/* The first n lanes of it. */
static CONVERTS void store_halves(uint16_t *p, const v_f32 *tile, bnorm_dtype type, size_t n, bool stream)
{
    v_u16 halves[V_PAIRS];
    if (type == BNORM_BF16)
        for (size_t i = 0; i < V_PAIRS; i++)
            halves[i] = v_to_bf16(tile + 2 * i);
    else
        for (size_t i = 0; i < V_PAIRS; i++)
            halves[i] = v_to_f16(tile + 2 * i);
    for (size_t i = 0, first = 0; i < V_PAIRS; i++, first += 2 * V_LANES) {
        if (first + 2 * V_LANES <= n && stream)
            v_stream_u16(p + first, halves[i]);
        else if (first + 2 * V_LANES <= n)
            v_store_u16(p + first, halves[i]);
        else if (first < n)
            v_store_u16_n(p + first, halves[i], n - first);
    }
}

/* Parts of tiles by way of memory, in one place: their branches are long. */
static NOINLINE void load_part(float *lanes, const void *p, bnorm_dtype type, size_t n)
{
    v_f32 tile[V_TILE];
    if (type == BNORM_F32)
        load_tile(tile, p, n);
    else
        load_halves(tile, p, type, n);
    store_tile(lanes, tile);
}

static NOINLINE void store_part(void *p, bnorm_dtype type, const float *lanes, size_t n, bool stream)
{
    v_f32 tile[V_TILE];
    load_tile(tile, lanes, BNORM_TILE);
    if (type == BNORM_F32)
        put_tile(p, tile, n, stream);
    else
        store_halves(p, tile, type, n, stream);
}

/* The first n lanes by masks, and zeros. */
static INLINE void load_masked(v_f32 *tile, const void *p, bnorm_dtype type, size_t n)
{
    v_u16 halves[V_PAIRS];
    if (type == BNORM_F32) {
        for (size_t v = 0, first = 0; v < V_TILE; v++, first += V_LANES)
            tile[v] = v_load_n((const float *)p + first, lanes_within(n, first, V_LANES));
        return;
    }
    for (size_t i = 0, first = 0; i < V_PAIRS; i++, first += 2 * V_LANES)
        halves[i] = v_load_u16_n((const uint16_t *)p + first, lanes_within(n, first, 2 * V_LANES));
    convert_halves(tile, halves, type);
}

/* `whole`: all of a tile, as a constant; else the first n lanes, and zeros. */
static INLINE void load_lanes(v_f32 *tile, const void *p, bnorm_dtype type, size_t n, bool whole)
{
    BNORM_ALIGNED float lanes[BNORM_TILE];
    if (whole && type == BNORM_F32) {
        load_tile(tile, p, BNORM_TILE);
    } else if (whole) {
        load_halves(tile, p, type, BNORM_TILE);
    } else if (V_MASKED) {
        load_masked(tile, p, type, n);
    } else {
        load_part(lanes, p, type, n);
        load_tile(tile, lanes, BNORM_TILE);
    }
}

/* `stream`: whole vectors go past the caches. */
static INLINE void store_lanes(void *p, bnorm_dtype type, const v_f32 *tile, size_t n, bool whole, bool stream)
{
    BNORM_ALIGNED float lanes[BNORM_TILE];
    if (!whole && V_MASKED && type == BNORM_F32) {
        put_tile(p, tile, n, stream);
    } else if (!whole && V_MASKED) {
        store_halves(p, tile, type, n, stream);
    } else if (!whole) {
        store_tile(lanes, tile);
        store_part(p, type, lanes, n, stream);
    } else if (type != BNORM_F32) {
        store_halves(p, tile, type, BNORM_TILE, stream);
    } else if (stream) {
        put_tile(p, tile, BNORM_TILE, true);
    } else {
        put_tile(p, tile, BNORM_TILE, false);
    }
}

/* How many elements so many bytes are, without a division. */
static INLINE size_t lanes_of(size_t bytes, bnorm_dtype type)
{
    return type == BNORM_F32 ? bytes / sizeof(float) : bytes / sizeof(uint16_t);
}

/* The lines of so many bytes. */
static INLINE void fetch_bytes(const void *p, size_t bytes)
{
    for (size_t b = 0; b < bytes; b += BNORM_LINE)
        v_fetch((const char *)p + b);
}

static INLINE void fetch_bytes_far(const void *p, size_t bytes)
{
    for (size_t b = 0; b < bytes; b += BNORM_LINE)
        v_fetch_far((const char *)p + b);
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
