/* SPDX-License-Identifier: MIT */
/*
 * The fused epilogue of a pair: residual, mask and activation, forward and backward. The mask has one bit per element,
 * in the order of y's layout; it is set where the first slope of an activation of two slopes applies. Two tasks may
 * share a byte of the mask.
 */
#ifndef BNORM_BODY_FUSION_H
#define BNORM_BODY_FUSION_H

#include <stdatomic.h>
#include <stdint.h>

#include "activations.h"

/* Loads n <= PAIR bits, beginning with bit `at`. */
static NOINLINE uint32_t load_bits_unaligned(const uint8_t *mask, size_t at, size_t n)
{
    const size_t first = at / 8, shift = at % 8;
    uint64_t bits = 0;
    for (size_t bytes = (shift + n + 7) / 8; bytes--;)
        bits = bits << 8 | mask[first + bytes];
    return (uint32_t)(bits >> shift);
}

/* Stores some bits of a byte; atomically if it is `shared`, as another thread may be storing the others. */
static inline void store_partial_byte(uint8_t *byte, uint8_t which, uint8_t bits, bool shared)
{
    if (shared) {
        _Atomic uint8_t *const b = (_Atomic uint8_t *)byte;
        atomic_fetch_or_explicit(b, bits & which, memory_order_relaxed);
        atomic_fetch_and_explicit(b, (uint8_t)(bits | ~which), memory_order_relaxed);
    } else {
        *byte = (uint8_t)((*byte & ~which) | (bits & which));
    }
}

/* Adjacent elements that one task computes: the indices [begin, end). */
typedef struct {
    size_t begin, end;
} run;

/* Stores n <= PAIR bits, beginning with bit `at`; the first and last byte of the run may be shared. */
static NOINLINE void store_bits_unaligned(uint8_t *mask, run r, size_t at, size_t n, uint32_t given)
{
    const size_t first = at / 8, shift = at % 8, bytes = (shift + n + 7) / 8;
    const uint64_t bits = (uint64_t)given << shift, which = (((uint64_t)1 << n) - 1) << shift;
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t changed = (uint8_t)(which >> 8 * i);
        if (changed == 0xff)
            mask[first + i] = (uint8_t)(bits >> 8 * i);
        else
            store_partial_byte(mask + first + i, changed, (uint8_t)(bits >> 8 * i),
                               first + i == r.begin / 8 || first + i == (r.end - 1) / 8);
    }
}

/* Full bytes are never shared. */
static INLINE bool fills_whole_bytes(size_t at, size_t n)
{
    return PAIR % 8 == 0 && at % 8 == 0 && n == PAIR;
}

static INLINE void store_mask_bits(uint8_t *mask, run r, size_t at, size_t n, uint32_t bits)
{
    if (fills_whole_bytes(at, n))
        for (size_t i = 0; i < PAIR / 8; i++)
            mask[at / 8 + i] = (uint8_t)(bits >> 8 * i);
    else
        store_bits_unaligned(mask, r, at, n, bits);
}

/* Of whole bytes the last one counts twice, and is shifted out. */
static INLINE uint32_t load_mask_bits(const uint8_t *mask, size_t at, size_t n)
{
    uint64_t bits = 0;
    if (PAIR % 8 || n < PAIR)
        return load_bits_unaligned(mask, at, n);
    for (size_t i = 0; i < PAIR / 8; i++)
        bits |= (uint64_t)mask[at / 8 + i] << 8 * i;
    bits |= (uint64_t)mask[(at + PAIR - 1) / 8] << PAIR;
    return (uint32_t)(bits >> at % 8);
}

/* ---- Forward and backward of the first n lanes of a pair; `at` is the index of their first element ---- */

/* Computes y from z, which is given without the residual. */
static INLINE pair fuse(pair z, const pair *residual, const bnorm_fusion *f, run r, size_t at, size_t n)
{
    if (residual)
        z = add(z, *residual);
    if (f->mask)
        store_mask_bits(f->mask, r, at, n, v_bits(is_inside(z.a, f)) | v_bits(is_inside(z.b, f)) << V_LANES);
    return activate(z, f);
}

/* Computes dz, the gradient with respect to z, from dy; z is not used if there is a mask. */
static INLINE pair fuse_backward(pair dy, pair z, const pair *residual, const bnorm_fusion *f, size_t at, size_t n)
{
    if (f->mask) {
        const uint32_t bits = load_mask_bits(f->mask, at, n);
        return (pair){ two_slope_backward(v_of_bits(bits), dy.a, f),
                       two_slope_backward(v_of_bits(bits >> V_LANES), dy.b, f) };
    }
    if (residual)
        z = add(z, *residual);
    return activation_backward(dy, z, f);
}

#endif
