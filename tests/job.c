/* SPDX-License-Identifier: MIT */
#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "element.h"

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
    r.dresidual = floats(elements(s));
    for (int i = 0; i < STATISTICS; i++)
        r.statistics[i] = floats(s->channels);
    return r;
}

void result_free(result *r)
{
    free(r->y);
    free(r->dresidual);
    for (int i = 0; i < STATISTICS; i++)
        free(r->statistics[i]);
}

void result_round(result *r, const job *j)
{
    round_elements(is_backward(j->op) ? j->shape.in.dtype : j->shape.out.dtype, r->y, job_elements(j));
    round_elements(j->shape.out.dtype, r->dresidual, job_elements(j));
}

typedef enum made_by { INFERENCE, TRAINING, GRADIENT, FROZEN_GRADIENT } made_by;

/* Each activation forward and backward; and what a residual, its gradient and a mask add to that. */
static const struct {
    const char *name;
    made_by call;
    bool residual;
    bnorm_activation activation;
    float alpha, beta;
} operations[OPERATION_COUNT] = {
    { "infer", INFERENCE, false, BNORM_ACT_IDENTITY, 0, 0 },
    { "train", TRAINING, false, BNORM_ACT_IDENTITY, 0, 0 },
    { "backward", GRADIENT, false, BNORM_ACT_IDENTITY, 0, 0 },
    { "backward+relu", GRADIENT, false, BNORM_ACT_RELU, 0, 0 },
    { "frozen", FROZEN_GRADIENT, false, BNORM_ACT_IDENTITY, 0, 0 },
    { "frozen+relu", FROZEN_GRADIENT, false, BNORM_ACT_RELU, 0, 0 },
    { "infer+relu", INFERENCE, false, BNORM_ACT_RELU, 0, 0 },
    { "infer+clamp", INFERENCE, false, BNORM_ACT_CLAMP, 0, 6 },
    { "infer+leaky_relu", INFERENCE, false, BNORM_ACT_LEAKY_RELU, 0.1f, 0 },
    { "train+hard_sigmoid", TRAINING, false, BNORM_ACT_HARD_SIGMOID, 0.2f, 0.5f },
    { "infer+hard_swish", INFERENCE, false, BNORM_ACT_HARD_SWISH, 0, 0 },
    { "train+sigmoid", TRAINING, false, BNORM_ACT_SIGMOID, 0, 0 },
    { "infer+silu", INFERENCE, false, BNORM_ACT_SILU, 0, 0 },
    { "train+tanh", TRAINING, false, BNORM_ACT_TANH, 0, 0 },
    { "infer+gelu", INFERENCE, false, BNORM_ACT_GELU, 0, 0 },
    { "train+gelu_tanh", TRAINING, false, BNORM_ACT_GELU_TANH, 0, 0 },
    { "infer+elu", INFERENCE, false, BNORM_ACT_ELU, 1.5f, 0 },
    { "train+softplus", TRAINING, false, BNORM_ACT_SOFTPLUS, 0, 0 },
    { "infer+mish", INFERENCE, false, BNORM_ACT_MISH, 0, 0 },
    { "backward+clamp", GRADIENT, false, BNORM_ACT_CLAMP, -0.5f, 6 },
    { "frozen+leaky_relu", FROZEN_GRADIENT, false, BNORM_ACT_LEAKY_RELU, 0.1f, 0 },
    { "backward+hard_sigmoid", GRADIENT, false, BNORM_ACT_HARD_SIGMOID, 0.2f, 0.5f },
    { "frozen+hard_swish", FROZEN_GRADIENT, false, BNORM_ACT_HARD_SWISH, 0, 0 },
    { "backward+sigmoid", GRADIENT, false, BNORM_ACT_SIGMOID, 0, 0 },
    { "backward+silu", GRADIENT, false, BNORM_ACT_SILU, 0, 0 },
    { "frozen+tanh", FROZEN_GRADIENT, false, BNORM_ACT_TANH, 0, 0 },
    { "backward+gelu", GRADIENT, false, BNORM_ACT_GELU, 0, 0 },
    { "frozen+gelu_tanh", FROZEN_GRADIENT, false, BNORM_ACT_GELU_TANH, 0, 0 },
    { "backward+elu", GRADIENT, false, BNORM_ACT_ELU, 1.5f, 0 },
    { "frozen+softplus", FROZEN_GRADIENT, false, BNORM_ACT_SOFTPLUS, 0, 0 },
    { "backward+mish", GRADIENT, false, BNORM_ACT_MISH, 0, 0 },
    { "train+residual", TRAINING, true, BNORM_ACT_IDENTITY, 0, 0 },
    { "train+residual+relu", TRAINING, true, BNORM_ACT_RELU, 0, 0 },
    { "infer+residual+silu", INFERENCE, true, BNORM_ACT_SILU, 0, 0 },
    { "backward+residual", GRADIENT, true, BNORM_ACT_IDENTITY, 0, 0 },
    { "backward+residual+relu", GRADIENT, true, BNORM_ACT_RELU, 0, 0 },
    { "frozen+residual+clamp", FROZEN_GRADIENT, true, BNORM_ACT_CLAMP, 0, 6 },
    { "backward+residual+leaky_relu", GRADIENT, true, BNORM_ACT_LEAKY_RELU, 0.1f, 0 },
    { "backward+residual+silu", GRADIENT, true, BNORM_ACT_SILU, 0, 0 },
};

