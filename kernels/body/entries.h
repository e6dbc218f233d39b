/* SPDX-License-Identifier: MIT */
/* The kernels of kernels.def that read tensors: they choose the walk of a call. */
#include "gather.h"

/* ---- Sums ---- */

/* In runs of more super-rows, the CPU's hardware prefetch is enough. */
enum { LONG_RUN = 256 };

/* Whether units of one channel each are adjacent in memory. */
static bool has_column_units(const bnorm_walk *w)
{
    return w->width == 1 && w->x.unit_stride == 1 && w->dy.unit_stride == 1 && runs_are_images(w);
}

/* If a point has few channels and no others, super-rows are dense: they are summed as rows, in the same order. */
static void sum_unit_columns(const bnorm_walk *w, const bnorm_sum_job *c, int type)
{
    if (c->units * w->rows_per_super_row > BNORM_MAX_SUPER_ROW || w->x.point_stride != c->units ||
        w->dy.point_stride != c->units) {
        column_sums[c->terms][type](w, c);
        return;
    }
    bnorm_walk rows = *w;
    bnorm_sum_job one = *c;
    rows.width = c->units;
    one.units = 1;
    row_sums[c->terms][type](&rows, &one);
}

/* Whether each group is some whole runs. */
static bool has_whole_runs(const bnorm_walk *w, const bnorm_sum_job *c)
{
    return BNORM_GROUP % w->run_super_rows == 0 && c->first % w->run_super_rows == 0 &&
           c->rows % w->run_super_rows == 0;
}

static void sum_units(const bnorm_walk *w, const bnorm_sum_job *c)
{
    const int terms = is_clamped(c) ? CLAMPED : (int)c->terms;
    const int type = bnorm_of_x(c->terms) || c->x_type == c->dy_type ? (int)c->x_type : ANY;
    const bool adjacent_tiles = w->rows_per_super_row * w->width == BNORM_TILE && w->x.super_row_stride == BNORM_TILE &&
                                w->dy.super_row_stride == BNORM_TILE;
    if (!w->dense && has_column_units(w) && c->terms <= BNORM_PRODUCTS)
        sum_unit_columns(w, c, type);
    else if (!w->dense)
        sum_strided(w, c);
    else if (adjacent_tiles && c->rows <= BNORM_GROUP && c->first % w->run_super_rows + c->rows <= w->run_super_rows)
        run_sums[terms][type](w, c);
    else if (adjacent_tiles && w->prefetch && w->run_super_rows <= LONG_RUN)
        memory_plane_sums[terms][type](w, c);
    else if (adjacent_tiles && has_whole_runs(w, c))
        small_plane_sums[terms][type](w, c);
    else if (adjacent_tiles)
        plane_sums[terms][type](w, c);
    else
        row_sums[c->terms][type](w, c);
}

/* ---- Maps ---- */

/* Replaces tensors and coefficients that the map does not use by others, so that walks can load all of them. */
static bnorm_map_job replace_unused(const bnorm_map_job *given)
{
    bnorm_map_job j = *given;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        if (!bnorm_uses(j.map, c))
            j.k[c] = j.k[BNORM_SCALE];
    if (j.map == BNORM_NORMALISE) {
        j.dy = j.x;
        j.dy_type = j.x_type;
    } else if (!j.x) {
        j.x = j.dy;
        j.x_type = j.dy_type;
    }
    return j;
}

static int type_of(const bnorm_map_job *j)
{
    if (j->x_type != j->dy_type || j->x_type != j->y_type)
        return ANY;
    return j->x_type == BNORM_DTYPE_BF16 && j->bf16_fast ? BF16_FAST : (int)j->x_type;
}

/* Moves on by so many elements of each tensor; `at` moves with dy, or with y if there is no dy. */
static bnorm_map_job move_on(bnorm_map_job j, size_t x, size_t dy, size_t y)
{
    j.at += j.map == BNORM_NORMALISE ? y : dy;
    j.x = bnorm_elements(j.x, j.x_type, x);
    j.dy = bnorm_elements(j.dy, j.dy_type, dy);
    if (j.y)
        j.y = bnorm_output(j.y, j.y_type, y);
    return j;
}

