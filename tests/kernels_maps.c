/* SPDX-License-Identifier: MIT */
/* Kernels that map element to element: each within the last rounding, in other types, in place, and with non-temporal
 * stores. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "element.h"
#include "trial.h"

/* The coefficients of an element: of its lane in its unit or row. */
typedef size_t channel_of(size_t line, size_t element, size_t width);

static size_t channel_in_plane(size_t line, size_t element, size_t width)
{
    return line * width + element % width;
}

static size_t channel_in_row(size_t line, size_t element, size_t width)
{
    (void)line;
    (void)width;
    return element;
}

/* What an element must be but for the last rounding, and the size of what it is a sum of. */
typedef struct exact_value {
    long double value, size;
} exact_value;

static exact_value oracle_map(bnorm_map map, bool fused, float x, float dy, const float *const *k, size_t c)
{
    const float d = x - k[BNORM_CENTER][c], scaled = d * k[BNORM_SCALE][c]; /* each rounded: the contract's order */
    const long double y = (long double)scaled + (long double)k[BNORM_SHIFT][c];
    if (map == BNORM_NORMALISE)
        return (exact_value){ fused && y < 0 ? 0 : y, fabsl(y) };
    const float g = fused && scaled + k[BNORM_SHIFT][c] <= 0 ? 0 : dy;
    float e = g;
    if (map == BNORM_GRADIENT) {
        const float sloped = d * k[BNORM_SLOPE][c], corrected = sloped + k[BNORM_OFFSET][c];
        e = g - k[BNORM_DY_MEAN][c];
        e = e + corrected;
    }
    const long double dx = (long double)e * (long double)k[BNORM_SCALE][c];
    return (exact_value){ dx, fabsl(dx) };
}

/*
 * `lines` lines of `length` elements each, of which `used` are channels and the others become zero: what y must be
 * after a kernel that had the bits of portable C in `expected`. Lines are y_stride apart, what they are computed from
 * x_stride and dy_stride.
 */
typedef struct lines {
    bnorm_map map;
    bool fused;
    size_t lines, length, used;
    const float *x, *dy;
    size_t x_stride, dy_stride, y_stride;
    const float *const *k;
    channel_of *channel;
    size_t width;
} lines;

static void check_lines(const lines *l, const float *y, const float *expected)
{
    const size_t count = (l->lines - 1) * l->y_stride + l->length;
    bool right = true;
    for (size_t i = 0; i < count; i++) {
        size_t line = i / l->y_stride, element = i % l->y_stride;
        if (element >= l->length) {
            right = right && memcmp(y + i, "\x5a\x5a\x5a\x5a", sizeof(*y)) == 0;
            continue;
        }
        if (element >= l->used) {
            right = right && memcmp(y + i, &(float){ 0.0f }, sizeof(*y)) == 0;
            continue;
        }
        const exact_value e =
            oracle_map(l->map, l->fused, l->x[line * l->x_stride + element], l->dy[line * l->dy_stride + element], l->k,
                       l->channel(line, element, l->width));
        right = right && near((long double)y[i], e.value, e.size, 0x1p-24L);
    }
    check(right, "y is off, or something beside it was written");
    check(same_bits(y, expected, count), "y has other bits than portable C");
}

static void check_in_place(const float *y, const float *expected, size_t count, size_t length, size_t stride)
{
    bool right = true;
    for (size_t line = 0; line < count; line++)
        right = right && same_bits(y + line * stride, expected + line * stride, length);
    check(right, "in place, y has other bits");
}

static const size_t plane_widths[] = { 1, 1, 1, 2, 4, 8, 16, 32 };
enum { MAPS = BNORM_FROZEN + 1 };

static const bnorm_fusion relu = { .activation = BNORM_ACT_CLAMP, .beta = INFINITY, .high = NAN };

/*
 * The same call on the same values in other types: what floats gave in `expected`, rounded. `count` lines of `length`
 * elements that lie `stride` apart.
 */
static void check_types(trial *t, const float *expected, const void *y, bnorm_dtype type, size_t count, size_t length,
                        size_t stride)
{
    float *const rounded = take_zeros(&t->taken, length * sizeof(*rounded));
    float *const given = take_zeros(&t->taken, length * sizeof(*given));
    bool right = true;
    for (size_t line = 0; line < count; line++) {
        memcpy(rounded, expected + line * stride, length * sizeof(*rounded));
        round_elements(type, rounded, length);
        load_elements(type, given, (const char *)y + line * stride * type_size(type), length);
        right = right && same_bits(rounded, given, length);
    }
    check(right, "in other types, y is not what floats give, rounded");
}

