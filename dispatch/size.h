/* SPDX-License-Identifier: MIT */
/* Arithmetic of sizes, and parts of arrays. */
#ifndef BNORM_DISPATCH_SIZE_H
#define BNORM_DISPATCH_SIZE_H

#include <stddef.h>

static inline size_t bnorm_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t bnorm_ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* Where part i of `parts` nearly equal parts of `total` begins. */
static inline size_t bnorm_part(size_t total, size_t parts, size_t i)
{
    return parts == 1 ? total * i : total / parts * i + bnorm_min(i, total % parts); /* a division costs 5 ns */
}

/* The part of an array from a channel on, if there is an array. */
static inline const float *bnorm_from(const float *array, size_t channel)
{
    return array ? array + channel : NULL;
}

#endif
