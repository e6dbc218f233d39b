/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "calls.h"
#include "check.h"
#include "element.h"
#include "oracle.h"

/* Largest errors of a class, as docs/numerics.md lists them. */
static struct {
    double y, var, mean, dx, dgamma, dbeta;
} worst[INPUT_COUNT];

static void note_worst(double *kept, long double error)
{
    *kept = (double)larger_error((long double)*kept, error);
}

/* The running statistics by their definition: momentum and variance as perform() asks for them. */
static void check_running(const job *j, const result *r, size_t c, oracle_moments m, long double var_bound)
{
    long double count = (long double)j->shape.batch * (long double)j->shape.points;
    long double weight = j->with_parameters ? (long double)0.3f : 1;
    long double kept = j->with_parameters && count > 1 ? m.var * count / (count - 1) : m.var;
    long double mean = (1 - weight) * (long double)j->mean[c] + weight * m.mean;
    long double var = (1 - weight) * (long double)j->var[c] + weight * kept;
    long double mean_scale = fabsl((long double)j->mean[c]) + fabsl(m.mean) + sqrtl(m.var) + 1e-38L;
    check(fabsl((long double)r->statistics[0][c] - mean) <= 1e-6L * mean_scale, "the running mean is off");
    check(fabsl((long double)r->statistics[1][c] - var) <= var_bound * var + 1e-38L, "the running variance is off");
}

/* What is left of an error when half a unit of the last place of a 16-bit y or dx is taken off it. */
static long double beyond_rounding(float value, long double exact, bnorm_dtype type)
{
    const bool too_large = isinf(value) && fabsl(exact) > (type == BNORM_DTYPE_F16 ? 65519 : 3.39e38L);
    return too_large ? 0 : fabsl((long double)value - exact) - (long double)half_unit(type, value);
}

static void check_channel(const job *j, const result *r, size_t c, input_class class)
{
    /* Values of 16 bits repeat, so that errors of their squares add up. */
    const long double var_bound = is_typed(j) ? 1.5e-6L : 1e-6L;
    const bnorm_shape *s = &j->shape;
    float gamma = j->with_parameters ? j->gamma[c] : 1.0f, beta = j->with_parameters ? j->beta[c] : 0.0f;
    float rounded_beta = beta;
    oracle_moments m = { (long double)j->mean[c], (long double)j->var[c], 0 };
    const bnorm_epilogue e = epilogue_of(j->op);
    const long double steepest = fmaxl(1.2L, fabsl((long double)e.alpha)); /* slope of the activation, at most */
    if (is_training(j->op)) {
        m = oracle_channel(j->x, s->batch, s->channels, s->points, c);
        long double mean = (long double)r->statistics[2][c] + (long double)r->statistics[3][c];
        long double mean_error = fabsl(mean - m.mean) / (sqrtl(m.var) + fabsl(m.mean) * 1e-6L + 1e-38L);
        note_worst(&worst[class].mean, mean_error);
        check(mean_error <= 1e-6L, "the mean is off");
        check_running(j, r, c, m, var_bound);
        if (!j->with_parameters) {
            long double var = (long double)r->statistics[1][c];
            long double var_error = fabsl(var - m.var) / (m.var + 1.2e-38L);
            note_worst(&worst[class].var, var_error);
            check(var_error <= var_bound && var >= 0, "the variance is off");
            check(m.var != 0 || var == 0, "the variance of a constant channel is not 0");
        }
    }
    bool constant_is_beta = true;
    round_elements(s->out.dtype, &rounded_beta, 1);
    long double largest = 0, scale = (long double)gamma / sqrtl(m.var + (long double)j->epsilon);
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++) {
            size_t i = (n * s->channels + c) * s->points + p;
            long double z = oracle_value(j->x[i], m, j->epsilon, gamma, beta);
            long double terms = fabsl(((long double)j->x[i] - m.mean) * scale) + fabsl((long double)beta);
            if (has_residual(j->op))
                z += (long double)j->residual[i];
            long double exact = oracle_activation(&e, z);
            long double error = beyond_rounding(r->y[i], exact, s->out.dtype) / fmaxl(1, fmaxl(fabsl(z), terms));
            largest = larger_error(largest, e.activation ? error / steepest : error);
            constant_is_beta = constant_is_beta && (j->op != TRAIN || m.var != 0 || r->y[i] == rounded_beta);
        }
    note_worst(&worst[class].y, largest);
    check(largest <= 2e-6L, "y is off");
    check(constant_is_beta, "a constant channel does not give beta");
}

