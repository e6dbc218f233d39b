/* SPDX-License-Identifier: MIT */
/* Every kind of bad argument gets its status, and nothing is written; what is odd but legal is accepted. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bnorm/bnorm.h"
#include "check.h"
#include "executors.h"

enum { BATCH = 2, CHANNELS = 6, POINTS = 10, BLOCK = 4, ELEMENTS = BATCH * 8 * POINTS, WORKSPACE = 1 << 16 };

/* All that a call can write lies in one struct, so that "untouched" is one comparison. */
typedef struct outputs {
    float y[ELEMENTS];
    float running_mean[CHANNELS], running_var[CHANNELS];
    float saved_mean[CHANNELS], saved_mean_low[CHANNELS], saved_rstd[CHANNELS];
    unsigned char workspace[WORKSPACE];
} outputs;

/* The arguments of a call of either kind; each case spoils one. */
typedef struct call {
    bnorm_shape shape;
    bnorm_infer_params infer;
    bnorm_train_params train;
    bool no_shape, no_params;
    const void *x;
    void *y, *workspace;
    size_t workspace_size;
    bnorm_executor executor;
} call;

static float x[ELEMENTS], parameters[4][CHANNELS];
static outputs out, before;

static call good_call(void)
{
    call c = { .shape = bnorm_blocked(BATCH, CHANNELS, POINTS, BLOCK), .x = x, .y = out.y };
    c.infer = (bnorm_infer_params){ .struct_size = sizeof(c.infer),
                                    .mean = parameters[0],
                                    .var = parameters[1],
                                    .gamma = parameters[2],
                                    .beta = parameters[3],
                                    .epsilon = 1e-5f };
    c.train = (bnorm_train_params){ .struct_size = sizeof(c.train),
                                    .gamma = parameters[2],
                                    .beta = parameters[3],
                                    .epsilon = 1e-5f,
                                    .momentum = 0.1f,
                                    .running_mean = out.running_mean,
                                    .running_var = out.running_var,
                                    .saved_mean = out.saved_mean,
                                    .saved_mean_low = out.saved_mean_low,
                                    .saved_rstd = out.saved_rstd };
    c.workspace = out.workspace;
    c.workspace_size = sizeof(out.workspace);
    c.executor = executor_backwards(1);
    return c;
}

static bnorm_status infer(const call *c)
{
    return bnorm_infer(c->no_shape ? NULL : &c->shape, c->no_params ? NULL : &c->infer, c->x, c->y, &c->executor);
}

static bnorm_status train(const call *c)
{
    return bnorm_train(c->no_shape ? NULL : &c->shape, c->no_params ? NULL : &c->train, c->x, c->y, c->workspace,
                       c->workspace_size, &c->executor);
}

static void reset(void)
{
    memset(&out, 0x5a, sizeof(out));
    memcpy(&before, &out, sizeof(out));
}

static void expect(bnorm_status got, bnorm_status expected, bool untouched, const char *what)
{
    check_context("%s: %s", what, bnorm_status_string(got));
    check(got == expected, bnorm_status_string(expected));
    if (untouched)
        check(memcmp(&out, &before, sizeof(out)) == 0, "something was written");
    reset();
}

