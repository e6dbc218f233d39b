/* SPDX-License-Identifier: MIT */
#include "tensor.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "element.h"

/* A NaN in each type. */
static const uint32_t wide_canary = 0x7fc0dead;
static const uint16_t canary = 0x7fed;

/* Floats are by far the most: without calls. */
static inline void put(void *elements, bnorm_dtype type, size_t i, float value)
{
    if (type == BNORM_DTYPE_F32)
        ((float *)elements)[i] = value;
    else
        ((uint16_t *)elements)[i] = halve(type, value);
}

static inline float get(const void *elements, bnorm_dtype type, size_t i)
{
    return type == BNORM_DTYPE_F32 ? ((const float *)elements)[i] : of_half(type, ((const uint16_t *)elements)[i]);
}

static inline void put_canary(void *elements, bnorm_dtype type, size_t i)
{
    if (type == BNORM_DTYPE_F32)
        memcpy((float *)elements + i, &wide_canary, sizeof(wide_canary));
    else
        ((uint16_t *)elements)[i] = canary;
}

static inline bool is_canary(const void *elements, bnorm_dtype type, size_t i)
{
    return type == BNORM_DTYPE_F32 ? memcmp((const float *)elements + i, &wide_canary, sizeof(wide_canary)) == 0
                                   : ((const uint16_t *)elements)[i] == canary;
}

static size_t blocks_of(const bnorm_shape *s)
{
    return (s->channels + s->block - 1) / s->block;
}

bnorm_layout layout_of(const bnorm_shape *s, bnorm_dtype type, spacing gaps)
{
    bnorm_layout l = { .dtype = type };
    if (gaps == DENSE)
        return l;
    if (gaps == SIDE_BY_SIDE) {
        l.block_stride = s->block;
        l.point_stride = blocks_of(s) * s->block + (s->points % 2 ? 3 : 0);
        l.image_stride = s->points * l.point_stride + (s->points % 4 == 3 ? 7 : 0);
        return l;
    }
    l.point_stride = s->block + (gaps == SPACED_POINTS ? 3 : 0);
    l.block_stride = s->points * l.point_stride + 5;
    l.image_stride = blocks_of(s) * l.block_stride + 7;
    return l;
}

/* Loops go over blocks and their lanes: a division for each element is slow. */
static inline size_t place(const tensor *t, size_t image, size_t block, size_t point, size_t lane)
{
    const bnorm_layout *l = &t->layout;
    return image * l->image_stride + block * l->block_stride + point * l->point_stride + lane;
}

size_t tensor_index(const tensor *t, size_t image, size_t channel, size_t point)
{
    return place(t, image, channel / t->shape.block, point, channel % t->shape.block);
}

tensor tensor_new(buffers *owner, const bnorm_shape *s, bnorm_layout l, flush side, const float *values)
{
    const size_t blocks = blocks_of(s), lanes = s->block;
    l.point_stride = l.point_stride ? l.point_stride : s->block;
    l.block_stride = l.block_stride ? l.block_stride : s->points * l.point_stride;
    l.image_stride = l.image_stride ? l.image_stride : blocks * l.block_stride;
    tensor t = { .shape = *s, .layout = l };
    t.elements = place(&t, s->batch - 1, blocks - 1, s->points - 1, lanes);
    t.data = take_guarded(owner, t.elements * type_size(l.dtype), side);
    for (size_t i = 0; i < t.elements; i++)
        put_canary(t.data, l.dtype, i);
    for (size_t n = 0; n < s->batch; n++)
        for (size_t b = 0; b < blocks; b++)
            for (size_t p = 0; p < s->points; p++)
                for (size_t lane = 0, c = b * lanes; lane < lanes; lane++, c++)
                    if (c >= s->channels)
                        put(t.data, l.dtype, place(&t, n, b, p, lane), NAN);
                    else if (values)
                        put(t.data, l.dtype, place(&t, n, b, p, lane), values[(n * s->channels + c) * s->points + p]);
    return t;
}

bool tensor_read(const tensor *t, float *values, bool output)
{
    const bnorm_shape *s = &t->shape;
    const size_t blocks = blocks_of(s), lanes = s->block;
    bool intact = true;
    const bnorm_dtype type = t->layout.dtype;
    void *rest = malloc(t->elements * type_size(type));
    memcpy(rest, t->data, t->elements * type_size(type));
    for (size_t n = 0; n < s->batch; n++)
        for (size_t b = 0; b < blocks; b++)
            for (size_t p = 0; p < s->points; p++)
                for (size_t lane = 0, c = b * lanes; lane < lanes; lane++, c++) {
                    const size_t at = place(t, n, b, p, lane);
                    const float value = get(rest, type, at);
                    if (c < s->channels)
                        values[(n * s->channels + c) * s->points + p] = value;
                    else
                        intact = intact && (output ? value == 0.0f && !signbit(value) : isnan(value));
                    put_canary(rest, type, at);
                }
    for (size_t i = 0; i < t->elements; i++)
        intact = intact && is_canary(rest, type, i);
    free(rest);
    return intact;
}
