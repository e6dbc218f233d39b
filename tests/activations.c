/* SPDX-License-Identifier: MIT */
/*
 * Each activation and its slope on values of all magnitudes: within its bound of the definition, NaN for NaN, the limit
 * for Inf, the same bits on every ISA. Batch norm stands aside: its mean is 0, its variance 1. `--table` prints the
 * rows of docs/numerics.md.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "job.h"
#include "oracle.h"

/* Parameters of activations that do not name them. */
#define IGNORED_ALPHA .alpha = -1
#define IGNORED_BETA .beta = -1

/*
 * Bounds of errors: of y in ulp, where it is not so small that an exp on the way loses bits; of y in max(1, |y|); and
 * of the slope, which may be 0 anywhere, in 1.
 */
static const struct {
    const char *name;
    bnorm_epilogue epilogue;
    double ulp, error, slope_error;
} activations[] = {
    { "ReLU", { .activation = BNORM_ACT_RELU, IGNORED_ALPHA, IGNORED_BETA }, 0, 0, 0 },
    { "clamp(-0.5, 6)", { .activation = BNORM_ACT_CLAMP, .alpha = -0.5f, .beta = 6 }, 0, 0, 0 },
    { "leaky ReLU(0.1)", { .activation = BNORM_ACT_LEAKY_RELU, .alpha = 0.1f, IGNORED_BETA }, 0.501, 6e-8, 0 },
    { "leaky ReLU(0)", { .activation = BNORM_ACT_LEAKY_RELU, IGNORED_BETA }, 0, 0, 0 },
    { "hard-sigmoid(0.2, 0.5)", { .activation = BNORM_ACT_HARD_SIGMOID, .alpha = 0.2f, .beta = 0.5f }, 1e9, 1.2e-7, 0 },
    { "hard-swish", { .activation = BNORM_ACT_HARD_SWISH, IGNORED_ALPHA, IGNORED_BETA }, 1e9, 3.2e-7, 2.4e-7 },
    { "sigmoid", { .activation = BNORM_ACT_SIGMOID, IGNORED_ALPHA, IGNORED_BETA }, 2.5, 1.2e-7, 6e-8 },
    { "SiLU", { .activation = BNORM_ACT_SILU, IGNORED_ALPHA, IGNORED_BETA }, 3, 1.8e-7, 2.5e-7 },
    { "tanh", { .activation = BNORM_ACT_TANH, IGNORED_ALPHA, IGNORED_BETA }, 3.5, 2.1e-7, 2.5e-7 },
    { "GELU", { .activation = BNORM_ACT_GELU, IGNORED_ALPHA, IGNORED_BETA }, 80, 1.8e-7, 3e-7 },
    { "GELU (tanh)", { .activation = BNORM_ACT_GELU_TANH, IGNORED_ALPHA, IGNORED_BETA }, 200, 1.8e-7, 4e-7 },
    { "ELU(1.5)", { .activation = BNORM_ACT_ELU, .alpha = 1.5f, IGNORED_BETA }, 1.6, 1.8e-7, 1.8e-7 },
    { "softplus", { .activation = BNORM_ACT_SOFTPLUS, IGNORED_ALPHA, IGNORED_BETA }, 2.5, 1.8e-7, 1.2e-7 },
    { "mish", { .activation = BNORM_ACT_MISH, IGNORED_ALPHA, IGNORED_BETA }, 5, 2.4e-7, 4e-7 },
};

/* Where an activation, or the way that it is computed, bends: poles, saturation, polynomials, overflow, underflow. */
static const float thresholds[] = { 0,          FLT_MIN, 0x1p-24f,   0.25f,      0.34657359f, 0.5f, 1,
                                    1.1f,       2.4f,    2.5f,       3,          3.8325069f,  6,    8.6643397f,
                                    9.0109133f, 12,      15,         16.635532f, 17.328680f,  20,   87.336545f,
                                    88.722839f, 100,     103.27893f, 103.97208f, 104,         120,  0x1p23f,
                                    0x1p31f,    1e38f,   FLT_MAX,    INFINITY };

