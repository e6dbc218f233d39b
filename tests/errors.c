/* SPDX-License-Identifier: MIT */
/* Every kind of bad argument gets its status, and nothing is written; what is odd but legal is accepted. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bnorm/bnorm.h"
#include "check.h"
#include "executors.h"
#include "kernels/element.h"

enum { BATCH = 2, CHANNELS = 6, POINTS = 10, BLOCK = 4, ELEMENTS = BATCH * 8 * POINTS, WORKSPACE = 1 << 16 };

/* All that a call can write lies in one struct, so that "untouched" is one comparison. */
typedef struct outputs {
    float y[ELEMENTS];
    float running_mean[CHANNELS], running_var[CHANNELS];
    float saved_mean[CHANNELS], saved_mean_low[CHANNELS], saved_rstd[CHANNELS];
    float dgamma[CHANNELS], dbeta[CHANNELS];
    float dresidual[ELEMENTS];
    unsigned char mask[(ELEMENTS + 7) / 8];
    double mean[CHANNELS], m2[CHANNELS], sums[3 * CHANNELS];
    unsigned char workspace[WORKSPACE];
} outputs;

/* The arguments of a call of either kind; each case spoils one. */
typedef struct call {
    bnorm_shape shape;
    bnorm_infer_params infer;
    bnorm_train_params train;
    bnorm_backward_params backward;
    const void *dy;
    double *mean, *m2, *sums; /* of the calls for steps */
    uint64_t count;
    bool no_shape, no_params;
    const void *x;
    void *y, *workspace;
    size_t workspace_size;
    bnorm_executor executor;
} call;

static float x[ELEMENTS], dy[ELEMENTS], parameters[4][CHANNELS];
static double moments[3 * CHANNELS];
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
    c.backward = (bnorm_backward_params){ .struct_size = sizeof(c.backward),
                                          .gamma = parameters[2],
                                          .beta = parameters[3],
                                          .mean = parameters[0],
                                          .mean_low = parameters[3],
                                          .rstd = parameters[1],
                                          .dgamma = out.dgamma,
                                          .dbeta = out.dbeta };
    c.dy = dy;
    c.mean = out.mean;
    c.m2 = out.m2;
    c.sums = out.sums;
    c.count = BATCH * POINTS;
    c.workspace = out.workspace;
    c.workspace_size = sizeof(out.workspace);
    c.executor = executor_backwards(1);
    return c;
}

/* What a call answers must be what its check answered, which wrote nothing. */
static bnorm_status as_checked(bnorm_status checked, bnorm_status status)
{
    check(checked == status, "the call answers another status than its check");
    return status;
}

static bool is_untouched(void)
{
    return memcmp(&out, &before, sizeof(out)) == 0;
}

static bnorm_status infer(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_infer_params *p = c->no_params ? NULL : &c->infer;
    const bnorm_status checked = bnorm_infer_check(shape, p, c->x, c->y, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked, bnorm_infer(shape, p, c->x, c->y, &c->executor));
}

static bnorm_status train(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_train_params *p = c->no_params ? NULL : &c->train;
    const bnorm_status checked = bnorm_train_check(shape, p, c->x, c->y, c->workspace, c->workspace_size, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked, bnorm_train(shape, p, c->x, c->y, c->workspace, c->workspace_size, &c->executor));
}

/* x are weights, and the running mean is the folded bias. */
static bnorm_status fold(const call *c)
{
    return bnorm_fold(c->no_shape ? NULL : &c->shape, c->no_params ? NULL : &c->infer, c->x, c->dy, c->y,
                      c->train.running_mean);
}

/* y is dx. */
static bnorm_status backward(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_backward_params *p = c->no_params ? NULL : &c->backward;
    const bnorm_status checked =
        bnorm_backward_check(shape, p, c->x, c->dy, c->y, c->workspace, c->workspace_size, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked,
                      bnorm_backward(shape, p, c->x, c->dy, c->y, c->workspace, c->workspace_size, &c->executor));
}

static bnorm_status collect(const call *c)
{
    return bnorm_train_collect(&c->shape, c->x, c->mean, c->m2, c->workspace, c->workspace_size, &c->executor);
}

static bnorm_status merge(const call *c)
{
    return bnorm_train_merge(c->shape.channels, c->count, c->mean, c->m2, 1, moments, moments + CHANNELS);
}

static bnorm_status finish(const call *c)
{
    return bnorm_train_finish(c->shape.channels, c->count, moments, moments + CHANNELS,
                              c->no_params ? NULL : &c->train);
}

static bnorm_status apply(const call *c)
{
    return bnorm_train_apply(&c->shape, c->no_params ? NULL : &c->train, c->x, c->y, &c->executor);
}

static bnorm_status reduce(const call *c)
{
    return bnorm_backward_reduce(&c->shape, c->no_params ? NULL : &c->backward, c->x, c->dy, c->sums, c->workspace,
                                 c->workspace_size, &c->executor);
}

