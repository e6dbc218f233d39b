/* SPDX-License-Identifier: MIT */
/* The contract of arguments: which statuses bnorm.h and docs/guarantees.md allow for a call. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "kernels/element.h"

static const uint64_t anything = ~(uint64_t)1;

static bool is_frozen(const call *c)
{
    return c->backward.is.statistics == BNORM_STATISTICS_FROZEN;
}

static bool is_gradient(const call *c)
{
    return c->function == CALL_BACKWARD || c->function == CALL_REDUCE || c->function == CALL_BACKWARD_APPLY;
}

static bool takes_infer(const call *c)
{
    return c->function == CALL_INFER || c->function == CALL_FOLD;
}

static bool has_epilogue(const call *c)
{
    return !c->no_epilogue && c->function != CALL_FOLD && c->function != CALL_FINISH;
}

static bool is_activated(const call *c)
{
    return has_epilogue(c) && c->epilogue.is.activation != BNORM_ACT_IDENTITY;
}

/* What is computed of x beside sums. */
static bool writes_gradient(const call *c)
{
    return c->function == CALL_BACKWARD || (c->function == CALL_BACKWARD_APPLY && (c->at[Y] || c->at[DRESIDUAL]));
}

static bool needs_sums(const call *c)
{
    return c->at[DGAMMA] || c->at[DBETA] || (c->at[Y] && !is_frozen(c));
}

static bool needs_x(const call *c)
{
    if (c->function == CALL_REDUCE)
        return true;
    return writes_gradient(c) && ((is_activated(c) && !c->at[MASK]) || (c->at[Y] && !is_frozen(c)) ||
                                  (c->at[DGAMMA] && c->function == CALL_BACKWARD));
}

/* A letter for each slot: r and w where it may be NULL, R and W where it is required; '?' depends on others. */
static const char *const uses[FUNCTIONS] = {
    [CALL_INFER] = "R.Wr.w.RRrr................",    [CALL_TRAIN] = "R.Wr.wW..rr..wwwww.........",
    [CALL_BACKWARD] = "??wrwr?R?rr??.....ww.......", [CALL_FOLD] = "R.W....RRrr.........rW.....",
    [CALL_COLLECT] = "R.....W...............WW...",  [CALL_MERGE] = "......................WWRR.",
    [CALL_FINISH] = ".............wwWWW....RR...",   [CALL_APPLY] = "R.Wr.w...rr....RRR.........",
    [CALL_REDUCE] = "RR.r.rWR?rr??.............W",   [CALL_BACKWARD_APPLY] = "??wrwr.R?rr??.....ww......?",
};

static use depending(const call *c, slot s)
{
    switch (s) {
    case X:
        return needs_x(c) ? INPUT : UNUSED;
    case DY:
        return writes_gradient(c) ? INPUT : UNUSED;
    case WORKSPACE:
        return needs_sums(c) ? OUTPUT : UNUSED;
    case VAR:
        return is_frozen(c) ? INPUT : UNUSED;
    case RSTD:
        return is_frozen(c) ? UNUSED : INPUT;
    case LOW:
        return is_frozen(c) ? UNUSED : OPTIONAL_INPUT;
    default:
        return needs_sums(c) ? INPUT : UNUSED; /* sums */
    }
}

use call_use(const call *c, slot s)
{
    if ((s == RESIDUAL || s == MASK) && !has_epilogue(c))
        return UNUSED;
    switch (uses[c->function][s]) {
    case 'r':
        return OPTIONAL_INPUT;
    case 'R':
        return INPUT;
    case 'w':
        return OPTIONAL_OUTPUT;
    case 'W':
        return OUTPUT;
    case '?':
        return depending(c, s);
    default:
        return UNUSED;
    }
}

/* ---- Structs and numbers ---- */

static void demand(verdict *v, bool met, bnorm_status status)
{
    v->must |= met ? 0 : status_bit(status);
}

