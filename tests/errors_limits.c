/* SPDX-License-Identifier: MIT */
/* Sizes at the limits of what can be addressed, strides that nothing uses, structs of later versions, and queries. */
#include <string.h>

#include "check.h"
#include "errors.h"
#include "kernels/element.h"

/* Tensors that could be, whose workspace could not: sizes that wrap around would be small. */
static void check_too_many_channels(void)
{
    const bnorm_dtype type = bnorm_has_type(BNORM_DTYPE_BF16) ? BNORM_DTYPE_BF16 : BNORM_DTYPE_F32;
    const size_t widths[] = { 1, 3, SIZE_MAX };
    enum { MOST = 120 };
    check_case("too many channels for a workspace");
    for (size_t part = 8; part <= MOST; part++)
        for (size_t w = 0; w < COUNT_OF(widths); w++) {
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
    check_case("bnorm_workspace_size of many channels");
    check(bnorm_workspace_size(&most, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK && size > SIZE_MAX / 1024 * 8,
          "a workspace that can be");
}

/* Of an axis of one element. */
static void check_unused_strides(void)
{
    static const size_t strides[] = { 1, SIZE_MAX / 4, SIZE_MAX };
    check_case("strides of an axis of one element");
    for (size_t i = 0; i < 3 * COUNT_OF(strides); i++) {
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

/* ---- Sizes and strides of nothing, and of too much, in every call that takes a shape ---- */

static const struct {
    const char *name;
    bnorm_status (*make)(const call *c);
} calls[] = {
    { "infer", infer },     { "train", train }, { "backward", backward }, { "fold", fold },
    { "collect", collect }, { "apply", apply }, { "reduce", reduce },     { "backward_apply", backward_apply },
};

/* An empty tensor has no memory. */
static void expect_of_all(const bnorm_shape *shape, bnorm_status expected)
{
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        call c = good_call();
        c.shape = *shape;
        if (!expected) {
            c.x = c.dy = c.y = c.workspace = NULL;
            c.workspace_size = 0;
        }
        expect(calls[i].make(&c), expected, expected != BNORM_OK, calls[i].name);
    }
}

static void check_nothing(void)
{
    static const size_t sizes[][2] = { { 0, POINTS }, { BATCH, 0 }, { 0, 0 }, { 0, SIZE_MAX }, { SIZE_MAX, 0 } };
    check_case("no images, no points, no channels");
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (size_t block = 0; block <= BLOCK; block += BLOCK / 2) {
            bnorm_shape s = bnorm_blocked(sizes[i][0], CHANNELS, sizes[i][1], block);
            s.in.image_stride = s.out.block_stride = s.in.point_stride = SIZE_MAX; /* of what is not there */
            expect_of_all(&s, block ? BNORM_OK : BNORM_ERROR_SHAPE);
            s.channels = 0;
            expect_of_all(&s, BNORM_ERROR_SHAPE);
        }
}

static void check_widest_strides(void)
{
    static const size_t strides[] = { SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 4 + 1, PTRDIFF_MAX / 4 };
    check_case("strides that lead out of memory");
    for (size_t i = 0; i < 6 * COUNT_OF(strides); i++) {
        bnorm_shape s = bnorm_blocked(BATCH, CHANNELS, POINTS, BLOCK);
        bnorm_layout *const l = i % 2 ? &s.in : &s.out;
        *(i / 2 % 3 == 0 ? &l->image_stride : i / 2 % 3 == 1 ? &l->block_stride : &l->point_stride) = strides[i / 6];
        expect_of_all(&s, BNORM_ERROR_SHAPE);
    }
}

/* The largest tensor that can be addressed, and the first byte that two arguments share. */
static void check_largest(void)
{
    const bnorm_shape most = bnorm_nchw(1, 1, PTRDIFF_MAX / 4), more = bnorm_nchw(1, 1, PTRDIFF_MAX / 4 + 1);
    bnorm_shape strided = bnorm_nchw(2, 1, 1), too_far = strided;
    size_t size = 0;
    strided.out.image_stride = PTRDIFF_MAX / 4 - 1;
    too_far.out.image_stride = PTRDIFF_MAX / 4;
    check_case("bnorm_mask_size of the largest tensors");
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
    check_case("a struct of a later version");
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
    size_t size = 123, backward_size = 0;
    bad.channels = 0;
    check_case("bnorm_workspace_size");
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
    check(bnorm_workspace_size(&shape, BNORM_OP_BACKWARD, NULL, &backward_size) == BNORM_OK && backward_size > 0,
          "backward needs some");
    TRAIN(BNORM_OK, c.workspace_size = size; c.workspace = out.workspace + 1);
    TRAIN(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = size - 1);
    BACKWARD(BNORM_OK, c.workspace_size = backward_size; c.workspace = out.workspace + 1);
    BACKWARD(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = backward_size - 1);
}

static void check_strings(void)
{
    check_case("bnorm_status_string");
    /* That each status has words, the compiler and docs.py see to. */
    for (int i = 0; i <= (int)BNORM_ERROR_COMMUNICATION; i++)
        check(strlen(bnorm_status_string((bnorm_status)i)) > 5, "no words");
    check(strcmp(bnorm_status_string(BNORM_ERROR_COMMUNICATION), "unknown status") != 0, "a status without words");
    check(strcmp(bnorm_status_string((bnorm_status)999), "unknown status") == 0, "an unknown status");
    check(strcmp(bnorm_version(), BNORM_VERSION) == 0, "the library is not of the header's version");
}

void check_limits(void)
{
    check_too_many_channels();
    check_unused_strides();
    check_nothing();
    check_widest_strides();
    check_largest();
    check_growth();
    check_workspace_query();
    check_strings();
}