static bnorm_status backward_apply(const call *c)
{
    return bnorm_backward_apply(&c->shape, c->no_params ? NULL : &c->backward, c->count, c->sums ? moments : NULL, c->x,
                                c->dy, c->y, &c->executor);
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
        check(is_untouched(), "something was written");
    reset();
}

#define CALL(function, expected, spoil) \
    do { \
        call c = good_call(); \
        spoil; \
        expect(function(&c), expected, (expected) != BNORM_OK, #function ": " #spoil); \
    } while (0)

#define INFER(expected, spoil) CALL(infer, expected, spoil)
#define TRAIN(expected, spoil) CALL(train, expected, spoil)
#define BACKWARD(expected, spoil) CALL(backward, expected, spoil)

/* A case that all calls over tensors refuse alike. */
#define REFUSED(expected, spoil) \
    do { \
        INFER(expected, spoil); \
        TRAIN(expected, spoil); \
        BACKWARD(expected, spoil); \
    } while (0)

static void check_hints(void)
{
    INFER(BNORM_ERROR_HINT, c.infer.hint = (bnorm_hint)3);
    TRAIN(BNORM_ERROR_HINT, c.train.hint = (bnorm_hint)3);
    INFER(BNORM_OK, c.infer.hint = BNORM_HINT_KEEP);
    INFER(BNORM_OK, c.infer.hint = BNORM_HINT_STREAM);
    TRAIN(BNORM_OK, c.train.hint = BNORM_HINT_KEEP);
    TRAIN(BNORM_OK, c.train.hint = BNORM_HINT_STREAM);
}

static void check_shapes(void)
{
    REFUSED(BNORM_ERROR_STRUCT_SIZE, c.shape.struct_size = 0);
    REFUSED(BNORM_ERROR_STRUCT_SIZE, c.shape.struct_size -= 1);
    REFUSED(BNORM_ERROR_STRUCT_SIZE, c.shape.struct_size = SIZE_MAX);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.channels = 0);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.block = 0);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.channels = SIZE_MAX);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.batch = SIZE_MAX);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.points = SIZE_MAX);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.points = SIZE_MAX / 4 + 1);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.block = SIZE_MAX / 2 + 1);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.batch = (size_t)1 << (sizeof(size_t) * 4 + 2);
            c.shape.points = (size_t)1 << (sizeof(size_t) * 4 - 3));
    REFUSED(BNORM_ERROR_SHAPE, c.shape.in.image_stride = SIZE_MAX / 4);
    REFUSED(BNORM_ERROR_SHAPE, c.shape.out.image_stride = SIZE_MAX);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.in.point_stride = BLOCK - 1);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.out.point_stride = BLOCK - 1);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.in.block_stride = POINTS * BLOCK - 1);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.out.block_stride = 1);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.in.image_stride = 2 * POINTS * BLOCK - 1);
    REFUSED(BNORM_ERROR_STRIDE, c.shape.out.image_stride = 1);
    REFUSED(BNORM_ERROR_UNSUPPORTED, c.shape.in.dtype = (bnorm_dtype)3);
    REFUSED(BNORM_ERROR_UNSUPPORTED, c.shape.out.dtype = (bnorm_dtype)77);
    REFUSED(BNORM_ERROR_UNSUPPORTED, c.shape.in.dtype = (bnorm_dtype)-1);
}

/* One byte further. */
static void *off_by_one(void *p)
{
    return (char *)p + 1;
}