/* What cannot be read leaves all else open. */
static void demand_struct(verdict *v, const void *given, size_t size, const unsigned char *more)
{
    size_t told;
    memcpy(&told, given, sizeof(told));
    if (told < size || told > 4096)
        v->must |= status_bit(BNORM_ERROR_STRUCT_SIZE);
    for (size_t i = 0; told <= 4096 && i + size < told; i++)
        demand(v, !more[i], BNORM_ERROR_UNSUPPORTED);
    if (v->must)
        v->may = anything;
}

static bool valid_epsilon(float epsilon)
{
    return epsilon >= 0 && isfinite(epsilon);
}

static bool valid_enum(int value, int last)
{
    return value >= 0 && value <= last;
}

static void judge_epilogue(const call *c, verdict *v)
{
    const bnorm_epilogue *e = &c->epilogue.is;
    if (!has_epilogue(c))
        return;
    demand_struct(v, e, sizeof(*e), c->epilogue.more);
    if (v->may)
        return;
    const bnorm_activation a = e->activation;
    demand(v, valid_enum((int)a, BNORM_ACT_MISH), BNORM_ERROR_ACTIVATION);
    demand(v, a != BNORM_ACT_CLAMP || e->alpha <= e->beta, BNORM_ERROR_ACTIVATION);
    demand(v, (a != BNORM_ACT_LEAKY_RELU && a != BNORM_ACT_ELU) || isfinite(e->alpha), BNORM_ERROR_ACTIVATION);
    demand(v, a != BNORM_ACT_HARD_SIGMOID || (e->alpha > 0 && isfinite(e->alpha) && isfinite(e->beta)),
           BNORM_ERROR_ACTIVATION);
    demand(v, !e->mask || (a >= BNORM_ACT_RELU && a <= BNORM_ACT_HARD_SIGMOID), BNORM_ERROR_ACTIVATION);
    if (a > BNORM_ACT_HARD_SWISH)
        v->may |= status_bit(BNORM_ERROR_UNSUPPORTED); /* by SLEEF, where that is */
}

static void judge_numbers(const call *c, verdict *v)
{
    const bnorm_infer_params *i = &c->infer.is;
    const bnorm_train_params *t = &c->train.is;
    const bnorm_backward_params *b = &c->backward.is;
    if (takes_infer(c)) {
        demand(v, valid_epsilon(i->epsilon), BNORM_ERROR_EPSILON);
        demand(v, c->function == CALL_FOLD || valid_enum((int)i->hint, 2), BNORM_ERROR_HINT);
        demand(v, c->function != CALL_FOLD || c->no_epilogue, BNORM_ERROR_UNSUPPORTED);
    } else if (is_gradient(c)) {
        demand(v, valid_enum((int)b->statistics, 1), BNORM_ERROR_STATISTICS);
        demand(v, !is_frozen(c) || valid_epsilon(b->epsilon), BNORM_ERROR_EPSILON);
        demand(v, valid_enum((int)b->hint, 2), BNORM_ERROR_HINT);
    } else {
        demand(v, valid_epsilon(t->epsilon), BNORM_ERROR_EPSILON);
        demand(v, t->momentum >= 0 && t->momentum <= 1, BNORM_ERROR_MOMENTUM);
        demand(v, valid_enum((int)t->running_variance, 1), BNORM_ERROR_VARIANCE);
        demand(v, valid_enum((int)t->hint, 2), BNORM_ERROR_HINT);
    }
}

static void judge_params(const call *c, verdict *v)
{
    if (c->function == CALL_COLLECT || c->function == CALL_MERGE)
        return;
    demand(v, !c->no_params, BNORM_ERROR_NULL_POINTER);
    if (c->no_params)
        v->may = anything;
    else if (takes_infer(c))
        demand_struct(v, &c->infer.is, sizeof(c->infer.is), c->infer.more);
    else if (is_gradient(c))
        demand_struct(v, &c->backward.is, sizeof(c->backward.is), c->backward.more);
    else
        demand_struct(v, &c->train.is, sizeof(c->train.is), c->train.more);
    if (v->may)
        return;
    judge_numbers(c, v);
    judge_epilogue(c, v);
}

/* ---- Shapes ---- */