/* Moves past the first `lanes` lanes of dense tensors. */
static bnorm_map_job skip_lanes(bnorm_map_job j, size_t lanes)
{
    j.prefetch_until = lanes_after(j.prefetch_until, lanes);
    return move_on(j, lanes, lanes, lanes);
}

/* Loops with non-temporal stores prefetch the tensors that they read, unless dispatch/ prefetches another group. */
static void set_prefetch(bnorm_map_job *j, size_t lanes)
{
    const size_t x = BNORM_PREFETCH / bnorm_size_of(j->x_type), dy = BNORM_PREFETCH / bnorm_size_of(j->dy_type);
    const size_t most = x < dy ? dy : x;
    if (j->stream && !j->prefetch_until && lanes > most) {
        j->x_prefetch = x;
        j->dy_prefetch = dy;
        j->prefetch_until = lanes - most;
    }
}

/* Copies the last lanes of a row, followed by its first ones. */
static void copy_seam(float *seam, const float *row, size_t width)
{
    const size_t some = minimum(width, PAIR);
    memset(seam, 0, 2 * PAIR * sizeof(*seam));
    memcpy(seam + PAIR - some, row + width - some, some * sizeof(*row));
    memcpy(seam + PAIR, row, some * sizeof(*row));
}

/* The coefficients of rows and, in the buffer `seam`, of the seam between two rows. */
static row_coefficients coefficients_of_rows(const bnorm_map_job *j, size_t width, float (*seam)[2 * PAIR])
{
    row_coefficients f;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++) {
        f.k[c] = j->k[c];
        f.seam[c] = seam[c];
        if (bnorm_uses(j->map, c))
            copy_seam(seam[c], j->k[c], width);
    }
    return f;
}

/* Computes adjacent rows. */
static void map_row_units(bnorm_map_job j, const row_coefficients *f, size_t rows, size_t width)
{
    const size_t lanes = rows * width, to_aligned = lanes_to_aligned(j.y, j.y_type);
    const size_t head = lanes > 2 * BNORM_TILE ? to_aligned : 0;
    j.begin = j.at;
    j.end = j.at + lanes;
    j.stream = j.stream && head == to_aligned;
    set_prefetch(&j, lanes);
    row_maps[j.fusion != NULL][j.map][type_of(&j)](j, f, rows, width, width, head);
}

/* Computes wide, strided rows, each with a walk of its own. */
static void map_wide_rows(bnorm_map_job j, const bnorm_rows *r)
{
    BNORM_ALIGNED float seam[BNORM_COEFFICIENTS][2 * PAIR];
    const row_coefficients f = coefficients_of_rows(&j, r->width, seam);
    for (size_t row = 0; row < r->rows; row++) {
        map_row_units(j, &f, 1, r->width);
        j = move_on(j, r->x_stride, r->dy_stride, r->y_stride);
    }
}

/*
 * Computes adjacent rows. Narrow rows are joined to wider ones, as seams are slow. Rows without seams are not, if
 * stores are non-temporal: their coefficients should stay in L1 beside the data that is prefetched.
 */
static void map_adjacent_rows(bnorm_map_job j, size_t rows, size_t width)
{
    BNORM_ALIGNED float repeated[BNORM_COEFFICIENTS][8 * PAIR], seam[BNORM_COEFFICIENTS][2 * PAIR];
    const size_t most = j.stream && width % PAIR == 0 ? 1 : 8 * PAIR / width;
    const size_t times = most < 2 ? 1 : minimum(most, rows);
    for (int c = 0; times > 1 && c < BNORM_COEFFICIENTS; c++) {
        if (bnorm_uses(j.map, c))
            repeat_row(repeated[c], j.k[c], width, times);
        j.k[c] = repeated[c];
    }
    const size_t full = rows / times, done = full * times * width, rest = rows % times * width;
    if (full) {
        const row_coefficients f = coefficients_of_rows(&j, times * width, seam);
        map_row_units(j, &f, full, times * width);
    }
    if (rest) {
        const row_coefficients f = coefficients_of_rows(&j, rest, seam);
        map_row_units(skip_lanes(j, done), &f, 1, rest);
    }
}

