/* SPDX-License-Identifier: MIT */
/* Walk for sums over strided elements: gathers tiles of each tensor into dense buffers, and sums these. */
#include "../transpose.h"
#include "instances.h"

/* Computes the indices of n lanes of a super-row, beginning at `lane`. */
static void locate_lanes(const bnorm_walk *w, const bnorm_reach *reach, position at, size_t lane, size_t n,
                         size_t *indices)
{
    const size_t row = at.run * w->run_rows + at.row * w->rows_per_super_row + lane / w->width,
                 blocks = w->width / w->block;
    size_t image = row / w->points, point = row % w->points;
    size_t block = lane % w->width / w->block, channel = lane % w->width % w->block;
    for (size_t l = 0; l < n; l++) {
        indices[l] = image * reach->image_stride + point * reach->point_stride + block * reach->block_stride + channel;
        if (++channel < w->block)
            continue;
        channel = 0;
        if (++block < blocks)
            continue;
        block = 0;
        if (++point < w->points)
            continue;
        point = 0;
        image++;
    }
}

/* Gathered tiles of several units, as floats; the mask has one bit per element. */
typedef struct {
    BNORM_ALIGNED float x[BNORM_CACHE_LINE_FLOATS][BNORM_TILE], dy[BNORM_CACHE_LINE_FLOATS][BNORM_TILE];
    BNORM_ALIGNED float residual[BNORM_CACHE_LINE_FLOATS][BNORM_TILE];
    uint8_t mask[BNORM_CACHE_LINE_FLOATS * BNORM_TILE / 8];
    bnorm_fusion fusion;
} gathered_tiles;

/* Whether runs are images, so that the rows of a run are one point stride apart. */
static inline bool runs_are_images(const bnorm_walk *w)
{
    return w->run_rows == w->points;
}

/* Converts the 16-bit values at the beginning of a row to the floats of that row. */
static NOINLINE void widen(float *row, bnorm_dtype type, size_t n)
{
    uint16_t raw[BNORM_TILE];
    memcpy(raw, row, n * sizeof(*raw));
    for (size_t l = 0; l < n; l += PAIR)
        store_f32(row, BNORM_DTYPE_F32, l, PAIR, MIXED(load)(raw, type, l, minimum(n - l, PAIR)));
}

/* Gathers n lanes of each of some units, by index. */
static void gather_indexed(const void *tensor, size_t size, const size_t *indices, size_t n, size_t unit_stride,
                           size_t units, float (*to)[BNORM_TILE])
{
    for (size_t u = 0; u < units; u++)
        for (size_t l = 0; l < n; l++)
            memcpy((char *)to[u] + l * size, (const char *)tensor + (u * unit_stride + indices[l]) * size, size);
}

/* Gathers n successive points of each of some units of one channel. */
static void gather_points(const void *tensor, size_t size, const bnorm_reach *reach, size_t n, size_t units,
                          float (*to)[BNORM_TILE])
{
    const size_t pitch = reach->point_stride, unit_stride = reach->unit_stride;
    if (pitch == 1)
        for (size_t u = 0; u < units; u++)
            memcpy(to[u], (const char *)tensor + u * unit_stride * size, n * size);
    else if (unit_stride == 1)
        transpose(size, n, units, tensor, pitch, to, sizeof(*to) / size);
    else
        for (size_t u = 0; u < units; u++)
            transpose(size, n, 1, (const char *)tensor + u * unit_stride * size, pitch, to[u], n);
}

static void gather_tensor(const void *tensor, bnorm_dtype type, const bnorm_walk *w, const bnorm_reach *reach,
                          position at, size_t lane, size_t n, size_t units, float (*to)[BNORM_TILE])
{
    const size_t size = bnorm_size_of(type);
    if (w->width == 1 && runs_are_images(w)) {
        gather_points(bnorm_elements(tensor, type, element_at(reach, at)), size, reach, n, units, to);
    } else {
        size_t indices[BNORM_TILE];
        locate_lanes(w, reach, at, lane, n, indices);
        gather_indexed(tensor, size, indices, n, reach->unit_stride, units, to);
    }
    if (type != BNORM_DTYPE_F32)
        for (size_t u = 0; u < units; u++)
            widen(to[u], type, n);
}

