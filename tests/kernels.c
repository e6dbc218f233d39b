/* SPDX-License-Identifier: MIT */
/*
 * Each kernel of kernels.def on each ISA: against an oracle in long double, and against portable C to the bit; every
 * length up to four vectors and one, primes and planes of real networks, every input class, flush with a guard page
 * behind and before. --list prints the kernels, --kernel=NAME tries one alone.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "trial.h"

static const struct {
    const char *name;
    void (*check)(trial *);
} kernels[] = {
#define KERNEL(name, parameters) { #name, check_##name },
#include "kernels/kernels.def"
#undef KERNEL
};

/* Each begins with the same seed, so that one alone does what it does among all. */
static void check_kernel(size_t kernel, size_t isa)
{
    static const size_t more[] = { 67, 97, 127, 195, 196, 251, 509, 577, 784, 1021 };
    enum { FOUR_VECTORS_AND_ONE = 65 };
    trial t = { .kernels = bnorm_kernels_at(isa), .scalar = bnorm_kernels_at(bnorm_isa_count() - 1) };
    t.random.state = check_seed();
    check_case("%s, %s", kernels[kernel].name, t.kernels->name);
    for (size_t i = 0; i < FOUR_VECTORS_AND_ONE + COUNT_OF(more); i++) {
        t.length = i < FOUR_VECTORS_AND_ONE ? i + 1 : more[i - FOUR_VECTORS_AND_ONE];
        for (int class = 0; class < INPUT_COUNT; class ++) {
            t.class = (input_class) class;
            t.side = (class + (int)i) % 2 ? FLUSH_END : FLUSH_START;
            check_context("length %zu, %s, random state %#llx", t.length, input_name(t.class),
                          (unsigned long long)t.random.state);
            kernels[kernel].check(&t);
            give_back(&t.taken);
        }
    }
}

static void check_folding(void)
{
    check_case("bnorm_rows_per_super_row");
    for (size_t width = 1; width < 5000; width++) {
        size_t rows = bnorm_rows_per_super_row(width);
        check_context("of %zu", width);
        check(rows == 1 || rows * width <= BNORM_MAX_SUPER_ROW, "a super-row is too wide");
        check(rows * width * 8 >= (rows * width + BNORM_TILE - 1) / BNORM_TILE * BNORM_TILE * 7, "lanes are wasted");
    }
}

/* What follows --kernel= in an argument, which is taken out of them: check_start does not know it. */
static const char *take_kernel(int *argc, char **argv)
{
    const char *name = NULL;
    int kept = 1;
    for (int i = 1; i < *argc; i++)
        if (strncmp(argv[i], "--kernel=", 9) == 0)
            name = argv[i] + 9;
        else
            argv[kept++] = argv[i];
    *argc = kept;
    argv[kept] = NULL;
    return name;
}

static void list_kernels(void)
{
    for (size_t i = 0; i < COUNT_OF(kernels); i++)
        puts(kernels[i].name);
}

int main(int argc, char **argv)
{
    const char *only = take_kernel(&argc, argv);
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list_kernels();
        return 0;
    }
    check_start(argc, argv);
    if (!only)
        check_folding();
    for (size_t isa = 0; isa < check_isa_count(); isa++)
        for (size_t kernel = 0; kernel < COUNT_OF(kernels); kernel++)
            if (!only || strcmp(only, kernels[kernel].name) == 0)
                check_kernel(kernel, isa);
    return check_finish();
}
