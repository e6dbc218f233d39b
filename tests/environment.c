/* SPDX-License-Identifier: MIT */
/*
 * The caller's floating-point environment, as docs/guarantees.md describes it: with subnormal numbers flushed to zero,
 * data that have none give the same bits, and all data the same on every ISA; in other rounding modes results stay
 * near; in both, several threads give what one gives; and a call changes nothing of the environment but the flags.
 */
#include <fenv.h>
#include <math.h>

#include "check.h"
#include "executors.h"
#include "job.h"

#if defined(__x86_64__) || defined(__i386__)
enum { CAN_FLUSH = 1, FLUSHED = 0x8040 }; /* FTZ and DAZ */

static unsigned control(void)
{
    return __builtin_ia32_stmxcsr() & ~0x3fu; /* without flags */
}

static void set_control(unsigned bits)
{
    __builtin_ia32_ldmxcsr(bits);
}
#elif defined(__aarch64__) && defined(__linux__)
enum { CAN_FLUSH = 1, FLUSHED = 1 << 24 }; /* FZ */

static unsigned control(void)
{
    uint64_t bits;
    __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
    return (unsigned)bits;
}

static void set_control(unsigned bits)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)bits));
}
#else
enum { CAN_FLUSH = 0, FLUSHED = 0 };

static unsigned control(void)
{
    return 0;
}

static void set_control(unsigned bits)
{
    (void)bits;
}
#endif

static const operation operations[] = { INFER, TRAIN, BACKWARD, BACKWARD_RELU, FROZEN };

/* ---- Two threads that compute as the caller does ---- */

typedef struct inherited {
    bnorm_task *task;
    void *argument;
    unsigned control;
    int rounding;
} inherited;

static void inherit(void *argument, size_t task)
{
    const inherited *const from = argument;
    fesetround(from->rounding);
    set_control(from->control);
    from->task(from->argument, task);
}

static void run_inheriting(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    const bnorm_executor threads = executor_threads(2);
    inherited from = { task, argument, control(), fegetround() };
    (void)context;
    threads.run(threads.context, tasks, inherit, &from);
}

static const bnorm_executor two_threads = { run_inheriting, NULL, 2 };

/* ---- Calls ---- */

static result perform_on(const job *j, const bnorm_kernels *kernels, const bnorm_executor *executor, unsigned bits,
                         int rounding)
{
    const way w = { .kernels = kernels, .tuning = executor ? tunings[1] : &usual_tuning, .executor = executor };
    const unsigned before = control();
    set_control(before | bits);
    fesetround(rounding);
    const unsigned set = control();
    result r = perform(j, &w);
    check(control() == set && fegetround() == rounding, "a call changed the environment");
    fesetround(FE_TONEAREST);
    set_control(before);
    return r;
}

static bool same_results(const job *j, const result *a, const result *b)
{
    bool same = same_bits(a->y, b->y, job_elements(j));
    for (int i = 0; i < (is_backward(j->op) ? 2 : is_training(j->op) ? STATISTICS : 0); i++)
        same = same && same_bits(a->statistics[i], b->statistics[i], j->shape.channels);
    return same;
}

/* `bits` of control: every ISA gives the same, and where there are no subnormal numbers, what it gives without. */
static void check_flushed(const job *j, input_class class)
{
    const bnorm_kernels *kernels, *portable = bnorm_kernels_at(bnorm_isa_count() - 1);
    result plain = perform_on(j, portable, NULL, 0, FE_TONEAREST);
    result flushed = perform_on(j, portable, NULL, FLUSHED, FE_TONEAREST);
    if (class != INPUT_subnormal && class != INPUT_random_patterns)
        check(same_results(j, &plain, &flushed), "flushing changed a result without subnormal numbers");
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++) {
        result r = perform_on(j, kernels, NULL, FLUSHED, FE_TONEAREST);
        result threads = perform_on(j, kernels, &two_threads, FLUSHED, FE_TONEAREST);
        check(same_results(j, &r, &flushed), "flushing gives other bits than in portable C");
        check(same_results(j, &threads, &flushed), "flushing, two threads give other bits than one");
        give_back(&r.taken);
        give_back(&threads.taken);
    }
    give_back(&plain.taken);
    give_back(&flushed.taken);
}

static void check_rounding(const job *j)
{
    static const int modes[] = { FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    const bnorm_kernels *kernels;
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++) {
        result nearest = perform_on(j, kernels, NULL, 0, FE_TONEAREST);
        for (size_t m = 0; m < COUNT_OF(modes); m++) {
            result r = perform_on(j, kernels, NULL, 0, modes[m]);
            result threads = perform_on(j, kernels, &two_threads, 0, modes[m]);
            bool near = true;
            check(same_results(j, &r, &threads), "in another rounding mode, two threads give other bits than one");
            for (size_t i = 0; i < job_elements(j); i++)
                near = near && fabsf(r.y[i] - nearest.y[i]) <= 1e-5f * fmaxf(1.0f, fabsf(nearest.y[i]));
            check(near, "another rounding mode gives something else");
            give_back(&r.taken);
            give_back(&threads.taken);
        }
        give_back(&nearest.taken);
    }
}

int main(int argc, char **argv)
{
    static const input_class classes[] = { INPUT_normal, INPUT_offset_1e4, INPUT_subnormal, INPUT_random_patterns };
    static const size_t blocks[] = { 1, 8, 20 };
    check_start(argc, argv);
    for (size_t c = 0; c < COUNT_OF(classes); c++)
        for (size_t b = 0; b < COUNT_OF(blocks); b++)
            for (size_t i = 0; i < COUNT_OF(operations); i++) {
                const bnorm_shape shape = bnorm_blocked(4, 20, 201, blocks[b]);
                job j = job_new(&shape, classes[c], check_seed(), operations[i], true);
                check_case("%s %s, block %zu", operation_name(operations[i]), input_name(classes[c]), blocks[b]);
                if (CAN_FLUSH)
                    check_flushed(&j, classes[c]);
                else
                    check_skip("how subnormal numbers are flushed on this CPU is not known here");
                if (classes[c] == INPUT_normal && 20 % blocks[b] == 0) /* rounded down, padding becomes -0 */
                    check_rounding(&j);
                give_back(&j.taken);
            }
    return check_finish();
}