static void check_pointers(void)
{
    REFUSED(BNORM_ERROR_NULL_POINTER, c.no_shape = true);
    REFUSED(BNORM_ERROR_NULL_POINTER, c.no_params = true);
    REFUSED(BNORM_ERROR_STRUCT_SIZE, c.infer.struct_size = c.train.struct_size = c.backward.struct_size = 0);
    REFUSED(BNORM_ERROR_STRUCT_SIZE, c.infer.struct_size -= 1; c.train.struct_size -= 1; c.backward.struct_size -= 1);
    REFUSED(BNORM_ERROR_NULL_POINTER, c.x = NULL);
    INFER(BNORM_ERROR_NULL_POINTER, c.y = NULL);
    TRAIN(BNORM_ERROR_NULL_POINTER, c.y = NULL);
    REFUSED(BNORM_ERROR_ALIGNMENT, c.x = off_by_one(x));
    REFUSED(BNORM_ERROR_ALIGNMENT, c.y = off_by_one(out.y));
    INFER(BNORM_ERROR_NULL_POINTER, c.infer.mean = NULL);
    INFER(BNORM_ERROR_NULL_POINTER, c.infer.var = NULL);
    INFER(BNORM_ERROR_ALIGNMENT, c.infer.gamma = off_by_one(parameters[2]));
    INFER(BNORM_ERROR_OVERLAP, c.infer.gamma = out.y + 1);
    INFER(BNORM_ERROR_OVERLAP, c.infer.mean = out.y);
    TRAIN(BNORM_ERROR_NULL_POINTER, c.workspace = NULL);
    TRAIN(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    TRAIN(BNORM_ERROR_ALIGNMENT, c.train.saved_mean = off_by_one(out.saved_mean));
    TRAIN(BNORM_ERROR_OVERLAP, c.train.beta = out.running_var);
    TRAIN(BNORM_ERROR_OVERLAP, c.train.running_mean = out.y + 5);
    TRAIN(BNORM_ERROR_OVERLAP, c.train.saved_mean = x);
    TRAIN(BNORM_ERROR_OVERLAP, c.train.saved_rstd = out.saved_mean + 1);
    TRAIN(BNORM_ERROR_OVERLAP, c.workspace = x);
    TRAIN(BNORM_ERROR_OVERLAP, c.train.gamma = (const float *)(const void *)out.workspace);
}

/* Elements of 2 bytes, alone and beside floats. */
static void check_types(void)
{
    uint16_t *const halves = (uint16_t *)(void *)out.y, *const x_halves = (uint16_t *)(void *)x;
    for (bnorm_dtype type = BNORM_DTYPE_BF16; type <= BNORM_DTYPE_F16; type++)
        if (!bnorm_has_type(type)) {
            REFUSED(BNORM_ERROR_UNSUPPORTED, c.shape.in.dtype = type);
            REFUSED(BNORM_ERROR_UNSUPPORTED, c.shape.out.dtype = type);
        }
    if (!bnorm_has_type(BNORM_DTYPE_BF16) || !bnorm_has_type(BNORM_DTYPE_F16)) {
        check_skip("types that this build leaves out");
        return;
    }
    INFER(BNORM_OK, c.shape.in.dtype = BNORM_DTYPE_F16; c.x = x_halves + 1; c.shape.out.dtype = BNORM_DTYPE_BF16);
    TRAIN(BNORM_OK, c.shape.in.dtype = BNORM_DTYPE_F16; c.x = x_halves + 1);
    BACKWARD(BNORM_OK, c.shape.out.dtype = BNORM_DTYPE_F16; c.dy = x_halves + 1);
    REFUSED(BNORM_ERROR_ALIGNMENT, c.shape.in.dtype = BNORM_DTYPE_F16; c.x = off_by_one(x));
    REFUSED(BNORM_ERROR_ALIGNMENT, c.shape.out.dtype = BNORM_DTYPE_F16; c.x = x_halves + 1);
    INFER(BNORM_OK, c.shape.in.dtype = c.shape.out.dtype = BNORM_DTYPE_BF16; c.x = c.y);
    INFER(BNORM_ERROR_OVERLAP, c.shape.in.dtype = BNORM_DTYPE_BF16; c.shape.out.dtype = BNORM_DTYPE_F16; c.x = c.y);
    TRAIN(BNORM_ERROR_OVERLAP, c.shape.in.dtype = BNORM_DTYPE_BF16; c.x = c.y);
    BACKWARD(BNORM_ERROR_OVERLAP, c.shape.out.dtype = BNORM_DTYPE_BF16; c.dy = c.y);
    INFER(BNORM_ERROR_OVERLAP, c.shape.in.dtype = c.shape.out.dtype = BNORM_DTYPE_BF16; c.x = halves + 1);
    /* What would overlap if its elements were floats. */
    INFER(BNORM_OK, c.shape.in.dtype = c.shape.out.dtype = BNORM_DTYPE_F16; c.x = halves + ELEMENTS);
}

static void check_overlap(void)
{
    static float two[2 * ELEMENTS];
    REFUSED(BNORM_ERROR_OVERLAP, c.x = out.y; c.y = out.y + 1);
    REFUSED(BNORM_ERROR_OVERLAP, c.x = out.y + BLOCK; c.y = out.y);
    INFER(BNORM_ERROR_OVERLAP, c.x = out.y; c.shape.in.point_stride = BLOCK + 1);
    TRAIN(BNORM_ERROR_OVERLAP, c.x = out.y; c.shape.in.point_stride = BLOCK + 1);
    BACKWARD(BNORM_OK, c.x = out.y; c.shape.out.point_stride = BLOCK + 1; c.dy = two);
    BACKWARD(BNORM_ERROR_OVERLAP, c.dy = out.y; c.shape.in.point_stride = BLOCK + 1);
    BACKWARD(BNORM_ERROR_OVERLAP, c.dy = out.y + 1);
    BACKWARD(BNORM_OK, c.dy = c.y);
    BACKWARD(BNORM_OK, c.x = c.dy = c.y);
    BACKWARD(BNORM_OK, c.x = c.y);
    /* Two channel slices of one tensor interleave without sharing an element. */
    INFER(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two; c.y = two + BLOCK);
    INFER(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.y = two; c.x = two + BLOCK);
    TRAIN(BNORM_OK, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two; c.y = two + BLOCK);
    INFER(BNORM_ERROR_OVERLAP, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two;
          c.y = two + BLOCK - 1);
    INFER(BNORM_ERROR_OVERLAP, c.shape.in.point_stride = c.shape.out.point_stride = 2 * BLOCK; c.x = two;
          c.y = two + 2 * BLOCK);
    INFER(BNORM_OK, c.x = c.y);
    TRAIN(BNORM_OK, c.x = c.y);
    check_types();
}

static void check_numbers(void)
{
    static const float bad_epsilons[] = { -1e-9f, -INFINITY, INFINITY, NAN }, bad_momenta[] = { -0.1f, 1.1f, NAN };
    for (size_t i = 0; i < sizeof(bad_epsilons) / sizeof(*bad_epsilons); i++) {
        INFER(BNORM_ERROR_EPSILON, c.infer.epsilon = bad_epsilons[i]);
        TRAIN(BNORM_ERROR_EPSILON, c.train.epsilon = bad_epsilons[i]);
    }
    for (size_t i = 0; i < sizeof(bad_momenta) / sizeof(*bad_momenta); i++)
        TRAIN(BNORM_ERROR_MOMENTUM, c.train.momentum = bad_momenta[i]);
    INFER(BNORM_OK, c.infer.epsilon = 0.0f);
    TRAIN(BNORM_ERROR_VARIANCE, c.train.running_variance = (bnorm_variance)2);
    TRAIN(BNORM_ERROR_SINGLE_VALUE, c.shape = bnorm_nchw(1, CHANNELS, 1));
    TRAIN(BNORM_OK, c.shape = bnorm_nchw(1, CHANNELS, 1); c.train.running_variance = BNORM_VARIANCE_BIASED);
    REFUSED(BNORM_ERROR_EXECUTOR, c.executor.run = NULL);
    REFUSED(BNORM_ERROR_EXECUTOR, c.executor.width = 0);
}

/* An epilogue for each call; what is legal for one activation need not be for another. */
static void check_epilogues(void)
{
    static float residual[ELEMENTS + 1];
    static const float infinity = INFINITY;
    bnorm_epilogue e = { .struct_size = sizeof(e), .activation = BNORM_ACT_RELU };
#define EPILOGUE(status, spoil) \
    do { \
        const bnorm_epilogue kept = e; \
        spoil; \
        INFER(status, c.infer.epilogue = &e); \
        TRAIN(status, c.train.epilogue = &e); \
        BACKWARD(status, c.backward.epilogue = &e); \
        e = kept; \
    } while (0)
    EPILOGUE(BNORM_OK, (void)0);
    EPILOGUE(BNORM_ERROR_STRUCT_SIZE, e.struct_size--);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = (bnorm_activation)14);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_CLAMP; e.alpha = 1);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_CLAMP; e.beta = NAN);
    EPILOGUE(BNORM_OK, e.activation = BNORM_ACT_CLAMP; e.alpha = -infinity; e.beta = infinity);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_LEAKY_RELU; e.alpha = infinity);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_HARD_SIGMOID; e.alpha = 0);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_HARD_SIGMOID; e.alpha = 1; e.beta = NAN);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_ELU; e.alpha = NAN);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_SILU; e.mask = out.mask);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_IDENTITY; e.mask = out.mask);
    EPILOGUE(BNORM_OK, e.alpha = NAN; e.mask = out.mask);
    EPILOGUE(BNORM_OK, e.residual = residual);
    EPILOGUE(BNORM_OK, e.residual = x);
    EPILOGUE(BNORM_ERROR_ALIGNMENT, e.residual = off_by_one(residual));
    EPILOGUE(BNORM_ERROR_OVERLAP, e.residual = out.y + 1);
    INFER(BNORM_OK, e.residual = out.y; c.infer.epilogue = &e);
    BACKWARD(BNORM_ERROR_OVERLAP, e.residual = out.y; c.backward.epilogue = &e);
    e.residual = NULL;
    INFER(BNORM_ERROR_OVERLAP, e.mask = x; c.infer.epilogue = &e);
    INFER(BNORM_ERROR_OVERLAP, e.mask = out.y; c.infer.epilogue = &e);
    BACKWARD(BNORM_ERROR_OVERLAP, e.mask = out.y; c.backward.epilogue = &e);
    e.mask = NULL;
    BACKWARD(BNORM_OK, c.backward.dresidual = out.dresidual);
    BACKWARD(BNORM_OK, c.backward.dresidual = out.dresidual; c.y = NULL; c.backward.dgamma = c.backward.dbeta = NULL;
             c.x = NULL; c.workspace = NULL);
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.backward.dresidual = off_by_one(out.dresidual));
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dresidual = out.y);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dresidual = x);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dresidual = dy + 1);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dresidual = out.dgamma);
    CALL(apply, BNORM_ERROR_ACTIVATION, e.activation = (bnorm_activation)14; c.train.epilogue = &e);
    CALL(reduce, BNORM_ERROR_ACTIVATION, c.backward.epilogue = &e);
    CALL(backward_apply, BNORM_ERROR_ACTIVATION, c.backward.epilogue = &e);
    size_t size = 0;
    const bnorm_shape shape = bnorm_nhwc(1, 3, 3), bad = bnorm_nhwc(1, 0, 3);
    check_context("bnorm_mask_size");
    check(bnorm_mask_size(&shape, &size) == BNORM_OK && size == 2, "9 bits are not 2 bytes");
    check(bnorm_mask_size(&bad, &size) == BNORM_ERROR_SHAPE && size == 2, "bad shape");
    check(bnorm_mask_size(&shape, NULL) == BNORM_ERROR_NULL_POINTER, "nowhere to put the size");
}

