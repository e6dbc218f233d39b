/* SPDX-License-Identifier: MIT */
/* Checks of arguments, all in constant time: what passes them can be computed without further question. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "arguments.h"
#include "size.h"
#include "statistics.h"

bnorm_status bnorm_read_struct(void *to, size_t size, const void *from)
{
    enum { LARGEST = 4096 };
    size_t given;
    if (!from)
        return BNORM_ERROR_NULL_POINTER;
    memcpy(&given, from, sizeof(given));
    if (given < size || given > LARGEST)
        return BNORM_ERROR_STRUCT_SIZE;
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)from)[i])
            return BNORM_ERROR_UNSUPPORTED; /* a field of a later version is in use */
    memcpy(to, from, size);
    return BNORM_OK;
}

/* Whether the product fits. */
static bool multiply(size_t a, size_t b, size_t *product)
{
#ifdef __GNUC__
    return !__builtin_mul_overflow(a, b, product);
#else
    *product = a * b;
    return a == 0 || *product / a == b;
#endif
}

/* One axis of a tensor. */
typedef struct axis {
    size_t size, stride;
} axis;

/* The axes of more than one element, the widest stride first; returns how many. */
static int sorted_axes(const bnorm_geometry *g, const bnorm_layout *layout, axis axes[4])
{
    const axis all[4] = {
        { g->batch, layout->image_stride },
        { g->blocks, layout->block_stride },
        { g->points, layout->point_stride },
        { g->block, 1 },
    };
    int count = 0;
    for (int i = 0; i < 4; i++) {
        int place = count;
        if (all[i].size == 1)
            continue;
        for (; place && axes[place - 1].stride < all[i].stride; place--)
            axes[place] = axes[place - 1];
        axes[place] = all[i];
        count++;
    }
    return count;
}

/* The elements that a tensor spans, if none of them coincide and all can be addressed. */
static bnorm_status extent_of(const bnorm_geometry *g, const bnorm_layout *layout, size_t *extent)
{
    axis axes[4];
    *extent = 1;
    for (int i = sorted_axes(g, layout, axes) - 1; i >= 0; i--) {
        size_t more;
        if (axes[i].stride < *extent)
            return BNORM_ERROR_STRIDE;
        if (!multiply(axes[i].size - 1, axes[i].stride, &more) ||
            more > PTRDIFF_MAX / bnorm_size_of(layout->dtype) - *extent)
            return BNORM_ERROR_SHAPE;
        *extent += more;
    }
    return BNORM_OK;
}

/* A dense one, which is used only if it fits, where none is given; and where it steps over nothing, whatever it was. */
static bool fill_stride(size_t *stride, size_t axis_size, size_t dense, bool fits)
{
    if (*stride && axis_size > 1)
        return true;
    *stride = dense;
    return fits;
}

static bool fill_strides(const bnorm_geometry *g, bnorm_layout *layout)
{
    size_t dense;
    fill_stride(&layout->point_stride, g->points, g->block, true);
    const bool plane_fits = multiply(g->points, layout->point_stride, &dense);
    if (!fill_stride(&layout->block_stride, g->blocks, dense, plane_fits))
        return false;
    const bool image_fits = multiply(g->blocks, layout->block_stride, &dense);
    return fill_stride(&layout->image_stride, g->batch, dense, image_fits);
}

bnorm_status bnorm_check_shape(const bnorm_shape *given, bnorm_geometry *g)
{
    bnorm_shape shape;
    bnorm_status status = bnorm_read_struct(&shape, sizeof(shape), given);
    if (status)
        return status;
    if (!bnorm_has_type(shape.in.dtype) || !bnorm_has_type(shape.out.dtype))
        return BNORM_ERROR_UNSUPPORTED;
    if (!bnorm_valid_channels(shape.channels) || shape.block == 0)
        return BNORM_ERROR_SHAPE;
    *g = (bnorm_geometry){
        .batch = shape.batch,
        .channels = shape.channels,
        .points = shape.points,
        .block = shape.block,
        .blocks = bnorm_ceil_div(shape.channels, shape.block),
        .in = shape.in,
        .out = shape.out,
        .empty = shape.batch == 0 || shape.points == 0,
    };
    if (g->empty)
        return BNORM_OK;
    if (!fill_strides(g, &g->in) || !fill_strides(g, &g->out))
        return BNORM_ERROR_SHAPE;
    status = extent_of(g, &g->in, &g->in_extent);
    return status ? status : extent_of(g, &g->out, &g->out_extent);
}

static bnorm_status check_executor(const bnorm_executor *executor)
{
    return executor && (!executor->run || executor->width == 0) ? BNORM_ERROR_EXECUTOR : BNORM_OK;
}

