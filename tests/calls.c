/* SPDX-License-Identifier: MIT */
/*
 * The public calls on every ISA: within the bounds of docs/numerics.md against the oracle, and with the bits of
 * portable C on one thread, whatever the ISA, the threads, the cutting of the work, the strides and the alignment.
 * `calls I N` is the I-th of N parts, which can run side by side.
 */
#include <float.h>
#include <getopt.h>
#include <stdlib.h>

#include "calls.h"
#include "check.h"
#include "element.h"
#include "executors.h"

static size_t ways_tried;

static void check_way(const job *j, const result *expected, const way *w, const char *name)
{
    way_context(j, w, name);
    check_same(j, expected, w);
    ways_tried++;
}

/* Every ISA in every way, or in a few drawn by lot. */
static void check_ways(const job *j, const result expected[2], const char *name, bool all, random_state *r)
{
    /* The last one starts threads, which is slow: only where all ways are tried. */
    const bnorm_executor executors[] = { { 0 }, executor_backwards(2), executor_backwards(64), executor_threads(3) };
    const size_t executor_count = COUNT_OF(executors) - !all,
                 count = tuning_count * 2 * executor_count * SPACING_COUNT * 2;
    const size_t few = is_backward(j->op) || is_typed(j) ? 1 : 2;
    const bnorm_kernels *kernels;
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++)
        for (size_t i = 0; i < (all ? count : few) && operation_runs(j->op, kernels); i++) {
            size_t n = all ? i : random_below(r, count);
            way w = { .kernels = kernels, .tuning = tunings[n % tuning_count] };
            n /= tuning_count;
            w.in_place = n % 2;
            w.executor = n / 2 % executor_count ? &executors[n / 2 % executor_count] : NULL;
            w.in = (spacing)(n / 2 / executor_count % SPACING_COUNT);
            w.out = w.in_place || random_below(r, 2) ? w.in : (spacing)random_below(r, SPACING_COUNT);
            w.side = n / 2 / executor_count / SPACING_COUNT % 2 ? FLUSH_END : FLUSH_START;
            w.hint = (bnorm_hint)random_below(r, 3);
            w.steps = random_below(r, 4) == 0;
            w.in_dy = is_backward(j->op) && !w.in_place && random_below(r, 3) == 0;
            w.mask = random_below(r, 2);
            w.in_residual = random_below(r, 3) == 0;
            w.dresidual_in_dy = random_below(r, 3) == 0;
            w.unwanted = is_backward(j->op) && random_below(r, 2) ? (int)random_below(r, NOTHING) : 0;
            check_way(j, &expected[w.steps], &w, name);
        }
}

/* In 16 bits, what is expected is what floats give, rounded; in steps, what they give in steps. */
static void check_job(const bnorm_shape *shape, operation op, input_class class, bool parameters, bool all,
                      random_state *r)
{
    const way plain = { .tuning = &usual_tuning, .kernels = bnorm_kernels_at(bnorm_isa_count() - 1) };
    way in_steps = plain;
    in_steps.steps = true;
    job j = job_new(shape, class, check_seed(), op, parameters), floats = job_in_floats(&j);
    check_context("%s %s of %s to %s, batch %zu channels %zu points %zu block %zu", operation_name(op),
                  input_name(class), type_name(shape->in.dtype), type_name(shape->out.dtype), shape->batch,
                  shape->channels, shape->points, shape->block);
    result expected[2] = { perform(&floats, &plain), perform(&floats, &in_steps) };
    for (int steps = 0; steps < 2; steps++) {
        result_round(&expected[steps], &j);
        check_bounds(&j, &expected[steps], class);
    }
    check_ways(&j, expected, input_name(class), all, r);
    give_back(&expected[0].taken);
    give_back(&expected[1].taken);
    give_back(&j.taken);
}

static size_t shapes_met, part, parts = 1;

