/* SPDX-License-Identifier: MIT */
/*
 * Statistics of training at their limits: inputs searched at random for the largest error of the variance, which must
 * stay within the bound that docs/numerics.md proves; and what data outside the range of that proof give.
 */
#include <float.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bnorm/bnorm.h"
#include "buffer.h"
#include "check.h"
#include "inputs.h"
#include "oracle.h"
#include "statistics.h"

/* ---- The search ---- */

enum { MOST_VALUES = 60000, MOST_PERIOD = 100 };

/* What values repeat, and what becomes of them on the way through a channel. */
typedef enum family { LEVELS, RAMP, GROWTH, SPIKES, FAMILIES } family;

static double power_of_ten(random_state *r, size_t from, size_t to)
{
    static const double powers[] = { 0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6 };
    return powers[from + random_below(r, to - from + 1)];
}

/*
 * A channel, which follows from the seed alone, the values themselves from its low 16 bits: a few values repeated with
 * a period, so that roundings agree instead of cancelling, under a level that changes, a ramp, a growing scale or a few
 * spikes; some far from 0.
 */
static size_t sample(uint64_t seed, float *x)
{
    random_state r = { seed >> 16 }, of_values = { seed };
    const size_t count = 9000 + random_below(&r, MOST_VALUES - 9000 + 1), period = 18 + random_below(&r, 83);
    const size_t kinds = 2 + random_below(&r, 2), places = 1 + random_below(&r, 3);
    const size_t change = count / 10 + random_below(&r, count / 2); /* where most was found */
    const family f = (family)(random_below(&r, 2) ? LEVELS : random_below(&r, FAMILIES));
    const double level = random_normal(&r) * power_of_ten(&r, 0, 2);
    const double offset = random_below(&r, 3) ? 0.0 : power_of_ten(&r, 2, 7);
    double values[3], pattern[MOST_PERIOD];
    for (size_t i = 0; i < kinds; i++)
        values[i] = random_normal(&of_values);
    for (size_t i = 0; i < period; i++)
        pattern[i] = values[random_below(&r, kinds)];
    for (size_t i = 0; i < count; i++) {
        const double value = pattern[i % period], part = (double)i / (double)count;
        const bool changed = i >= change;
        const double shaped = f == LEVELS   ? value + (changed ? level : 0.0)
                              : f == RAMP   ? value * 0.1 + part * level
                              : f == GROWTH ? value * (1.0 + part * part * 30.0)
                                            : value + (i % (count / places) == change / places ? level * 100.0 : 0.0);
        x[i] = (float)(shaped + offset);
    }
    return count;
}

typedef struct error {
    long double var, mean; /* relative, and in standard deviations */
} error;

static error error_of(const float *x, size_t count, void *workspace, size_t size)
{
    const bnorm_shape shape = bnorm_nchw(1, 1, count);
    double mean, m2;
    const bnorm_status status = bnorm_train_collect(&shape, x, &mean, &m2, workspace, size, NULL);
    if (!check(status == BNORM_OK, bnorm_status_string(status)))
        return (error){ 0, 0 };
    const oracle_moments m = oracle_channel(x, 1, 1, count, 0);
    if (m.var == 0)
        return (error){ (long double)m2, 0 };
    return (error){ fabsl((long double)m2 / (long double)count / m.var - 1),
                    fabsl((long double)mean - m.mean - m.mean_low) / sqrtl(m.var) };
}

/* The worst of 740,000: 1.32e-6 and 1.26e-6, beyond what holds for the classes of docs/numerics.md. */
static const uint64_t found[] = { 21874423487, 21313502176 };

