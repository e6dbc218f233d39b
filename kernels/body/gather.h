/* SPDX-License-Identifier: MIT */
/* Sums of elements that lie apart from each other: a tile of each tensor is brought together, and then summed. */
#include "instances.h"

/* Where n lanes of a super-row are, from `lane` on. */
static void locate_lanes(const bnorm_walk *w, const bnorm_reach *reach, place at, size_t lane, size_t n,
                         size_t *indices)
{
    const size_t row = at.run * w->run_rows + at.row * w->folded + lane / w->width, blocks = w->width / w->block;
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

/* A tile of each tensor, brought together. */
typedef struct {
    BNORM_ALIGNED float x[BNORM_TILE], dy[BNORM_TILE], residual[BNORM_TILE];
    uint8_t mask[BNORM_TILE / 8];
    bnorm_fusion fusion;
} gathered_tile;

static void gather_fusion(const bnorm_collection *c, size_t at, const size_t *indices, size_t n, gathered_tile *to)
{
    const bnorm_fusion *f = c->fusion;
    to->fusion = *f;
    memset(to->mask, 0, sizeof(to->mask));
    for (size_t l = 0; f->residual && l < n; l++)
        to->residual[l] = bnorm_element(f->residual, c->dy_type, at + indices[l]);
    for (size_t l = 0; f->mask && l < n; l++)
        to->mask[l / 8] |= (uint8_t)((f->mask[(at + indices[l]) / 8] >> (at + indices[l]) % 8 & 1) << l % 8);
    to->fusion.residual = f->residual ? to->residual : NULL;
    to->fusion.mask = f->mask ? to->mask : NULL;
}

/* n lanes of a unit's super-row: a collection of what was brought together. */
static bnorm_collection gather(const bnorm_walk *w, const bnorm_collection *c, size_t unit, place at, size_t lane,
                               size_t n, gathered_tile *to)
{
    const size_t x = unit * w->x.unit_stride, dy = unit * w->dy.unit_stride;
    size_t indices[BNORM_TILE];
    locate_lanes(w, &w->x, at, lane, n, indices);
    for (size_t l = 0; l < n; l++)
        to->x[l] = bnorm_element(c->x, c->x_type, x + indices[l]);
    bnorm_collection gathered = { .terms = c->terms, .x = to->x, .dy = to->x, .fusion = &to->fusion };
    if (bnorm_of_x(c->terms))
        return gathered;
    gathered.dy = to->dy;
    locate_lanes(w, &w->dy, at, lane, n, indices);
    for (size_t l = 0; l < n; l++)
        to->dy[l] = bnorm_element(c->dy, c->dy_type, dy + indices[l]);
    if (c->terms == BNORM_FUSED)
        gather_fusion(c, c->at + dy, indices, n, to);
    return gathered;
}

static void add_gathered(sums *s, const bnorm_collection *c, size_t n, const about *k)
{
    for (size_t p = 0; p < PAIRS && p * PAIR < n; p++) {
        const size_t i = p * PAIR, lanes = smaller(n - i, PAIR);
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

/* A group of super-rows, of a tile of lanes: its sums join those of the chunk. */
static place gather_group(const bnorm_walk *w, const bnorm_collection *c, size_t unit, place at, size_t rows,
                          size_t lane, const about_rows *given, float *const *chunk, bool first)
{
    const size_t lanes = smaller(w->folded * w->width - lane, BNORM_TILE);
    about k[PAIRS];
    sums s[PAIRS];
    gathered_tile tile;
    for (size_t p = 0; p < PAIRS; p++) {
        k[p] = load_about(given, lane + p * PAIR, smaller(lanes_behind(lanes, p * PAIR), PAIR));
        s[p] = no_sums();
    }
    for (; rows; rows--, at = step(w, at, 1)) {
        const size_t n = smaller(lanes_behind(super_row_lanes(w, at.row), lane), lanes);
        if (n) {
            const bnorm_collection gathered = gather(w, c, unit, at, lane, n, &tile);
            add_gathered(s, &gathered, n, k);
        }
    }
    for (size_t p = 0; p < PAIRS; p++)
        join_sums(chunk, lane + p * PAIR, &s[p], smaller(lanes_behind(lanes, p * PAIR), PAIR), first,
                  bnorm_sums_of(c->terms));
    return at;
}

static void sum_apart(const bnorm_walk *w, const bnorm_collection *c)
{
    for (size_t unit = 0; unit < c->units; unit++) {
        folded_rows f;
        const about_rows given = fold_about(&f, w, c, unit);
        float *sum[BNORM_SUMS];
        chunk_lanes(sum, &f, w, c, unit);
        for (size_t lane = 0; lane < w->folded * w->width; lane += BNORM_TILE) {
            place at = place_of(w, c->first);
            for (size_t done = 0; done < c->rows; done += BNORM_GROUP)
                at = gather_group(w, c, unit, at, smaller(c->rows - done, BNORM_GROUP), lane, &given, sum, done == 0);
        }
        reduce_chunk(&f, w, c, unit);
    }
}
