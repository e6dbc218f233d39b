/* SPDX-License-Identifier: MIT */
/* Fuzzing what calls ask of their arguments, and what memory they write: judged by a model of the contract. */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "../element.h"
#include "../executors.h"
#include "../job.h"
#include "call.h"
#include "targets.h"

static const char *const names[FUNCTIONS] = { "infer", "train",  "backward", "fold",   "collect",
                                              "merge", "finish", "apply",    "reduce", "backward_apply" };

/* ---- Queries ---- */

static bool allows(verdict v, bnorm_status status)
{
    return status ? (v.must | v.may) >> status & 1 : !v.must;
}

static void check_mask_size(const call *c)
{
    size_t size = 123;
    const bnorm_shape *s = c->no_shape ? NULL : &c->shape.is;
    const bnorm_status status = bnorm_mask_size(s, &size);
    check(allows(judge_shape(c), status), "bnorm_mask_size answers another status");
    if (status)
        check(size == 123, "bnorm_mask_size wrote a size that is none");
    else
        check((long double)size == bytes_of(c, MASK), "another size of the mask");
}

static void check_workspace_size(const call *c, bnorm_operation op)
{
    size_t size = 123;
    const bnorm_shape *s = c->no_shape ? NULL : &c->shape.is;
    verdict v = judge_shape(c);
    if (!c->no_executor && (!c->executor.run || !c->executor.width))
        v.must |= status_bit(BNORM_ERROR_EXECUTOR);
    if ((unsigned)op > BNORM_OP_BACKWARD)
        v.must |= status_bit(BNORM_ERROR_UNSUPPORTED);
    if (c->huge || bytes_of(c, X) > 1 << 18)
        v.may |= status_bit(BNORM_ERROR_SHAPE);
    const bnorm_status status = bnorm_workspace_size(s, op, c->no_executor ? NULL : &c->executor, &size);
    check(allows(v, status), "bnorm_workspace_size answers another status");
    if (status)
        check(size == 123, "bnorm_workspace_size wrote a size that is none");
    else if (op == BNORM_OP_INFER || is_empty(&c->shape.is))
        check(size == 0, "a workspace that nothing needs");
}

/* ---- What was written ---- */

static void check_untouched(const call *c, const char *what)
{
    for (size_t b = 0; b < c->block_count; b++)
        check(memcmp(c->blocks[b].data, c->blocks[b].before, c->blocks[b].bytes) == 0, what);
}

static bool is_output(const call *c, slot s)
{
    return c->at[s] && is_written(call_use(c, s));
}

/* Nothing but the elements of outputs; of the workspace all. */
static void check_written(const call *c, buffers *owner)
{
    for (size_t b = 0; b < c->block_count; b++) {
        const piece *k = &c->blocks[b];
        unsigned char *const map = take_zeros(owner, k->bytes);
        bool right = true;
        for (slot s = 0; s < SLOTS; s++) {
            const size_t offset = (size_t)((uintptr_t)c->at[s] - (uintptr_t)k->data);
            if (is_output(c, s) && offset <= k->bytes && offset + (size_t)bytes_of(c, s) <= k->bytes)
                mark_elements(c, s, map + offset);
        }
        for (size_t i = 0; i < k->bytes; i++)
            right = right && (map[i] || k->data[i] == k->before[i]);
        check(right, "something beside the outputs was written");
    }
}

static bool same_unit(const unsigned char *a, const unsigned char *b, size_t unit, bnorm_dtype type)
{
    float f[2];
    double d[2];
    if (memcmp(a, b, unit) == 0)
        return true;
    if (unit == sizeof(double)) {
        memcpy(&d[0], a, unit);
        memcpy(&d[1], b, unit);
        return isnan(d[0]) && isnan(d[1]);
    }
    load_elements(type, &f[0], a, 1);
    load_elements(type, &f[1], b, 1);
    return unit != 1 && isnan(f[0]) && isnan(f[1]);
}

/* Each output beside what another way of calling left there. */
static void check_same_outputs(const call *c, const call *other)
{
    for (slot s = 0; s < SLOTS; s++) {
        const size_t unit = unit_of(c, s);
        const bnorm_layout *l = layout_of_slot(c, s);
        bool same = true;
        if (!is_output(c, s) || s == WORKSPACE)
            continue;
        const unsigned char *const a = c->at[s], *const b = other->at[s];
        for (size_t i = 0; i < (size_t)bytes_of(c, s); i += unit)
            same = same && same_unit(a + i, b + i, unit, l ? l->dtype : BNORM_DTYPE_F32);
        check(same, "two ways of calling give other bits");
    }
}

