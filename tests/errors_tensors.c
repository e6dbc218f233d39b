/* SPDX-License-Identifier: MIT */
/* What calls over tensors ask of shapes, types, pointers, numbers and epilogues. */
#include <math.h>

#include "check.h"
#include "errors.h"
#include "kernels/element.h"

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
        check_case("other types");
        check_skip("this build leaves some out");
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
    INFER(BNORM_ERROR_OVERLAP, c.x = out.y; c.shape.in.image_stride = ELEMENTS / BATCH + 1);
    INFER(BNORM_ERROR_OVERLAP, c.x = two; c.y = two; c.shape.in.block_stride = BLOCK * POINTS + 1;
          c.shape.in.image_stride = c.shape.out.image_stride = 3 * BLOCK * POINTS);
    BACKWARD(BNORM_OK, c.x = out.y; c.shape.out.point_stride = BLOCK + 1; c.dy = two);
    BACKWARD(BNORM_ERROR_OVERLAP, c.dy = out.y; c.shape.in.point_stride = BLOCK + 1);
    BACKWARD(BNORM_ERROR_OVERLAP, c.dy = out.y + 1);
    BACKWARD(BNORM_OK, c.dy = c.y);
    BACKWARD(BNORM_OK, c.x = c.dy = c.y);
    BACKWARD(BNORM_OK, c.x = c.y);
    /* Inputs may overlap in any way. */
    bnorm_epilogue e = { .struct_size = sizeof(e), .activation = BNORM_ACT_RELU, .residual = x };
    BACKWARD(BNORM_OK, c.backward.epilogue = &e);
    BACKWARD(BNORM_OK, c.backward.epilogue = &e; c.dy = x; c.backward.gamma = x + 3; c.backward.mean = x + 4);
    INFER(BNORM_OK, c.infer.epilogue = &e; c.infer.gamma = x + 3; c.infer.mean = x + 4);
    TRAIN(BNORM_OK, c.train.epilogue = &e; c.train.gamma = x + 3; c.train.beta = x + 4);
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
}

static void check_numbers(void)
{
    static const float bad_epsilons[] = { -1e-9f, -INFINITY, INFINITY, NAN }, bad_momenta[] = { -0.1f, 1.1f, NAN };
    for (size_t i = 0; i < COUNT_OF(bad_epsilons); i++) {
        INFER(BNORM_ERROR_EPSILON, c.infer.epsilon = bad_epsilons[i]);
        TRAIN(BNORM_ERROR_EPSILON, c.train.epsilon = bad_epsilons[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad_momenta); i++)
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
        EXPECT(infer, status, c.infer.epilogue = &e, "infer: " #spoil); \
        EXPECT(train, status, c.train.epilogue = &e, "train: " #spoil); \
        EXPECT(backward, status, c.backward.epilogue = &e, "backward: " #spoil); \
        e = kept; \
    } while (0)
    EPILOGUE(BNORM_OK, nothing());
    EPILOGUE(BNORM_ERROR_STRUCT_SIZE, e.struct_size--);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = (bnorm_activation)14);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_CLAMP; e.alpha = 1);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_CLAMP; e.beta = NAN);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_CLAMP; e.alpha = copysignf(NAN, -1.0f); e.beta = 1);
    EPILOGUE(BNORM_OK, e.activation = BNORM_ACT_CLAMP; e.alpha = -infinity; e.beta = infinity);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_LEAKY_RELU; e.alpha = infinity);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_HARD_SIGMOID; e.alpha = 0);
    EPILOGUE(BNORM_ERROR_ACTIVATION, e.activation = BNORM_ACT_HARD_SIGMOID; e.alpha = infinity);
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
    BACKWARD(BNORM_OK, e.residual = out.dresidual; c.backward.epilogue = &e; c.backward.dresidual = out.dresidual);
    BACKWARD(BNORM_ERROR_OVERLAP, e.residual = out.dresidual + 1; c.backward.epilogue = &e;
             c.backward.dresidual = out.dresidual);
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
    check_case("bnorm_mask_size");
    check(bnorm_mask_size(&shape, &size) == BNORM_OK && size == 2, "9 bits are not 2 bytes");
    check(bnorm_mask_size(&bad, &size) == BNORM_ERROR_SHAPE && size == 2, "bad shape");
    check(bnorm_mask_size(&shape, NULL) == BNORM_ERROR_NULL_POINTER, "nowhere to put the size");
}

void check_tensors(void)
{
    check_shapes();
    check_hints();
    check_pointers();
    check_overlap();
    check_types();
    check_numbers();
    check_epilogues();
}
