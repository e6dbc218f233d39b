/* SPDX-License-Identifier: MIT */
/*
 * Normalising one group of units while the statistics of the next are collected, a tile of each in turn: memory then
 * sees one stream of reads and one of writes, as in a copy. Written against collect.h, apply.h and moments.h.
 */

/* Collects adjacent tiles, and normalises as many of the unit while they last. */
static INLINE void collect_and_apply(const float *x, size_t tiles, const v_f32 *pivot, tile_sums *t, sweep *s,
                                     const tile_coefficients *k, bool stream)
{
    const size_t both = smaller(tiles, (s->end - s->at) / BNORM_TILE) * BNORM_TILE;
    const float *from = s->x + s->at;
    float *to = s->y + s->at;
    size_t l = 0;
    for (; l < both; l += BNORM_TILE) {
        collect_row(x + l, pivot, t, true);
        apply_tile(from + l, to + l, k, stream);
    }
    s->at += both;
    for (; l < tiles * BNORM_TILE; l += BNORM_TILE)
        collect_row(x + l, pivot, t, true);
}

/* The pivot of a segment: the mean of its first group, taken about its first value. */
static INLINE void first_pivot(const bnorm_collector *c, const float *x, size_t row, size_t rows, size_t width,
                               float *pivot)
{
    const bnorm_walk *w = c->walk;
    const place at = { row / w->run_super_rows, row % w->run_super_rows, 0 };
    float sum[BNORM_TILE];
    v_f32 p[V_TILE];
    memcpy(pivot, x + at.run * w->run_stride + at.row * BNORM_TILE, width * sizeof(*pivot));
    load_repeated(p, pivot, width);
    tile_sums t = collect_tile_chunk(w, x, at, rows, p, false);
    store_folded(sum, t.sum, width);
    recenter_f64(width, (double)(bnorm_values_before(w, row + rows) - bnorm_values_before(w, row)), sum, pivot);
}

/* Where a run begins in the order of the statistics: the same for all units. */
typedef struct {
    size_t row; /* super-row of the unit */
    size_t segment, segment_end; /* first super-row, and one past the last */
} run_start;

static INLINE run_start start_of_run(const bnorm_collector *c, size_t run)
{
    size_t row = run * c->walk->run_super_rows, segment = row / c->segment_rows * c->segment_rows;
    return (run_start){ row, segment, smaller(segment + c->segment_rows, c->super_rows) };
}

/* Whether a chunk ends after `rows` super-rows of a segment: epochs are 16, 16, 32, 64 .. long, chunks at most 128. */
static INLINE bool chunk_ends(size_t rows)
{
    return rows % BNORM_CHUNK == 0 || (rows & (rows - 1)) == 0;
}

/* A chunk ends after `rows` super-rows of the segment that begins at `segment`; so may its epoch. */
static void end_chunk(const bnorm_collector *c, const tile_sums *chunk, size_t unit, size_t segment, size_t rows,
                      bool segment_ends)
{
    const bnorm_walk *w = c->walk;
    const size_t width = w->width, channel = unit * width;
    float sum[BNORM_TILE], sum_sq[BNORM_TILE];
    double *total = c->total + channel, *total_sq = c->total_sq + channel;
    store_folded(sum, chunk->sum, width);
    store_folded(sum_sq, chunk->sum_sq, width);
    size_t epoch = rows > BNORM_GROUP ? BNORM_GROUP : 0; /* where it begins */
    while (epoch && 2 * epoch < rows)
        epoch *= 2;
    bool several = rows - epoch > BNORM_CHUNK;
    if (!segment_ends && (rows & (rows - 1))) {
        if (!several) {
            memset(total, 0, width * sizeof(*total));
            memset(total_sq, 0, width * sizeof(*total_sq));
        }
        accumulate_f64(width, sum, sum_sq, total, total_sq);
        return;
    }
    size_t origin = bnorm_values_before(w, segment), from = bnorm_values_before(w, segment + epoch);
    size_t to = bnorm_values_before(w, segment + rows);
    double *mean = (segment ? c->part_mean : c->mean) + channel, *m2 = (segment ? c->part_m2 : c->m2) + channel;
    conclude_f64(width, (double)(from - origin), (double)(to - from), sum, sum_sq, several ? total : NULL,
                 several ? total_sq : NULL, c->pivot + channel, mean, m2);
    if (segment_ends && segment)
        merge_f64(width, (double)origin, (double)(to - origin), c->mean + channel, c->m2 + channel, mean, m2);
}

