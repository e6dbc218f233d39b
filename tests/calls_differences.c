/* SPDX-License-Identifier: MIT */
/* The loss sum(dy * y) of one channel, whose slopes the gradients must be. */
#include <math.h>

#include "calls.h"
#include "check.h"
#include "oracle.h"

enum { VALUES = 24 };

typedef struct slope_job {
    const job *job;
    bnorm_epilogue epilogue;
    long double x[VALUES], residual[VALUES], gamma, beta;
} slope_job;

static long double loss(const slope_job *s)
{
    const job *j = s->job;
    long double mean = (long double)j->mean[0], var = (long double)j->var[0], sum = 0;
    if (!is_frozen(j->op)) {
        mean = var = 0;
        for (int i = 0; i < VALUES; i++)
            mean += s->x[i] / VALUES;
        for (int i = 0; i < VALUES; i++)
            var += (s->x[i] - mean) * (s->x[i] - mean) / VALUES;
    }
    for (int i = 0; i < VALUES; i++) {
        long double z = (s->x[i] - mean) / sqrtl(var + (long double)j->epsilon) * s->gamma + s->beta + s->residual[i];
        sum += (long double)j->dy[i] * oracle_activation(&s->epilogue, z);
    }
    return sum;
}

/* (loss(v + h) - loss(v - h)) / 2h is off by a multiple of h². */
static void check_slope(slope_job *s, long double *variable, float gradient, const char *what)
{
    const long double h = 1e-5L, at = *variable;
    *variable = at + h;
    long double more = loss(s);
    *variable = at - h;
    long double slope = (more - loss(s)) / (2 * h);
    *variable = at;
    check(fabsl((long double)gradient - slope) <= 4e-6L * fmaxl(1, fabsl(slope)), what);
}

/* Whether the activation's slope jumps so near z that h may cross it. */
static bool near_kink(const bnorm_epilogue *e, long double z)
{
    return fabsl(oracle_slope(e, z - 1e-3L) - oracle_slope(e, z + 1e-3L)) > 0.05L;
}

/* Of a case in which no value is near a kink. */
static void check_slopes(slope_job *s, const job *j, const result *r)
{
    for (int i = 0; i < VALUES; i++)
        check_slope(s, &s->x[i], r->y[i], "dx is not the slope of the loss");
    for (int i = 0; i < VALUES && has_residual(j->op); i++)
        check_slope(s, &s->residual[i], r->dresidual[i], "dresidual is not the slope of the loss");
    /* added to what was there */
    check_slope(s, &s->gamma, r->statistics[0][0] - j->gamma[0], "dgamma is not the slope of the loss");
    check_slope(s, &s->beta, r->statistics[1][0] - j->beta[0], "dbeta is not the slope of the loss");
}

static void check_seed_of(operation op, uint64_t seed)
{
    const way plain = { .kernels = bnorm_kernels_at(0), .tuning = &usual_tuning };
    const bnorm_shape shape = bnorm_nchw(2, 1, VALUES / 2);
    job j = job_new(&shape, INPUT_normal, check_seed() + seed, op, true);
    slope_job s = { .job = &j, .gamma = (long double)j.gamma[0], .beta = (long double)j.beta[0] };
    bool kink = false;
    s.epilogue = epilogue_of(op);
    for (int i = 0; i < VALUES; i++) {
        s.x[i] = (long double)j.x[i];
        s.residual[i] = has_residual(op) ? (long double)j.residual[i] : 0;
        kink = kink || near_kink(&s.epilogue, (long double)j.y[i]);
    }
    result r = perform(&j, &plain);
    check_context("draw %d", (int)seed);
    if (!kink)
        check_slopes(&s, &j, &r);
    give_back(&r.taken);
    give_back(&j.taken);
}

void check_differences(void)
{
    for (int op = 0; op < operation_count; op++) {
        if (!is_backward((operation)op))
            continue;
        check_case("%s, central differences", operation_name((operation)op));
        if (operation_runs((operation)op, bnorm_kernels_at(bnorm_isa_count() - 1)))
            for (uint64_t seed = 0; seed < 20; seed++)
                check_seed_of((operation)op, seed);
        else
            check_skip("no SLEEF, or none for portable C on this CPU");
    }
}
