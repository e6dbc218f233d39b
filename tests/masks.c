/* SPDX-License-Identifier: MIT */
/*
 * The first and the last byte of a run of the mask may hold bits of other tasks, which must not be lost. Between
 * reading such a byte and storing it anything may happen, and here it does: the byte is in a page that cannot be
 * written, and where the kernel's store fails, the other bits change before it is tried again.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "dispatch/calls.h"

#ifdef _WIN32
int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_skip("no signal tells of a store that failed");
    return check_finish();
}
#else
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LONGEST = 70 };

static unsigned char *pages; /* two */
static size_t page;
static unsigned char *volatile byte;
static volatile unsigned char others; /* bits of it, of another task */
static volatile int failed_stores;

static void store_failed(int number)
{
    (void)number;
    failed_stores++;
    mprotect(pages, 2 * page, PROT_READ | PROT_WRITE);
    *byte ^= others;
}

static bool bit_of(const unsigned char *bytes, size_t i)
{
    return bytes[i / 8] >> i % 8 & 1;
}

typedef void apply_run(const bnorm_kernels *kernels, const float *x, float *y, size_t lanes, size_t at,
                       const bnorm_fusion *fusion);

static const float zeros[LONGEST], ones[LONGEST] = { 1 };

static void apply_plane(const bnorm_kernels *kernels, const float *x, float *y, size_t lanes, size_t at,
                        const bnorm_fusion *fusion)
{
    const bnorm_planes p = { .job = { .x = x, .y = y, .k = { zeros, ones, zeros }, .fusion = fusion, .at = at },
                             .width = 1,
                             .units = 1,
                             .lanes = lanes,
                             .images = 1 };
    kernels->map_planes(&p);
}

static void apply_row(const bnorm_kernels *kernels, const float *x, float *y, size_t lanes, size_t at,
                      const bnorm_fusion *fusion)
{
    float scale[LONGEST];
    for (size_t l = 0; l < lanes; l++)
        scale[l] = 1;
    const bnorm_rows r = { .job = { .x = x, .y = y, .k = { zeros, scale, zeros }, .fusion = fusion, .at = at },
                           .rows = 1,
                           .width = lanes,
                           .used = lanes,
                           .x_stride = lanes,
                           .y_stride = lanes };
    kernels->map_rows(&r);
}

/* A run of `lanes` bits from `at` on; the first byte of it or the last is where another task has bits, too. */
static void check_run(const bnorm_kernels *kernels, apply_run *apply, size_t at, size_t lanes, bool last)
{
    const size_t end = at + lanes, bytes = (end + 7) / 8;
    unsigned char *const mask = pages + page - (last ? bytes - 1 : 0), before[LONGEST / 8 + 2] = { 0xa5, 0x5a, 0xc3 };
    float x[LONGEST], y[LONGEST];
    const bnorm_fusion relu = { .activation = BNORM_ACT_CLAMP, .beta = INFINITY, .high = NAN, .mask = mask };
    for (size_t l = 0; l < lanes; l++)
        x[l] = l * l % 7 < 3 ? 1.0f : -1.0f;
    memcpy(mask, before, bytes);
    byte = last ? mask + bytes - 1 : mask;
    others = (unsigned char)(last ? ~((1u << (end - 1) % 8 << 1) - 1) : (1u << at) - 1);
    if (last && bytes == 1)
        others |= (unsigned char)((1u << at) - 1);
    failed_stores = 0;
    mprotect(pages + page, page, PROT_READ);
    apply(kernels, x, y, lanes, at, &relu);
    mprotect(pages, 2 * page, PROT_READ | PROT_WRITE);
    check(failed_stores == 1, "the byte was not stored");
    bool right = true;
    for (size_t i = 0; i < 8 * bytes; i++) {
        const bool mine = i >= at && i < end, other = byte == mask + i / 8 && others >> i % 8 & 1;
        right = right && bit_of(mask, i) == (mine ? x[i - at] > 0 : bit_of(before, i) != other);
    }
    check(right, "bits were lost");
}

static void check_way(const bnorm_kernels *kernels, apply_run *apply, bool last)
{
    check_case("%s, %s, %s byte", kernels->name, apply == apply_row ? "rows" : "planes", last ? "last" : "first");
    for (size_t at = 0; at < 8; at++)
        for (size_t lanes = 1; lanes <= LONGEST - 8; lanes++) {
            check_context("bits %zu to %zu", at, at + lanes);
            check_run(kernels, apply, at, lanes, last);
        }
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    page = (size_t)sysconf(_SC_PAGESIZE);
    pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check_case("two pages of memory");
    if (!check(pages != MAP_FAILED, "no memory"))
        return check_finish();
    signal(SIGSEGV, store_failed);
    signal(SIGBUS, store_failed);
    for (size_t i = 0; i < check_isa_count(); i++)
        for (int way = 0; way < 4; way++)
            check_way(bnorm_kernels_at(i), way / 2 ? apply_row : apply_plane, way % 2);
    return check_finish();
}
#endif
