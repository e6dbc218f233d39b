/* SPDX-License-Identifier: MIT */
/*
 * The same bits on every target: digests of results against tests/digests.txt, which portable C wrote once.
 * `digests FILE` compares, on every ISA and with several threads; `digests FILE N` one case of N, where emulation takes
 * long, as does BNORM_DIGESTS=N in the environment; `digests -` prints the file's lines.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "element.h"
#include "executors.h"
#include "job.h"

static uint64_t digest_of(const job *j, const way *w)
{
    result r = perform(j, w);
    uint64_t hash = check_digest(CHECK_DIGEST_START, r.y, job_elements(j));
    for (int i = 0; i < (is_backward(j->op) ? 2 : is_training(j->op) ? STATISTICS : 0); i++)
        hash = check_digest(hash, r.statistics[i], j->shape.channels);
    if (is_backward(j->op) && has_residual(j->op))
        hash = check_digest(hash, r.dresidual, job_elements(j));
    give_back(&r.taken);
    return hash;
}

/* The digest that the file has for a case, or 0. */
static uint64_t expected_digest(FILE *file, const char *name)
{
    char line[128], found[96];
    unsigned long long value;
    rewind(file);
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "%95s %llx", found, &value) == 2 && strcmp(found, name) == 0)
            return value;
    return 0;
}

static size_t lines_in(FILE *file)
{
    size_t lines = 0;
    rewind(file);
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    return lines;
}

/* Of epilogues, and of types, some shapes and inputs will do: the rest is as without. */
static bool is_telling(input_class class)
{
    return class == INPUT_normal || class == INPUT_inf_in_one || class == INPUT_random_patterns;
}

static bool is_chosen(int op, size_t shape, input_class class, bool typed)
{
    return (op < EPILOGUES && (!typed || is_telling(class))) ||
           (is_telling(class) && shape < 8 && shape % 4 == (size_t)op % 4);
}

static void check_digests(const job *j, const char *name, FILE *file)
{
    const bnorm_executor executors[] = { executor_threads(2), executor_backwards(64) };
    const bnorm_kernels *kernels;
    way w = { .tuning = &usual_tuning, .kernels = bnorm_kernels_at(bnorm_isa_count() - 1) };
    if (!file) {
        printf("%s %016llx\n", name, (unsigned long long)digest_of(j, &w));
        return;
    }
    uint64_t expected = expected_digest(file, name);
    check_case("%s", name);
    for (size_t k = 0; k < check_isa_count(); k++)
        for (size_t i = 0; i <= COUNT_OF(executors); i++) {
            w.kernels = kernels = bnorm_kernels_at(k);
            w.executor = i ? &executors[i - 1] : NULL;
            w.tuning = tunings[(expected + i) % tuning_count]; /* any */
            check_context("%s, width %zu, caches of %zu and %zu", kernels->name, w.executor ? w.executor->width : 1,
                          w.tuning->core_cache, w.tuning->shared_cache);
            check(digest_of(j, &w) == expected, "not the digest of tests/digests.txt");
        }
}

static void check_one(const bnorm_shape *s, operation op, input_class class, FILE *file)
{
    char name[96], types[16] = "";
    job j = job_new(s, class, 1, op, true);
    if (is_typed(&j))
        snprintf(types, sizeof(types), "/%s-%s", type_name(s->in.dtype), type_name(s->out.dtype));
    snprintf(name, sizeof(name), "%s%s/%s/%zux%zux%zu/block%zu", operation_name(op), types, input_name(class), s->batch,
             s->channels, s->points, s->block);
    check_digests(&j, name, file);
    give_back(&j.taken);
}

/* Of the digests of the file, some are passed over where emulation is slow, and some are of what is not there. */
static size_t digests, every = 1, passed_over, skipped;

static void check_shape(size_t s, const size_t *d, operation op, input_class class, bool typed, FILE *file)
{
    bnorm_shape shape = bnorm_blocked(d[0], d[1], d[2], d[3]);
    const size_t types = typed ? 1 + (s + (size_t)op) % 8 : 0; /* each pair but that of floats */
    shape.in.dtype = (bnorm_dtype)(types / 3);
    shape.out.dtype = (bnorm_dtype)(types % 3);
    if (digests++ % every)
        passed_over++;
    else if (!operation_runs(op, bnorm_kernels_at(bnorm_isa_count() - 1)) || !bnorm_has_type(shape.in.dtype) ||
             !bnorm_has_type(shape.out.dtype))
        skipped++;
    else
        check_one(&shape, op, class, file);
}

static void check_all(FILE *file)
{
    /* batch, channels, points, block */
    static const size_t shapes[][4] = {
        { 2, 3, 20, 1 },   { 4, 16, 49, 1 },    { 4, 16, 49, 16 },  { 4, 30, 49, 16 },
        { 4, 30, 49, 30 }, { 3, 257, 13, 257 }, { 40, 24, 1, 24 },  { 70, 33, 2, 33 },
        { 2, 5, 3136, 1 }, { 2, 24, 784, 8 },   { 3, 3, 24001, 3 }, { 1, 1, 70001, 1 }
    };
    for (size_t s = 0; s < COUNT_OF(shapes); s++)
        for (int class = 0; class < INPUT_COUNT; class ++)
            for (int op = 0; op < operation_count; op++)
                for (int typed = 0; typed < 2; typed++)
                    if (is_chosen(op, s, (input_class) class, typed))
                        check_shape(s, shapes[s], (operation)op, (input_class) class, typed, file);
}

int main(int argc, char **argv)
{
    const char *sample = getenv("BNORM_DIGESTS");
    if (argc == 2 && strcmp(argv[1], "-") == 0) {
        check_all(NULL);
        return 0;
    }
    check_start(argc, argv);
    FILE *file = optind < argc ? fopen(argv[optind], "r") : NULL;
    sample = optind + 1 < argc ? argv[optind + 1] : sample;
    every = sample ? strtoul(sample, NULL, 10) : 1;
    check_case("the file of digests");
    if (!check(file != NULL, "it cannot be read"))
        return check_finish();
    check_all(file);
    check_case("the file has a line for each digest");
    check(lines_in(file) == digests, "it has other digests than this test");
    if (skipped) {
        check_case("%zu more digests", skipped);
        check_skip("types or SLEEF left out of this build, or no SLEEF for portable C on this CPU");
    }
    check_note("%zu digests, on %zu ISAs, serial and cut for 2 and 64 threads", digests - skipped - passed_over,
               check_isa_count());
    fclose(file);
    return check_finish();
}