static void gather_mask(const uint8_t *mask, size_t first, const bnorm_walk *w, position at, size_t lane, size_t n,
                        size_t units, uint8_t *to)
{
    size_t indices[BNORM_TILE];
    locate_lanes(w, &w->dy, at, lane, n, indices);
    memset(to, 0, units * BNORM_TILE / 8);
    for (size_t u = 0; u < units; u++)
        for (size_t l = 0; l < n; l++) {
            const size_t bit = first + u * w->dy.unit_stride + indices[l];
            to[(u * BNORM_TILE + l) / 8] |= (uint8_t)((mask[bit / 8] >> bit % 8 & 1) << l % 8);
        }
}

/* Gathers n lanes of a super-row of some units; the result is the job that sums the gathered tiles. */
static bnorm_sum_job gather(const bnorm_walk *w, const bnorm_sum_job *c, size_t unit, size_t units, position at,
                            size_t lane, size_t n, gathered_tiles *to)
{
    const size_t x = unit * w->x.unit_stride, dy = unit * w->dy.unit_stride;
    bnorm_sum_job gathered = { .terms = c->terms, .x = to->x, .dy = to->x };
    gather_tensor(bnorm_elements(c->x, c->x_type, x), c->x_type, w, &w->x, at, lane, n, units, to->x);
    if (bnorm_of_x(c->terms))
        return gathered;
    gathered.dy = to->dy;
    gather_tensor(bnorm_elements(c->dy, c->dy_type, dy), c->dy_type, w, &w->dy, at, lane, n, units, to->dy);
    if (c->terms != BNORM_FUSED)
        return gathered;
    gathered.fusion = &to->fusion;
    to->fusion = *c->fusion;
    if (to->fusion.residual) {
        gather_tensor(bnorm_elements(c->fusion->residual, c->dy_type, c->at + dy), c->dy_type, w, &w->dy, at, lane, n,
                      units, to->residual);
        to->fusion.residual = to->residual;
    }
    if (to->fusion.mask) {
        gather_mask(c->fusion->mask, c->at + dy, w, at, lane, n, units, to->mask);
        to->fusion.mask = to->mask;
    }
    return gathered;
}

/* Adds n lanes of the gathered tile that begins at element `first`. */
static void add_gathered(sums *s, const bnorm_sum_job *c, size_t first, size_t n, const sum_coefficients *k)
{
    for (size_t p = 0; p < PAIRS && p * PAIR < n; p++) {
        const size_t i = first + p * PAIR, lanes = minimum(n - p * PAIR, PAIR);
        switch (c->terms) {
        case BNORM_DEVIATIONS:
            add_deviations_f32(&s[p], c, i, i, lanes, &k[p]);
            break;
        case BNORM_SQUARES:
            add_squares_f32(&s[p], c, i, i, lanes, &k[p]);
            break;
        case BNORM_PRODUCTS:
            add_products_f32(&s[p], c, i, i, lanes, &k[p]);
            break;
        case BNORM_CENTERED:
            MIXED(add_centered)(&s[p], c, i, i, lanes, &k[p]);
            break;
        case BNORM_FUSED:
            add_fused_f32(&s[p], c, i, i, lanes, &k[p]);
        }
    }
}

/* ---- Super-rows of one tile: several units at a time ---- */

/* Sums a group of super-rows of some units. */
static position gather_group(const bnorm_walk *w, const bnorm_sum_job *c, size_t unit, size_t units, position at,
                             size_t rows, gathered_tiles *tiles, sums (*s)[PAIRS])
{
    for (size_t u = 0; u < units; u++)
        for (size_t p = 0; p < PAIRS; p++)
            s[u][p] = no_sums();
    for (; rows; rows--, at = advance(w, at, 1)) {
        const size_t n = super_row_lanes(w, at.row);
        const bnorm_sum_job gathered = gather(w, c, unit, units, at, 0, n, tiles);
        for (size_t u = 0; u < units; u++) {
            sum_coefficients k[PAIRS];
            load_tile_coefficients(k, c, (unit + u) * w->width, w->width, c->terms == BNORM_CENTERED,
                                   c->terms == BNORM_FUSED);
            add_gathered(s[u], &gathered, u * BNORM_TILE, n, k);
        }
    }
    return at;
}