verdict judge_shape(const call *c)
{
    const bnorm_shape *s = &c->shape.is;
    verdict v = { 0, 0 };
    demand(&v, !c->no_shape, BNORM_ERROR_NULL_POINTER);
    if (!c->no_shape)
        demand_struct(&v, s, sizeof(*s), c->shape.more);
    demand(&v, valid_enum((int)s->in.dtype, 2) && bnorm_has_type(s->in.dtype), BNORM_ERROR_UNSUPPORTED);
    demand(&v, valid_enum((int)s->out.dtype, 2) && bnorm_has_type(s->out.dtype), BNORM_ERROR_UNSUPPORTED);
    demand(&v, s->channels && s->block && s->channels <= PTRDIFF_MAX / (3 * sizeof(double)), BNORM_ERROR_SHAPE);
    if (v.must) {
        v.may = anything;
        return v;
    }
    const bnorm_status in = span_of(s, &s->in).status, out = span_of(s, &s->out).status;
    v.must |= (status_bit(in) | status_bit(out)) & anything;
    v.may = v.must ? anything : 0;
    return v;
}

static bool has_shape(const call *c)
{
    return c->function != CALL_MERGE && c->function != CALL_FINISH;
}

static void judge_counts(const call *c, verdict *v)
{
    const bnorm_shape *s = &c->shape.is;
    const bool unbiased = c->train.is.running_variance == BNORM_VARIANCE_UNBIASED;
    demand(v, c->function != CALL_TRAIN || !unbiased || s->batch != 1 || s->points != 1, BNORM_ERROR_SINGLE_VALUE);
    demand(v, c->function != CALL_FINISH || !unbiased || c->count != 1, BNORM_ERROR_SINGLE_VALUE);
    if (c->function == CALL_BACKWARD_APPLY && needs_sums(c))
        demand(v, (long double)c->count >= (long double)s->batch * (long double)s->points, BNORM_ERROR_SHAPE);
    if (!has_shape(c) || c->function == CALL_FOLD)
        return;
    demand(v, c->no_executor || (c->executor.run && c->executor.width), BNORM_ERROR_EXECUTOR);
}

/* ---- Memory ---- */

static bool is_bulky(slot s)
{
    return s <= WORKSPACE;
}

static bool ranges_meet(const call *c, slot a, slot b)
{
    const long double x = (long double)(uintptr_t)c->at[a], y = (long double)(uintptr_t)c->at[b];
    const long double x_bytes = bytes_of(c, a), y_bytes = bytes_of(c, b);
    return x_bytes > 0 && y_bytes > 0 && x < y + y_bytes && y < x + x_bytes;
}

static bool same_layout(const call *c, slot a, slot b)
{
    const bnorm_layout *l = layout_of_slot(c, a), *m = layout_of_slot(c, b);
    if (!l || !m || l->dtype != m->dtype)
        return false;
    const span s = span_of(&c->shape.is, l), t = span_of(&c->shape.is, m);
    const bnorm_shape *shape = &c->shape.is;
    const size_t blocks = (shape->channels - 1) / shape->block + 1;
    bool same = s.elements == t.elements;
    for (int i = 0; i < s.count; i++)
        same = same && s.axes[i].size == t.axes[i].size && s.axes[i].stride == t.axes[i].stride;
    /* Axes of one size may have changed places. */
    same = same && (shape->batch == 1 || l->image_stride == m->image_stride || !l->image_stride || !m->image_stride);
    same = same && (blocks == 1 || l->block_stride == m->block_stride || !l->block_stride || !m->block_stride);
    return same && (shape->points == 1 || l->point_stride == m->point_stride || !l->point_stride || !m->point_stride);
}

/* Of the same layout. */
static bool elements_meet(const call *c, slot a, slot b)
{
    const char *p = c->at[a], *q = c->at[b];
    const size_t bytes = (size_t)bytes_of(c, a), shift = (size_t)(p < q ? q - p : p - q);
    unsigned char *const maps = calloc(2, bytes + shift);
    bool meet = false;
    mark_elements(c, p < q ? a : b, maps);
    mark_elements(c, p < q ? b : a, maps + bytes + shift + shift);
    for (size_t i = 0; i < bytes + shift; i++)
        meet = meet || (maps[i] && maps[bytes + shift + i]);
    free(maps);
    return meet;
}

