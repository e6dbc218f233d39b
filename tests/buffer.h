/* SPDX-License-Identifier: MIT */
/* Buffers between two pages that may not be touched, flush with the one after or the one before. */
#ifndef BNORM_TESTS_BUFFER_H
#define BNORM_TESTS_BUFFER_H

#include <stddef.h>

typedef enum flush { FLUSH_END, FLUSH_START } flush;

typedef struct buffer {
    void *data;
    size_t bytes;
    void *pages;
    size_t pages_bytes;
} buffer;

buffer buffer_new(size_t bytes, flush side);
void buffer_free(buffer *b);

#endif
