/* SPDX-License-Identifier: MIT */
/* Reads the bytes of a fuzzer as choices: past the last byte all are 0, which every reader takes for the plainest. */
#ifndef BNORM_TESTS_FUZZ_CURSOR_H
#define BNORM_TESTS_FUZZ_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cursor {
    const uint8_t *next, *end;
} cursor;

static inline uint8_t take_byte(cursor *c)
{
    return c->next == c->end ? 0 : *c->next++;
}

/* In [0, limit), limit at most 65536. */
static inline size_t take_below(cursor *c, size_t limit)
{
    const size_t low = take_byte(c), value = limit > 256 ? low | (size_t)take_byte(c) << 8 : low;
    return value % limit;
}

static inline size_t take_in(cursor *c, size_t from, size_t to)
{
    return from + take_below(c, to - from + 1);
}

/* True once in `odds` times, and not of a 0. */
static inline bool take_rarely(cursor *c, size_t odds)
{
    return take_below(c, odds) == odds - 1;
}

/* Of a static list. */
#define TAKE_FROM(cursor, list) ((list)[take_below(cursor, sizeof(list) / sizeof(*(list)))])

static inline uint32_t take_bits(cursor *c)
{
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits = bits << 8 | take_byte(c);
    return bits;
}

#endif
