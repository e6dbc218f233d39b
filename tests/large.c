/* SPDX-License-Identifier: MIT */
/*
 * Tensors of more than 2^31 and 2^32 elements of bfloat16, which BNORM_LARGE=1 asks for. x repeats a pattern, which is
 * in memory once and mapped as often as needed; its length divides no power of two, so that an index that wraps around
 * finds other values. So statistics are those of the pattern, and outputs repeat as x does: all of each is checked.
 */
#define _GNU_SOURCE /* memfd_create */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "executors.h"
#include "kernels/element.h"

#if !defined(__linux__) || SIZE_MAX == UINT32_MAX
int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_skip("memory is mapped repeatedly in the way of 64-bit Linux");
    return check_finish();
}
#else
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD = 3 << 23, /* elements of the pattern */
    ROW = 192, /* channels of rows: a divisor of the period */
    SHIFT = 5 * ROW + 1, /* dy is x from here on */
    MOST_CHANNELS = ROW
};

static const float epsilon = 1e-5f;
static uint16_t *pattern;

/* Small multiples of 1/8 in no order that a channel could be in step with. */
static uint16_t pattern_at(size_t i)
{
    const int value = (int)(((uint64_t)i * 0x9e3779b97f4a7c15u >> 40) % 61) - 25;
    return bnorm_to_bf16((float)value / 8);
}

static float x_at(size_t i)
{
    return bnorm_of_bf16(pattern[i % PERIOD]);
}

static float dy_at(size_t i)
{
    return x_at(i + SHIFT);
}

/* ---- Memory ---- */

/* As many bytes as could be had without taking them from others. */
static size_t available(void)
{
    char line[128];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return (size_t)kilobytes * 1024;
}

