/* SPDX-License-Identifier: MIT */
/* Makes a call: its arguments in the order of each function. */
#include "call.h"
#include "dispatch/calls.h"

static void *pointer(const call *c, slot s)
{
    return c->at[s] || call_use(c, s) || s <= DY ? c->at[s] : (void *)1;
}

void point_structs(call *c)
{
    bnorm_infer_params *const i = &c->infer.is;
    bnorm_train_params *const t = &c->train.is;
    bnorm_backward_params *const b = &c->backward.is;
    c->epilogue.is.residual = pointer(c, RESIDUAL);
    c->epilogue.is.mask = c->at[MASK];
    i->epilogue = t->epilogue = b->epilogue = c->no_epilogue ? NULL : &c->epilogue.is;
    i->mean = b->mean = pointer(c, MEAN);
    i->var = b->var = pointer(c, VAR);
    i->gamma = t->gamma = b->gamma = pointer(c, GAMMA);
    i->beta = t->beta = b->beta = pointer(c, BETA);
    t->running_mean = pointer(c, RUNNING_MEAN);
    t->running_var = pointer(c, RUNNING_VAR);
    t->saved_mean = pointer(c, SAVED_MEAN);
    t->saved_mean_low = pointer(c, SAVED_LOW);
    t->saved_rstd = pointer(c, SAVED_RSTD);
    b->mean_low = pointer(c, LOW);
    b->rstd = pointer(c, RSTD);
    b->dgamma = pointer(c, DGAMMA);
    b->dbeta = pointer(c, DBETA);
    b->dresidual = pointer(c, DRESIDUAL);
}

static const bnorm_shape *shape_of(const call *c)
{
    return c->no_shape ? NULL : &c->shape.is;
}

static const bnorm_infer_params *infer_of(const call *c)
{
    return c->no_params ? NULL : &c->infer.is;
}

static const bnorm_train_params *train_of(const call *c)
{
    return c->no_params ? NULL : &c->train.is;
}

static const bnorm_backward_params *backward_of(const call *c)
{
    return c->no_params ? NULL : &c->backward.is;
}

bnorm_status make_call(const call *c, const bnorm_machine *m)
{
    const bnorm_executor *const e = c->no_executor ? NULL : &c->executor;
    const bnorm_shape *const s = shape_of(c);
    const size_t size = c->workspace_size, channels = c->shape.is.channels;
    void *const *const at = c->at;
/* The public function, or the one behind it. */
#define CALL(name, ...) (m ? name##_on(m, __VA_ARGS__) : name(__VA_ARGS__))
    switch (c->function) {
    case CALL_INFER:
        return CALL(bnorm_infer, s, infer_of(c), at[X], at[Y], e);
    case CALL_TRAIN:
        return CALL(bnorm_train, s, train_of(c), at[X], at[Y], at[WORKSPACE], size, e);
    case CALL_BACKWARD:
        return CALL(bnorm_backward, s, backward_of(c), at[X], at[DY], at[Y], at[WORKSPACE], size, e);
    case CALL_FOLD:
        return bnorm_fold(s, infer_of(c), at[X], at[BIAS], at[Y], at[FOLDED_BIAS]);
    case CALL_COLLECT:
        return CALL(bnorm_train_collect, s, at[X], at[MEANS], at[M2], at[WORKSPACE], size, e);
    case CALL_MERGE:
        return CALL(bnorm_train_merge, channels, c->count, at[MEANS], at[M2], c->more_count, at[MORE_MEANS],
                    at[MORE_M2]);
    case CALL_FINISH:
        return CALL(bnorm_train_finish, channels, c->count, at[MEANS], at[M2], train_of(c));
    case CALL_APPLY:
        return CALL(bnorm_train_apply, s, train_of(c), at[X], at[Y], e);
    case CALL_REDUCE:
        return CALL(bnorm_backward_reduce, s, backward_of(c), at[X], at[DY], at[SUMS], at[WORKSPACE], size, e);
    default:
        return CALL(bnorm_backward_apply, s, backward_of(c), c->count, at[SUMS], at[X], at[DY], at[Y], e);
    }
#undef CALL
}

int make_check(const call *c)
{
    const bnorm_executor *const e = c->no_executor ? NULL : &c->executor;
    const bnorm_shape *const s = shape_of(c);
    void *const *const at = c->at;
    switch (c->function) {
    case CALL_INFER:
        return (int)bnorm_infer_check(s, infer_of(c), at[X], at[Y], e);
    case CALL_TRAIN:
        return (int)bnorm_train_check(s, train_of(c), at[X], at[Y], at[WORKSPACE], c->workspace_size, e);
    case CALL_BACKWARD:
        return (int)bnorm_backward_check(s, backward_of(c), at[X], at[DY], at[Y], at[WORKSPACE], c->workspace_size, e);
    default:
        return -1;
    }
}