/* What is particular to gradients. */
static void check_backward(void)
{
    const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };
    BACKWARD(BNORM_ERROR_STATISTICS, c.backward.statistics = (bnorm_statistics)2);
    BACKWARD(BNORM_ERROR_HINT, c.backward.hint = (bnorm_hint)3);
    BACKWARD(BNORM_ERROR_EPSILON, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1];
             c.backward.epsilon = -1);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.dy = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.mean = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.rstd = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.statistics = BNORM_STATISTICS_FROZEN);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.workspace = NULL);
    BACKWARD(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.dy = off_by_one(dy));
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.y = NULL; c.dy = off_by_one(dy));
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.backward.dbeta = off_by_one(out.dbeta));
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = out.dbeta + 1);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = out.y);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = dy);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.gamma = out.dgamma);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.rstd = out.dgamma);
    BACKWARD(BNORM_ERROR_OVERLAP, c.workspace = dy);
    BACKWARD(BNORM_OK, c.backward.gamma = c.backward.beta = c.backward.mean_low = NULL);
    BACKWARD(BNORM_OK, c.y = NULL);
    BACKWARD(BNORM_OK, c.backward.dgamma = c.backward.dbeta = NULL);
    BACKWARD(BNORM_OK, c.y = NULL; c.backward.dgamma = NULL; c.x = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.y = NULL; c.x = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.dgamma = NULL; c.x = NULL);
    /* Frozen, neither x nor a workspace is needed for dx alone. */
    BACKWARD(BNORM_OK, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]; c.x = NULL;
             c.backward.dgamma = c.backward.dbeta = NULL; c.workspace = NULL; c.workspace_size = 0);
    BACKWARD(BNORM_OK, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]; c.x = NULL;
             c.backward.dgamma = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1];
             c.x = NULL; c.backward.dgamma = NULL; c.backward.epilogue = &relu);
    call c = good_call();
    c.y = NULL;
    c.backward.dgamma = c.backward.dbeta = NULL;
    expect(backward(&c), BNORM_OK, true, "backward: nothing is asked for");
}

