/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

buffer buffer_new(size_t bytes, flush side)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + page - 1) / page * page;
    buffer b = { .bytes = bytes, .pages_bytes = inner + 2 * page };
    b.pages = mmap(NULL, b.pages_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.pages == MAP_FAILED || (inner && mprotect((char *)b.pages + page, inner, PROT_READ | PROT_WRITE))) {
        perror("buffer_new");
        exit(1);
    }
    b.data = (char *)b.pages + page + (side == FLUSH_END ? inner - bytes : 0);
    return b;
}

void buffer_free(buffer *b)
{
    munmap(b->pages, b->pages_bytes);
    b->pages = b->data = NULL;
}