const char *operation_name(operation op)
{
    return operations[op].name;
}

bool is_training(operation op)
{
    return operations[op].call == TRAINING;
}

bool is_backward(operation op)
{
    return operations[op].call >= GRADIENT;
}

bool is_frozen(operation op)
{
    return operations[op].call == FROZEN_GRADIENT;
}

bool has_residual(operation op)
{
    return operations[op].residual;
}

bool has_mask(operation op)
{
    return operations[op].activation >= BNORM_ACT_RELU && operations[op].activation <= BNORM_ACT_HARD_SIGMOID;
}

bnorm_epilogue epilogue_of(operation op)
{
    return (bnorm_epilogue){ .struct_size = sizeof(bnorm_epilogue),
                             .activation = operations[op].activation,
                             .alpha = operations[op].alpha,
                             .beta = operations[op].beta };
}

bool operation_runs(operation op, const bnorm_kernels *kernels)
{
    const bnorm_epilogue e = epilogue_of(op);
    bnorm_fusion f;
    return bnorm_read_epilogue(kernels, &e, &f) == BNORM_OK;
}

static float *drawn(size_t channels, random_state *r, bool positive)
{
    float *values = floats(channels);
    for (size_t c = 0; c < channels; c++)
        values[c] = positive ? (float)random_uniform(r) : (float)random_normal(r);
    return values;
}

/* What a forward pass leaves for the backward one: portable C's, in plain order, without activation. */
static void go_forward(job *j)
{
    const way plain = { .kernels = bnorm_kernels_at(bnorm_isa_count() - 1), .tuning = &usual_tuning };
    job forward = job_in_floats(j);
    forward.op = is_frozen(j->op) ? INFER : TRAIN;
    result r = perform(&forward, &plain);
    for (size_t i = 0; i < elements(&j->shape); i++)
        j->y[i] = r.y[i] + (has_residual(j->op) ? j->residual[i] : 0);
    if (!is_frozen(j->op)) {
        size_t bytes = j->shape.channels * sizeof(float);
        memcpy(j->mean, r.statistics[2], bytes);
        memcpy(j->low, r.statistics[3], bytes);
        memcpy(j->rstd, r.statistics[4], bytes);
    }
    result_free(&r);
}

bool is_typed(const job *j)
{
    return j->shape.in.dtype != BNORM_DTYPE_F32 || j->shape.out.dtype != BNORM_DTYPE_F32;
}

job job_in_floats(const job *j)
{
    job floats = *j;
    floats.shape.in.dtype = floats.shape.out.dtype = BNORM_DTYPE_F32;
    return floats;
}

/* The mask tells of z as it was before rounding: y as floats have it. */
static float *float_y(const job *j)
{
    const way plain = { .kernels = bnorm_kernels_at(bnorm_isa_count() - 1), .tuning = &usual_tuning };
    const job in_floats = job_in_floats(j);
    result r = perform(&in_floats, &plain);
    float *y = floats(elements(&j->shape));
    memcpy(y, r.y, elements(&j->shape) * sizeof(*y));
    result_free(&r);
    return y;
}

