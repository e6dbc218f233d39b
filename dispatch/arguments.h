/* SPDX-License-Identifier: MIT */
/* Arguments, checked (arguments.c) and brought to the form that kernels take (epilogue.c), all in constant time. */
#ifndef BNORM_DISPATCH_ARGUMENTS_H
#define BNORM_DISPATCH_ARGUMENTS_H

#include "../include/bnorm/bnorm.h"
#include "../kernels/element.h"
#include "../kernels/kernels.h"

/* A shape that was checked: sizes whose products fit, strides filled in. */
typedef struct bnorm_geometry {
    size_t batch, channels, points, block;
    size_t blocks;
    bnorm_layout in, out;
    size_t in_extent, out_extent; /* elements from the first to one past the last */
    bool empty;
} bnorm_geometry;

/* Memory that an argument covers; none where it is NULL. */
typedef struct bnorm_range {
    const void *start;
    size_t bytes, alignment;
    bool written;
} bnorm_range;

static inline bnorm_range bnorm_array(const void *start, size_t count, size_t size, bool written)
{
    return (bnorm_range){ .start = start, .bytes = count * size, .alignment = size, .written = written };
}

static inline bnorm_range bnorm_bytes(const void *start, size_t bytes, bool written)
{
    return bnorm_array(start, bytes, 1, written);
}

static inline bnorm_range bnorm_floats(const float *array, size_t count, bool written)
{
    return bnorm_array(array, count, sizeof(float), written);
}

/* On 32-bit systems doubles are aligned to less than their size. */
static inline bnorm_range bnorm_doubles(const double *array, size_t count, bool written)
{
    bnorm_range range = bnorm_array(array, count, sizeof(double), written);
    range.alignment = _Alignof(double);
    return range;
}

/* A tensor laid out by `in`, and by `out`. */
static inline bnorm_range bnorm_in_range(const bnorm_geometry *g, const void *tensor, bool written)
{
    return bnorm_array(tensor, g->in_extent, bnorm_size_of(g->in.dtype), written);
}

static inline bnorm_range bnorm_out_range(const bnorm_geometry *g, const void *tensor, bool written)
{
    return bnorm_array(tensor, g->out_extent, bnorm_size_of(g->out.dtype), written);
}

/* Copies a struct that starts with its size; what it has beyond `size` must be zero. */
bnorm_status bnorm_read_struct(void *to, size_t size, const void *from);
bnorm_status bnorm_check_shape(const bnorm_shape *shape, bnorm_geometry *geometry);
/* What most calls begin with: shape, the struct of parameters (NULL: none), executor. */
bnorm_status bnorm_check_call(const bnorm_shape *shape, bnorm_geometry *geometry, void *to, size_t size,
                              const void *params, const bnorm_executor *executor);
/* A tensor that an operation reads, laid out by `in` or by `out`, beside one that it writes: both there and aligned,
 * and either apart or one, in which each element is read where it is written. */
bnorm_status bnorm_check_tensors(const bnorm_geometry *geometry, const void *from, bool from_out, const void *to,
                                 bool to_out);
/* Each is aligned, and what is written overlaps no other; the first `tensors` were checked against each other before.
 */
bnorm_status bnorm_check_ranges(const bnorm_range *ranges, size_t count, size_t tensors);
bnorm_status bnorm_check_workspace(const void *workspace, size_t size, size_t needed);
bool bnorm_valid_channels(size_t channels);
/* Whether a <= b, told by their bits: where traps are on, a comparison of floats would trap on a NaN. */
bool bnorm_ascend(float a, float b);
bool bnorm_valid_epsilon(float epsilon);
bool bnorm_valid_hint(bnorm_hint hint);

/* Reads what these kernels are to fuse; NULL is an epilogue that does nothing. */
bnorm_status bnorm_read_epilogue(const bnorm_kernels *kernels, const bnorm_epilogue *given, bnorm_fusion *fusion);
/* The tensors of a call that writes y. */
bnorm_status bnorm_check_forward(const bnorm_geometry *geometry, const bnorm_fusion *fusion, const void *x,
                                 const void *y);
bnorm_range bnorm_mask_range(const bnorm_geometry *geometry, const bnorm_fusion *fusion, bool written);

/* NULL where a forward call has nothing to fuse. */
static inline const bnorm_fusion *bnorm_forward_fusion(const bnorm_fusion *f)
{
    return f->activation || f->residual ? f : NULL;
}

#endif
