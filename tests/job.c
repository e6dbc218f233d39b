/* SPDX-License-Identifier: MIT */
#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

const bnorm_tuning usual_tuning = {
    .smallest_task = 16384, .strip_lanes = 32, .core_cache = 1 << 20, .shared_cache = 32 << 20
};
static const bnorm_tuning tiny = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 2048, .shared_cache = 1 << 20 };
static const bnorm_tuning cold = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 512, .shared_cache = 4096 };
static const bnorm_tuning roomy = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 512, .shared_cache = 32768 };
static const bnorm_tuning no_cache = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 1, .shared_cache = 1 };
const bnorm_tuning *const tunings[TUNING_COUNT] = { &usual_tuning, &tiny, &cold, &roomy, &no_cache };

static size_t elements(const bnorm_shape *s)
{
    return s->batch * s->channels * s->points;
}

size_t job_elements(const job *j)
{
    return elements(&j->shape);
}

static float *floats(size_t count)
{
    return calloc(count + 1, sizeof(float));
}

static result result_new(const bnorm_shape *s)
{
    result r = { .y = floats(elements(s)) };
    for (int i = 0; i < STATISTICS; i++)
        r.statistics[i] = floats(s->channels);
    return r;
}

void result_free(result *r)
{
    free(r->y);
    for (int i = 0; i < STATISTICS; i++)
        free(r->statistics[i]);
}

const char *operation_name(operation op)
{
    static const char *const names[OPERATION_COUNT] = { "infer",         "train",  "backward",
                                                        "backward+relu", "frozen", "frozen+relu" };
    return names[op];
}

static float *drawn(size_t channels, random_state *r, bool positive)
{
    float *values = floats(channels);
    for (size_t c = 0; c < channels; c++)
        values[c] = positive ? (float)random_uniform(r) : (float)random_normal(r);
    return values;
}

/* What a forward pass leaves for the backward one: portable C's, in plain order. */
static void go_forward(job *j)
{
    const way plain = { .kernels = bnorm_kernels_at(bnorm_isa_count() - 1), .tuning = &usual_tuning };
    job forward = *j;
    forward.op = is_frozen(j->op) ? INFER : TRAIN;
    result r = perform(&forward, &plain);
    memcpy(j->y, r.y, elements(&j->shape) * sizeof(float));
    if (!is_frozen(j->op)) {
        size_t bytes = j->shape.channels * sizeof(float);
        memcpy(j->mean, r.statistics[2], bytes);
        memcpy(j->low, r.statistics[3], bytes);
        memcpy(j->rstd, r.statistics[4], bytes);
    }
    result_free(&r);
}

job job_new(size_t batch, size_t channels, size_t points, size_t block, input_class class, uint64_t seed, operation op,
            bool with_parameters)
{
    random_state r = { seed + class };
    job j = { .shape = bnorm_blocked(batch, channels, points, block), .op = op, .epsilon = 1e-5f };
    j.with_parameters = with_parameters;
    j.x = floats(elements(&j.shape));
    input_fill(class, j.x, batch, channels, points, random_bits(&r));
    j.gamma = drawn(channels, &r, false);
    j.beta = drawn(channels, &r, false);
    j.mean = drawn(channels, &r, false);
    j.var = drawn(channels, &r, true);
    if (is_backward(op)) {
        j.dy = floats(elements(&j.shape));
        j.y = floats(elements(&j.shape));
        j.low = floats(channels);
        j.rstd = floats(channels);
        input_fill(with_parameters ? class : INPUT_normal, j.dy, batch, channels, points, random_bits(&r));
        go_forward(&j);
    }
    return j;
}

