/* SPDX-License-Identifier: MIT */
#include "tensor.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t canary = 0x7fc0dead;

static size_t blocks_of(const bnorm_shape *s)
{
    return (s->channels + s->block - 1) / s->block;
}

bnorm_layout layout_of(const bnorm_shape *s, spacing gaps)
{
    bnorm_layout l = { .dtype = BNORM_F32 };
    if (gaps == DENSE)
        return l;
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

tensor tensor_new(const bnorm_shape *s, bnorm_layout l, flush side, const float *values)
{
    size_t padded = blocks_of(s) * s->block;
    l.point_stride = l.point_stride ? l.point_stride : s->block;
    l.block_stride = l.block_stride ? l.block_stride : s->points * l.point_stride;
    l.image_stride = l.image_stride ? l.image_stride : blocks_of(s) * l.block_stride;
    tensor t = { .shape = *s, .layout = l };
    t.elements = place(&t, s->batch - 1, padded - 1, s->points - 1) + 1;
    t.memory = buffer_new(t.elements * sizeof(float), side);
    t.data = t.memory.data;
    for (size_t i = 0; i < t.elements; i++)
        memcpy(t.data + i, &canary, sizeof(canary));
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++)
            for (size_t c = 0; c < padded; c++)
                if (c >= s->channels)
                    t.data[place(&t, n, c, p)] = NAN;
                else if (values)
                    t.data[place(&t, n, c, p)] = values[(n * s->channels + c) * s->points + p];
    return t;
}

void tensor_free(tensor *t)
{
    buffer_free(&t->memory);
}

bool tensor_read(const tensor *t, float *values, bool output)
{
    const bnorm_shape *s = &t->shape;
    size_t padded = blocks_of(s) * s->block;
    bool intact = true;
    float *rest = malloc(t->elements * sizeof(*rest));
    memcpy(rest, t->data, t->elements * sizeof(*rest));
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++)
            for (size_t c = 0; c < padded; c++) {
                float *element = rest + place(t, n, c, p);
                if (c < s->channels)
                    values[(n * s->channels + c) * s->points + p] = *element;
                else
                    intact = intact && (output ? *element == 0.0f && !signbit(*element) : isnan(*element));
                memcpy(element, &canary, sizeof(canary));
            }
    for (size_t i = 0; i < t->elements; i++)
        intact = intact && memcmp(rest + i, &canary, sizeof(canary)) == 0;
    free(rest);
    return intact;
}