/* The index of a channel's i-th value. */
static size_t index_of(const bnorm_shape *s, size_t c, size_t i)
{
    return (i / s->points * s->channels + c) * s->points + i % s->points;
}

/* The gradients of a channel by their definition, from the exact statistics and the slope at the z of the forward call.
 */
typedef struct exact_channel {
    size_t count;
    long double *h, *dy, factor;
    oracle_gradients g;
    /* A computed slope is off by so much, for all values of a constant channel alike; and so are the sums. */
    long double slope_error, dbeta_error, dgamma_error;
} exact_channel;

static exact_channel exact_gradients(buffers *owner, const job *j, size_t c)
{
    const bnorm_shape *s = &j->shape;
    const bnorm_epilogue e = epilogue_of(j->op);
    exact_channel x = { .count = s->batch * s->points };
    oracle_moments m = { (long double)j->mean[c], (long double)j->var[c], 0 };
    if (!is_frozen(j->op))
        m = oracle_channel(j->x, s->batch, s->channels, s->points, c);
    if (e.activation > BNORM_ACT_HARD_SIGMOID)
        x.slope_error = 3e-7L * fmaxl(1, fabsl((long double)e.alpha));
    x.h = take_zeros(owner, 2 * x.count * sizeof(*x.h));
    x.dy = x.h + x.count;
    for (size_t i = 0; i < x.count; i++) {
        const size_t at = index_of(s, c, i);
        x.h[i] = oracle_value(j->x[at], m, j->epsilon, 1.0f, 0.0f);
        x.dy[i] = (long double)j->dy[at] * oracle_slope(&e, (long double)j->y[at]);
        x.dbeta_error += x.slope_error * fabsl((long double)j->dy[at]);
        x.dgamma_error += x.slope_error * fabsl((long double)j->dy[at] * x.h[i]);
    }
    x.g = oracle_sums(x.h, x.dy, x.count);
    x.factor = (j->with_parameters ? (long double)j->gamma[c] : 1) / sqrtl(m.var + (long double)j->epsilon);
    return x;
}

static void check_dresidual(const job *j, const result *r, size_t c, const exact_channel *x)
{
    bool right = true;
    for (size_t i = 0; i < x->count && has_residual(j->op); i++) {
        const size_t at = index_of(&j->shape, c, i);
        right = right && beyond_rounding(r->dresidual[at], x->dy[i], j->shape.out.dtype) <=
                             1e-6L * fabsl((long double)j->dy[at]) + 1e-38L;
    }
    check(right, "dresidual is off");
}

static void check_dx(const job *j, const result *r, size_t c, const exact_channel *x, double *kept)
{
    const oracle_gradients none = { 0, 0, 0, 0 }, sums = is_frozen(j->op) ? none : x->g;
    const long double count = (long double)x->count, rms = x->g.dbeta_size / sqrtl(count), mean = x->g.dbeta / count;
    const bool centered = !epilogue_of(j->op).activation && !is_frozen(j->op);
    const long double size = fabsl(x->factor) * (centered ? sqrtl(fmaxl(rms * rms - mean * mean, 0)) : rms);
    long double largest = 0;
    for (size_t i = 0; i < x->count; i++) {
        const size_t at = index_of(&j->shape, c, i);
        const long double exact = x->factor * oracle_dx(x->h[i], x->dy[i], sums, x->count);
        const long double error = beyond_rounding(r->y[at], exact, j->shape.in.dtype) -
                                  fabsl(x->factor * x->slope_error * (long double)j->dy[at]);
        const long double terms = fabsl(x->factor * (x->dy[i] - sums.dbeta / count));
        largest = larger_error(largest, error / fmaxl(fmaxl(1, size), fmaxl(fabsl(exact), terms)));
    }
    note_worst(kept, largest);
    check(largest <= 4e-6L, "dx is off");
}