/* With and without non-temporal stores, which must be aligned: flush at the end, y begins at any lane. */
static void check_planes(trial *t)
{
    size_t width = plane_widths[random_below(&t->random, COUNT_OF(plane_widths))],
           points = (t->length + width - 1) / width;
    bnorm_planes p = { .width = width, .lanes = points * width, .units = 1 + random_below(&t->random, 9), .images = 1 };
    size_t count = p.units * p.lanes;
    void *typed_x, *typed_dy;
    const bool mixed = random_below(&t->random, 2);
    const bnorm_dtype x_type = trial_type(t), dy_type = mixed ? trial_type(t) : x_type;
    const float *x = trial_typed_input(t, count, x_type, &typed_x);
    const float *dy = trial_typed_input(t, count, dy_type, &typed_dy);
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        p.job.k[c] = trial_input(t, p.units * width);
    float *y = trial_output(t, count), *expected = trial_output(t, count);
    p.job.map = (bnorm_map)random_below(&t->random, MAPS);
    p.job.stream = random_below(&t->random, 2);
    if (random_below(&t->random, 2)) {
        const size_t prefetched = random_below(&t->random, p.units); /* beside the first, the units at the end */
        p.job.prefetch_until = prefetched * p.lanes;
        p.job.x_prefetch = p.job.dy_prefetch = (p.units - prefetched) * p.lanes;
    }
    p.job.fusion = random_below(&t->random, 2) ? &relu : NULL;
    p.job.x = p.job.map == BNORM_FROZEN && !p.job.fusion ? NULL : x;
    p.job.dy = p.job.map == BNORM_NORMALISE ? NULL : dy;
    p.job.y = expected;
    t->scalar->map_planes(&p);
    p.job.y = y;
    t->kernels->map_planes(&p);
    t->kernels->store_fence();
    const lines l = { p.job.map, p.job.fusion, p.units, p.lanes, p.lanes,          x,    dy,
                      p.lanes,   p.lanes,      p.lanes, p.job.k, channel_in_plane, width };
    check_lines(&l, y, expected);
    bnorm_planes typed = p;
    typed.job.bf16_fast = random_below(&t->random, 2) && bnorm_runs(BNORM_CPU_AVX512BF16);
    typed.job.x_type = x_type;
    typed.job.dy_type = dy_type;
    typed.job.y_type = mixed ? trial_type(t) : x_type;
    typed.job.x = p.job.x ? typed_x : NULL;
    typed.job.dy = p.job.dy ? typed_dy : NULL;
    typed.job.y = take_guarded(&t->taken, count * type_size(typed.job.y_type), t->side);
    t->kernels->map_planes(&typed);
    t->kernels->store_fence();
    check_types(t, expected, typed.job.y, typed.job.y_type, p.units, p.lanes, p.lanes);
    bnorm_planes images = p; /* of the same values */
    images.images = 3;
    images.y_stride = count + random_below(&t->random, 40);
    images.job.y = trial_output(t, 2 * images.y_stride + count);
    t->kernels->map_planes(&images);
    t->kernels->store_fence();
    for (size_t image = 0; image < images.images; image++)
        check(same_bits((float *)images.job.y + image * images.y_stride, expected, count), "an image has other bits");
    bool in_dy = !p.job.x || (p.job.dy && random_below(&t->random, 2));
    memcpy(y, in_dy ? dy : x, count * sizeof(float));
    *(in_dy ? &p.job.dy : &p.job.x) = y;
    p.job.stream = false;
    t->kernels->map_planes(&p);
    check_in_place(y, expected, p.units, p.lanes, p.lanes);
}