/* A tensor's values, of a class and a type. */
static float *filled(const job *j, input_class class, bnorm_dtype type, random_state *r)
{
    const bnorm_shape *s = &j->shape;
    float *values = floats(elements(s));
    input_fill(class, values, s->batch, s->channels, s->points, random_bits(r));
    round_elements(type, values, elements(s));
    return values;
}

job job_new(const bnorm_shape *shape, input_class class, uint64_t seed, operation op, bool with_parameters)
{
    random_state r = { seed + class };
    const size_t channels = shape->channels;
    const bnorm_dtype in = shape->in.dtype, out = shape->out.dtype;
    job j = { .shape = *shape, .op = op, .epsilon = 1e-5f, .with_parameters = with_parameters };
    j.x = filled(&j, class, in, &r);
    j.gamma = drawn(channels, &r, false);
    j.beta = drawn(channels, &r, false);
    j.mean = drawn(channels, &r, false);
    j.var = drawn(channels, &r, true);
    if (is_backward(op)) {
        j.y = floats(elements(&j.shape));
        j.low = floats(channels);
        j.rstd = floats(channels);
        j.dy = filled(&j, with_parameters ? class : INPUT_normal, out, &r);
    }
    if (has_residual(op))
        j.residual = filled(&j, INPUT_normal, out, &r);
    if (is_backward(op))
        go_forward(&j);
    else if (is_typed(&j) && has_mask(op))
        j.y = float_y(&j);
    return j;
}

void job_free(job *j)
{
    float *arrays[] = { j->x, j->gamma, j->beta, j->mean, j->var, j->residual, j->dy, j->y, j->low, j->rstd };
    for (size_t i = 0; i < sizeof(arrays) / sizeof(*arrays); i++)
        free(arrays[i]);
}

/* ---- The calls ---- */

static bnorm_machine machine_of(const way *w)
{
    return (bnorm_machine){ w->kernels, *w->tuning };
}

/* The tensors of a call. */
typedef struct tensors {
    const void *x, *dy;
    void *out; /* y or dx */
    const void *residual;
    void *dresidual, *mask;
} tensors;

static bnorm_epilogue epilogue_with(const job *j, const tensors *t)
{
    bnorm_epilogue e = epilogue_of(j->op);
    e.residual = t->residual;
    e.mask = t->mask;
    return e;
}