void job_free(job *j)
{
    float *arrays[] = { j->x, j->gamma, j->beta, j->mean, j->var, j->dy, j->y, j->low, j->rstd };
    for (size_t i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
        free(arrays[i]);
}

/* ---- The calls ---- */

static bnorm_machine machine_of(const way *w)
{
    return (bnorm_machine){ w->kernels, *w->tuning };
}

static bnorm_status call_infer(const job *j, const way *w, const bnorm_shape *shape, const float *x, float *y)
{
    const bnorm_machine m = machine_of(w);
    bnorm_infer_params p = { .struct_size = sizeof(p), .mean = j->mean, .var = j->var, .epsilon = j->epsilon };
    p.hint = w->hint;
    p.gamma = j->with_parameters ? j->gamma : NULL;
    p.beta = j->with_parameters ? j->beta : NULL;
    return bnorm_infer_on(&m, shape, &p, x, y, w->executor);
}

static buffer workspace_for(const way *w, const bnorm_shape *shape, bnorm_operation op)
{
    const bnorm_machine m = machine_of(w);
    size_t size = 0;
    bnorm_status status = bnorm_workspace_size_on(&m, shape, op, w->executor, &size);
    check(status == BNORM_OK, bnorm_status_string(status));
    return buffer_new(size, w->side);
}

/* Two tensors, of which the second is empty. */
static bnorm_status train_in_steps(const way *w, const bnorm_shape *shape, const bnorm_train_params *p, const float *x,
                                   float *y, buffer *workspace)
{
    const bnorm_machine m = machine_of(w);
    const size_t channels = shape->channels;
    const uint64_t count = (uint64_t)shape->batch * shape->points;
    double *mean = calloc(4 * channels, sizeof(*mean)), *m2 = mean + channels;
    bnorm_shape empty = *shape;
    empty.batch = 0;
    bnorm_status status = bnorm_collect_on(&m, shape, x, mean, m2, workspace->data, workspace->bytes, w->executor);
    if (!status)
        status = bnorm_collect_on(&m, &empty, NULL, m2 + channels, m2 + 2 * channels, NULL, 0, w->executor);
    if (!status)
        status = bnorm_merge_on(&m, channels, count, mean, m2, 0, m2 + channels, m2 + 2 * channels);
    if (!status)
        status = bnorm_merge_on(&m, channels, 0, m2 + channels, m2 + 2 * channels, count, mean, m2);
    if (!status)
        status = bnorm_finish_on(&m, channels, count, m2 + channels, m2 + 2 * channels, p);
    if (!status)
        status = bnorm_apply_on(&m, shape, p, x, y, w->executor);
    free(mean);
    return status;
}

static bnorm_status call_train(const job *j, const way *w, const bnorm_shape *shape, const float *x, float *y,
                               result *r)
{
    const bnorm_machine m = machine_of(w);
    bnorm_train_params p = { .struct_size = sizeof(p), .epsilon = j->epsilon, .momentum = 1.0f };
    size_t bytes = j->shape.channels * sizeof(float);
    p.running_variance = BNORM_BIASED;
    p.hint = w->hint;
    if (j->with_parameters) {
        p.momentum = 0.3f;
        p.gamma = j->gamma;
        p.beta = j->beta;
        if (elements(&j->shape) > j->shape.channels)
            p.running_variance = BNORM_UNBIASED;
    }
    memcpy(r->statistics[0], j->mean, bytes);
    memcpy(r->statistics[1], j->var, bytes);
    p.running_mean = r->statistics[0];
    p.running_var = r->statistics[1];
    p.saved_mean = r->statistics[2];
    p.saved_mean_low = r->statistics[3];
    p.saved_rstd = r->statistics[4];
    buffer workspace = workspace_for(w, shape, BNORM_TRAIN);
    bnorm_status status = w->steps ? train_in_steps(w, shape, &p, x, y, &workspace)
                                   : bnorm_train_on(&m, shape, &p, x, y, workspace.data, workspace.bytes, w->executor);
    buffer_free(&workspace);
    return status;
}

/* Sums of two tensors, of which the second is empty. */
static bnorm_status backward_in_steps(const way *w, const bnorm_shape *shape, const bnorm_backward_params *p,
                                      const float *x, const float *dy, float *dx, buffer *workspace)
{
    const bnorm_machine m = machine_of(w);
    const size_t count = 3 * shape->channels;
    double *sums = calloc(2 * count, sizeof(*sums));
    bnorm_shape empty = *shape;
    empty.points = 0;
    bnorm_status status =
        bnorm_backward_reduce_on(&m, shape, p, x, dy, sums, workspace->data, workspace->bytes, w->executor);
    if (!status)
        status = bnorm_backward_reduce_on(&m, &empty, p, NULL, NULL, sums + count, NULL, 0, w->executor);
    for (size_t i = 0; i < count; i++)
        sums[i] += sums[count + i];
    if (!status)
        status =
            bnorm_backward_apply_on(&m, shape, p, (uint64_t)shape->batch * shape->points, sums, x, dy, dx, w->executor);
    free(sums);
    return status;
}

static bnorm_status call_backward(const job *j, const way *w, const bnorm_shape *shape, const float *x, const float *dy,
                                  float *dx, result *r)
{
    const bnorm_machine m = machine_of(w);
    const bool frozen = is_frozen(j->op), dgamma = !(w->unwanted & NO_DGAMMA);
    size_t bytes = j->shape.channels * sizeof(float);
    bnorm_backward_params p = { .struct_size = sizeof(p), .mean = j->mean, .hint = w->hint };
    p.activation = through_relu(j->op) ? BNORM_RELU : BNORM_IDENTITY;
    if (frozen) {
        p.statistics = BNORM_FROZEN_STATISTICS;
        p.var = j->var;
        p.epsilon = j->epsilon;
    } else {
        p.mean_low = j->low;
        p.rstd = j->rstd;
    }
    if (j->with_parameters) {
        p.gamma = j->gamma;
        p.beta = j->beta;
        p.accumulate = 1;
        memcpy(r->statistics[0], j->gamma, bytes);
        memcpy(r->statistics[1], j->beta, bytes);
    }
    p.dgamma = dgamma ? r->statistics[0] : NULL;
    p.dbeta = w->unwanted & NO_DBETA ? NULL : r->statistics[1];
    dx = w->unwanted & NO_DX ? NULL : dx;
    if (frozen && !dgamma && !through_relu(j->op) && !w->steps)
        x = NULL; /* nothing asks for it */
    buffer workspace = workspace_for(w, shape, BNORM_BACKWARD);
    bnorm_status status =
        w->steps ? backward_in_steps(w, shape, &p, x, dy, dx, &workspace)
                 : bnorm_backward_on(&m, shape, &p, x, dy, dx, workspace.data, workspace.bytes, w->executor);
    buffer_free(&workspace);
    return status;
}

/* ---- The same with tensors in guarded buffers ---- */

static void check_unchanged(const tensor *t, const float *values)
{
    size_t count = elements(&t->shape);
    float *after = floats(count);
    check(tensor_read(t, after, false) && memcmp(after, values, count * sizeof(float)) == 0, "an input was written");
    free(after);
}

static bnorm_status call(const job *j, const way *w, const bnorm_shape *shape, const float *x, const float *dy,
                         float *out, result *r)
{
    if (j->op == INFER)
        return call_infer(j, w, shape, x, out);
    return j->op == TRAIN ? call_train(j, w, shape, x, out, r) : call_backward(j, w, shape, x, dy, out, r);
}

result perform(const job *j, const way *w)
{
    const bool backward = is_backward(j->op), in_x = w->in_place, in_dy = backward && w->in_dy;
    const bool writes = !(w->unwanted & NO_DX);
    bnorm_shape shape = j->shape;
    result r = result_new(&shape);
    shape.in = layout_of(&shape, w->in);
    shape.out = layout_of(&shape, in_dy || (in_x && !backward) ? w->in : w->out);
    tensor x = tensor_new(&shape, shape.in, w->side, j->x), dy = { .data = NULL }, own = { .data = NULL };
    if (backward)
        dy = tensor_new(&shape, shape.out, w->side, j->dy);
    if (!in_x && !in_dy)
        own = tensor_new(&shape, backward ? shape.in : shape.out, w->side, NULL);
    const tensor *out = in_dy ? &dy : in_x ? &x : &own;
    bnorm_status status = call(j, w, &shape, x.data, dy.data, out->data, &r);
    check(status == BNORM_OK, bnorm_status_string(status));
    if (writes)
        check(tensor_read(out, r.y, true), "something beside the elements was written, or padding is not zero");
    if (out != &x || !writes)
        check_unchanged(&x, j->x);
    if (backward && (out != &dy || !writes))
        check_unchanged(&dy, j->dy);
    tensor_free(&x);
    if (backward)
        tensor_free(&dy);
    if (own.data)
        tensor_free(&own);
    return r;
}