static void check_rows(trial *t)
{
    size_t n = t->length, rows = 1 + random_below(&t->random, 2000 / (n + 50) + 9);
    size_t stride = n + (random_below(&t->random, 3) ? 0 : 3), count = (rows - 1) * stride + n;
    void *typed_x, *typed_dy;
    const bool mixed = random_below(&t->random, 2);
    const bnorm_dtype x_type = trial_type(t), dy_type = mixed ? trial_type(t) : x_type;
    bnorm_rows r = { .rows = rows, .width = n, .x_stride = stride, .y_stride = stride };
    r.dy_stride = random_below(&t->random, 4) ? stride : n + 5;
    r.used = random_below(&t->random, 3) ? n : random_below(&t->random, n + 1);
    const float *x = trial_typed_input(t, count, x_type, &typed_x);
    const float *dy = trial_typed_input(t, (rows - 1) * r.dy_stride + n, dy_type, &typed_dy);
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        r.job.k[c] = trial_input(t, n);
    float *y = trial_output(t, count), *expected = trial_output(t, count);
    r.job.map = (bnorm_map)random_below(&t->random, MAPS);
    r.job.stream = random_below(&t->random, 2);
    r.job.fusion = random_below(&t->random, 2) ? &relu : NULL;
    r.job.x = r.job.map == BNORM_FROZEN && !r.job.fusion ? NULL : x;
    r.job.dy = r.job.map == BNORM_NORMALISE ? NULL : dy;
    r.job.y = expected;
    t->scalar->map_rows(&r);
    r.job.y = y;
    t->kernels->map_rows(&r);
    t->kernels->store_fence();
    const lines l = { r.job.map, r.job.fusion, rows,   n,       r.used,         x, dy,
                      stride,    r.dy_stride,  stride, r.job.k, channel_in_row, n };
    check_lines(&l, y, expected);
    bnorm_rows typed = r;
    typed.job.bf16_fast = random_below(&t->random, 2) && bnorm_runs(BNORM_CPU_AVX512BF16);
    typed.job.x_type = x_type;
    typed.job.dy_type = dy_type;
    typed.job.y_type = mixed ? trial_type(t) : x_type;
    typed.job.x = r.job.x ? typed_x : NULL;
    typed.job.dy = r.job.dy ? typed_dy : NULL;
    typed.job.y = take_guarded(&t->taken, count * type_size(typed.job.y_type), t->side);
    t->kernels->map_rows(&typed);
    t->kernels->store_fence();
    check_types(t, expected, typed.job.y, typed.job.y_type, rows, n, stride);
    bool in_dy = r.job.dy && r.dy_stride == stride && (!r.job.x || random_below(&t->random, 2));
    if (in_dy || r.job.x) {
        memcpy(y, in_dy ? dy : x, count * sizeof(float));
        *(in_dy ? &r.job.dy : &r.job.x) = y;
        r.job.stream = false;
        t->kernels->map_rows(&r);
        check_in_place(y, expected, rows, n, stride);
    }
}

void check_map_planes(trial *t)
{
    for (int again = 0; again < 2; again++)
        check_planes(t);
}

/* Rows that divide a pair of vectors have walks of their own, which differ by padding and type: they are tried more. */
void check_map_rows(trial *t)
{
    const int times = BNORM_TILE % t->length == 0 ? 16 : 1;
    for (int again = 0; again < times; again++)
        check_rows(t);
}

/*
 * Another thread, told by a plain store after a store_fence, must see what was streamed: rounds go to and fro, each
 * with other values, of which the first and the last lie in lines that are not filled.
 */
typedef struct reader {
    const float *y;
    size_t count;
    atomic_uint told, done; /* rounds */
    unsigned rounds;
    bool right;
} reader;

/* Looks often before it lets others run: what enters the system has its stores done. */
static void wait_for(const atomic_uint *rounds, unsigned round)
{
    for (unsigned looks = 1; atomic_load_explicit(rounds, memory_order_acquire) < round; looks++)
        if (looks % 4096 == 0)
            sched_yield();
}

static void *read_rounds(void *argument)
{
    reader *r = argument;
    r->right = true;
    for (unsigned round = 1; round <= r->rounds; round++) {
        wait_for(&r->told, round);
        for (size_t i = r->count; i--;)
            r->right = r->right && r->y[i] == (float)round;
        atomic_store_explicit(&r->done, round, memory_order_release);
    }
    return NULL;
}

void check_store_fence(trial *t)
{
    if (t->class != INPUT_normal || t->length % 16 != 8 || t->length > 64)
        return;
    static const float zero = 0, one = 1;
    BNORM_ALIGNED float x[64], y[64];
    bnorm_planes p = {
        .job = { .stream = true, .x = x, .y = y }, .width = 1, .units = 1, .lanes = t->length, .images = 1
    };
    reader r = { .y = y, .count = t->length, .rounds = 300 };
    pthread_t thread;
    for (int c = 0; c < BNORM_COEFFICIENTS; c++)
        p.job.k[c] = c == BNORM_SCALE ? &one : &zero;
    if (!check(pthread_create(&thread, NULL, read_rounds, &r) == 0, "no thread could be started"))
        return;
    for (unsigned round = 1; round <= r.rounds; round++) {
        for (size_t i = 0; i < t->length; i++)
            x[i] = (float)round;
        t->kernels->map_planes(&p);
        t->kernels->store_fence();
        atomic_store_explicit(&r.told, round, memory_order_release);
        wait_for(&r.done, round);
    }
    pthread_join(thread, NULL);
    check(r.right, "another thread reads something else");
}
