/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stddef.h>
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

/* ---- What those say who watch reads ---- */

#ifdef __has_feature /* clang's */
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define FORGET(data, bytes) __msan_poison(data, bytes)
#endif
#endif
#if !defined(FORGET) && defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define FORGET(data, bytes) VALGRIND_MAKE_MEM_UNDEFINED(data, bytes)
#endif
#endif
#ifndef FORGET
#define FORGET(data, bytes) ((void)0)
#endif

/* Plain memory follows its header; guarded memory has none beside it. */
typedef struct buffer {
    struct buffer *before;
    void *pages; /* or NULL */
    size_t bytes; /* of the pages */
    max_align_t data[];
} buffer;

static buffer *link_new(buffers *owner, size_t bytes)
{
    buffer *b = calloc(1, sizeof(*b) + bytes);
    if (!b) {
        perror("tests/buffer.c");
        exit(1);
    }
    b->before = owner->last;
    owner->last = b;
    return b;
}

void *take_zeros(buffers *owner, size_t bytes)
{
    return link_new(owner, bytes)->data;
}

void *take_guarded(buffers *owner, size_t bytes, flush side)
{
    const size_t page = page_size(), inner = (bytes + page - 1) / page * page;
    buffer *b = link_new(owner, 0);
    b->bytes = inner + 2 * page;
    b->pages = guarded_pages(page, inner);
    if (!b->pages) {
        perror("tests/buffer.c");
        exit(1);
    }
    return (char *)b->pages + page + (side == FLUSH_END ? inner - bytes : 0);
}

void *take_unwritten(buffers *owner, size_t bytes, flush side)
{
    void *data = take_guarded(owner, bytes, side);
    (void)FORGET(data, bytes);
    return data;
}

void give_back(buffers *owner)
{
    while (owner->last) {
        buffer *b = owner->last;
        owner->last = b->before;
        if (b->pages)
            release(b->pages, b->bytes);
        free(b);
    }
}
