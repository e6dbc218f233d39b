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

static inline size_t place(const tensor *t, size_t n, size_t c, size_t p)
{
    return n * t->layout.image_stride + c / t->shape.block * t->layout.block_stride + p * t->layout.point_stride +
           c % t->shape.block;
}

size_t tensor_index(const tensor *t, size_t image, size_t channel, size_t point)
{
    return place(t, image, channel, point);
}

tensor tensor_new(buffers *owner, const bnorm_shape *s, bnorm_layout l, flush side, const float *values)
{
    size_t padded = blocks_of(s) * s->block;
    l.point_stride = l.point_stride ? l.point_stride : s->block;
    l.block_stride = l.block_stride ? l.block_stride : s->points * l.point_stride;
    l.image_stride = l.image_stride ? l.image_stride : blocks_of(s) * l.block_stride;
    tensor t = { .shape = *s, .layout = l };
    t.elements = place(&t, s->batch - 1, padded - 1, s->points - 1) + 1;
    t.data = take_guarded(owner, t.elements * type_size(l.dtype), side);
    for (size_t i = 0; i < t.elements; i++)
        put_canary(t.data, l.dtype, i);
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++)
            for (size_t c = 0; c < padded; c++)
                if (c >= s->channels)
                    put(t.data, l.dtype, place(&t, n, c, p), NAN);
                else if (values)
                    put(t.data, l.dtype, place(&t, n, c, p), values[(n * s->channels + c) * s->points + p]);
    return t;
}

bool tensor_read(const tensor *t, float *values, bool output)
{
    const bnorm_shape *s = &t->shape;
    size_t padded = blocks_of(s) * s->block;
    bool intact = true;
    const bnorm_dtype type = t->layout.dtype;
    void *rest = malloc(t->elements * type_size(type));
    memcpy(rest, t->data, t->elements * type_size(type));
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++)
            for (size_t c = 0; c < padded; c++) {
                const size_t at = place(t, n, c, p);
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