static void check_shape(size_t batch, size_t channels, size_t points, size_t block, input_class class, bool all,
                        random_state *r)
{
    if (shapes_met++ % parts != part)
        return;
    check_case("%zux%zux%zu, block %zu, %s", batch, channels, points, block, input_name(class));
    for (int op = 0; op < operation_count; op++)
        for (int parameters = 0; parameters < 2; parameters++) {
            /* Variants differ from others in little: a sixth of those without an activation of their own will do. */
            const bool variant = op > BACKWARD;
            const size_t lot = channels + points + block;
            if (variant && ((size_t)parameters == lot % 2 || ((size_t)class + block) % 3))
                continue;
            if (op >= EPILOGUES && ((lot + (size_t)class + (size_t)op) % 20 || points > 10000))
                continue;
            if (!operation_runs((operation)op, bnorm_kernels_at(bnorm_isa_count() - 1)))
                continue;
            bnorm_shape shape = bnorm_blocked(batch, channels, points, block);
            check_job(&shape, (operation)op, class, parameters,
                      all && parameters && !(variant && points % 2) && op < EPILOGUES, r);
            if ((lot + (size_t)class + (size_t)op) % 8)
                continue;
            const size_t types = 1 + random_below(r, 8); /* other than two floats */
            shape.in.dtype = (bnorm_dtype)(types / 3);
            shape.out.dtype = (bnorm_dtype)(types % 3);
            if (bnorm_has_type(shape.in.dtype) && bnorm_has_type(shape.out.dtype))
                check_job(&shape, (operation)op, class, parameters, false, r);
        }
}

static const size_t shapes[][3] = {
    { 1, 1, 1 },   { 2, 3, 20 },  { 3, 5, 7 },    { 4, 16, 49 },  { 2, 33, 49 },  { 1, 64, 33 },  { 3, 30, 31 },
    { 17, 12, 1 }, { 5, 257, 2 }, { 2, 40, 100 }, { 1, 2, 1111 }, { 2, 17, 130 }, { 64, 24, 16 }, { 9, 100, 5 },
};

/* Long enough for several segments, in lanes of one channel, of some and of many; so wide that rows are cut into
 * strips, on one thread too. */
static const size_t long_shapes[][4] = {
    { 1, 2, 70001, 1 }, { 3, 3, 24001, 3 }, { 2101, 230, 1, 230 }, { 5, 16, 2099, 8 }, { 64, 2051, 1, 2051 }
};
static const input_class long_classes[] = { INPUT_normal, INPUT_offset_1e6, INPUT_step, INPUT_heavy_tailed,
                                            INPUT_random_patterns };

/* Of the inputs of a shape one in so many: where long double is in software, and that emulated, the oracle is slow. */
enum { STRIDE = LDBL_MANT_DIG > 64 ? 5 : 1 };

int main(int argc, char **argv)
{
    static const size_t blocks[] = { 1, 3, 4, 8, 16, 30, 0 };
    check_start(argc, argv);
    if (optind + 1 < argc) {
        part = strtoul(argv[optind], NULL, 10) - 1;
        parts = strtoul(argv[optind + 1], NULL, 10);
    }
    random_state r = { check_seed() + part };
    if (part == 0)
        check_differences();
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        for (size_t b = 0; b < COUNT_OF(blocks); b++)
            for (int class = (int)((i + b) % STRIDE); class < INPUT_COUNT; class += STRIDE)
                check_shape(shapes[i][0], shapes[i][1], shapes[i][2], blocks[b] ? blocks[b] : shapes[i][1],
                            (input_class) class, class == INPUT_random_patterns && i % 7 == b, &r);
    for (size_t i = 0; i < COUNT_OF(long_shapes); i++)
        for (size_t c = i % STRIDE; c < COUNT_OF(long_classes); c += STRIDE)
            check_shape(long_shapes[i][0], long_shapes[i][1], long_shapes[i][2], long_shapes[i][3], long_classes[c],
                        false, &r);
    for (int op = 0; op < operation_count; op++)
        if (!operation_runs((operation)op, bnorm_kernels_at(bnorm_isa_count() - 1))) {
            check_case("%s", operation_name((operation)op));
            check_skip("no SLEEF, or none for portable C on this CPU");
        }
    check_note("%zu ways of calling, each equal to portable C on one thread", ways_tried);
    note_largest_errors();
    return check_finish();
}
