/* SPDX-License-Identifier: MIT */
/* Makes the call of a job, and sees to it that nothing but its outputs is written. */
#include <string.h>

#include "check.h"
#include "element.h"
#include "job.h"

static size_t elements(const bnorm_shape *s)
{
    return s->batch * s->channels * s->points;
}

result result_new(const bnorm_shape *s)
{
    result r = { .y = NULL };
    r.y = take_zeros(&r.taken, elements(s) * sizeof(float));
    r.dresidual = take_zeros(&r.taken, elements(s) * sizeof(float));
    for (int i = 0; i < STATISTICS; i++)
        r.statistics[i] = take_zeros(&r.taken, s->channels * sizeof(float));
    return r;
}

void result_round(result *r, const job *j)
{
    round_elements(is_backward(j->op) ? j->shape.in.dtype : j->shape.out.dtype, r->y, job_elements(j));
    round_elements(j->shape.out.dtype, r->dresidual, job_elements(j));
}

/* ---- The calls ---- */

static bnorm_machine machine_of(const way *w)
{
    return (bnorm_machine){ w->kernels, *w->tuning };
}

/* The tensors of a call, and what it takes beside them. */
typedef struct tensors {
    buffers *taken;
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

typedef struct memory {
    void *data;
    size_t size;
} memory;

static memory workspace_for(buffers *owner, const way *w, const bnorm_shape *shape, bnorm_operation op)
{
    const bnorm_machine m = machine_of(w);
    memory workspace = { NULL, 0 };
    bnorm_status status = bnorm_workspace_size_on(&m, shape, op, w->executor, &workspace.size);
    check(status == BNORM_OK, bnorm_status_string(status));
    workspace.data = take_unwritten(owner, workspace.size, w->side);
    return workspace;
}

/* Two tensors, of which the second is empty. */
static bnorm_status train_in_steps(const way *w, const bnorm_shape *shape, const bnorm_train_params *p,
                                   const tensors *t, memory workspace)
{
    const bnorm_machine m = machine_of(w);
    const size_t channels = shape->channels;
    const uint64_t count = (uint64_t)shape->batch * shape->points;
    double *mean = take_zeros(t->taken, 4 * channels * sizeof(*mean)), *m2 = mean + channels;
    bnorm_shape empty = *shape;
    empty.batch = 0;
    bnorm_status status =
        bnorm_train_collect_on(&m, shape, t->x, mean, m2, workspace.data, workspace.size, w->executor);
    if (!status)
        status = bnorm_train_collect_on(&m, &empty, NULL, m2 + channels, m2 + 2 * channels, NULL, 0, w->executor);
    if (!status)
        status = bnorm_train_merge_on(&m, channels, count, mean, m2, 0, m2 + channels, m2 + 2 * channels);
    if (!status)
        status = bnorm_train_merge_on(&m, channels, 0, m2 + channels, m2 + 2 * channels, count, mean, m2);
    if (!status)
        status = bnorm_train_finish_on(&m, channels, count, m2 + channels, m2 + 2 * channels, p);
    if (!status)
        status = bnorm_train_apply_on(&m, shape, p, t->x, t->out, w->executor);
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
    const memory workspace = workspace_for(t->taken, w, shape, BNORM_OP_TRAIN);
    if (w->steps)
        return train_in_steps(w, shape, &p, t, workspace);
    return bnorm_train_on(&m, shape, &p, t->x, t->out, workspace.data, workspace.size, w->executor);
}

/* Sums of two tensors, of which the second is empty. */
static bnorm_status backward_in_steps(const way *w, const bnorm_shape *shape, const bnorm_backward_params *p,
                                      const tensors *t, memory workspace)
{
    const bnorm_machine m = machine_of(w);
    const size_t count = 3 * shape->channels;
    double *sums = take_zeros(t->taken, 2 * count * sizeof(*sums));
    bnorm_shape empty = *shape;
    empty.points = 0;
    bnorm_status status =
        bnorm_backward_reduce_on(&m, shape, p, t->x, t->dy, sums, workspace.data, workspace.size, w->executor);
    if (!status)
        status = bnorm_backward_reduce_on(&m, &empty, p, NULL, NULL, sums + count, NULL, 0, w->executor);
    for (size_t i = 0; i < count; i++)
        sums[i] += sums[count + i];
    if (!status)
        status = bnorm_backward_apply_on(&m, shape, p, (uint64_t)shape->batch * shape->points, sums, t->x, t->dy,
                                         t->out, w->executor);
    return status;
}

static bnorm_status call_backward(const job *j, const way *w, const bnorm_shape *shape, tensors *t, result *r)
{
    const bnorm_epilogue e = epilogue_with(j, t);
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
    if (w->unwanted & NO_DX)
        t->out = NULL;
    if (frozen && !dgamma && (!e.activation || e.mask) && !w->steps)
        t->x = NULL; /* nothing asks for it */
    const memory workspace = workspace_for(t->taken, w, shape, BNORM_OP_BACKWARD);
    if (w->steps)
        return backward_in_steps(w, shape, &p, t, workspace);
    return bnorm_backward_on(&m, shape, &p, t->x, t->dy, t->out, workspace.data, workspace.size, w->executor);
}

/* ---- The same with tensors in guarded buffers ---- */

static void check_unchanged(buffers *owner, const tensor *t, const float *values)
{
    const size_t bytes = elements(&t->shape) * sizeof(float);
    float *after = take_zeros(owner, bytes);
    check(tensor_read(t, after, false) && memcmp(after, values, bytes) == 0, "an input was written");
}

static bnorm_status call(const job *j, const way *w, const bnorm_shape *shape, tensors *t, result *r)
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

static memory mask_new(buffers *owner, const tensor *like, flush side)
{
    memory mask = { NULL, 0 };
    check(bnorm_mask_size(&like->shape, &mask.size) == BNORM_OK && mask.size == (like->elements + 7) / 8,
          "the mask's size is off");
    mask.data = memset(take_guarded(owner, mask.size, side), CANARY, mask.size);
    return mask;
}

static void check_mask(buffers *owner, const job *j, const tensor *like, const float *y, memory mask)
{
    uint8_t *expected = memset(take_zeros(owner, mask.size), CANARY, mask.size);
    write_mask(j, like, y, true, expected);
    check(memcmp(mask.data, expected, mask.size) == 0, "the mask is not that of y");
}

/* ---- A call ---- */

static void check_output(const tensor *t, float *values)
{
    check(tensor_read(t, values, true), "something beside the elements was written, or padding is not zero");
}

/* The tensors of a call, some of them in place of others: `to` is y or dx, `to_back` dresidual. */
typedef struct places {
    bnorm_shape shape;
    tensor x, dy, own, added, back;
    const tensor *to, *to_back, *like; /* the mask is laid out like the last */
    bool residual, dresidual, writes, mask;
    memory bits;
} places;

static void place_tensors(const job *j, const way *w, buffers *owner, places *p)
{
    const bnorm_shape *const s = &p->shape;
    const bnorm_dtype in = s->in.dtype, out = s->out.dtype;
    const bool backward = is_backward(j->op), in_x = w->in_place && (backward || in == out);
    const bool in_dy = backward && !in_x && w->in_dy && in == out;
    const bool dresidual_in_dy = p->dresidual && !in_dy && w->dresidual_in_dy;
    const bool in_residual = p->residual && w->in_residual && (backward ? p->dresidual && !dresidual_in_dy : !in_x);
    p->shape.in = layout_of(s, in, w->in);
    p->shape.out = layout_of(s, out, in_dy || (in_x && !backward) ? w->in : w->out);
    p->x = tensor_new(owner, s, s->in, w->side, j->x);
    if (backward)
        p->dy = tensor_new(owner, s, s->out, w->side, j->dy);
    if (p->residual)
        p->added = tensor_new(owner, s, s->out, w->side, j->residual);
    if (!in_x && !in_dy && (backward || !in_residual))
        p->own = tensor_new(owner, s, backward ? s->in : s->out, w->side, NULL);
    if (p->dresidual && !dresidual_in_dy && !in_residual)
        p->back = tensor_new(owner, s, s->out, w->side, NULL);
    p->to = in_dy ? &p->dy : in_x ? &p->x : p->own.data ? &p->own : &p->added;
    p->to_back = dresidual_in_dy ? &p->dy : p->back.data ? &p->back : &p->added;
    p->like = backward ? &p->dy : p->to;
    if (p->mask)
        p->bits = mask_new(owner, p->like, w->side);
}

/* Outputs are read to r; what is none holds what it held. */
static void check_tensors(const job *j, buffers *owner, const places *p, result *r)
{
    const bool backward = is_backward(j->op);
    if (p->writes)
        check_output(p->to, r->y);
    if (p->dresidual)
        check_output(p->to_back, r->dresidual);
    if (p->to != &p->x || !p->writes)
        check_unchanged(owner, &p->x, j->x);
    if (backward && (p->to != &p->dy || !p->writes) && p->to_back != &p->dy)
        check_unchanged(owner, &p->dy, j->dy);
    if (p->residual && p->to != &p->added && p->to_back != &p->added)
        check_unchanged(owner, &p->added, j->residual);
    if (p->mask && !backward)
        check_mask(owner, j, p->like, is_typed(j) ? j->y : r->y, p->bits);
}

result perform(const job *j, const way *w)
{
    const bool backward = is_backward(j->op);
    buffers taken = { NULL };
    result r = result_new(&j->shape);
    places p = { .shape = j->shape, .residual = has_residual(j->op), .mask = has_mask(j->op) && w->mask };
    p.dresidual = backward && p.residual && !(w->unwanted & NO_DRESIDUAL);
    p.writes = !(w->unwanted & NO_DX);
    place_tensors(j, w, &taken, &p);
    if (p.mask && backward)
        write_mask(j, p.like, j->y, false, p.bits.data);
    tensors t = { .taken = &taken, .x = p.x.data, .dy = p.dy.data, .out = p.to->data, .mask = p.bits.data };
    /* Backward, a mask stands in place of the residual. */
    t.residual = p.residual && !(backward && p.mask) ? p.added.data : NULL;
    t.dresidual = p.dresidual ? p.to_back->data : NULL;
    const bnorm_status status = call(j, w, &p.shape, &t, &r);
    check(status == BNORM_OK, bnorm_status_string(status));
    check_tensors(j, &taken, &p, &r);
    give_back(&taken);
    return r;
}