/* The pattern, so many times. */
static uint16_t *map_pattern(int file, size_t times)
{
    const size_t bytes = PERIOD * sizeof(uint16_t);
    char *const memory = mmap(NULL, times * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    for (size_t i = 0; i < times; i++)
        if (mmap(memory + i * bytes, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
            return NULL;
    return (uint16_t *)(void *)memory;
}

static int write_pattern(void)
{
    const size_t bytes = PERIOD * sizeof(uint16_t);
    const int file = memfd_create("pattern", 0);
    if (file < 0 || ftruncate(file, (off_t)bytes))
        return -1;
    pattern = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (pattern == MAP_FAILED)
        return -1;
    for (size_t i = 0; i < PERIOD; i++)
        pattern[i] = pattern_at(i);
    return file;
}

/* ---- What is expected ---- */

/* Which channel an element of the pattern belongs to. */
typedef size_t channel_function(size_t i);

static size_t one_channel(size_t i)
{
    (void)i;
    return 0;
}

static size_t third(size_t i)
{
    return i / (PERIOD / 3);
}

static size_t lane(size_t i)
{
    return i % ROW;
}

static size_t lane_of_block(size_t i)
{
    return third(i) * 16 + i % 16;
}

/* Of one channel of the pattern. */
typedef struct expected {
    double count, mean, var, dy, dy_h; /* means; the last of dy * (x - mean) / sqrt(var + epsilon) */
} expected;

static expected all[MOST_CHANNELS];

static void expect(size_t channels, channel_function *channel_of)
{
    memset(all, 0, sizeof(all));
    for (size_t i = 0; i < PERIOD; i++) {
        expected *e = &all[channel_of(i)];
        e->count++;
        e->mean += (double)x_at(i);
        e->dy += (double)dy_at(i);
    }
    for (size_t c = 0; c < channels; c++) {
        all[c].mean /= all[c].count;
        all[c].dy /= all[c].count;
    }
    for (size_t i = 0; i < PERIOD; i++) {
        expected *e = &all[channel_of(i)];
        const double d = (double)x_at(i) - e->mean;
        e->var += d * d / e->count;
        e->dy_h += (double)dy_at(i) * d / e->count;
    }
    for (size_t c = 0; c < channels; c++)
        all[c].dy_h /= sqrt(all[c].var + (double)epsilon);
}

static double h_at(size_t i, const expected *e)
{
    return ((double)x_at(i) - e->mean) / sqrt(e->var + (double)epsilon);
}

static double expected_y(size_t i, const expected *e)
{
    return h_at(i, e);
}

static double expected_dx(size_t i, const expected *e)
{
    return ((double)dy_at(i) - e->dy - h_at(i, e) * e->dy_h) / sqrt(e->var + (double)epsilon);
}

static bool near(double value, double exact, double relative)
{
    return fabs(value - exact) <= relative * fmax(1, fabs(exact));
}

/* The first period against what is expected, the others against the first; answers a digest of the first. */
static uint64_t check_output(const uint16_t *y, size_t periods, channel_function *channel_of,
                             double (*exact)(size_t i, const expected *e), const char *what)
{
    bool right = true, periodic = true;
    for (size_t i = 0; i < PERIOD; i++)
        right = right && near((double)bnorm_of_bf16(y[i]), exact(i, &all[channel_of(i)]), 0x1.1p-8);
    for (size_t p = 1; p < periods; p++)
        periodic = periodic && memcmp(y, y + p * PERIOD, PERIOD * sizeof(*y)) == 0;
    check_context("%s", what);
    check(right, "the first elements are not what is expected");
    check(periodic, "the others do not repeat them");
    return check_digest(CHECK_DIGEST_START, (const float *)(const void *)y, PERIOD / 2);
}

/* ---- Calls ---- */

typedef struct tensors {
    size_t periods;
    const uint16_t *x;
    uint16_t *y;
    void *workspace;
    size_t workspace_size;
} tensors;

static float statistics[7][MOST_CHANNELS];

static uint64_t check_training(const bnorm_shape *s, const tensors *t, channel_function *channel_of,
                               const bnorm_executor *executor)
{
    bnorm_train_params p = bnorm_train_defaults();
    p.momentum = 1;
    p.epsilon = epsilon;
    p.running_variance = BNORM_VARIANCE_BIASED;
    p.running_mean = statistics[0];
    p.running_var = statistics[1];
    p.saved_mean = statistics[2];
    p.saved_mean_low = statistics[3];
    p.saved_rstd = statistics[4];
    const bnorm_status status = bnorm_train(s, &p, t->x, t->y, t->workspace, t->workspace_size, executor);
    check_context("train");
    check(status == BNORM_OK, bnorm_status_string(status));
    for (size_t c = 0; c < s->channels; c++) {
        check(near((double)statistics[0][c], all[c].mean, 1e-6), "the mean");
        check(near((double)statistics[1][c], all[c].var, 1e-6), "the variance");
    }
    return check_output(t->y, t->periods, channel_of, expected_y, "train: y");
}

static uint64_t check_backward(const bnorm_shape *s, const tensors *t, channel_function *channel_of,
                               const bnorm_executor *executor)
{
    const double count = (double)s->batch * (double)s->points;
    bnorm_backward_params p = bnorm_backward_defaults();
    p.mean = statistics[2];
    p.mean_low = statistics[3];
    p.rstd = statistics[4];
    p.dgamma = statistics[5];
    p.dbeta = statistics[6];
    const bnorm_status status =
        bnorm_backward(s, &p, t->x, t->x + SHIFT, t->y, t->workspace, t->workspace_size, executor);
    check_context("backward");
    check(status == BNORM_OK, bnorm_status_string(status));
    for (size_t c = 0; c < s->channels; c++) {
        check(near((double)statistics[5][c] / count, all[c].dy_h, 1e-5), "dgamma");
        check(near((double)statistics[6][c] / count, all[c].dy, 1e-5), "dbeta");
    }
    return check_output(t->y, t->periods, channel_of, expected_dx, "backward: dx");
}

/* Into y; and there once more in place, with statistics that change nothing. */
static uint64_t check_inference(const bnorm_shape *s, const tensors *t, channel_function *channel_of,
                                const bnorm_executor *executor)
{
    static float zeros[MOST_CHANNELS], ones[MOST_CHANNELS];
    bnorm_infer_params p = bnorm_infer_defaults();
    p.epsilon = epsilon;
    p.mean = statistics[0];
    p.var = statistics[1];
    bnorm_status status = bnorm_infer(s, &p, t->x, t->y, executor);
    for (size_t c = 0; c < s->channels; c++)
        ones[c] = 1;
    p.epsilon = 0;
    p.mean = zeros;
    p.var = ones;
    if (!status)
        status = bnorm_infer(s, &p, t->y, t->y, executor);
    check_context("infer");
    check(status == BNORM_OK, bnorm_status_string(status));
    return check_output(t->y, t->periods, channel_of, expected_y, "infer: y");
}

/* Weights of 192 outputs: y as it is without the mean, which goes to the bias. */
static double expected_weight(size_t i, const expected *e)
{
    return (double)x_at(i) / sqrt(e->var + (double)epsilon);
}

static void check_folding(const bnorm_shape *s, const tensors *t, channel_function *channel_of)
{
    bnorm_infer_params p = bnorm_infer_defaults();
    p.epsilon = epsilon;
    p.mean = statistics[0];
    p.var = statistics[1];
    const bnorm_status status = bnorm_fold(s, &p, t->x, NULL, t->y, statistics[5]);
    check_context("fold");
    check(status == BNORM_OK, bnorm_status_string(status));
    check_output(t->y, t->periods, channel_of, expected_weight, "fold: weights");
}

/* Answers a digest of what was written. */
static uint64_t check_calls(const bnorm_shape *s, tensors *t, channel_function *channel_of,
                            const bnorm_executor *executor)
{
    size_t more = 0;
    check(bnorm_workspace_size(s, BNORM_OP_TRAIN, executor, &t->workspace_size) == BNORM_OK &&
              bnorm_workspace_size(s, BNORM_OP_BACKWARD, executor, &more) == BNORM_OK,
          "the size of the workspace");
    t->workspace_size = t->workspace_size < more ? more : t->workspace_size;
    t->workspace = malloc(t->workspace_size);
    uint64_t digest = check_training(s, t, channel_of, executor);
    digest = digest * 31 + check_backward(s, t, channel_of, executor);
    digest = digest * 31 + check_inference(s, t, channel_of, executor);
    free(t->workspace);
    return digest;
}

static void check_shape(const char *name, bnorm_shape s, tensors *t, channel_function *channel_of)
{
    const bnorm_executor two = executor_threads(2);
    s.in.dtype = s.out.dtype = BNORM_DTYPE_BF16;
    expect(s.channels, channel_of);
    uint64_t digest[2];
    for (size_t threads = 1; threads <= 2; threads++) {
        const time_t begin = time(NULL);
        check_case("%s: %zu elements, %zu threads", name, t->periods * PERIOD, threads);
        digest[threads - 1] = check_calls(&s, t, channel_of, threads == 1 ? NULL : &two);
        check_context("bits");
        check(digest[threads - 1] == digest[0], "two threads give others than one");
        check_note("%.0f s", difftime(time(NULL), begin));
    }
}

static void check_weights(bnorm_shape s, const tensors *t)
{
    check_case("weights: %zu elements", t->periods * PERIOD);
    s.in.dtype = s.out.dtype = BNORM_DTYPE_BF16;
    expect(s.channels, lane);
    check_folding(&s, t, lane);
}

static void check_shapes(tensors *t)
{
    const size_t n = t->periods, rows = n * PERIOD / ROW;
    check_shape("one plane", bnorm_nchw(1, 1, n * PERIOD), t, one_channel);
    check_shape("images of planes", bnorm_nchw(n, 3, PERIOD / 3), t, third);
    check_shape("images of blocks", bnorm_blocked(n, 48, PERIOD / 48, 16), t, lane_of_block);
    check_shape("images of rows", bnorm_nhwc(2, ROW, rows / 2), t, lane);
    check_shape("rows", bnorm_nhwc(rows, ROW, 1), t, lane);
    check_weights(bnorm_nhwc(1, ROW, rows), t);
}

/* Tensors of so many periods. */
static void check_size(int file, size_t periods)
{
    const size_t bytes = periods * PERIOD * sizeof(uint16_t), needed = bytes + bytes / 8;
    check_case("memory for %zu elements", periods * PERIOD);
    if (available() < needed) {
        check_note("%zu MiB are needed, %zu are there", needed >> 20, available() >> 20);
        check_skip("there is not enough memory");
        return;
    }
    void *const y = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    tensors t = { .periods = periods, .x = map_pattern(file, periods + 1), .y = y };
    if (!check(t.x && y != MAP_FAILED, "it cannot be mapped"))
        return;
    check_shapes(&t);
    munmap(y, bytes);
}

int main(int argc, char **argv)
{
    enum { OVER_2_31 = 86, OVER_2_32 = 171 }; /* periods */
    const char *const wanted = getenv("BNORM_LARGE");
    check_start(argc, argv);
    if (!wanted || strcmp(wanted, "1") != 0) {
        check_skip("BNORM_LARGE=1 asks for it: some minutes, 10 GB of memory");
        return check_finish();
    }
    if (!bnorm_has_type(BNORM_DTYPE_BF16)) {
        check_skip("this build has no bfloat16");
        return check_finish();
    }
    const int file = write_pattern();
    if (file < 0) {
        check_skip("the pattern cannot be written to memory");
        return check_finish();
    }
    check_size(file, OVER_2_31);
    check_size(file, OVER_2_32);
    return check_finish();
}
#endif