static void check_steps(void)
{
    CALL(collect, BNORM_OK, (void)0);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.mean = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.m2 = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.workspace = NULL);
    CALL(collect, BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    CALL(collect, BNORM_ERROR_ALIGNMENT, c.x = off_by_one(x));
    CALL(collect, BNORM_ERROR_ALIGNMENT, c.mean = off_by_one(out.mean));
    CALL(collect, BNORM_ERROR_OVERLAP, c.mean = out.m2 + 1);
    CALL(collect, BNORM_ERROR_OVERLAP, c.x = out.m2);
    CALL(collect, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(collect, BNORM_ERROR_EXECUTOR, c.executor.width = 0);
    CALL(merge, BNORM_OK, (void)0);
    CALL(merge, BNORM_OK, c.count = 0);
    CALL(merge, BNORM_ERROR_NULL_POINTER, c.mean = NULL);
    CALL(merge, BNORM_ERROR_ALIGNMENT, c.m2 = off_by_one(out.m2));
    CALL(merge, BNORM_ERROR_OVERLAP, c.mean = out.m2 + 1);
    CALL(merge, BNORM_ERROR_OVERLAP, c.mean = moments);
    CALL(merge, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(merge, BNORM_ERROR_SHAPE, c.shape.channels = SIZE_MAX);
    CALL(finish, BNORM_OK, (void)0);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.no_params = true);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_mean = NULL);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_mean_low = NULL);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_rstd = NULL);
    CALL(finish, BNORM_ERROR_MOMENTUM, c.train.momentum = 2);
    CALL(finish, BNORM_ERROR_EPSILON, c.train.epsilon = -1);
    CALL(finish, BNORM_ERROR_OVERLAP, c.train.saved_mean = out.saved_rstd);
    CALL(finish, BNORM_ERROR_SINGLE_VALUE, c.count = 1);
    CALL(finish, BNORM_OK, c.count = 1; c.train.running_variance = BNORM_VARIANCE_BIASED);
    CALL(finish, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(apply, BNORM_OK, (void)0);
    CALL(apply, BNORM_OK, c.x = c.y);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.train.saved_mean = NULL);
    CALL(apply, BNORM_ERROR_OVERLAP, c.train.saved_rstd = out.y);
    CALL(apply, BNORM_ERROR_OVERLAP, c.x = out.y + 1);
    CALL(apply, BNORM_ERROR_HINT, c.train.hint = (bnorm_hint)7);
    CALL(reduce, BNORM_OK, (void)0);
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.sums = NULL);
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.backward.mean = NULL);
    CALL(reduce, BNORM_ERROR_OVERLAP, c.x = out.sums);
    CALL(reduce, BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    CALL(backward_apply, BNORM_OK, (void)0);
    CALL(backward_apply, BNORM_OK, c.y = NULL);
    CALL(backward_apply, BNORM_OK, c.y = NULL; c.x = c.dy = NULL);
    CALL(backward_apply, BNORM_ERROR_NULL_POINTER, c.sums = NULL);
    CALL(backward_apply, BNORM_OK, c.sums = NULL; c.backward.dgamma = c.backward.dbeta = NULL; c.x = NULL; c.count = 0;
         c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]);
    CALL(backward_apply, BNORM_ERROR_NULL_POINTER, c.dy = NULL);
    CALL(backward_apply, BNORM_ERROR_SHAPE, c.count = BATCH * POINTS - 1);
    CALL(backward_apply, BNORM_ERROR_OVERLAP, c.backward.dgamma = out.y);
    call c = good_call();
    c.count = 0;
    expect(finish(&c), BNORM_OK, true, "finish: nothing was counted");
}