static void search(size_t tries)
{
    static float x[MOST_VALUES];
    buffers taken = { NULL };
    const bnorm_shape most = bnorm_nchw(1, 1, MOST_VALUES);
    size_t size = 0;
    error worst = { 0, 0 };
    uint64_t worst_seed = 0;
    check_case("the variance of inputs drawn at random");
    check(bnorm_workspace_size(&most, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK, "no workspace");
    void *workspace = take_zeros(&taken, size);
    for (size_t i = 0; i < tries + COUNT_OF(found); i++) {
        const uint64_t seed = i < COUNT_OF(found) ? found[i] : (check_seed() + i) << 16;
        check_context("sample(%llu)", (unsigned long long)seed);
        const error e = error_of(x, sample(seed, x), workspace, size);
        check(e.var <= proven, "the variance is off");
        check(i >= COUNT_OF(found) || e.var > 1.1e-6L, "this was found to be worse");
        check(e.mean <= proven_mean, "the mean is off");
        if (e.var > worst.var)
            worst_seed = seed;
        worst.var = larger_error(worst.var, e.var);
        worst.mean = larger_error(worst.mean, e.mean);
    }
    give_back(&taken);
    check_note("worst of %zu: variance %.2Le (sample %llu), mean %.2Le standard deviations", tries + COUNT_OF(found),
               worst.var, (unsigned long long)worst_seed, worst.mean);
}

/* ---- The range ---- */

enum { VALUES = 9000 };

/* A call on one channel, beta 0.75 and gamma -1.5, with running statistics of 5 and 7; and its gradients. */
typedef struct outcome {
    float y[VALUES], dx[VALUES], running[2], mean, low, rstd, dgamma, dbeta;
} outcome;

static const float gamma_given = -1.5f, beta_given = 0.75f;

static void train(const float *x, size_t count, float epsilon, float momentum, outcome *o)
{
    static unsigned char workspace[1 << 16];
    static float dy[VALUES];
    const bnorm_shape shape = bnorm_nchw(1, 1, count);
    for (size_t i = 0; i < count; i++)
        dy[i] = (float)(i % 7) - 2.0f;
    o->running[0] = 5;
    o->running[1] = 7;
    const bnorm_train_params p = { .struct_size = sizeof(p),
                                   .gamma = &gamma_given,
                                   .beta = &beta_given,
                                   .epsilon = epsilon,
                                   .momentum = momentum,
                                   .running_variance = BNORM_VARIANCE_BIASED,
                                   .running_mean = &o->running[0],
                                   .running_var = &o->running[1],
                                   .saved_mean = &o->mean,
                                   .saved_mean_low = &o->low,
                                   .saved_rstd = &o->rstd };
    bnorm_status status = bnorm_train(&shape, &p, x, o->y, workspace, sizeof(workspace), NULL);
    check(status == BNORM_OK, bnorm_status_string(status));
    const bnorm_backward_params b = { .struct_size = sizeof(b),
                                      .gamma = &gamma_given,
                                      .mean = &o->mean,
                                      .mean_low = &o->low,
                                      .rstd = &o->rstd,
                                      .dgamma = &o->dgamma,
                                      .dbeta = &o->dbeta };
    status = bnorm_backward(&shape, &b, x, dy, o->dx, workspace, sizeof(workspace), NULL);
    check(status == BNORM_OK, bnorm_status_string(status));
}

static bool all_are(const float *values, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        if (!(values[i] == value))
            return false;
    return true;
}

static bool all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* Where all values are the same, or so near each other that their squares vanish, y is beta, whatever epsilon. */
static void check_no_variance(outcome *o)
{
    static const size_t counts[] = { 1, 2, 31, 512, 513, VALUES };
    static const float centers[] = { 0.0f, 3.3f, -1e8f, 1e-40f, 3e38f, 1e-23f, 1e-30f };
    static float x[VALUES];
    check_case("no variance, %s", bnorm_isa());
    for (size_t n = 0; n < COUNT_OF(counts); n++)
        for (size_t c = 0; c < COUNT_OF(centers); c++) {
            const bool apart = centers[c] == 1e-23f || centers[c] == 1e-30f;
            for (size_t i = 0; i < counts[n]; i++)
                x[i] = apart && i % 2 ? -centers[c] : centers[c];
            check_context("%zu values of %s%g, epsilon 0", counts[n], apart ? "+-" : "", (double)centers[c]);
            train(x, counts[n], 0, 0.5f, o);
            check(o->rstd == 0, "rstd is not 0");
            check(all_are(o->y, counts[n], beta_given), "y is not beta");
            check(all_are(o->dx, counts[n], 0), "dx is not 0");
            check(o->dgamma == 0 && isfinite(o->dbeta), "dgamma is not 0");
        }
    /* A variance so small that no float is 1/sqrt of it. */
    for (size_t i = 0; i < 1024; i++)
        x[i] = i < 512 ? 0.0f : 1e-45f;
    check_context("a step of the smallest float, epsilon 0");
    train(x, 1024, 0, 0.5f, o);
    check(all_are(o->y, 1024, beta_given), "y is not beta");
}

/* The variance of values of some scale is right but for less than the smallest float; and so is y, with an epsilon. */
static void check_scales(outcome *o)
{
    static const float scales[] = {
        1e-42f, 1e-40f, 1e-38f, 1e-30f, 1e-23f, 1e-22f, 1e-20f, 1e-19f, 1e-10f, 1e10f, 1e16f
    };
    static float x[VALUES];
    check_case("large and small values, %s", bnorm_isa());
    for (size_t s = 0; s < COUNT_OF(scales); s++)
        for (int offset = 0; offset < 2; offset++) {
            random_state r = { check_seed() };
            long double worst = 0;
            for (size_t i = 0; i < VALUES; i++)
                x[i] = (float)((random_normal(&r) + offset * 1e3) * (double)scales[s]);
            const oracle_moments m = oracle_channel(x, 1, 1, VALUES, 0);
            check_context("normal values of %g, offset %d", (double)scales[s], offset);
            train(x, VALUES, 1e-36f, 1.0f, o);
            check(fabsl((long double)o->running[1] - m.var) <= proven * m.var + 0x1p-149L, "the variance is off");
            for (size_t i = 0; i < VALUES; i++)
                worst = larger_error(
                    worst, fabsl((long double)o->y[i] - oracle_value(x[i], m, 1e-36f, gamma_given, beta_given)));
            check(worst <= 2e-5L, "y is off");
            train(x, VALUES, 0, 1.0f, o);
            check(all_finite(o->y, VALUES), "y is not finite");
        }
    /* As far apart as the proof allows. */
    for (size_t i = 0; i < VALUES; i++)
        x[i] = i % 3 ? 0x1p56f : -0x1p56f;
    check_context("values 2^57 apart");
    train(x, VALUES, 0, 1.0f, o);
    const long double var = oracle_channel(x, 1, 1, VALUES, 0).var;
    check(fabsl((long double)o->running[1] - var) <= proven * var, "the variance is off");
}

/* What no float can hold of a batch does not reach running statistics, unless these are to be the batch's own. */
static void check_overflow(outcome *o)
{
    static const float batches[][4] = { { 2e38f, -2e38f, -2e38f, -2e38f },
                                        { 1e30f, -1e30f, 1e30f, 1e30f },
                                        { 1, NAN, 2, 3 },
                                        { INFINITY, 1, 1, 1 },
                                        { -INFINITY, INFINITY, 0, 1 } };
    check_case("what no float can hold, %s", bnorm_isa());
    for (size_t b = 0; b < COUNT_OF(batches); b++) {
        check_context("batch %zu of those that overflow", b);
        train(batches[b], 4, 1e-5f, 0.25f, o);
        check(o->running[0] == 5 && o->running[1] == 7, "running statistics changed");
        check(!isfinite(o->y[0]) || !isfinite(o->mean) || o->rstd == 0, "y is taken for right");
        train(batches[b], 4, 1e-5f, 1.0f, o);
        check(!isfinite(o->running[0]) || !isfinite(o->running[1]), "the batch's own statistics are not stored");
    }
    /* The same from moments, where the mean alone fits. */
    const double mean = 1.0, m2 = 1e300;
    float running = 5, saved[3];
    bnorm_train_params p = { .struct_size = sizeof(p),
                             .momentum = 0.5f,
                             .running_mean = &running,
                             .saved_mean = &saved[0],
                             .saved_mean_low = &saved[1],
                             .saved_rstd = &saved[2] };
    check_context("bnorm_train_finish of a variance that is no float");
    check(bnorm_train_finish(1, 10, &mean, &m2, &p) == BNORM_OK && running == 5, "the running mean changed");
    p.momentum = 1;
    check(bnorm_train_finish(1, 10, &mean, &m2, &p) == BNORM_OK && running == 1, "the batch's own mean is not stored");
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    /* Where long double is in software, and that emulated, the oracle is slow. */
    const size_t tries = LDBL_MANT_DIG > 64 ? 100 : 2000;
    search(optind < argc ? strtoul(argv[optind], NULL, 10) : tries);
    check_proof();
    static outcome o;
    for (size_t i = 0; i < check_isa_count(); i++) {
        bnorm_set_isa(bnorm_isa_name(i));
        check_no_variance(&o);
        check_scales(&o);
        check_overflow(&o);
    }
    return check_finish();
}