enum {
    SPREAD = 1 << 16,
    NEAR = 1 << 9, /* half of them negative */
    INPUTS = 2 * SPREAD + NEAR * (int)(COUNT_OF(thresholds))
};

static float x[INPUTS], ones[INPUTS], portable[2][INPUTS], got[2][INPUTS];

static void fill(void)
{
    random_state r = { check_seed() };
    uint32_t n = 0, bits, center;
    for (uint32_t i = 0; i < SPREAD; i++, n++) { /* all bits, in disorder: a vector has all magnitudes */
        bits = (uint32_t)random_bits(&r);
        memcpy(x + n, &bits, sizeof(bits));
    }
    for (uint32_t i = 0; i < SPREAD; i++, n++) /* what activations are for */
        x[n] = (float)(random_uniform(&r) * 40 - 20);
    for (size_t t = 0; t < COUNT_OF(thresholds); t++)
        for (uint32_t i = 0; i < NEAR; i++, n++) {
            memcpy(&center, thresholds + t, sizeof(center));
            bits = (center + i / 2 - NEAR / 4) ^ i << 31;
            memcpy(x + n, &bits, sizeof(bits));
        }
    for (n = 0; n < INPUTS; n++)
        ones[n] = 1;
}

static const float zero = 0, one = 1;

/* y = activation(x), and dx = its slope at x. */
static bnorm_status compute(const bnorm_kernels *kernels, const bnorm_epilogue *e, float *y, float *slope)
{
    const bnorm_machine m = { kernels, usual_tuning };
    const bnorm_shape shape = bnorm_nchw(1, 1, INPUTS);
    const bnorm_infer_params forward = { .struct_size = sizeof(forward), .mean = &zero, .var = &one, .epilogue = e };
    const bnorm_backward_params backward = { .struct_size = sizeof(backward),
                                             .statistics = BNORM_STATISTICS_FROZEN,
                                             .epilogue = e,
                                             .mean = &zero,
                                             .var = &one };
    bnorm_status status = bnorm_infer_on(&m, &shape, &forward, x, y, NULL);
    return status ? status : bnorm_backward_on(&m, &shape, &backward, x, ones, slope, NULL, 0, NULL);
}

/* In units of the exact value's last place. Inf counts as 2^128, the number that follows the largest. */
static double error_in_ulp(float y, long double exact)
{
    const long double inf = 0x1p128L;
    exact = fminl(fmaxl(exact, -inf), inf);
    int exponent = exact == 0 ? FLT_MIN_EXP : ilogbl(exact) + 1;
    exponent = exponent < FLT_MIN_EXP ? FLT_MIN_EXP : exponent > FLT_MAX_EXP ? FLT_MAX_EXP : exponent;
    long double value = isinf(y) ? copysignl(inf, (long double)y) : (long double)y;
    return (double)ldexpl(fabsl(value - exact), FLT_MANT_DIG - exponent);
}

/* The largest error of some, and where it is; NaN is larger than any. */
typedef struct worst {
    double error;
    float z;
} worst;

static void add_error(worst *w, double error, float z)
{
    if (!(error <= w->error) && !isnan(w->error))
        *w = (worst){ error, z };
}

/* Of the limits of y and of the slope, and of NaN. The slope at Inf is that at FLT_MAX. */
static bool is_right_at_special(const bnorm_epilogue *e, float z, float y, float slope, double slope_error)
{
    if (isnan(z))
        return isnan(y);
    const long double limit = oracle_slope(e, copysignl((long double)FLT_MAX, (long double)z));
    return y == (float)oracle_activation(e, (long double)z) &&
           fabsl((long double)slope - limit) <= (long double)slope_error;
}

