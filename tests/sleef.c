/* SPDX-License-Identifier: MIT */
/*
 * Conformance: the functions of SLEEF that fused activations will call, its finz_ family, give portable C's bits on
 * every ISA that runs here, the same bits on every target, and hardly more than 1 ulp of error.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include <sleef.h>

#include "check.h"
#include "dispatch/internal.h"
#include "sleef_isa.h"

/* Meson has SLEEF_TABLES as TABLE(isa) TABLE(isa) ..., the ISAs compiled in. */
#define TABLE(isa) extern sleef_function *const sleef_##isa[];
SLEEF_TABLES
#undef TABLE

static const struct {
    const char *isa;
    sleef_function *const *functions;
} tables[] = {
#define TABLE(isa) { #isa, sleef_##isa },
    SLEEF_TABLES
#undef TABLE
};

static const struct {
    const char *name;
    long double (*exact)(long double);
    double bound;
    float largest;
    uint64_t digest;
} functions[] = {
#define FUNCTION(name, bound, largest, digest) { #name, name##l, bound, largest, digest },
    SLEEF_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

/* Where a function, or the way that SLEEF computes it, bends: poles, saturation, polynomials, overflow, underflow. */
static const float thresholds[] = { 0,          FLT_MIN,    0x1p-24f,   0.25f,      0.34657359f, 0.5f,       1,
                                    1.1f,       2.4f,       2.5f,       3.8325069f, 4,           8.6643397f, 9.0109133f,
                                    16.635532f, 17.328680f, 87.336545f, 88.722839f, 100,         103.27893f, 103.97208f,
                                    104,        0x1p23f,    0x1p31f,    1e38f,      FLT_MAX,     INFINITY };

enum {
    SPREAD = 1 << 21,
    NEAR = 1 << 11, /* half of them negative */
    INPUTS = 2 * SPREAD + NEAR * (int)(sizeof(thresholds) / sizeof(*thresholds)),
    SAMPLE = 17, /* one result in so many is compared with the truth; odd, so that both signs are */
};

static float x[INPUTS], portable[INPUTS], got[INPUTS];

/* All exponents of both signs, NaN among them, and what is near the thresholds. */
static void fill(void)
{
    uint32_t n = 0, bits, center;
    for (uint32_t i = 0; i < SPREAD; i++, n++) { /* neighbours in one vector */
        bits = i * 2047;
        memcpy(x + n, &bits, sizeof(bits));
    }
    for (uint32_t i = 0; i < SPREAD; i++, n++) { /* all magnitudes in one vector: some of its lanes may branch */
        bits = i * 0x9e3779b9;
        memcpy(x + n, &bits, sizeof(bits));
    }
    for (size_t t = 0; t < sizeof(thresholds) / sizeof(*thresholds); t++)
        for (uint32_t i = 0; i < NEAR; i++, n++) {
            memcpy(&center, thresholds + t, sizeof(center));
            bits = (center + i / 2 - NEAR / 4) ^ i << 31;
            memcpy(x + n, &bits, sizeof(bits));
        }
}

/* FNV-1a, a word at a time; all NaN are one. */
static uint64_t digest_of(const float *y)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < INPUTS; i++) {
        uint32_t bits = 0x7fc00000;
        if (!isnan(y[i]))
            memcpy(&bits, y + i, sizeof(bits));
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    return hash;
}

/* In units of the exact value's last place. Inf counts as 2^128, the number that follows the largest. */
static double error_in_ulp(float y, long double exact)
{
    const long double inf = 0x1p128L;
    if (isnan(y) || isnan(exact))
        return isnan(y) && isnan(exact) ? 0 : (double)INFINITY;
    exact = fminl(fmaxl(exact, -inf), inf);
    int exponent = exact == 0 ? FLT_MIN_EXP : ilogbl(exact) + 1;
    exponent = exponent < FLT_MIN_EXP ? FLT_MIN_EXP : exponent > FLT_MAX_EXP ? FLT_MAX_EXP : exponent;
    long double value = isinf(y) ? copysignl(inf, (long double)y) : (long double)y;
    return (double)ldexpl(fabsl(value - exact), FLT_MANT_DIG - exponent);
}

static sleef_function *const *functions_on(const char *isa)
{
    for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++)
        if (strcmp(tables[t].isa, isa) == 0)
            return tables[t].functions;
    return NULL;
}

static void check_isa(size_t f, const char *isa)
{
    size_t i = 0;
    functions_on(isa)[f](got, x, INPUTS);
    bool same = same_bits(got, portable, INPUTS);
    while (!same && same_bits(got + i, portable + i, 1))
        i++;
    check_context("%s(%a) is %a in portable C, on %s %a", functions[f].name, (double)x[i], (double)portable[i], isa,
                  (double)got[i]);
    check(same, "other bits than portable C");
}

static void check_error(size_t f)
{
    double worst = 0;
    float worst_x = 0;
    for (size_t i = 0; i < INPUTS; i += SAMPLE) {
        double error =
            x[i] > functions[f].largest ? 0 : error_in_ulp(portable[i], functions[f].exact((long double)x[i]));
        if (error > worst) {
            worst = error;
            worst_x = x[i];
        }
    }
    check_note("%s: at worst %.5g ulp of %g, for %a", functions[f].name, worst, functions[f].bound, (double)worst_x);
    check_context("%s(%a) errs by %.5g ulp", functions[f].name, (double)worst_x, worst);
    check(worst <= functions[f].bound, "more than its bound");
}

static void check_function(size_t f)
{
    const bnorm_kernels *kernels;
    functions_on("scalar")[f](portable, x, INPUTS);
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++)
        if (strcmp(kernels->name, "scalar") != 0)
            check_isa(f, kernels->name);
    check_error(f);
    uint64_t digest = digest_of(portable);
    check_context("%s: digest 0x%016llx", functions[f].name, (unsigned long long)digest);
    if (SLEEF_VERSION_MAJOR * 10000 + SLEEF_VERSION_MINOR * 100 + SLEEF_VERSION_PATCHLEVEL == 30501)
        check(digest == functions[f].digest, "not the one in sleef_isa.h");
    else
        check_skip("the digests are those of SLEEF 3.5.1");
}

/* SLEEF's portable C is compiled with the compiler's flags for AVX2 and FMA on x86: it dies on lesser CPUs. */
static bool portable_runs(void)
{
#if defined(__x86_64__) || defined(__i386__)
    const unsigned needed = BNORM_CPU_AVX2 | BNORM_CPU_FMA;
    return (bnorm_cpu_detect() & needed) == needed;
#else
    return true;
#endif
}

int main(int argc, char **argv)
{
    check_start(argc, argv, "sleef");
    if (!portable_runs()) {
        check_skip("SLEEF's portable C needs AVX2 and FMA on x86");
        return check_finish();
    }
    fill();
    check_note("SLEEF %d.%d.%d, %d inputs, best ISA %s", SLEEF_VERSION_MAJOR, SLEEF_VERSION_MINOR,
               SLEEF_VERSION_PATCHLEVEL, INPUTS, bnorm_kernels_at(0)->name);
    for (size_t f = 0; f < sizeof(functions) / sizeof(*functions); f++)
        check_function(f);
    return check_finish();
}
