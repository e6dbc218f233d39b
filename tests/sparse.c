/* SPDX-License-Identifier: MIT */
/*
 * Tensors of few elements that lie more than 2^32 elements apart, along each axis: the bits are those of dense ones.
 * The memory between is reserved, and never touched.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bnorm/bnorm.h"
#include "check.h"
#include "inputs.h"

#if defined(_WIN32) || SIZE_MAX == UINT32_MAX
int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_skip("there is no such address, or no way to reserve memory that is not there");
    return check_finish();
}
#else
#include <sys/mman.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

enum { BATCH = 2, CHANNELS = 3, POINTS = 4, ELEMENTS = BATCH * CHANNELS * POINTS, WORKSPACE = 1 << 16 };

typedef enum axis { NONE, IMAGES, BLOCKS, PLACES, AXES } axis;

static const char *const axis_names[] = { "dense", "images", "blocks", "points" };

/* Dense, or with the elements of an axis far apart. */
static bnorm_layout layout_of(size_t block, axis wide)
{
    const size_t blocks = (CHANNELS + block - 1) / block, far = ((size_t)1 << 32) + 8;
    bnorm_layout l = { .point_stride = wide == PLACES ? far : block };
    l.block_stride = wide == BLOCKS ? far : wide == PLACES ? block : POINTS * block;
    l.image_stride = wide == IMAGES ? far : wide == PLACES ? POINTS * far : blocks * l.block_stride;
    return l;
}

/* From the first element to one past the last image. */
static size_t extent_of(const bnorm_layout *l)
{
    return BATCH * l->image_stride;
}

static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* The tensors of the calls: x and dx are one, as are all y. */
typedef struct tensors {
    float *x, *dy, *y;
    unsigned char *mask;
} tensors;

/* What the calls give, in plain order. */
typedef struct results {
    float inferred[ELEMENTS], trained[ELEMENTS], folded[ELEMENTS], dx[ELEMENTS];
    float saved[3][CHANNELS], gradients[2][CHANNELS], bias[CHANNELS];
} results;

static size_t index_of(size_t i, size_t block, const bnorm_layout *l)
{
    const size_t point = i % POINTS, channel = i / POINTS % CHANNELS, image = i / POINTS / CHANNELS;
    return image * l->image_stride + channel / block * l->block_stride + point * l->point_stride + channel % block;
}

static void scatter(float *to, size_t block, const bnorm_layout *l, const float *values)
{
    for (size_t i = 0; i < ELEMENTS; i++)
        to[index_of(i, block, l)] = values[i];
}

static void gather(float *values, size_t block, const bnorm_layout *l, const float *from)
{
    for (size_t i = 0; i < ELEMENTS; i++)
        values[i] = from[index_of(i, block, l)];
}

static bnorm_status make_calls(const bnorm_shape *s, const tensors *t, results *r)
{
    static const float mean[CHANNELS] = { 0, 1, 2 }, var[CHANNELS] = { 1, 2, 3 };
    static unsigned char workspace[WORKSPACE];
    bnorm_epilogue relu = bnorm_epilogue_defaults();
    bnorm_infer_params infer = bnorm_infer_defaults(), fold;
    bnorm_train_params train = bnorm_train_defaults();
    bnorm_backward_params backward = bnorm_backward_defaults();
    relu.activation = BNORM_ACT_RELU;
    relu.mask = t->mask;
    infer.mean = mean;
    infer.var = var;
    fold = infer;
    infer.epilogue = backward.epilogue = &relu;
    train.saved_mean = r->saved[0];
    train.saved_mean_low = r->saved[1];
    train.saved_rstd = r->saved[2];
    backward.mean = r->saved[0];
    backward.mean_low = r->saved[1];
    backward.rstd = r->saved[2];
    backward.dgamma = r->gradients[0];
    backward.dbeta = r->gradients[1];
    bnorm_status status = bnorm_infer(s, &infer, t->x, t->y, NULL);
    gather(r->inferred, s->block, &s->out, t->y);
    if (!status)
        status = bnorm_train(s, &train, t->x, t->y, workspace, WORKSPACE, NULL);
    gather(r->trained, s->block, &s->out, t->y);
    if (!status)
        status = bnorm_fold(s, &fold, t->x, NULL, t->y, r->bias);
    gather(r->folded, s->block, &s->out, t->y);
    if (!status)
        status = bnorm_backward(s, &backward, t->x, t->dy, t->x, workspace, WORKSPACE, NULL);
    gather(r->dx, s->block, &s->in, t->x);
    return status;
}

/* Whether there were addresses for it. */
static bool run(size_t block, axis in, axis out, results *r)
{
    bnorm_shape s = bnorm_blocked(BATCH, CHANNELS, POINTS, block);
    s.in = layout_of(block, in);
    s.out = layout_of(block, out);
    const size_t x_bytes = extent_of(&s.in) * sizeof(float), y_bytes = extent_of(&s.out) * sizeof(float);
    const tensors t = { reserve(x_bytes), reserve(y_bytes), reserve(y_bytes), reserve(y_bytes / 32 + 1) };
    const bool there = t.x && t.dy && t.y && t.mask;
    if (there) {
        float values[ELEMENTS];
        input_fill(INPUT_normal, values, BATCH, CHANNELS, POINTS, check_seed());
        scatter(t.x, block, &s.in, values);
        input_fill(INPUT_normal, values, BATCH, CHANNELS, POINTS, check_seed() + 1);
        scatter(t.dy, block, &s.out, values);
        const bnorm_status status = make_calls(&s, &t, r);
        check(status == BNORM_OK, bnorm_status_string(status));
    }
    const struct {
        void *memory;
        size_t bytes;
    } taken[] = { { t.x, x_bytes }, { t.dy, y_bytes }, { t.y, y_bytes }, { t.mask, y_bytes / 32 + 1 } };
    for (size_t i = 0; i < COUNT_OF(taken); i++)
        if (taken[i].memory)
            munmap(taken[i].memory, taken[i].bytes);
    return there;
}

static void check_wide(size_t block, axis in, axis out)
{
    check_case("block %zu: x %s, y %s", block, axis_names[in], axis_names[out]);
    for (size_t i = 0; i < check_isa_count(); i++) {
        results dense = { .bias = { 0 } }, wide = { .bias = { 0 } };
        bnorm_set_isa(bnorm_isa_name(i));
        check_context("%s", bnorm_isa_name(i));
        if (!run(block, NONE, NONE, &dense) || !run(block, in, out, &wide)) {
            check_skip("so much memory cannot be reserved");
            return;
        }
        check(memcmp(&dense, &wide, sizeof(dense)) == 0, "other bits than those of dense tensors");
    }
}

int main(int argc, char **argv)
{
    static const size_t blocks[] = { 1, 2, CHANNELS };
    check_start(argc, argv);
    for (size_t b = 0; b < COUNT_OF(blocks); b++)
        for (axis in = NONE; in < AXES; in++)
            for (axis out = NONE; out < AXES; out++)
                if (in != out || in != NONE)
                    check_wide(blocks[b], in, out);
    return check_finish();
}
#endif