static bnorm_status call_infer(const job *j, const way *w, const bnorm_shape *shape, const tensors *t)
{
    const bnorm_epilogue e = epilogue_with(j, t);
    const bnorm_machine m = machine_of(w);
    bnorm_infer_params p = { .struct_size = sizeof(p), .mean = j->mean, .var = j->var, .epsilon = j->epsilon };
    p.hint = w->hint;
    p.gamma = j->with_parameters ? j->gamma : NULL;
    p.beta = j->with_parameters ? j->beta : NULL;
    p.epilogue = &e;
    return bnorm_infer_on(&m, shape, &p, t->x, t->out, w->executor);
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
static bnorm_status train_in_steps(const way *w, const bnorm_shape *shape, const bnorm_train_params *p, const void *x,
                                   void *y, buffer *workspace)
{
    const bnorm_machine m = machine_of(w);
    const size_t channels = shape->channels;
    const uint64_t count = (uint64_t)shape->batch * shape->points;
    double *mean = calloc(4 * channels, sizeof(*mean)), *m2 = mean + channels;
    bnorm_shape empty = *shape;
    empty.batch = 0;
    bnorm_status status =
        bnorm_train_collect_on(&m, shape, x, mean, m2, workspace->data, workspace->bytes, w->executor);
    if (!status)
        status = bnorm_train_collect_on(&m, &empty, NULL, m2 + channels, m2 + 2 * channels, NULL, 0, w->executor);
    if (!status)
        status = bnorm_train_merge_on(&m, channels, count, mean, m2, 0, m2 + channels, m2 + 2 * channels);
    if (!status)
        status = bnorm_train_merge_on(&m, channels, 0, m2 + channels, m2 + 2 * channels, count, mean, m2);
    if (!status)
        status = bnorm_train_finish_on(&m, channels, count, m2 + channels, m2 + 2 * channels, p);
    if (!status)
        status = bnorm_train_apply_on(&m, shape, p, x, y, w->executor);
    free(mean);
    return status;
}

static bnorm_status call_train(const job *j, const way *w, const bnorm_shape *shape, const tensors *t, result *r)
{
    const bnorm_epilogue e = epilogue_with(j, t);
    const bnorm_machine m = machine_of(w);
    bnorm_train_params p = { .struct_size = sizeof(p), .epsilon = j->epsilon, .momentum = 1.0f };
    size_t bytes = j->shape.channels * sizeof(float);
    p.running_variance = BNORM_VARIANCE_BIASED;
    p.hint = w->hint;
    p.epilogue = &e;
    if (j->with_parameters) {
        p.momentum = 0.3f;
        p.gamma = j->gamma;
        p.beta = j->beta;
        if (elements(&j->shape) > j->shape.channels)
            p.running_variance = BNORM_VARIANCE_UNBIASED;
    }
    memcpy(r->statistics[0], j->mean, bytes);
    memcpy(r->statistics[1], j->var, bytes);
    p.running_mean = r->statistics[0];
    p.running_var = r->statistics[1];
    p.saved_mean = r->statistics[2];
    p.saved_mean_low = r->statistics[3];
    p.saved_rstd = r->statistics[4];
    buffer workspace = workspace_for(w, shape, BNORM_OP_TRAIN);
    bnorm_status status =
        w->steps ? train_in_steps(w, shape, &p, t->x, t->out, &workspace)
                 : bnorm_train_on(&m, shape, &p, t->x, t->out, workspace.data, workspace.bytes, w->executor);
    buffer_free(&workspace);
    return status;
}

/* Sums of two tensors, of which the second is empty. */
static bnorm_status backward_in_steps(const way *w, const bnorm_shape *shape, const bnorm_backward_params *p,
                                      const void *x, const void *dy, void *dx, buffer *workspace)
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

static bnorm_status call_backward(const job *j, const way *w, const bnorm_shape *shape, const tensors *t, result *r)
{
    const bnorm_epilogue e = epilogue_with(j, t);
    const void *x = t->x;
    const bnorm_machine m = machine_of(w);
    const bool frozen = is_frozen(j->op), dgamma = !(w->unwanted & NO_DGAMMA);
    size_t bytes = j->shape.channels * sizeof(float);
    bnorm_backward_params p = { .struct_size = sizeof(p), .mean = j->mean, .hint = w->hint };
    p.epilogue = &e;
    p.dresidual = t->dresidual;
    if (frozen) {
        p.statistics = BNORM_STATISTICS_FROZEN;
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
    void *const dx = w->unwanted & NO_DX ? NULL : t->out;
    if (frozen && !dgamma && (!e.activation || e.mask) && !w->steps)
        x = NULL; /* nothing asks for it */
    buffer workspace = workspace_for(w, shape, BNORM_OP_BACKWARD);
    bnorm_status status =
        w->steps ? backward_in_steps(w, shape, &p, x, t->dy, dx, &workspace)
                 : bnorm_backward_on(&m, shape, &p, x, t->dy, dx, workspace.data, workspace.bytes, w->executor);
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

static bnorm_status call(const job *j, const way *w, const bnorm_shape *shape, const tensors *t, result *r)
{
    if (is_backward(j->op))
        return call_backward(j, w, shape, t, r);
    return is_training(j->op) ? call_train(j, w, shape, t, r) : call_infer(j, w, shape, t);
}

/* ---- The mask ---- */

enum { CANARY = 0xa5 };

/* Whether dy passes whole, as bnorm.h says of z; of y it tells the same, as a bound is not between the bounds. */
static bool passes(const bnorm_epilogue *e, float z)
{
    const float u = e->alpha * z;
    switch (e->activation) {
    case BNORM_ACT_CLAMP:
        return !(z <= e->alpha) && !(z >= e->beta);
    case BNORM_ACT_HARD_SIGMOID:
        return !(u + e->beta <= 0) && !(u + e->beta >= 1);
    default:
        return !(z <= 0);
    }
}

/* As a forward call would have left it, or what it must be after one: from values before the activation, or from y. */
static void write_mask(const job *j, const tensor *like, const float *values, bool of_y, uint8_t *mask)
{
    bnorm_epilogue e = epilogue_of(j->op);
    const bnorm_shape *s = &j->shape;
    if (of_y && e.activation == BNORM_ACT_HARD_SIGMOID) {
        e.activation = BNORM_ACT_CLAMP;
        e.alpha = 0;
        e.beta = 1;
    }
    for (size_t n = 0; n < s->batch; n++)
        for (size_t c = 0; c < s->channels; c++)
            for (size_t p = 0; p < s->points; p++) {
                const size_t at = tensor_index(like, n, c, p);
                const uint8_t bit = (uint8_t)(1 << at % 8);
                mask[at / 8] &= (uint8_t)~bit;
                if (passes(&e, values[(n * s->channels + c) * s->points + p]))
                    mask[at / 8] |= bit;
            }
}

static buffer mask_new(const tensor *like, flush side)
{
    size_t size = 0;
    check(bnorm_mask_size(&like->shape, &size) == BNORM_OK && size == (like->elements + 7) / 8,
          "the mask's size is off");
    buffer b = buffer_new(size, side);
    memset(b.data, CANARY, size);
    return b;
}

static void check_mask(const job *j, const tensor *like, const float *y, const buffer *mask)
{
    uint8_t *expected = malloc(mask->bytes);
    memset(expected, CANARY, mask->bytes);
    write_mask(j, like, y, true, expected);
    check(memcmp(mask->data, expected, mask->bytes) == 0, "the mask is not that of y");
    free(expected);
}

/* ---- A call ---- */

static void check_output(const tensor *t, float *values)
{
    check(tensor_read(t, values, true), "something beside the elements was written, or padding is not zero");
}

result perform(const job *j, const way *w)
{
    const bool backward = is_backward(j->op), residual = has_residual(j->op);
    const bool dresidual = backward && residual && !(w->unwanted & NO_DRESIDUAL), writes = !(w->unwanted & NO_DX);
    const bnorm_dtype in = j->shape.in.dtype, out = j->shape.out.dtype;
    const bool in_x = w->in_place && (backward || in == out), in_dy = backward && !in_x && w->in_dy && in == out;
    const bool dresidual_in_dy = dresidual && !in_dy && w->dresidual_in_dy;
    const bool in_residual = residual && w->in_residual && (backward ? dresidual && !dresidual_in_dy : !in_x);
    /* Backward, a mask stands in place of the residual. */
    const bool mask = has_mask(j->op) && w->mask, gives_residual = residual && !(backward && mask);
    bnorm_shape shape = j->shape;
    result r = result_new(&shape);
    shape.in = layout_of(&shape, in, w->in);
    shape.out = layout_of(&shape, out, in_dy || (in_x && !backward) ? w->in : w->out);
    tensor x = tensor_new(&shape, shape.in, w->side, j->x), dy = { 0 }, own = { 0 }, added = { 0 }, back = { 0 };
    buffer bits = { .data = NULL };
    if (backward)
        dy = tensor_new(&shape, shape.out, w->side, j->dy);
    if (residual)
        added = tensor_new(&shape, shape.out, w->side, j->residual);
    if (!in_x && !in_dy && (backward || !in_residual))
        own = tensor_new(&shape, backward ? shape.in : shape.out, w->side, NULL);
    if (dresidual && !dresidual_in_dy && !in_residual)
        back = tensor_new(&shape, shape.out, w->side, NULL);
    const tensor *to = in_dy ? &dy : in_x ? &x : own.data ? &own : &added;
    const tensor *to_back = dresidual_in_dy ? &dy : back.data ? &back : &added, *like = backward ? &dy : to;
    if (mask) {
        bits = mask_new(like, w->side);
        if (backward)
            write_mask(j, like, j->y, false, bits.data);
    }
    const tensors t = {
        x.data, dy.data, to->data, gives_residual ? added.data : NULL, dresidual ? to_back->data : NULL, bits.data
    };
    bnorm_status status = call(j, w, &shape, &t, &r);
    check(status == BNORM_OK, bnorm_status_string(status));
    if (writes)
        check_output(to, r.y);
    if (dresidual)
        check_output(to_back, r.dresidual);
    if (to != &x || !writes)
        check_unchanged(&x, j->x);
    if (backward && (to != &dy || !writes) && to_back != &dy)
        check_unchanged(&dy, j->dy);
    if (residual && to != &added && to_back != &added)
        check_unchanged(&added, j->residual);
    if (mask && !backward)
        check_mask(j, like, is_typed(j) ? j->y : r.y, &bits);
    tensor *const made[] = { &x, &dy, &own, &added, &back };
    for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++)
        if (made[i]->data)
            tensor_free(made[i]);
    if (mask)
        buffer_free(&bits);
    return r;
}