/* A sum that was added to what was there, if anything was. */
static void check_sum(float got, long double exact, const float *before, long double error, long double size,
                      double *kept, const char *what)
{
    exact += before ? (long double)*before : 0;
    const long double off = (fabsl((long double)got - exact) - error) / fmaxl(1, fmaxl(fabsl(exact), size));
    note_worst(kept, off);
    check(off <= 4e-6L, what);
}

static void check_gradients(const job *j, const result *r, size_t c, input_class class)
{
    buffers taken = { NULL };
    const exact_channel x = exact_gradients(&taken, j, c);
    const bool added = j->with_parameters;
    check_dresidual(j, r, c, &x);
    check_dx(j, r, c, &x, &worst[class].dx);
    check_sum(r->statistics[0][c], x.g.dgamma, added ? &j->gamma[c] : NULL, x.dgamma_error, x.g.dgamma_size,
              &worst[class].dgamma, "dgamma is off");
    check_sum(r->statistics[1][c], x.g.dbeta, added ? &j->beta[c] : NULL, x.dbeta_error, x.g.dbeta_size,
              &worst[class].dbeta, "dbeta is off");
    give_back(&taken);
}

static bool finite_channel(const job *j, size_t c)
{
    for (size_t i = 0; i < j->shape.batch * j->shape.points; i++) {
        size_t at = index_of(&j->shape, c, i);
        if (!isfinite(j->x[at]) || (is_backward(j->op) && !isfinite(j->dy[at])))
            return false;
    }
    return true;
}

/*
 * A NaN or Inf makes all of its channel NaN in training, and stays where it is in inference, where 16 bits may overflow
 * too; NaN passes activations.
 */
static void check_poisoned(const job *j, const result *r, size_t c)
{
    const bnorm_shape *s = &j->shape;
    bool right = true;
    for (size_t n = 0; n < s->batch; n++)
        for (size_t p = 0; p < s->points; p++) {
            size_t i = (n * s->channels + c) * s->points + p;
            if (is_training(j->op))
                right = right && isnan(r->y[i]);
            else if (epilogue_of(j->op).activation)
                right = right && isnan(j->x[i]) == isnan(r->y[i]);
            else
                right = right && (isfinite(j->x[i]) == isfinite(r->y[i]) || (isinf(r->y[i]) && is_typed(j)));
        }
    check(right, "a NaN or Inf did not stay what and where it belongs");
    if (is_training(j->op) && j->with_parameters)
        check(same_bits(&r->statistics[0][c], &j->mean[c], 1) && same_bits(&r->statistics[1][c], &j->var[c], 1),
              "a NaN or Inf changed running statistics");
}

void check_bounds(const job *j, const result *r, input_class class)
{
    if (class == INPUT_random_patterns)
        return;
    for (size_t c = 0; c < j->shape.channels; c++)
        if (finite_channel(j, c) && is_backward(j->op))
            check_gradients(j, r, c, class);
        else if (finite_channel(j, c))
            check_channel(j, r, c, class);
        else if (!is_backward(j->op))
            check_poisoned(j, r, c);
}

void note_largest_errors(void)
{
    check_note("%-16s %-14s %-18s %-20s %-9s %-9s %s", "input class", "error of y", "error of variance",
               "error of mean / std", "dx", "dgamma", "dbeta");
    for (int class = 0; class < INPUT_COUNT; class ++)
        if (class != INPUT_random_patterns)
            check_note("%-16s %-14.1e %-18.1e %-20.1e %-9.1e %-9.1e %.1e", input_name((input_class) class),
                       worst[class].y, worst[class].var, worst[class].mean, worst[class].dx, worst[class].dgamma,
                       worst[class].dbeta);
}
