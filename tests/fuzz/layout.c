/* SPDX-License-Identifier: MIT */
/* Where arguments lie, by their definition: element by element, and in long doubles, which hold any size. */
#include <math.h>
#include <string.h>

#include "../element.h"
#include "call.h"
#include "kernels/element.h"

static const long double too_long = 0x1p70L;

static size_t blocks_of(const bnorm_shape *s)
{
    return (s->channels - 1) / s->block + 1;
}

static void add_axis(span *t, size_t size, long double stride)
{
    int place = t->count;
    if (size == 1)
        return;
    for (; place && t->axes[place - 1].stride < stride; place--)
        t->axes[place] = t->axes[place - 1];
    t->axes[place] = (tensor_axis){ size, stride > 0x1p64L ? too_long : stride };
    t->count++;
}

static long double stride_or(size_t given, size_t size, long double dense)
{
    return given && size > 1 ? (long double)given : dense;
}

span span_of(const bnorm_shape *s, const bnorm_layout *l)
{
    span t = { .count = 0 };
    if (!s->channels || !s->block)
        return (span){ .elements = 1, .status = BNORM_ERROR_SHAPE };
    if (is_empty(s))
        return t;
    const long double point = stride_or(l->point_stride, s->points, (long double)s->block);
    const long double block = stride_or(l->block_stride, blocks_of(s), (long double)s->points * point);
    add_axis(&t, s->batch, stride_or(l->image_stride, s->batch, (long double)blocks_of(s) * block));
    add_axis(&t, blocks_of(s), block);
    add_axis(&t, s->points, point);
    add_axis(&t, s->block, 1);
    t.elements = 1;
    for (int i = t.count - 1; i >= 0 && !t.status; i--) {
        if (t.axes[i].stride < t.elements)
            t.status = BNORM_ERROR_STRIDE;
        t.elements += (long double)(t.axes[i].size - 1) * t.axes[i].stride;
        if (!t.status && t.elements * (long double)type_size(l->dtype) > (long double)PTRDIFF_MAX)
            t.status = BNORM_ERROR_SHAPE;
    }
    return t;
}

const bnorm_layout *layout_of_slot(const call *c, slot s)
{
    const bool backward = c->function == CALL_BACKWARD || c->function == CALL_BACKWARD_APPLY;
    return s == X || (s == Y && backward) ? &c->shape.is.in : s <= DRESIDUAL ? &c->shape.is.out : NULL;
}

size_t unit_of(const call *c, slot s)
{
    const bnorm_layout *l = layout_of_slot(c, s);
    return l ? type_size(l->dtype) : s == MASK || s == WORKSPACE ? 1 : s >= MEANS ? sizeof(double) : sizeof(float);
}

long double bytes_of(const call *c, slot s)
{
    const bnorm_layout *l = layout_of_slot(c, s);
    if (s == WORKSPACE)
        return (long double)c->workspace_size;
    if (s == MASK)
        return ceill(span_of(&c->shape.is, &c->shape.is.out).elements / 8);
    return (l ? span_of(&c->shape.is, l).elements : (long double)c->shape.is.channels * (s == SUMS ? 3 : 1)) *
           (long double)unit_of(c, s);
}

static void mark_axes(const tensor_axis *axes, int count, size_t unit, unsigned char *map)
{
    if (count == 0)
        memset(map, 1, unit);
    for (size_t i = 0; count && i < axes->size; i++)
        mark_axes(axes + 1, count - 1, unit, map + i * (size_t)axes->stride * unit);
}

void mark_elements(const call *c, slot s, unsigned char *map)
{
    const bnorm_layout *l = layout_of_slot(c, s);
    const span t = l ? span_of(&c->shape.is, l) : (span){ .count = 0 };
    if (!l)
        memset(map, 1, (size_t)bytes_of(c, s));
    else if (!is_empty(&c->shape.is))
        mark_axes(t.axes, t.count, unit_of(c, s), map);
}