static void sum_strided_tiles(const bnorm_walk *w, const bnorm_sum_job *c)
{
    gathered_tiles tiles;
    sums chunk[BNORM_CACHE_LINE_FLOATS][PAIRS], group[BNORM_CACHE_LINE_FLOATS][PAIRS];
    for (size_t unit = 0; unit < c->units; unit += BNORM_CACHE_LINE_FLOATS) {
        const size_t units = minimum(c->units - unit, BNORM_CACHE_LINE_FLOATS);
        position at =
            gather_group(w, c, unit, units, position_of(w, c->first), minimum(c->rows, BNORM_GROUP), &tiles, chunk);
        for (size_t done = BNORM_GROUP; done < c->rows; done += BNORM_GROUP) {
            at = gather_group(w, c, unit, units, at, minimum(c->rows - done, BNORM_GROUP), &tiles, group);
            for (size_t u = 0; u < units; u++)
                for (size_t p = 0; p < PAIRS; p++)
                    chunk[u][p] = add_sums(chunk[u][p], group[u][p]);
        }
        for (size_t u = 0; u < units; u++)
            store_tile_sums(c, (unit + u) * w->width, w->width, chunk[u], bnorm_sums_of(c->terms));
    }
}

/* ---- Super-rows of any width: a tile of lanes at a time ---- */

/* Adds to the chunk a group of super-rows of a unit, for one tile of lanes. */
static position gather_lanes(const bnorm_walk *w, const bnorm_sum_job *c, size_t unit, position at, size_t rows,
                             size_t lane, const sum_coefficient_rows *given, float *const *chunk, bool first)
{
    const size_t lanes = minimum(w->rows_per_super_row * w->width - lane, BNORM_TILE);
    sum_coefficients k[PAIRS];
    sums s[PAIRS];
    gathered_tiles tiles;
    for (size_t p = 0; p < PAIRS; p++) {
        k[p] = load_sum_coefficients(given, lane + p * PAIR, minimum(lanes_after(lanes, p * PAIR), PAIR));
        s[p] = no_sums();
    }
    for (; rows; rows--, at = advance(w, at, 1)) {
        const size_t n = minimum(lanes_after(super_row_lanes(w, at.row), lane), lanes);
        if (n) {
            const bnorm_sum_job gathered = gather(w, c, unit, 1, at, lane, n, &tiles);
            add_gathered(s, &gathered, 0, n, k);
        }
    }
    for (size_t p = 0; p < PAIRS; p++)
        accumulate_sums(chunk, lane + p * PAIR, &s[p], minimum(lanes_after(lanes, p * PAIR), PAIR), first,
                        bnorm_sums_of(c->terms));
    return at;
}

static void sum_strided_lanes(const bnorm_walk *w, const bnorm_sum_job *c)
{
    for (size_t unit = 0; unit < c->units; unit++) {
        super_row_buffers buffers;
        const sum_coefficient_rows given = super_row_coefficients(&buffers, w, c, unit);
        float *sum[BNORM_SUMS];
        point_to_sums(sum, &buffers, w, c, unit);
        for (size_t lane = 0; lane < w->rows_per_super_row * w->width; lane += BNORM_TILE) {
            position at = position_of(w, c->first);
            for (size_t done = 0; done < c->rows; done += BNORM_GROUP)
                at = gather_lanes(w, c, unit, at, minimum(c->rows - done, BNORM_GROUP), lane, &given, sum, done == 0);
        }
        reduce_chunk(&buffers, w, c, unit);
    }
}

static void sum_strided(const bnorm_walk *w, const bnorm_sum_job *c)
{
    if (w->rows_per_super_row * w->width == BNORM_TILE)
        sum_strided_tiles(w, c);
    else
        sum_strided_lanes(w, c);
}