static void check_folding(void)
{
    static const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };
    CALL(fold, BNORM_OK, (void)0);
    CALL(fold, BNORM_OK, c.dy = NULL);
    CALL(fold, BNORM_OK, c.dy = c.train.running_mean);
    CALL(fold, BNORM_OK, c.x = c.y);
    CALL(fold, BNORM_OK, c.infer.gamma = c.infer.beta = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.no_shape = true);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.no_params = true);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.y = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.infer.mean = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.infer.var = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.train.running_mean = NULL);
    CALL(fold, BNORM_ERROR_STRUCT_SIZE, c.infer.struct_size = 0);
    CALL(fold, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(fold, BNORM_ERROR_EPSILON, c.infer.epsilon = -1.0f);
    CALL(fold, BNORM_ERROR_UNSUPPORTED, c.infer.epilogue = &relu);
    CALL(fold, BNORM_ERROR_UNSUPPORTED, c.shape.out.dtype = (bnorm_dtype)3);
    CALL(fold, BNORM_ERROR_ALIGNMENT, c.x = off_by_one(x));
    CALL(fold, BNORM_ERROR_ALIGNMENT, c.dy = off_by_one(dy));
    CALL(fold, BNORM_ERROR_OVERLAP, c.x = out.y + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.dy = c.train.running_mean + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.train.running_mean = out.y);
    CALL(fold, BNORM_ERROR_OVERLAP, c.infer.gamma = out.y + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.infer.var = c.train.running_mean);
}

/* Of nothing, sums are 0. */
static void check_empty_gradients(void)
{
    static const float zeros[CHANNELS];
    static const double no_sums[3 * CHANNELS];
    call c = good_call();
    c.shape.batch = 0;
    c.x = c.dy = c.y = c.workspace = NULL;
    c.workspace_size = 0;
    check(backward(&c) == BNORM_OK && memcmp(out.dgamma, zeros, sizeof(zeros)) == 0 &&
              memcmp(out.dbeta, zeros, sizeof(zeros)) == 0,
          "gradients of nothing are not 0");
    check(reduce(&c) == BNORM_OK && memcmp(out.sums, no_sums, sizeof(no_sums)) == 0, "sums of nothing are not 0");
    check(collect(&c) == BNORM_OK && memcmp(out.mean, no_sums, sizeof(out.mean)) == 0 &&
              memcmp(out.m2, no_sums, sizeof(out.m2)) == 0,
          "moments of nothing are not 0");
    reset();
    c.backward.accumulate = 1;
    expect(backward(&c), BNORM_OK, true, "backward: nothing is added");
    c.count = 0;
    expect(backward_apply(&c), BNORM_OK, true, "backward_apply: nothing is added");
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
        check(is_untouched(), "something was written");
        expect(train(&c), BNORM_OK, true, "train: empty");
        check(is_untouched(), "something was written");
    }
}

