/* SPDX-License-Identifier: MIT */
/*
 * Transposes matrices of 16- or 32-bit elements: to[c * to_stride + r] = from[r * from_stride + c]. Works on squares
 * of 16-byte vectors, which all CPUs have.
 */
#ifndef BNORM_TRANSPOSE_H
#define BNORM_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

typedef uint16_t square_u16 __attribute__((vector_size(16)));
typedef uint32_t square_u32 __attribute__((vector_size(16)));
typedef uint64_t square_u64 __attribute__((vector_size(16)));

#ifdef __clang__
#define INTERLEAVE(type, a, b, ...) __builtin_shufflevector((type)(a), (type)(b), __VA_ARGS__)
#else
#define INTERLEAVE(type, a, b, ...) __builtin_shuffle((type)(a), (type)(b), (type){ __VA_ARGS__ })
#endif
#define LOW_U16(a, b) INTERLEAVE(square_u16, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_U16(a, b) INTERLEAVE(square_u16, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_U32(a, b) INTERLEAVE(square_u32, a, b, 0, 4, 1, 5)
#define HIGH_U32(a, b) INTERLEAVE(square_u32, a, b, 2, 6, 3, 7)
#define LOW_U64(a, b) INTERLEAVE(square_u64, a, b, 0, 2)
#define HIGH_U64(a, b) INTERLEAVE(square_u64, a, b, 1, 3)

/* The squares are unrolled by hand: an array of vectors stays in memory if the compiler does not unroll the loop. */
#define LOAD(type, i) load_##type(from + (i) * from_stride)
#define STORE(i, column) store_square(to + (i) * to_stride, column)

static inline square_u32 load_u32(const uint32_t *from)
{
    square_u32 row;
    memcpy(&row, from, sizeof(row));
    return row;
}

static inline square_u16 load_u16(const uint16_t *from)
{
    square_u16 row;
    memcpy(&row, from, sizeof(row));
    return row;
}

static inline void store_square(void *to, square_u64 column)
{
    memcpy(to, &column, sizeof(column));
}

static INLINE void transpose_square_u32(const uint32_t *from, size_t from_stride, uint32_t *to, size_t to_stride)
{
    const square_u32 r0 = LOAD(u32, 0), r1 = LOAD(u32, 1), r2 = LOAD(u32, 2), r3 = LOAD(u32, 3);
    const square_u32 a = LOW_U32(r0, r1), b = LOW_U32(r2, r3), c = HIGH_U32(r0, r1), d = HIGH_U32(r2, r3);
    STORE(0, LOW_U64(a, b));
    STORE(1, HIGH_U64(a, b));
    STORE(2, LOW_U64(c, d));
    STORE(3, HIGH_U64(c, d));
}

static INLINE void transpose_square_u16(const uint16_t *from, size_t from_stride, uint16_t *to, size_t to_stride)
{
    const square_u16 r0 = LOAD(u16, 0), r1 = LOAD(u16, 1), r2 = LOAD(u16, 2), r3 = LOAD(u16, 3);
    const square_u16 r4 = LOAD(u16, 4), r5 = LOAD(u16, 5), r6 = LOAD(u16, 6), r7 = LOAD(u16, 7);
    /* a to d interleave columns 0 to 3 of two rows, e to h columns 4 to 7; the next step joins four rows. */
    const square_u16 a = LOW_U16(r0, r1), b = LOW_U16(r2, r3), c = LOW_U16(r4, r5), d = LOW_U16(r6, r7);
    const square_u16 e = HIGH_U16(r0, r1), f = HIGH_U16(r2, r3), g = HIGH_U16(r4, r5), h = HIGH_U16(r6, r7);
    const square_u32 ab = LOW_U32(a, b), cd = LOW_U32(c, d), ba = HIGH_U32(a, b), dc = HIGH_U32(c, d);
    const square_u32 ef = LOW_U32(e, f), gh = LOW_U32(g, h), fe = HIGH_U32(e, f), hg = HIGH_U32(g, h);
    STORE(0, LOW_U64(ab, cd));
    STORE(1, HIGH_U64(ab, cd));
    STORE(2, LOW_U64(ba, dc));
    STORE(3, HIGH_U64(ba, dc));
    STORE(4, LOW_U64(ef, gh));
    STORE(5, HIGH_U64(ef, gh));
    STORE(6, LOW_U64(fe, hg));
    STORE(7, HIGH_U64(fe, hg));
}

#undef LOAD
#undef STORE
#undef INTERLEAVE
#undef LOW_U16
#undef HIGH_U16
#undef LOW_U32
#undef HIGH_U32
#undef LOW_U64
#undef HIGH_U64

/* Transposes full squares, with the outer loop over the side of the larger stride, and then the edges. */
#define TRANSPOSE(type, N, square) \
    static inline void transpose_##type(size_t rows, size_t columns, const type##_t *from, size_t from_stride, \
                                        type##_t *to, size_t to_stride) \
    { \
        const size_t full_rows = rows / N * N, full_columns = columns / N * N; \
        if (from_stride >= to_stride) \
            for (size_t r = 0; r < full_rows; r += N) \
                for (size_t c = 0; c < full_columns; c += N) \
                    square(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride); \
        else \
            for (size_t c = 0; c < full_columns; c += N) \
                for (size_t r = 0; r < full_rows; r += N) \
                    square(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride); \
        for (size_t r = 0; r < rows; r++) \
            for (size_t c = r < full_rows ? full_columns : 0; c < columns; c++) \
                memcpy(&to[c * to_stride + r], &from[r * from_stride + c], sizeof(*to)); \
    }

TRANSPOSE(uint32, 4, transpose_square_u32)
TRANSPOSE(uint16, 8, transpose_square_u16)
#undef TRANSPOSE

static inline void transpose(size_t size, size_t rows, size_t columns, const void *from, size_t from_stride, void *to,
                             size_t to_stride)
{
    if (size == sizeof(uint32_t))
        transpose_uint32(rows, columns, from, from_stride, to, to_stride);
    else
        transpose_uint16(rows, columns, from, from_stride, to, to_stride);
}

#endif
