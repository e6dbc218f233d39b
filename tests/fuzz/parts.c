/* SPDX-License-Identifier: MIT */
/* Fuzzing the calls for steps: a batch in parts of any layouts, whose statistics and gradients are those of the whole.
 */
#include <string.h>

#include "../calls.h"
#include "../check.h"
#include "../element.h"
#include "../executors.h"
#include "targets.h"

enum { MOST_PARTS = 4 };

/* A part of the batch, and how its calls are made, which must not show. */
typedef struct part {
    bnorm_shape shape;
    size_t first; /* its first value */
    tensor x, dy, out;
    bnorm_machine machine;
    bnorm_executor executor;
    double *sums; /* mean and m2; or the three of backward */
} part;

typedef struct batch {
    buffers taken;
    const job *job;
    part parts[MOST_PARTS];
    size_t count;
} batch;

static const void *data_of(const part *p, const tensor *t)
{
    return p->shape.batch ? t->data : NULL;
}

static void place_part(batch *b, part *p, cursor *c)
{
    const job *j = b->job;
    const flush side = take_rarely(c, 2) ? FLUSH_START : FLUSH_END;
    const size_t values = p->shape.channels;
    p->machine =
        (bnorm_machine){ bnorm_kernels_at(take_below(c, bnorm_isa_count())), *tunings[take_below(c, tuning_count)] };
    p->executor = executor_backwards(take_in(c, 1, 40));
    p->shape.in = layout_of(&p->shape, BNORM_DTYPE_F32, (spacing)take_below(c, SPACING_COUNT));
    p->shape.out = layout_of(&p->shape, BNORM_DTYPE_F32, (spacing)take_below(c, SPACING_COUNT));
    p->sums = take_guarded(&b->taken, 3 * values * sizeof(double), side);
    if (!p->shape.batch)
        return;
    p->x = tensor_new(&b->taken, &p->shape, p->shape.in, side, j->x + p->first);
    if (is_backward(j->op))
        p->dy = tensor_new(&b->taken, &p->shape, p->shape.out, side, j->dy + p->first);
    p->out = tensor_new(&b->taken, &p->shape, is_backward(j->op) ? p->shape.in : p->shape.out, side, NULL);
}

static void *workspace_of(batch *b, const part *p, bnorm_operation op, size_t *size)
{
    const bnorm_status status = bnorm_workspace_size_on(&p->machine, &p->shape, op, &p->executor, size);
    check(status == BNORM_OK, bnorm_status_string(status));
    return take_unwritten(&b->taken, *size, FLUSH_END);
}

static void expect_ok(bnorm_status status)
{
    check(status == BNORM_OK, bnorm_status_string(status));
}

/* ---- Training ---- */

static void train_parts(batch *b, result *r)
{
    const job *j = b->job;
    const bnorm_epilogue e = epilogue_of(j->op);
    const size_t channels = j->shape.channels, values = j->shape.points;
    uint64_t count = 0;
    part *const first = &b->parts[0];
    memcpy(r->statistics[0], j->mean, channels * sizeof(float));
    memcpy(r->statistics[1], j->var, channels * sizeof(float));
    bnorm_train_params p = bnorm_train_defaults();
    p.epsilon = j->epsilon;
    p.momentum = j->with_parameters ? 0.3f : 1.0f;
    p.gamma = j->with_parameters ? j->gamma : NULL;
    p.beta = j->with_parameters ? j->beta : NULL;
    if (!j->with_parameters || j->shape.batch * values == 1)
        p.running_variance = BNORM_VARIANCE_BIASED;
    p.running_mean = r->statistics[0];
    p.running_var = r->statistics[1];
    p.saved_mean = r->statistics[2];
    p.saved_mean_low = r->statistics[3];
    p.saved_rstd = r->statistics[4];
    p.epilogue = &e;
    for (size_t i = 0; i < b->count; i++) {
        part *const q = &b->parts[i];
        size_t size;
        void *const workspace = workspace_of(b, q, BNORM_OP_TRAIN, &size);
        expect_ok(bnorm_train_collect_on(&q->machine, &q->shape, data_of(q, &q->x), q->sums, q->sums + channels,
                                         workspace, size, &q->executor));
        if (i)
            expect_ok(bnorm_train_merge_on(&q->machine, channels, count, first->sums, first->sums + channels,
                                           (uint64_t)q->shape.batch * values, q->sums, q->sums + channels));
        count += (uint64_t)q->shape.batch * values;
    }
    expect_ok(bnorm_train_finish_on(&first->machine, channels, count, first->sums, first->sums + channels, &p));
    for (part *q = first; q < first + b->count; q++)
        expect_ok(bnorm_train_apply_on(&q->machine, &q->shape, &p, data_of(q, &q->x), q->out.data, &q->executor));
}

/* ---- Backward ---- */

