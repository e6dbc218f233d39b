/* SPDX-License-Identifier: MIT */
/* What bnorm_fold() gave, against its definition. */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "../element.h"
#include "../tensor.h"
#include "call.h"

/* What an argument held before the call, in memory of any alignment. */
static const void *before(const call *c, slot s)
{
    for (size_t b = 0; c->at[s] && b < c->block_count; b++) {
        const size_t offset = (size_t)((uintptr_t)c->at[s] - (uintptr_t)c->blocks[b].data);
        if (offset < c->blocks[b].bytes)
            return c->blocks[b].before + offset;
    }
    return NULL;
}

static long double number(const call *c, slot s, size_t channel, float otherwise)
{
    const char *const numbers = before(c, s);
    float value = otherwise;
    if (numbers)
        memcpy(&value, numbers + channel * sizeof(value), sizeof(value));
    return (long double)value;
}

static tensor tensor_of(const call *c, slot s)
{
    const bnorm_shape *const shape = &c->shape.is;
    const size_t blocks = (shape->channels - 1) / shape->block + 1;
    bnorm_layout l = *layout_of_slot(c, s);
    l.point_stride = l.point_stride && shape->points > 1 ? l.point_stride : shape->block;
    l.block_stride = l.block_stride && blocks > 1 ? l.block_stride : shape->points * l.point_stride;
    l.image_stride = l.image_stride && shape->batch > 1 ? l.image_stride : blocks * l.block_stride;
    return (tensor){ .shape = *shape, .layout = l };
}

static float element(const tensor *t, const void *data, size_t n, size_t channel, size_t p)
{
    const size_t at = tensor_index(t, n, channel, p) * type_size(t->layout.dtype);
    uint32_t bits;
    float value;
    memcpy(&bits, (const char *)data + at, type_size(t->layout.dtype));
    load_elements(t->layout.dtype, &value, &bits, 1);
    return value;
}

/* Nothing is asked of what 16 bits may not hold, or is no number. */
static bool is_near(float value, long double exact, long double error)
{
    return !(fabsl(exact) < 65000) ||
           fabsl((long double)value - exact) <= fabsl(exact) * 0x1.00001p-24L + error + 1e-44L;
}

static void check_channel(const call *c, size_t channel)
{
    const bnorm_shape *const s = &c->shape.is;
    const tensor in = tensor_of(c, X), out = tensor_of(c, Y);
    const long double mean = number(c, MEAN, channel, 0), bias = number(c, BIAS, channel, 0);
    const long double beta = number(c, BETA, channel, 0);
    const long double factor =
        number(c, GAMMA, channel, 1) / sqrtl(number(c, VAR, channel, 0) + (long double)c->infer.is.epsilon);
    const long double size = (fabsl(bias) + fabsl(mean)) * fabsl(factor) + fabsl(beta);
    bool right = is_near(((const float *)c->at[FOLDED_BIAS])[channel], (bias - mean) * factor + beta, size * 0x1p-50L);
    check(right, "a folded bias is off");
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++) {
            const float value = element(&out, c->at[Y], n, channel, p);
            const long double exact = (long double)element(&in, before(c, X), n, channel, p) * factor;
            right = right && is_near(value, exact, (long double)half_unit(s->out.dtype, value));
        }
    check(right, "a folded weight is off");
}

void check_fold(const call *c)
{
    for (size_t channel = 0; channel < c->shape.is.channels; channel++)
        check_channel(c, channel);
}