/* Whether an output may be exactly this other argument. */
static bool may_be_one(const call *c, slot out, slot other)
{
    if (out == FOLDED_BIAS)
        return other == BIAS;
    if (out == Y && is_gradient(c))
        return other == X || (other == DY && same_layout(c, X, DY));
    if (out == Y)
        return other == RESIDUAL || (other == X && same_layout(c, X, Y));
    return out == DRESIDUAL && (other == DY || other == RESIDUAL);
}

static bool is_legal_pair(const call *c, slot out, slot other)
{
    if (c->at[out] == c->at[other])
        return may_be_one(c, out, other);
    return same_layout(c, out, other) && !c->huge && !elements_meet(c, out, other);
}

/* Where the tensor is empty, some calls have nothing to do, and look at nothing. */
static bool is_idle(const call *c)
{
    return is_empty(&c->shape.is) &&
           (c->function == CALL_INFER || c->function == CALL_TRAIN || c->function == CALL_APPLY);
}

static void judge_slot(const call *c, slot s, verdict *v)
{
    const use u = call_use(c, s);
    const bool empty = has_shape(c) && is_empty(&c->shape.is) && is_bulky(s);
    uint64_t *const found = empty || is_idle(c) ? &v->may : &v->must;
    if (u == UNUSED)
        return;
    if (!c->at[s] && (u == INPUT || u == OUTPUT))
        *(empty ? &v->may : &v->must) |= status_bit(BNORM_ERROR_NULL_POINTER);
    const size_t alignment = unit_of(c, s) == sizeof(double) ? _Alignof(double) : unit_of(c, s);
    if ((uintptr_t)c->at[s] % alignment)
        *found |= status_bit(BNORM_ERROR_ALIGNMENT);
    for (slot other = 0; is_written(u) && c->at[s] && other < SLOTS; other++)
        if (other != s && c->at[other] && call_use(c, other) && ranges_meet(c, s, other) && !is_legal_pair(c, s, other))
            *(c->huge && same_layout(c, s, other) ? &v->may : found) |= status_bit(BNORM_ERROR_OVERLAP);
}

/* Arguments that are not used in this call may be looked at. */
static void judge_unused(const call *c, verdict *v)
{
    static const slot looked_at[] = { X, DY, WORKSPACE, SUMS };
    for (size_t i = 0; i < sizeof(looked_at) / sizeof(*looked_at); i++)
        if (is_gradient(c) && c->at[looked_at[i]] && !call_use(c, looked_at[i]))
            v->may |= status_bit(BNORM_ERROR_OVERLAP) | status_bit(BNORM_ERROR_ALIGNMENT);
    if (has_shape(c) && is_empty(&c->shape.is))
        v->may |= status_bit(BNORM_ERROR_OVERLAP) | status_bit(BNORM_ERROR_ALIGNMENT);
}

static void judge_workspace(const call *c, verdict *v)
{
    size_t needed = 0;
    const bnorm_operation op = is_gradient(c) ? BNORM_OP_BACKWARD : BNORM_OP_TRAIN;
    const bnorm_executor *executor = c->no_executor ? NULL : &c->executor;
    if (!has_shape(c) || call_use(c, WORKSPACE) == UNUSED || is_empty(&c->shape.is) || v->must)
        return;
    demand(v, bnorm_workspace_size(&c->shape.is, op, executor, &needed) == BNORM_OK, BNORM_ERROR_SHAPE);
    demand(v, c->workspace_size >= needed, BNORM_ERROR_WORKSPACE_SIZE);
}

verdict judge(const call *c)
{
    verdict v = { 0, 0 };
    if (has_shape(c))
        v = judge_shape(c);
    else
        demand(&v, c->shape.is.channels && c->shape.is.channels <= PTRDIFF_MAX / (3 * sizeof(double)),
               BNORM_ERROR_SHAPE);
    if (!v.must)
        judge_params(c, &v);
    else
        v.may = anything;
    if (v.may == anything)
        return v;
    judge_counts(c, &v);
    judge_workspace(c, &v);
    for (slot s = 0; s < SLOTS; s++)
        judge_slot(c, s, &v);
    judge_unused(c, &v);
    return v;
}