bnorm_status bnorm_check_call(const bnorm_shape *shape, bnorm_geometry *g, void *to, size_t size, const void *params,
                              const bnorm_executor *executor)
{
    bnorm_status status = bnorm_check_shape(shape, g);
    if (!status && to)
        status = bnorm_read_struct(to, size, params);
    return status ? status : check_executor(executor);
}

/*
 * Whether an element of one tensor lies `offset` elements past some element of another with the same axes: whether
 * offset is a sum of strides, each taken fewer times, either way, than its axis is long. As strides nest, only two
 * multiples of each can lead there.
 */
static bool coincide(const axis *axes, int count, ptrdiff_t offset)
{
    if (count == 0)
        return offset == 0;
    ptrdiff_t size = (ptrdiff_t)axes->size, stride = (ptrdiff_t)axes->stride;
    ptrdiff_t times = offset / stride - (offset % stride < 0);
    for (ptrdiff_t t = times; t <= times + 1; t++)
        if (t > -size && t < size && coincide(axes + 1, count - 1, offset - t * stride))
            return true;
    return false;
}

static bool ranges_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t from = (uintptr_t)a, other = (uintptr_t)b;
    return from < other ? other - from < a_bytes : from - other < b_bytes;
}

static bool same_layout(const bnorm_layout *a, const bnorm_layout *b)
{
    return a->dtype == b->dtype && a->image_stride == b->image_stride && a->block_stride == b->block_stride &&
           a->point_stride == b->point_stride;
}

bnorm_status bnorm_check_tensors(const bnorm_geometry *g, const void *from, bool from_out, const void *to, bool to_out)
{
    axis axes[4];
    const bnorm_range a = from_out ? bnorm_out_range(g, from, false) : bnorm_in_range(g, from, false);
    const bnorm_range b = to_out ? bnorm_out_range(g, to, true) : bnorm_in_range(g, to, true);
    if (!from || !to)
        return BNORM_ERROR_NULL_POINTER;
    if ((uintptr_t)from % a.alignment || (uintptr_t)to % b.alignment)
        return BNORM_ERROR_ALIGNMENT;
    if (!ranges_overlap(from, a.bytes, to, b.bytes))
        return BNORM_OK;
    if (from_out != to_out && !same_layout(&g->in, &g->out))
        return BNORM_ERROR_OVERLAP;
    if (from == to)
        return BNORM_OK;
    ptrdiff_t offset = ((const char *)to - (const char *)from) / (ptrdiff_t)a.alignment;
    return coincide(axes, sorted_axes(g, from_out ? &g->out : &g->in, axes), offset) ? BNORM_ERROR_OVERLAP : BNORM_OK;
}

bnorm_status bnorm_check_ranges(const bnorm_range *ranges, size_t count, size_t tensors)
{
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)ranges[i].start % ranges[i].alignment)
            return BNORM_ERROR_ALIGNMENT;
    for (size_t i = 0; i < count; i++) {
        if (!ranges[i].written || !ranges[i].start)
            continue;
        for (size_t j = i < tensors ? tensors : 0; j < count; j++) {
            bool seen = j <= i && ranges[j].written;
            if (!seen && ranges[j].start &&
                ranges_overlap(ranges[i].start, ranges[i].bytes, ranges[j].start, ranges[j].bytes))
                return BNORM_ERROR_OVERLAP;
        }
    }
    return BNORM_OK;
}

bnorm_status bnorm_check_workspace(const void *workspace, size_t size, size_t needed)
{
    if (needed >= PTRDIFF_MAX)
        return BNORM_ERROR_SHAPE;
    if (!workspace)
        return BNORM_ERROR_NULL_POINTER;
    return size < needed ? BNORM_ERROR_WORKSPACE_SIZE : BNORM_OK;
}

/* The largest array of values per channel can exist: the sums of backward, three doubles each. */
bool bnorm_valid_channels(size_t channels)
{
    return channels > 0 && channels <= PTRDIFF_MAX / (BNORM_STATISTIC_ARRAYS * sizeof(double));
}

/* In the order of values; a NaN lies beyond Inf. */
static int32_t rank_of(float value)
{
    const int32_t size = (int32_t)(bnorm_bits_of_float(value) & 0x7fffffff);
    return signbit(value) ? -size : size;
}

bool bnorm_ascend(float a, float b)
{
    const int32_t inf = 0x7f800000;
    return -inf <= rank_of(a) && rank_of(a) <= rank_of(b) && rank_of(b) <= inf;
}

bool bnorm_valid_epsilon(float epsilon)
{
    return bnorm_ascend(0.0f, epsilon) && bnorm_ascend(epsilon, FLT_MAX);
}

bool bnorm_valid_hint(bnorm_hint hint)
{
    return hint == BNORM_HINT_AUTO || hint == BNORM_HINT_KEEP || hint == BNORM_HINT_STREAM;
}
