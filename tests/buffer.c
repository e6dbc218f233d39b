/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>

static size_t page_size(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

/* Pages of which only those within `inner` bytes, after the first, may be touched. */
static void *guarded_pages(size_t page, size_t inner)
{
    DWORD before;
    char *pages = VirtualAlloc(NULL, inner + 2 * page, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
    return pages && (!inner || VirtualProtect(pages + page, inner, PAGE_READWRITE, &before)) ? pages : NULL;
}

static void release(void *pages, size_t bytes)
{
    (void)bytes;
    VirtualFree(pages, 0, MEM_RELEASE);
}
#else
#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Pages of which only those within `inner` bytes, after the first, may be touched. */
static void *guarded_pages(size_t page, size_t inner)
{
    char *pages = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || (inner && mprotect(pages + page, inner, PROT_READ | PROT_WRITE)))
        return NULL;
    return pages;
}

static void release(void *pages, size_t bytes)
{
    munmap(pages, bytes);
}
#endif

buffer buffer_new(size_t bytes, flush side)
{
    const size_t page = page_size(), inner = (bytes + page - 1) / page * page;
    buffer b = { .bytes = bytes, .pages_bytes = inner + 2 * page };
    b.pages = guarded_pages(page, inner);
    if (!b.pages) {
        perror("buffer_new");
        exit(1);
    }
    b.data = (char *)b.pages + page + (side == FLUSH_END ? inner - bytes : 0);
    return b;
}

void buffer_free(buffer *b)
{
    release(b->pages, b->pages_bytes);
    b->pages = b->data = NULL;
}