/* ---- The same call once more ---- */

static const bnorm_operation operation_of[FUNCTIONS] = { [CALL_TRAIN] = BNORM_OP_TRAIN,
                                                         [CALL_COLLECT] = BNORM_OP_TRAIN,
                                                         [CALL_BACKWARD] = BNORM_OP_BACKWARD,
                                                         [CALL_REDUCE] = BNORM_OP_BACKWARD };

/* Moves a call into memory of its own, as it was before; another workspace goes with another machine. */
static void copy_call(const call *c, call *copy, const bnorm_machine *m, buffers *owner)
{
    *copy = *c;
    for (size_t b = 0; b < c->block_count; b++) {
        const piece *k = &c->blocks[b];
        copy->blocks[b].data = take_guarded(owner, k->bytes, c->side);
        memcpy(copy->blocks[b].data, k->before, k->bytes);
        for (slot s = 0; s < SLOTS; s++) {
            const size_t offset = (size_t)((uintptr_t)c->at[s] - (uintptr_t)k->data);
            if (c->at[s] && offset <= k->bytes && offset + (size_t)bytes_of(c, s) <= k->bytes)
                copy->at[s] = copy->blocks[b].data + offset;
        }
    }
    if (operation_of[c->function] && c->at[WORKSPACE]) {
        check(bnorm_workspace_size_on(m, &c->shape.is, operation_of[c->function],
                                      copy->no_executor ? NULL : &copy->executor, &copy->workspace_size) == BNORM_OK,
              "no workspace for another machine");
        copy->at[WORKSPACE] = take_unwritten(owner, copy->workspace_size, FLUSH_END);
    }
    point_structs(copy);
}

static void check_again(cursor *bytes, const call *c, buffers *owner)
{
    const bnorm_machine m = { bnorm_kernels_at(take_below(bytes, bnorm_isa_count())),
                              *tunings[take_below(bytes, tuning_count)] };
    call again, here = *c;
    here.no_executor = take_rarely(bytes, 3);
    here.executor = take_rarely(bytes, 64) ? executor_threads(3) : executor_backwards(take_in(bytes, 1, 70));
    copy_call(&here, &again, &m, owner);
    const bnorm_status status = make_call(&again, &m);
    if (status == BNORM_ERROR_UNSUPPORTED && c->epilogue.is.activation > BNORM_ACT_HARD_SWISH)
        return; /* without SLEEF for these kernels */
    check(status == BNORM_OK, "refused in another way of calling");
    check_written(&again, owner);
    check_same_outputs(c, &again);
}

void fuzz_arguments(cursor *bytes)
{
    static const size_t caches[] = { 0, 1, 4096, 1 << 20 };
    buffers taken = { NULL };
    call c;
    take_call(bytes, &c, &taken);
    const bnorm_shape *const s = &c.shape.is;
    const char *const isa = bnorm_isa_name(take_below(bytes, bnorm_isa_count()));
    check(bnorm_set_isa(isa) == BNORM_OK && strcmp(bnorm_isa(), isa) == 0, "another ISA than was set");
    bnorm_set_cache_sizes(TAKE_FROM(bytes, caches), TAKE_FROM(bytes, caches));
    const verdict v = judge(&c);
    check_context("%s %zux%zux%zu block %zu, strides %zu %zu %zu to %zu %zu %zu, allowed 0x%llx or 0x%llx",
                  names[c.function], s->batch, s->channels, s->points, s->block, s->in.image_stride, s->in.block_stride,
                  s->in.point_stride, s->out.image_stride, s->out.block_stride, s->out.point_stride,
                  (unsigned long long)v.must, (unsigned long long)v.may);
    check_mask_size(&c);
    check_workspace_size(&c, (bnorm_operation)take_below(bytes, 4));
    const int checked = make_check(&c);
    check(checked < 0 || allows(v, (bnorm_status)checked), "the check answers another status");
    check_untouched(&c, "the check wrote something");
    if (v.must || !c.huge) {
        const bnorm_status status = make_call(&c, NULL);
        check(checked < 0 || checked == (int)status, "the call answers another status than its check");
        const char *const words = bnorm_status_string(status);
        if (!check(allows(v, status), "another status"))
            check_note("%s", words);
        if (status)
            check_untouched(&c, "a call that was refused wrote something");
        else
            check_written(&c, &taken);
        if (!status && !v.must && c.function == CALL_FOLD)
            check_fold(&c);
        else if (!status && !v.must)
            check_again(bytes, &c, &taken);
    }
    give_back(&taken);
}