/* Repeats the coefficient of each unit, or its row of them, to the unit's lanes. Stores up to a pair more. */
static NOINLINE void expand_units(float *expanded, const float *k, size_t width, size_t units, size_t lanes)
{
    for (size_t u = 0; u < units; u++)
        store_f32(expanded, BNORM_DTYPE_F32, u * lanes, PAIR, repeat_row_pair(k + u * width, width, 0));
}

/*
 * Computes units smaller than a pair: expands coefficients to one float per lane, for so many lanes of all images at a
 * time. All but the first of these pieces begin where y is aligned, within a unit if need be. Not inlined, as larger
 * units should not take the stack of its buffer, too.
 */
static NOINLINE void map_small_units(const bnorm_map_job *first, const bnorm_planes *p)
{
    enum { PIECE = 768 };
    BNORM_ALIGNED float buffer[BNORM_COEFFICIENTS][PIECE + 3 * PAIR];
    const size_t lanes = p->units * p->lanes;
    row_coefficients f;
    for (size_t done = 0, n = PIECE - PAIR + lanes_to_aligned(first->y, first->y_type); done < lanes; done += n) {
        const size_t unit = done / p->lanes, before = done % p->lanes;
        n = minimum(done ? PIECE : n, lanes - done);
        for (int c = 0; c < BNORM_COEFFICIENTS; c++) {
            float *const expanded = buffer[c] + PAIR;
            if (bnorm_uses(first->map, c))
                expand_units(expanded, first->k[c] + unit * p->width, p->width, (before + n - 1) / p->lanes + 1,
                             p->lanes);
            f.k[c] = expanded + before;
            f.seam[c] = f.k[c] + n - PAIR;
            store_f32(expanded, BNORM_DTYPE_F32, before + n, PAIR, zero_pair());
        }
        bnorm_map_job j = skip_lanes(*first, done);
        for (size_t image = 0; image < p->images; image++) {
            map_row_units(j, &f, 1, n);
            j = move_on(j, p->x_stride, p->dy_stride, p->y_stride);
        }
    }
}

/* Computes the planes of one image. */
static void map_large_units(bnorm_map_job j, const bnorm_planes *p)
{
    const size_t lanes = p->units * p->lanes, to_aligned = lanes_to_aligned(j.y, j.y_type);
    /* Stores can be aligned only if pairs then still begin with the first lane of a row. */
    const size_t head = to_aligned % p->width == 0 ? to_aligned : 0;
    if (PAIR % p->width) {
        for (size_t unit = 0; unit < p->units; unit++) {
            bnorm_map_job plane = skip_lanes(j, unit * p->lanes);
            for (int c = 0; c < BNORM_COEFFICIENTS; c++)
                plane.k[c] += unit * p->width;
            map_adjacent_rows(plane, p->lanes / p->width, p->width);
        }
        return;
    }
    j.begin = j.at;
    j.end = j.at + lanes;
    j.stream = j.stream && head == to_aligned;
    set_prefetch(&j, lanes);
    unit_function *const map = (p->width == 1 ? channel_maps : plane_maps)[j.fusion != NULL][j.map][type_of(&j)];
    map(j, NULL, p->units, p->lanes, p->width, head);
}