/* A group ends: its sums join the chunk's. */
static INLINE void end_group(const bnorm_collector *c, const tile_sums *group, size_t unit, const run_start *at,
                             size_t rows, bool segment_ends)
{
    float *kept = c->sums + unit * BNORM_COLLECTOR_SUMS;
    tile_sums chunk = no_sums();
    if (rows > BNORM_GROUP && !chunk_ends(rows - 1 - (rows - 1) % BNORM_GROUP)) {
        load_tile(chunk.sum, kept + 2 * BNORM_TILE, BNORM_TILE);
        load_tile(chunk.sum_sq, kept + 3 * BNORM_TILE, BNORM_TILE);
    }
    add_tile(chunk.sum, group->sum);
    add_tile(chunk.sum_sq, group->sum_sq);
    if (segment_ends || chunk_ends(rows)) {
        end_chunk(c, &chunk, unit, at->segment, rows, segment_ends);
        return;
    }
    store_tile(kept + 2 * BNORM_TILE, chunk.sum, BNORM_TILE);
    store_tile(kept + 3 * BNORM_TILE, chunk.sum_sq, BNORM_TILE);
}

/* One run of one unit. */
static INLINE void collect_run(const bnorm_collector *c, size_t unit, size_t run, run_start at, sweep *s, size_t width,
                               bool stream)
{
    const bnorm_walk *w = c->walk;
    const tile_coefficients k = repeat_coefficients(&s->unit, width);
    const float *x = c->x + unit * c->unit_stride, *p = x + run * w->run_stride;
    const size_t end = at.row + w->run_super_rows;
    size_t lanes = w->run_rows * width;
    float *pivot = c->pivot + unit * width, *kept = c->sums + unit * BNORM_COLLECTOR_SUMS;
    v_f32 pivots[V_TILE];
    tile_sums group = no_sums();
    load_repeated(pivots, pivot, width);
    if ((at.row - at.segment) % BNORM_GROUP) {
        load_tile(group.sum, kept, BNORM_TILE);
        load_tile(group.sum_sq, kept + BNORM_TILE, BNORM_TILE);
    }
    for (;;) {
        if (at.row == at.segment) {
            first_pivot(c, x, at.row, smaller(BNORM_GROUP, at.segment_end - at.row), width, pivot);
            load_repeated(pivots, pivot, width);
        }
        size_t left = BNORM_GROUP - (at.row - at.segment) % BNORM_GROUP;
        size_t stop = smaller(smaller(at.row + left, at.segment_end), end);
        size_t tiles = smaller(stop - at.row, lanes / BNORM_TILE);
        collect_and_apply(p, tiles, pivots, &group, s, &k, stream);
        p += tiles * BNORM_TILE;
        lanes -= tiles * BNORM_TILE;
        if (tiles < stop - at.row)
            collect_part(p, lanes, pivots, &group, true);
        bool segment_ends = stop == at.segment_end;
        if (stop < at.row + left && !segment_ends)
            break;
        end_group(c, &group, unit, &at, stop - at.segment, segment_ends);
        group = no_sums();
        if (stop == end) {
            end_unit(s, &k, width, stream);
            return;
        }
        load_repeated(pivots, pivot, width);
        at.row = stop;
        if (segment_ends) {
            at.segment = stop;
            at.segment_end = smaller(stop + c->segment_rows, c->super_rows);
        }
    }
    store_tile(kept, group.sum, BNORM_TILE);
    store_tile(kept + BNORM_TILE, group.sum_sq, BNORM_TILE);
    end_unit(s, &k, width, stream);
}

static INLINE void collect_apply(const bnorm_collector *next, size_t run, const bnorm_planes *planes, size_t width,
                                 bool stream)
{
    const run_start at = start_of_run(next, run);
    sweep s = begin_sweep(planes, width);
    for (size_t unit = 0; unit < next->units; unit++)
        collect_run(next, unit, run, at, &s, width, stream);
    for (size_t unit = next->units; unit < planes->units; unit++)
        apply_unit(&s, width, stream);
}

static void collect_apply_f32(const bnorm_collector *next, size_t run, const bnorm_planes *planes)
{
    const bool stream = planes->stream && can_align(planes);
    if (planes->width == 1 && stream)
        collect_apply(next, run, planes, 1, true);
    else if (planes->width == 1)
        collect_apply(next, run, planes, 1, false);
    else if (stream)
        collect_apply(next, run, planes, planes->width, true);
    else
        collect_apply(next, run, planes, planes->width, false);
}
