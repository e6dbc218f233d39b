/* SPDX-License-Identifier: MIT */
/* A tensor of any layout in a guarded buffer, filled from and read back to plain x[batch][channels][points]. */
#ifndef BNORM_TESTS_TENSOR_H
#define BNORM_TESTS_TENSOR_H

#include <stdbool.h>

#include "bnorm/bnorm.h"
#include "buffer.h"

typedef enum spacing {
    DENSE,
    PADDED_PLANES, /* gaps after each block and image */
    SPACED_POINTS, /* and after each point */
    SIDE_BY_SIDE, /* all channels of a point, whatever the block; in some shapes with gaps after each point */
    SPACING_COUNT
} spacing;

bnorm_layout layout_of(const bnorm_shape *shape, bnorm_dtype type, spacing gaps);

typedef struct tensor {
    void *data; /* of the layout's type */
    size_t elements; /* from the first to one past the last */
    bnorm_shape shape;
    bnorm_layout layout; /* strides filled in */
} tensor;

/* Elements from `values`, or canaries where that is NULL; gaps hold canaries, padding lanes hold NaN. */
tensor tensor_new(buffers *owner, const bnorm_shape *shape, bnorm_layout layout, flush side, const float *values);
/* The index of an element in data. */
size_t tensor_index(const tensor *t, size_t image, size_t channel, size_t point);
/* Reads the elements to `values`; whether gaps still hold canaries and, in an output, padding lanes zero. */
bool tensor_read(const tensor *t, float *values, bool output);

#endif