static void map_planes(const bnorm_planes *given)
{
    bnorm_planes p = *given;
    bnorm_map_job j = replace_unused(&p.job);
    if (!p.job.x)
        p.x_stride = p.dy_stride;
    if (j.map == BNORM_NORMALISE)
        p.dy_stride = p.x_stride;
    if (p.lanes < PAIR) {
        map_small_units(&j, &p);
        return;
    }
    for (size_t image = 0; image < p.images; image++) {
        map_large_units(j, &p);
        j = move_on(j, p.x_stride, p.dy_stride, p.y_stride);
    }
}

/* Computes narrow rows with padding, as many at a time as fill a pair, so that coefficients stay in registers. */
static size_t map_padded_rows(bnorm_map_job j, const bnorm_rows *r)
{
    BNORM_ALIGNED float padded[BNORM_COEFFICIENTS][PAIR] = { { 0 } };
    const size_t times = PAIR / r->width, full = r->rows / times;
    int lanes = 0;
    for (size_t l = 0; l < PAIR; l++)
        if (l % r->width < r->used) {
            lanes |= (int)((unsigned)1 << l);
            for (int c = 0; c < BNORM_COEFFICIENTS; c++)
                padded[c][l] = bnorm_uses(j.map, c) ? j.k[c][l % r->width] : 0;
        }
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        j.k[c] = padded[c];
    j.stream = j.stream && lanes_to_aligned(j.y, j.y_type) == 0;
    j.prefetch_until = 0;
    padded_maps[j.fusion != NULL][j.map][type_of(&j)](j, full, lanes);
    return full * times;
}

enum {
    ROWS_AT_ONCE = 2, /* strided rows that share loads of coefficients; more do not help, as memory is the limit */
    NARROW_ROW = 1024, /* bytes of the largest adjacent rows that share loads of coefficients: */
    NARROW_ROWS = 16, /* so many rows at once, divided by the bytes of an element */
    WIDE_ROW = 256 /* lanes of the smallest strided row that is worth a call */
};

/*
 * Sharing pays off with vectors so wide that loads limit the throughput, and if most loads are of coefficients: six in
 * a gradient, or two vectors of floats for each vector of 16-bit values.
 */
static bool should_share_coefficients(const bnorm_map_job *j, size_t width)
{
    const size_t size = bnorm_size_of(j->y_type);
    return V_LANES >= 16 && (j->map == BNORM_GRADIENT || size < sizeof(float)) && !j->fusion && !j->stream &&
           width * size <= NARROW_ROW && width % PAIR == 0 && lanes_to_aligned(j->y, j->y_type) == 0;
}

static void map_rows(const bnorm_rows *given)
{
    bnorm_rows r = *given;
    bnorm_map_job j = replace_unused(&r.job);
    if (!r.job.x)
        r.x_stride = r.dy_stride;
    if (j.map == BNORM_NORMALISE)
        r.dy_stride = r.x_stride;
    const bool adjacent = r.x_stride == r.width && r.dy_stride == r.width && (!j.y || r.y_stride == r.width);
    if (adjacent && r.used == r.width) {
        if (should_share_coefficients(&j, r.width))
            column_maps[0][j.map][type_of(&j)](j, &r, NARROW_ROWS / bnorm_size_of(j.y_type));
        else
            map_adjacent_rows(j, r.rows, r.width);
        return;
    }
    if (r.used == r.width && r.width >= WIDE_ROW) {
        map_wide_rows(j, &r);
        return;
    }
    if (adjacent && r.used < r.width && r.width <= PAIR && PAIR % r.width == 0 && !(j.fusion && j.fusion->mask)) {
        const size_t done = map_padded_rows(j, &r);
        j = skip_lanes(j, done * r.width);
        r.rows -= done;
    }
    j.stream =
        j.stream && lanes_to_aligned(j.y, j.y_type) == 0 && r.y_stride * bnorm_size_of(j.y_type) % STORE_BYTES == 0;
    j.prefetch_until = 0;
    column_maps[j.fusion != NULL][j.map][type_of(&j)](j, &r, j.stream ? 1 : ROWS_AT_ONCE);
}

static void store_fence(void)
{
    v_stream_end();
}
