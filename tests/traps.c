/* SPDX-License-Identifier: MIT */
/*
 * Floating-point exceptions: which flags ordinary data raise, and that calls can be made with traps enabled, as
 * docs/guarantees.md says. What no element depends on must not show either: lanes past the end, padding, and values of
 * a branch that is not taken.
 */
#define _GNU_SOURCE /* feenableexcept */
#include <fenv.h>
#include <math.h>

#include "check.h"
#include "every.h"
#include "executors.h"

enum { TRAPPED = FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW };

/* Traps are on from here, or off; false: that cannot be. */
static bool set_traps(bool on)
{
#ifdef __GLIBC__
    feclearexcept(FE_ALL_EXCEPT);
    return (on ? feenableexcept(TRAPPED) : fedisableexcept(TRAPPED)) != -1 && fegetexcept() == (on ? TRAPPED : 0);
#else
    return !on;
#endif
}

/* Leaves signalling NaN on the stack, where calls then have what they do not initialise. */
static void poison_stack(void)
{
    volatile uint32_t words[1 << 14];
    for (size_t i = 0; i < COUNT_OF(words); i++)
        words[i] = 0x7fa00000;
    (void)words[0];
}

/* Elsewhere, comparisons with a NaN, which is no bound, raise a flag; and clang takes others than it is asked for. */
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__clang__)
enum { COMPARES_QUIETLY = 1 };
#else
enum { COMPARES_QUIETLY = 0 };
#endif

/* Calls of all kinds on ordinary data. What is not built is no failure. */
static void check_calls(const char *what)
{
    static every e;
    const bnorm_executor backwards = executor_backwards(2);
    every_case c;
    for (size_t i = 0; every_case_at(i, &c); i++) {
        check_context("activation %d, block %zu, types %d and %d", (int)c.activation, c.shape.block,
                      (int)c.shape.in.dtype, (int)c.shape.out.dtype);
        every_draw(&e, &c);
        poison_stack();
        feclearexcept(FE_ALL_EXCEPT);
        const bnorm_status status = every_call(&e, &c, i % 3 ? NULL : &backwards);
        check(fetestexcept(TRAPPED) == 0, what);
        check(status == BNORM_OK || status == BNORM_ERROR_UNSUPPORTED, bnorm_status_string(status));
    }
}

/* A NaN among the parameters is a status, and no trap. */
static void check_statuses(void)
{
    const bnorm_shape shape = bnorm_nchw(1, 1, 2);
    const bnorm_activation parametrised[] = { BNORM_ACT_CLAMP, BNORM_ACT_LEAKY_RELU, BNORM_ACT_HARD_SIGMOID };
    float x[2] = { 1, 2 }, y[2], one = 1, workspace[256];
    bnorm_epilogue epilogue = bnorm_epilogue_defaults();
    bnorm_infer_params infer = bnorm_infer_defaults();
    bnorm_train_params train = bnorm_train_defaults();
    infer.mean = infer.var = &one;
    infer.epsilon = NAN;
    check(bnorm_infer(&shape, &infer, x, y, NULL) == BNORM_ERROR_EPSILON, "epsilon");
    infer.epsilon = 0;
    train.momentum = NAN;
    check(bnorm_train(&shape, &train, x, y, workspace, sizeof(workspace), NULL) == BNORM_ERROR_MOMENTUM, "momentum");
    infer.epilogue = &epilogue;
    epilogue.alpha = NAN;
    for (size_t i = 0; i < COUNT_OF(parametrised); i++) {
        epilogue.activation = parametrised[i];
        check(bnorm_infer(&shape, &infer, x, y, NULL) == BNORM_ERROR_ACTIVATION, "alpha");
    }
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    for (size_t i = 0; i < check_isa_count(); i++) {
        bnorm_set_isa(bnorm_isa_name(i));
        check_case("flags, %s", bnorm_isa_name(i));
        if (COMPARES_QUIETLY)
            check_calls("ordinary data raise a flag");
        else
            check_skip("comparisons raise flags on this CPU, or with this compiler");
        check_case("with traps, %s", bnorm_isa_name(i));
        if (COMPARES_QUIETLY && set_traps(true)) {
            check_calls("a flag, and no trap");
            check_statuses();
        } else {
            check_skip("there are no traps here, or they are not promised to stay quiet");
        }
        set_traps(false);
    }
    check_case("a NaN among the parameters");
    feclearexcept(FE_ALL_EXCEPT);
    check_statuses();
    check(fetestexcept(TRAPPED) == 0, "it raises a flag");
    return check_finish();
}
