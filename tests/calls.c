/* SPDX-License-Identifier: MIT */
/*
 * The public calls on every ISA: within the bounds of docs/numerics.md against the oracle, and with the bits of
 * portable C on one thread, whatever the ISA, the threads, the cutting of the work, the strides and the alignment.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "element.h"
#include "executors.h"
#include "job.h"
#include "oracle.h"

static void check_same(const job *j, const result *expected, const way *w)
{
    result r = perform(j, w);
    if (!(w->unwanted & NO_DX))
        check(same_bits(r.y, expected->y, job_elements(j)), "y or dx has other bits than portable C");
    if (has_residual(j->op) && is_backward(j->op) && !(w->unwanted & NO_DRESIDUAL))
        check(same_bits(r.dresidual, expected->dresidual, job_elements(j)), "dresidual has other bits than portable C");
    for (int i = 0; (is_training(j->op) || is_backward(j->op)) && i < STATISTICS; i++)
        if (!(w->unwanted & (i == 0 ? NO_DGAMMA : i == 1 ? NO_DBETA : 0)))
            check(same_bits(r.statistics[i], expected->statistics[i], j->shape.channels),
                  "statistics or gradients have other bits than portable C");
    result_free(&r);
}

/* ---- Bounds ---- */

/* Largest errors of a class, as docs/numerics.md lists them. */
static struct {
    double y, var, mean, dx, dgamma, dbeta;
} worst[INPUT_COUNT];