/* A case that both calls refuse alike. */
#define REFUSED(expected, spoil) \
    do { \
        call c = good_call(); \
        spoil; \
        expect(infer(&c), expected, true, "infer: " #spoil); \
        expect(train(&c), expected, true, "train: " #spoil); \
    } while (0)

#define INFER(expected, spoil) \
    do { \
        call c = good_call(); \
        spoil; \
        expect(infer(&c), expected, (expected) != BNORM_OK, "infer: " #spoil); \
    } while (0)

#define TRAIN(expected, spoil) \
    do { \
        call c = good_call(); \
        spoil; \
        expect(train(&c), expected, (expected) != BNORM_OK, "train: " #spoil); \
    } while (0)

static void check_hints(void)
{
    INFER(BNORM_BAD_HINT, c.infer.hint = (bnorm_hint)3);
    TRAIN(BNORM_BAD_HINT, c.train.hint = (bnorm_hint)3);
    INFER(BNORM_OK, c.infer.hint = BNORM_KEEP);
    INFER(BNORM_OK, c.infer.hint = BNORM_STREAM);
    TRAIN(BNORM_OK, c.train.hint = BNORM_KEEP);
    TRAIN(BNORM_OK, c.train.hint = BNORM_STREAM);
}

static void check_shapes(void)
{
    REFUSED(BNORM_BAD_STRUCT_SIZE, c.shape.struct_size = 0);
    REFUSED(BNORM_BAD_STRUCT_SIZE, c.shape.struct_size -= 1);
    REFUSED(BNORM_BAD_STRUCT_SIZE, c.shape.struct_size = SIZE_MAX);
    REFUSED(BNORM_BAD_SHAPE, c.shape.channels = 0);
    REFUSED(BNORM_BAD_SHAPE, c.shape.block = 0);
    REFUSED(BNORM_BAD_SHAPE, c.shape.channels = SIZE_MAX);
    REFUSED(BNORM_BAD_SHAPE, c.shape.batch = SIZE_MAX);
    REFUSED(BNORM_BAD_SHAPE, c.shape.points = SIZE_MAX);
    REFUSED(BNORM_BAD_SHAPE, c.shape.points = SIZE_MAX / 4 + 1);
    REFUSED(BNORM_BAD_SHAPE, c.shape.block = SIZE_MAX / 2 + 1);
    REFUSED(BNORM_BAD_SHAPE, c.shape.batch = (size_t)1 << (sizeof(size_t) * 4 + 2);
            c.shape.points = (size_t)1 << (sizeof(size_t) * 4 - 3));
    REFUSED(BNORM_BAD_SHAPE, c.shape.in.image_stride = SIZE_MAX / 4);
    REFUSED(BNORM_BAD_SHAPE, c.shape.out.image_stride = SIZE_MAX);
    REFUSED(BNORM_BAD_STRIDE, c.shape.in.point_stride = BLOCK - 1);
    REFUSED(BNORM_BAD_STRIDE, c.shape.out.point_stride = BLOCK - 1);
    REFUSED(BNORM_BAD_STRIDE, c.shape.in.block_stride = POINTS * BLOCK - 1);
    REFUSED(BNORM_BAD_STRIDE, c.shape.out.block_stride = 1);
    REFUSED(BNORM_BAD_STRIDE, c.shape.in.image_stride = 2 * POINTS * BLOCK - 1);
    REFUSED(BNORM_BAD_STRIDE, c.shape.out.image_stride = 1);
    REFUSED(BNORM_UNSUPPORTED, c.shape.in.dtype = (bnorm_dtype)1);
    REFUSED(BNORM_UNSUPPORTED, c.shape.out.dtype = (bnorm_dtype)77);
}

/* One byte further. */
static void *off_by_one(void *p)
{
    return (char *)p + 1;
}

static void check_pointers(void)
{
    REFUSED(BNORM_NULL_POINTER, c.no_shape = true);
    REFUSED(BNORM_NULL_POINTER, c.no_params = true);
    REFUSED(BNORM_BAD_STRUCT_SIZE, c.infer.struct_size = c.train.struct_size = 0);
    REFUSED(BNORM_BAD_STRUCT_SIZE, c.infer.struct_size -= 1; c.train.struct_size -= 1);
    REFUSED(BNORM_NULL_POINTER, c.x = NULL);
    REFUSED(BNORM_NULL_POINTER, c.y = NULL);
    REFUSED(BNORM_MISALIGNED, c.x = off_by_one(x));
    REFUSED(BNORM_MISALIGNED, c.y = off_by_one(out.y));
    INFER(BNORM_NULL_POINTER, c.infer.mean = NULL);
    INFER(BNORM_NULL_POINTER, c.infer.var = NULL);
    INFER(BNORM_MISALIGNED, c.infer.gamma = off_by_one(parameters[2]));
    INFER(BNORM_OVERLAP, c.infer.gamma = out.y + 1);
    INFER(BNORM_OVERLAP, c.infer.mean = out.y);
    TRAIN(BNORM_NULL_POINTER, c.workspace = NULL);
    TRAIN(BNORM_SMALL_WORKSPACE, c.workspace_size = 1);
    TRAIN(BNORM_MISALIGNED, c.train.saved_mean = off_by_one(out.saved_mean));
    TRAIN(BNORM_OVERLAP, c.train.beta = out.running_var);
    TRAIN(BNORM_OVERLAP, c.train.running_mean = out.y + 5);
    TRAIN(BNORM_OVERLAP, c.train.saved_mean = x);
    TRAIN(BNORM_OVERLAP, c.train.saved_rstd = out.saved_mean + 1);
    TRAIN(BNORM_OVERLAP, c.workspace = x);
    TRAIN(BNORM_OVERLAP, c.train.gamma = (const float *)(const void *)out.workspace);
}

static void check_overlap(void)
{
    static float two[2 * ELEMENTS];
    REFUSED(BNORM_OVERLAP, c.x = out.y; c.y = out.y + 1);
    REFUSED(BNORM_OVERLAP, c.x = out.y + BLOCK; c.y = out.y);
    REFUSED(BNORM_OVERLAP, c.x = out.y; c.shape.in.point_stride = BLOCK + 1);
    /* Two channel slices of one tensor interleave without sharing an element. */
    INFER(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two; c.y = two + BLOCK);
    INFER(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.y = two; c.x = two + BLOCK);
    TRAIN(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two; c.y = two + BLOCK);
    INFER(BNORM_OVERLAP, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two;
          c.y = two + BLOCK - 1);
    INFER(BNORM_OVERLAP, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two;
          c.y = two + 2 * BLOCK);
    INFER(BNORM_OK, c.x = c.y);
    TRAIN(BNORM_OK, c.x = c.y);
}

static void check_numbers(void)
{
    static const float bad_epsilons[] = { -1e-9f, -INFINITY, INFINITY, NAN }, bad_momenta[] = { -0.1f, 1.1f, NAN };
    for (size_t i = 0; i < sizeof(bad_epsilons) / sizeof(*bad_epsilons); i++)
        REFUSED(BNORM_BAD_EPSILON, c.infer.epsilon = c.train.epsilon = bad_epsilons[i]);
    for (size_t i = 0; i < sizeof(bad_momenta) / sizeof(*bad_momenta); i++)
        TRAIN(BNORM_BAD_MOMENTUM, c.train.momentum = bad_momenta[i]);
    INFER(BNORM_OK, c.infer.epsilon = 0.0f);
    TRAIN(BNORM_BAD_VARIANCE, c.train.running_variance = (bnorm_variance)2);
    TRAIN(BNORM_SINGLE_VALUE, c.shape = bnorm_nchw(1, CHANNELS, 1));
    TRAIN(BNORM_OK, c.shape = bnorm_nchw(1, CHANNELS, 1); c.train.running_variance = BNORM_BIASED);
    REFUSED(BNORM_BAD_EXECUTOR, c.executor.run = NULL);
    REFUSED(BNORM_BAD_EXECUTOR, c.executor.width = 0);
}

/* An empty tensor is no error, and changes nothing. */
static void check_empty(void)
{
    call c = good_call();
    for (int i = 0; i < 2; i++) {
        c.shape = i ? bnorm_nchw(0, CHANNELS, POINTS) : bnorm_nhwc(BATCH, CHANNELS, 0);
        c.x = c.y = c.workspace = NULL;
        c.workspace_size = 0;
        expect(infer(&c), BNORM_OK, true, "infer: empty");
        check(memcmp(&out, &before, sizeof(out)) == 0, "something was written");
        expect(train(&c), BNORM_OK, true, "train: empty");
        check(memcmp(&out, &before, sizeof(out)) == 0, "something was written");
    }
}

/* A struct of a later version is understood as long as its new fields are zero. */
static void check_growth(void)
{
    struct {
        bnorm_shape known;
        size_t later;
    } grown = { .known = good_call().shape };
    call c = good_call();
    grown.known.struct_size = sizeof(grown);
    expect(bnorm_infer(&grown.known, &c.infer, x, out.y, NULL), BNORM_OK, false, "a later struct, new field zero");
    grown.later = 1;
    expect(bnorm_infer(&grown.known, &c.infer, x, out.y, NULL), BNORM_UNSUPPORTED, true,
           "a later struct, new field in use");
}

static void check_workspace_query(void)
{
    const bnorm_shape shape = bnorm_blocked(BATCH, CHANNELS, POINTS, BLOCK), empty = bnorm_nchw(0, 1, 1);
    bnorm_shape bad = shape;
    size_t size = 123;
    bad.channels = 0;
    check_context("bnorm_workspace_size");
    check(bnorm_workspace_size(&bad, BNORM_TRAIN, NULL, &size) == BNORM_BAD_SHAPE && size == 123, "bad shape");
    check(bnorm_workspace_size(NULL, BNORM_TRAIN, NULL, &size) == BNORM_NULL_POINTER, "no shape");
    check(bnorm_workspace_size(&shape, BNORM_TRAIN, NULL, NULL) == BNORM_NULL_POINTER, "nowhere to put the size");
    check(bnorm_workspace_size(&shape, (bnorm_operation)9, NULL, &size) == BNORM_UNSUPPORTED, "unknown operation");
    check(bnorm_workspace_size(&shape, BNORM_INFER, NULL, &size) == BNORM_OK && size == 0, "inference needs none");
    check(bnorm_workspace_size(&empty, BNORM_TRAIN, NULL, &size) == BNORM_OK && size == 0,
          "an empty tensor needs none");
    check(bnorm_workspace_size(&shape, BNORM_TRAIN, NULL, &size) == BNORM_OK && size > 0, "training needs some");
    TRAIN(BNORM_OK, c.workspace_size = size; c.workspace = out.workspace + 1);
    TRAIN(BNORM_SMALL_WORKSPACE, c.workspace_size = size - 1);
}

static void check_strings(void)
{
    check_context("bnorm_status_string");
    for (int i = 0; i <= (int)BNORM_UNSUPPORTED; i++) {
        const char *text = bnorm_status_string((bnorm_status)i);
        check(text && strlen(text) > 5 && strcmp(text, "unknown status") != 0, "a status without words");
    }
    check(strcmp(bnorm_status_string((bnorm_status)999), "unknown status") == 0, "an unknown status");
    check(strcmp(bnorm_version(), BNORM_VERSION) == 0, "the library is not of the header's version");
}

int main(int argc, char **argv)
{
    check_start(argc, argv, "errors");
    for (int i = 0; i < CHANNELS; i++)
        parameters[0][i] = parameters[1][i] = parameters[2][i] = parameters[3][i] = 1.0f;
    for (int i = 0; i < ELEMENTS; i++)
        x[i] = (float)i;
    reset();
    INFER(BNORM_OK, (void)0);
    TRAIN(BNORM_OK, (void)0);
    check_shapes();
    check_hints();
    check_pointers();
    check_overlap();
    check_numbers();
    check_empty();
    check_growth();
    check_workspace_query();
    check_strings();
    return check_finish();
}
