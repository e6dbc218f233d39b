/* SPDX-License-Identifier: MIT */
/* The memory of a test: whatever it takes has one owner, which gives all of it back at once. */
#ifndef BNORM_TESTS_BUFFER_H
#define BNORM_TESTS_BUFFER_H

#include <stddef.h>

typedef enum flush { FLUSH_END, FLUSH_START } flush;

/* All zeros to begin with. */
typedef struct buffers {
    struct buffer *last;
} buffers;

/* Between two pages that may not be touched, flush with the one after or the one before. */
void *take_guarded(buffers *owner, size_t bytes, flush side);
/* The same, and what is read of it before it is written is an error to MemorySanitizer and to valgrind. */
void *take_unwritten(buffers *owner, size_t bytes, flush side);
/* Zeros, aligned for any type. */
void *take_zeros(buffers *owner, size_t bytes);
void give_back(buffers *owner);

#endif