/* Tensors that could be, whose workspace could not: sizes that wrap around would be small. */
static void check_too_many_channels(void)
{
    const bnorm_dtype type = bnorm_has_type(BNORM_DTYPE_BF16) ? BNORM_DTYPE_BF16 : BNORM_DTYPE_F32;
    const size_t widths[] = { 1, 3, SIZE_MAX };
    enum { MOST = 120, WIDTHS = sizeof(widths) / sizeof(*widths) };
    for (size_t part = 8; part <= MOST; part++)
        for (size_t w = 0; w < WIDTHS; w++) {
            call c = good_call();
            size_t size = 123;
            c.shape = bnorm_nhwc(2, SIZE_MAX / part + 1, 1);
            c.shape.in.dtype = c.shape.out.dtype = type;
            c.x = c.dy = c.y; /* a range of such a size overlaps all others */
            c.executor.width = widths[w];
            expect(train(&c), BNORM_ERROR_SHAPE, true, "train: too many channels");
            expect(backward(&c), BNORM_ERROR_SHAPE, true, "backward: too many channels");
            expect(collect(&c), BNORM_ERROR_SHAPE, true, "collect: too many channels");
            expect(reduce(&c), BNORM_ERROR_SHAPE, true, "reduce: too many channels");
            for (int operation = BNORM_OP_TRAIN; operation <= BNORM_OP_BACKWARD; operation++)
                check(bnorm_workspace_size(&c.shape, (bnorm_operation)operation, &c.executor, &size) ==
                              BNORM_ERROR_SHAPE &&
                          size == 123,
                      "a workspace that cannot be");
        }
    CALL(collect, BNORM_ERROR_SHAPE, c.shape = bnorm_nchw(0, SIZE_MAX / 8 + 1, 1));
    CALL(reduce, BNORM_ERROR_SHAPE, c.shape = bnorm_nchw(0, SIZE_MAX / 24 + 1, 1));
    CALL(backward, BNORM_ERROR_SHAPE, c.shape = bnorm_nchw(0, SIZE_MAX / 4 + 1, 1));
    CALL(merge, BNORM_ERROR_SHAPE, c.shape.channels = SIZE_MAX / 8 + 1);
    CALL(finish, BNORM_ERROR_SHAPE, c.shape.channels = SIZE_MAX / 8 + 1);
    const bnorm_shape most = bnorm_nhwc(2, SIZE_MAX / 1024, 1);
    size_t size = 0;
    check_context("bnorm_workspace_size of many channels");
    check(bnorm_workspace_size(&most, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK && size > SIZE_MAX / 1024 * 8,
          "a workspace that can be");
}

/* Of an axis of one element. */
static void check_unused_strides(void)
{
    static const size_t strides[] = { 1, SIZE_MAX / 4, SIZE_MAX };
    for (size_t i = 0; i < 3 * sizeof(strides) / sizeof(*strides); i++) {
        call c = good_call();
        bnorm_layout *const in = &c.shape.in;
        c.shape = bnorm_nchw(i % 3 == 0 ? 1 : 2, i % 3 == 1 ? 1 : 3, i % 3 == 2 ? 1 : 3);
        *(i % 3 == 0 ? &in->image_stride : i % 3 == 1 ? &in->block_stride : &in->point_stride) = strides[i / 3];
        c.x = c.dy = c.y; /* which only one layout may be */
        expect(infer(&c), BNORM_OK, false, "infer: a stride of one element");
        expect(train(&c), BNORM_OK, false, "train: a stride of one element");
        expect(backward(&c), BNORM_OK, false, "backward: a stride of one element");
    }
    INFER(BNORM_OK, c.shape = bnorm_nchw(1, 1, 1); c.shape.in.point_stride = SIZE_MAX / 4);
    TRAIN(BNORM_OK, c.shape = bnorm_nchw(1, 1, 1); c.shape.in.point_stride = SIZE_MAX / 4;
          c.shape.out.block_stride = c.shape.in.image_stride = SIZE_MAX;
          c.train.running_variance = BNORM_VARIANCE_BIASED);
    BACKWARD(BNORM_OK, c.shape = bnorm_nchw(1, 1, 1);
             c.shape.in.point_stride = c.shape.out.block_stride = c.shape.in.image_stride = SIZE_MAX / 4);
    CALL(fold, BNORM_OK, c.shape = bnorm_nchw(1, 1, 1); c.shape.in.point_stride = SIZE_MAX / 4);
}

/* The largest tensor that can be addressed, and the first byte that two arguments share. */
static void check_limits(void)
{
    const bnorm_shape most = bnorm_nchw(1, 1, PTRDIFF_MAX / 4), more = bnorm_nchw(1, 1, PTRDIFF_MAX / 4 + 1);
    bnorm_shape strided = bnorm_nchw(2, 1, 1), too_far = strided;
    size_t size = 0;
    strided.out.image_stride = PTRDIFF_MAX / 4 - 1;
    too_far.out.image_stride = PTRDIFF_MAX / 4;
    check_context("bnorm_mask_size of the largest tensors");
    check(bnorm_mask_size(&most, &size) == BNORM_OK && size == (PTRDIFF_MAX / 4 + 7) / 8, "the largest one");
    check(bnorm_mask_size(&more, &size) == BNORM_ERROR_SHAPE, "one more");
    check(bnorm_mask_size(&strided, &size) == BNORM_OK && size == (PTRDIFF_MAX / 4 + 7) / 8, "the largest stride");
    check(bnorm_mask_size(&too_far, &size) == BNORM_ERROR_SHAPE, "a larger stride");
    bnorm_epilogue e = { .struct_size = sizeof(e), .activation = BNORM_ACT_RELU };
    unsigned char *const y = (unsigned char *)out.dresidual, *const end = y + sizeof(out.dresidual);
    enum { MASK = sizeof(out.mask) };
    unsigned char *const apart[] = { y - MASK, end }, *const overlapping[] = { y - MASK + 1, end - 1 };
    for (int i = 0; i < 2; i++) {
        e.mask = apart[i];
        INFER(BNORM_OK, c.y = out.dresidual; c.infer.epilogue = &e);
        e.mask = overlapping[i];
        INFER(BNORM_ERROR_OVERLAP, c.y = out.dresidual; c.infer.epilogue = &e);
    }
    TRAIN(BNORM_OK, c.y = out.dresidual; c.workspace = end);
    TRAIN(BNORM_ERROR_OVERLAP, c.y = out.dresidual; c.workspace = end - 1);
    TRAIN(BNORM_ERROR_OVERLAP, c.x = out.y; c.y = out.y + ELEMENTS - 1);
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
    expect(bnorm_infer(&grown.known, &c.infer, x, out.y, NULL), BNORM_ERROR_UNSUPPORTED, true,
           "a later struct, new field in use");
}

static void check_workspace_query(void)
{
    const bnorm_shape shape = bnorm_blocked(BATCH, CHANNELS, POINTS, BLOCK), empty = bnorm_nchw(0, 1, 1);
    bnorm_shape bad = shape;
    size_t size = 123;
    bad.channels = 0;
    check_context("bnorm_workspace_size");
    check(bnorm_workspace_size(&bad, BNORM_OP_TRAIN, NULL, &size) == BNORM_ERROR_SHAPE && size == 123, "bad shape");
    check(bnorm_workspace_size(NULL, BNORM_OP_TRAIN, NULL, &size) == BNORM_ERROR_NULL_POINTER, "no shape");
    check(bnorm_workspace_size(&shape, BNORM_OP_TRAIN, NULL, NULL) == BNORM_ERROR_NULL_POINTER,
          "nowhere to put the size");
    check(bnorm_workspace_size(&shape, (bnorm_operation)9, NULL, &size) == BNORM_ERROR_UNSUPPORTED,
          "unknown operation");
    check(bnorm_workspace_size(&shape, BNORM_OP_INFER, NULL, &size) == BNORM_OK && size == 0, "inference needs none");
    check(bnorm_workspace_size(&empty, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK && size == 0,
          "an empty tensor needs none");
    check(bnorm_workspace_size(&shape, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK && size > 0, "training needs some");
    TRAIN(BNORM_OK, c.workspace_size = size; c.workspace = out.workspace + 1);
    TRAIN(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = size - 1);
    check(bnorm_workspace_size(&shape, BNORM_OP_BACKWARD, NULL, &size) == BNORM_OK && size > 0, "backward needs some");
    BACKWARD(BNORM_OK, c.workspace_size = size; c.workspace = out.workspace + 1);
    BACKWARD(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = size - 1);
}

static void check_strings(void)
{
    check_context("bnorm_status_string");
    /* That each status has words, the compiler and docs.py see to. */
    for (int i = 0; i <= (int)BNORM_ERROR_COMMUNICATION; i++)
        check(strlen(bnorm_status_string((bnorm_status)i)) > 5, "no words");
    check(strcmp(bnorm_status_string(BNORM_ERROR_COMMUNICATION), "unknown status") != 0, "a status without words");
    check(strcmp(bnorm_status_string((bnorm_status)999), "unknown status") == 0, "an unknown status");
    check(strcmp(bnorm_version(), BNORM_VERSION) == 0, "the library is not of the header's version");
}

int main(int argc, char **argv)
{
    check_start(argc, argv, "errors");
    for (int i = 0; i < CHANNELS; i++)
        parameters[0][i] = parameters[1][i] = parameters[2][i] = parameters[3][i] = 1.0f;
    for (int i = 0; i < ELEMENTS; i++)
        x[i] = dy[i] = (float)i;
    reset();
    INFER(BNORM_OK, (void)0);
    TRAIN(BNORM_OK, (void)0);
    BACKWARD(BNORM_OK, (void)0);
    check_shapes();
    check_hints();
    check_pointers();
    check_overlap();
    check_numbers();
    check_epilogues();
    check_backward();
    check_steps();
    check_folding();
    check_empty();
    check_empty_gradients();
    check_too_many_channels();
    check_unused_strides();
    check_limits();
    check_growth();
    check_workspace_query();
    check_strings();
    return check_finish();
}