static void check_errors(size_t a, const bnorm_epilogue *e, bool table)
{
    worst ulp = { 0, 0 }, error = { 0, 0 }, slope = { 0, 0 };
    bool special = true;
    for (size_t i = 0; i < INPUTS; i++) {
        const float y = portable[0][i], dx = portable[1][i];
        if (isnan(x[i]) || isinf(x[i])) {
            special = special && is_right_at_special(e, x[i], y, dx, activations[a].slope_error);
            continue;
        }
        const long double exact = oracle_activation(e, (long double)x[i]);
        if (!(fabsl(exact) < 1e-30L))
            add_error(&ulp, error_in_ulp(y, exact), x[i]);
        if (!isinf(y))
            add_error(&error, (double)(fabsl((long double)y - exact) / fmaxl(1, fabsl(exact))), x[i]);
        /* Where the slope jumps, rounding of the argument may be on either side. */
        if (e->activation != BNORM_ACT_HARD_SIGMOID || (fabsf(y) >= 1e-6f && y <= 0.99999f))
            add_error(&slope, (double)fabsl((long double)dx - oracle_slope(e, (long double)x[i])), x[i]);
    }
    check_note(table ? "| %s | %.3g | %.2g | %.2g |" : "%s: %.3g ulp, error %.2g, of the slope %.2g",
               activations[a].name, ulp.error, error.error, slope.error);
    check_context("%s of %a errs by %.5g ulp", activations[a].name, (double)ulp.z, ulp.error);
    check(ulp.error <= activations[a].ulp, "more than its bound");
    check_context("%s of %a errs by %.5g", activations[a].name, (double)error.z, error.error);
    check(error.error <= activations[a].error, "more than its bound");
    check_context("the slope of %s at %a errs by %.5g", activations[a].name, (double)slope.z, slope.error);
    check(slope.error <= activations[a].slope_error, "more than its bound");
    check_context("special values");
    check(special, "NaN did not stay, or Inf did not give the limits");
}

static void check_same(const bnorm_kernels *kernels, const char *name, const float *values, const float *expected)
{
    size_t i = 0;
    bool same = same_bits(values, expected, INPUTS);
    while (!same && same_bits(values + i, expected + i, 1))
        i++;
    check_context("%s of %a is %a in portable C, on %s %a", name, (double)x[i], (double)expected[i], kernels->name,
                  (double)values[i]);
    check(same, "other bits than portable C");
}

static void check_activation(size_t a, bool table)
{
    const size_t scalar = bnorm_isa_count() - 1;
    bnorm_epilogue e = activations[a].epilogue;
    e.struct_size = sizeof(e);
    check_case("%s", activations[a].name);
    bnorm_status status = compute(bnorm_kernels_at(scalar), &e, portable[0], portable[1]);
    if (status == BNORM_ERROR_UNSUPPORTED) {
        check_skip("no SLEEF, or none for portable C on this CPU");
        return;
    }
    check(status == BNORM_OK, bnorm_status_string(status));
    if (check_isa_count() == bnorm_isa_count()) /* else another run has compared portable C with the definition */
        check_errors(a, &e, table);
    for (size_t k = 0; k < scalar && k < check_isa_count(); k++) {
        check_case("%s, %s", activations[a].name, bnorm_kernels_at(k)->name);
        check(compute(bnorm_kernels_at(k), &e, got[0], got[1]) == BNORM_OK, "a call failed");
        check_same(bnorm_kernels_at(k), activations[a].name, got[0], portable[0]);
        check_same(bnorm_kernels_at(k), "the slope", got[1], portable[1]);
    }
}

int main(int argc, char **argv)
{
    const bool table = argc == 2 && strcmp(argv[1], "--table") == 0;
    check_start(table ? 1 : argc, argv);
    fill();
    for (size_t a = 0; a < COUNT_OF(activations); a++)
        check_activation(a, table);
    return check_finish();
}