static void note_worst(double *kept, long double error)
{
    if ((double)error > *kept)
        *kept = (double)error;
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
            largest = fmaxl(largest, e.activation ? error / steepest : error);
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

/* Against the gradients by their definition, from the exact statistics and the slope at the z of the forward call. */
static void check_gradients(const job *j, const result *r, size_t c, input_class class)
{
    const bnorm_shape *s = &j->shape;
    const size_t count = s->batch * s->points;
    long double *h = malloc(2 * count * sizeof(*h)), *dy = h + count, largest = 0;
    /* A computed slope is off by so much, for all values of a constant channel alike. */
    long double slope_error = 0, dbeta_error = 0, dgamma_error = 0;
    oracle_moments m = { (long double)j->mean[c], (long double)j->var[c], 0 };
    const bnorm_epilogue e = epilogue_of(j->op);
    bool dresidual_right = true;
    if (!is_frozen(j->op))
        m = oracle_channel(j->x, s->batch, s->channels, s->points, c);
    if (e.activation > BNORM_ACT_HARD_SIGMOID)
        slope_error = 3e-7L * fmaxl(1, fabsl((long double)e.alpha));
    for (size_t i = 0; i < count; i++) {
        size_t at = index_of(s, c, i);
        h[i] = oracle_value(j->x[at], m, j->epsilon, 1.0f, 0.0f);
        dy[i] = (long double)j->dy[at] * oracle_slope(&e, (long double)j->y[at]);
        dbeta_error += slope_error * fabsl((long double)j->dy[at]);
        dgamma_error += slope_error * fabsl((long double)j->dy[at] * h[i]);
        if (has_residual(j->op))
            dresidual_right = dresidual_right && beyond_rounding(r->dresidual[at], dy[i], s->out.dtype) <=
                                                     1e-6L * fabsl((long double)j->dy[at]) + 1e-38L;
    }
    check(dresidual_right, "dresidual is off");
    const oracle_gradients g = oracle_sums(h, dy, count), none = { 0, 0, 0, 0 };
    const oracle_gradients sums = is_frozen(j->op) ? none : g;
    const long double factor =
        (j->with_parameters ? (long double)j->gamma[c] : 1) / sqrtl(m.var + (long double)j->epsilon);
    const long double rms = g.dbeta_size / sqrtl((long double)count), mean = g.dbeta / (long double)count;
    const long double size =
        fabsl(factor) * (!e.activation && !is_frozen(j->op) ? sqrtl(fmaxl(rms * rms - mean * mean, 0)) : rms);
    for (size_t i = 0; i < count; i++) {
        long double exact = factor * oracle_dx(h[i], dy[i], sums, count);
        long double error = beyond_rounding(r->y[index_of(s, c, i)], exact, s->in.dtype);
        error -= fabsl(factor * slope_error * (long double)j->dy[index_of(s, c, i)]);
        long double terms = fabsl(factor * (dy[i] - sums.dbeta / (long double)count));
        largest = fmaxl(largest, error / fmaxl(fmaxl(1, size), fmaxl(fabsl(exact), terms)));
    }
    note_worst(&worst[class].dx, largest);
    check(largest <= 4e-6L, "dx is off");
    const long double dgamma = g.dgamma + (j->with_parameters ? (long double)j->gamma[c] : 0);
    const long double dbeta = g.dbeta + (j->with_parameters ? (long double)j->beta[c] : 0);
    const long double dgamma_off = fabsl((long double)r->statistics[0][c] - dgamma) - dgamma_error;
    const long double dbeta_off = fabsl((long double)r->statistics[1][c] - dbeta) - dbeta_error;
    long double error = dgamma_off / fmaxl(1, fmaxl(fabsl(dgamma), g.dgamma_size));
    note_worst(&worst[class].dgamma, error);
    check(error <= 4e-6L, "dgamma is off");
    error = dbeta_off / fmaxl(1, fmaxl(fabsl(dbeta), g.dbeta_size));
    note_worst(&worst[class].dbeta, error);
    check(error <= 4e-6L, "dbeta is off");
    free(h);
}

/* ---- Differences: the loss sum(dy * y) of one channel, whose slopes the gradients must be ---- */

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

static void check_differences(void)
{
    const way plain = { .kernels = bnorm_kernels_at(0), .tuning = &usual_tuning };
    for (int op = 0; op < OPERATION_COUNT; op++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            if (!is_backward((operation)op) || !operation_runs((operation)op, bnorm_kernels_at(bnorm_isa_count() - 1)))
                continue;
            const bnorm_shape shape = bnorm_nchw(2, 1, VALUES / 2);
            job j = job_new(&shape, INPUT_normal, check_seed() + seed, (operation)op, true);
            slope_job s = { .job = &j, .gamma = (long double)j.gamma[0], .beta = (long double)j.beta[0] };
            bool kink = false;
            s.epilogue = epilogue_of((operation)op);
            for (int i = 0; i < VALUES; i++) {
                s.x[i] = (long double)j.x[i];
                s.residual[i] = has_residual((operation)op) ? (long double)j.residual[i] : 0;
                kink = kink || near_kink(&s.epilogue, (long double)j.y[i]);
            }
            result r = perform(&j, &plain);
            check_context("%s, central differences, case %d", operation_name((operation)op), (int)seed);
            for (int i = 0; i < VALUES && !kink; i++)
                check_slope(&s, &s.x[i], r.y[i], "dx is not the slope of the loss");
            for (int i = 0; i < VALUES && !kink && has_residual((operation)op); i++)
                check_slope(&s, &s.residual[i], r.dresidual[i], "dresidual is not the slope of the loss");
            if (!kink) { /* added to what was there */
                check_slope(&s, &s.gamma, r.statistics[0][0] - j.gamma[0], "dgamma is not the slope of the loss");
                check_slope(&s, &s.beta, r.statistics[1][0] - j.beta[0], "dbeta is not the slope of the loss");
            }
            result_free(&r);
            job_free(&j);
        }
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

static void check_bounds(const job *j, const result *r, input_class class)
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

/* ---- What is tried ---- */

static size_t ways_tried;

static void check_way(const job *j, const result *expected, const way *w, const char *name)
{
    check_context(
        "%s%s %s to %s without %d %s %s batch %zu channels %zu points %zu block %zu%s: %s, in %d out %d, width %zu, "
        "caches of %zu and %zu, hint %d%s",
        operation_name(j->op), w->steps ? " in steps" : "", type_name(j->shape.in.dtype), type_name(j->shape.out.dtype),
        w->unwanted, name, j->with_parameters ? "gamma" : "plain", j->shape.batch, j->shape.channels, j->shape.points,
        j->shape.block,
        w->mask       ? " with a mask"
        : w->in_place ? " in place"
        : w->in_dy    ? " in dy"
                      : "",
        w->kernels->name, (int)w->in, (int)w->out, w->executor ? w->executor->width : 1, w->tuning->core_cache,
        w->tuning->shared_cache, (int)w->hint, w->side == FLUSH_END ? ", at the end" : ", at the start");
    check_same(j, expected, w);
    ways_tried++;
}

/* Every ISA in every way, or in a few drawn by lot. */
static void check_ways(const job *j, const result expected[2], const char *name, bool all, random_state *r)
{
    const bnorm_executor executors[] = { { 0 }, executor_backwards(2), executor_backwards(64), executor_threads(3) };
    enum { EXECUTORS = 4 }; /* starting threads is slow: only where all ways are tried */
    size_t executor_count = all ? EXECUTORS : EXECUTORS - 1,
           count = TUNING_COUNT * 2 * executor_count * SPACING_COUNT * 2;
    const size_t few = is_backward(j->op) || is_typed(j) ? 1 : 2;
    const bnorm_kernels *kernels;
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++)
        for (size_t i = 0; i < (all ? count : few) && operation_runs(j->op, kernels); i++) {
            size_t n = all ? i : random_below(r, count);
            way w = { .kernels = kernels, .tuning = tunings[n % TUNING_COUNT] };
            n /= TUNING_COUNT;
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
    result_free(&expected[0]);
    result_free(&expected[1]);
    job_free(&j);
}

static void check_shape(size_t batch, size_t channels, size_t points, size_t block, input_class class, bool all,
                        random_state *r)
{
    for (int op = 0; op < OPERATION_COUNT; op++)
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

/* Long enough for several segments, in lanes of one channel, of some and of many. */
static const size_t long_shapes[][4] = {
    { 1, 2, 70001, 1 }, { 3, 3, 24001, 3 }, { 2101, 230, 1, 230 }, { 5, 16, 2099, 8 }
};
static const input_class long_classes[] = { INPUT_normal, INPUT_offset_1e6, INPUT_step, INPUT_heavy_tailed,
                                            INPUT_random_patterns };

/* Of the inputs of a shape one in so many: where long double is in software, and that emulated, the oracle is slow. */
enum { STRIDE = LDBL_MANT_DIG > 64 ? 5 : 1 };

int main(int argc, char **argv)
{
    static const size_t blocks[] = { 1, 3, 4, 8, 16, 30, 0 };
    check_start(argc, argv, "calls");
    random_state r = { check_seed() };
    check_differences();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (size_t b = 0; b < sizeof(blocks) / sizeof(*blocks); b++)
            for (int class = (int)((i + b) % STRIDE); class < INPUT_COUNT; class += STRIDE)
                check_shape(shapes[i][0], shapes[i][1], shapes[i][2], blocks[b] ? blocks[b] : shapes[i][1],
                            (input_class) class, class == INPUT_random_patterns && i % 7 == b, &r);
    for (size_t i = 0; i < sizeof(long_shapes) / sizeof(*long_shapes); i++)
        for (size_t c = 0; c < sizeof(long_classes) / sizeof(*long_classes); c++)
            check_shape(long_shapes[i][0], long_shapes[i][1], long_shapes[i][2], long_shapes[i][3], long_classes[c],
                        false, &r);
    for (int op = 0; op < OPERATION_COUNT; op++)
        if (!operation_runs((operation)op, bnorm_kernels_at(bnorm_isa_count() - 1))) {
            char why[128];
            snprintf(why, sizeof(why), "%s: no SLEEF, or none for portable C on this CPU",
                     operation_name((operation)op));
            check_skip(why);
        }
    check_note("%zu ways of calling, each equal to portable C on one thread", ways_tried);
    check_note("%-16s %-14s %-18s %-20s %-9s %-9s %s", "input class", "error of y", "error of variance",
               "error of mean / std", "dx", "dgamma", "dbeta");
    for (int class = 0; class < INPUT_COUNT; class ++)
        if (class != INPUT_random_patterns)
            check_note("%-16s %-14.1e %-18.1e %-20.1e %-9.1e %-9.1e %.1e", input_name((input_class) class),
                       worst[class].y, worst[class].var, worst[class].mean, worst[class].dx, worst[class].dgamma,
                       worst[class].dbeta);
    return check_finish();
}