static bnorm_backward_params backward_of(const job *j, const bnorm_epilogue *e, result *r)
{
    bnorm_backward_params p = bnorm_backward_defaults();
    p.epilogue = e;
    p.mean = j->mean;
    p.statistics = is_frozen(j->op) ? BNORM_STATISTICS_FROZEN : BNORM_STATISTICS_BATCH;
    p.var = j->var;
    p.epsilon = j->epsilon;
    p.mean_low = j->low;
    p.rstd = j->rstd;
    p.gamma = j->with_parameters ? j->gamma : NULL;
    p.beta = j->with_parameters ? j->beta : NULL;
    p.accumulate = j->with_parameters;
    if (j->with_parameters) {
        memcpy(r->statistics[0], j->gamma, j->shape.channels * sizeof(float));
        memcpy(r->statistics[1], j->beta, j->shape.channels * sizeof(float));
    }
    return p;
}

static void backward_parts(batch *b, result *r)
{
    const job *j = b->job;
    const bnorm_epilogue e = epilogue_of(j->op);
    const size_t channels = j->shape.channels;
    const uint64_t count = (uint64_t)j->shape.batch * j->shape.points;
    bnorm_backward_params p = backward_of(j, &e, r);
    part *const first = &b->parts[0];
    for (part *q = first; q < first + b->count; q++) {
        size_t size;
        void *const workspace = workspace_of(b, q, BNORM_OP_BACKWARD, &size);
        expect_ok(bnorm_backward_reduce_on(&q->machine, &q->shape, &p, data_of(q, &q->x), data_of(q, &q->dy), q->sums,
                                           workspace, size, &q->executor));
        for (size_t i = 0; q != first && i < 3 * channels; i++)
            first->sums[i] += q->sums[i];
    }
    for (part *q = first; q < first + b->count; q++) {
        p.dgamma = q == first ? r->statistics[0] : NULL;
        p.dbeta = q == first ? r->statistics[1] : NULL;
        expect_ok(bnorm_backward_apply_on(&q->machine, &q->shape, &p, count, first->sums, data_of(q, &q->x),
                                          data_of(q, &q->dy), q->out.data, &q->executor));
    }
}

/* ---- Both ---- */

static result run_parts(const job *j, const bnorm_shape *shapes, size_t count, cursor *c)
{
    batch b = { .job = j, .count = count };
    result r = result_new(&j->shape);
    for (size_t i = 0, first = 0; i < count; i++) {
        b.parts[i] = (part){ .shape = shapes[i], .first = first };
        place_part(&b, &b.parts[i], c);
        first += shapes[i].batch * j->shape.channels * j->shape.points;
    }
    if (is_backward(j->op))
        backward_parts(&b, &r);
    else
        train_parts(&b, &r);
    for (size_t i = 0; i < count; i++)
        if (b.parts[i].shape.batch)
            check(tensor_read(&b.parts[i].out, r.y + b.parts[i].first, true),
                  "something beside the output was written");
    give_back(&b.taken);
    return r;
}

static void check_equal(const job *j, const result *a, const result *b)
{
    check(same_bits(a->y, b->y, job_elements(j)), "y or dx depends on how parts were computed");
    for (int i = 0; i < STATISTICS; i++)
        check(same_bits(a->statistics[i], b->statistics[i], j->shape.channels),
              "statistics or gradients depend on how parts were computed");
}

static operation take_operation(cursor *c)
{
    operation op = (operation)take_below(c, (size_t)operation_count);
    while (has_residual(op) || !(is_training(op) || is_backward(op)) ||
           !operation_runs(op, bnorm_kernels_at(bnorm_isa_count() - 1)))
        op = (operation)(((int)op + 1) % operation_count);
    return op;
}

void fuzz_parts(cursor *c)
{
    static const size_t blocks[] = { 1, 0, 8, 16, 3 };
    const operation op = take_operation(c);
    const size_t channels = take_in(c, 1, take_rarely(c, 4) ? 40 : 5), most_points = take_rarely(c, 4) ? 90 : 9;
    const size_t points = take_in(c, 1, channels > 5 ? 9 : most_points);
    const size_t count = take_in(c, 1, MOST_PARTS), seed = take_below(c, 256);
    const input_class class = (input_class)take_below(c, INPUT_COUNT);
    bnorm_shape shapes[MOST_PARTS];
    size_t images = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t block = TAKE_FROM(c, blocks), most = take_rarely(c, 8) ? 9 : 3;
        shapes[i] = bnorm_blocked(take_below(c, most) + (i == 0), channels, points, block ? block : channels);
        images += shapes[i].batch;
    }
    const bnorm_shape whole = bnorm_nchw(images, channels, points);
    job j = job_new(&whole, class, seed, op, take_rarely(c, 2));
    check_context("%s in %zu parts, %zux%zux%zu, %s %zu", operation_name(op), count, images, channels, points,
                  input_name(class), seed);
    result r = run_parts(&j, shapes, count, c), other = run_parts(&j, shapes, count, c);
    check_bounds(&j, &r, class);
    check_equal(&j, &r, &other);
    give_back(&r.taken);
    give_back(&other.taken);
    give_back(&j.taken);
}
