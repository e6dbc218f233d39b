/* SPDX-License-Identifier: MIT */
/* Reads a call from bytes: mostly a legal one of a small tensor, in which little is odd. */
#include <math.h>
#include <string.h>

#include "../check.h"
#include "../element.h"
#include "../executors.h"
#include "../inputs.h"
#include "call.h"
#include "kernels/element.h"

enum { LARGEST_BLOCK = 1 << 18 };

static size_t take_size(cursor *c)
{
    static const size_t odd[] = { 0,   SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 4 + 1,   SIZE_MAX / 24, (size_t)1 << 31,
                                  256, 97,       PTRDIFF_MAX / 4,  PTRDIFF_MAX / 4 + 1 };
    if (take_rarely(c, 48))
        return TAKE_FROM(c, odd);
    return take_in(c, 1, take_rarely(c, 4) ? 40 : 5);
}

static int take_enum(cursor *c, int last)
{
    static const int odd[] = { -1, 99, INT32_MAX, INT32_MIN };
    return take_rarely(c, 64) ? (take_rarely(c, 2) ? last + 1 : TAKE_FROM(c, odd))
                              : (int)take_below(c, (size_t)last + 1);
}

static float take_number(cursor *c, float usual)
{
    static const float odd[] = { 0, -1, 2, NAN, INFINITY, -INFINITY, -1e-9f, 1e-45f, 3e38f, 0.1f, -0.0f };
    return take_rarely(c, 16) ? TAKE_FROM(c, odd) : usual;
}

/* ---- Shapes ---- */

static size_t take_stride(cursor *c, size_t extent)
{
    static const size_t odd[] = { 1, SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 4 + 1, SIZE_MAX / 8 + 1, SIZE_MAX / 4, 3 };
    return take_rarely(c, 64) ? TAKE_FROM(c, odd)
                              : extent + (take_rarely(c, 3) ? take_below(c, 9) : 0) - take_rarely(c, 96);
}

/* Strides of axes in any order, each what it steps over and perhaps a gap; or dense. */
static bnorm_layout take_layout(cursor *c, const bnorm_shape *s)
{
    static const int orders[][3] = { { 0, 1, 2 }, { 1, 0, 2 }, { 0, 2, 1 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    bnorm_layout l = { .dtype = (bnorm_dtype)take_enum(c, BNORM_DTYPE_F16) };
    size_t *const strides[] = { &l.point_stride, &l.block_stride, &l.image_stride };
    const size_t sizes[] = { s->points, s->block ? (s->channels + s->block - 1) / s->block : 1, s->batch };
    const int *const order = TAKE_FROM(c, orders);
    size_t extent = s->block;
    if (take_rarely(c, 2))
        return l;
    for (int i = 0; i < 3; i++) {
        size_t *const stride = strides[order[i]];
        *stride = take_stride(c, extent);
        extent += (sizes[order[i]] - 1) * *stride;
    }
    return l;
}

static bnorm_shape take_shape(cursor *c)
{
    static const size_t blocks[] = { 0, 1, 8, 3, 16 };
    bnorm_shape s = bnorm_nchw(take_size(c), take_size(c), take_size(c));
    const size_t block = take_rarely(c, 8) ? take_size(c) : TAKE_FROM(c, blocks);
    s.block = block || take_rarely(c, 8) ? block : s.channels;
    s.in = take_layout(c, &s);
    s.out = take_rarely(c, 3) ? take_layout(c, &s) : s.in;
    return s;
}

/* ---- Structs ---- */

static void take_struct_size(cursor *c, size_t *size, unsigned char more[64])
{
    static const size_t odd[] = { 0, 1, 8, SIZE_MAX, 4097, SIZE_MAX / 2 };
    const size_t known = *size;
    memset(more, 0, 64);
    if (!take_rarely(c, 48))
        return;
    const size_t how = take_below(c, 4);
    *size = how == 0 ? TAKE_FROM(c, odd) : how == 1 ? known - 1 : known + take_below(c, 65);
    more[take_below(c, 64)] = (unsigned char)take_rarely(c, 2);
}

static void take_structs(cursor *bytes, call *c)
{
    static const struct {
        float alpha, beta;
    } usual[BNORM_ACT_MISH + 1] = { [BNORM_ACT_CLAMP] = { 0, 6 },
                                    [BNORM_ACT_LEAKY_RELU] = { 0.1f, 0 },
                                    [BNORM_ACT_HARD_SIGMOID] = { 0.2f, 0.5f },
                                    [BNORM_ACT_ELU] = { 1.5f, 0 } };
    bnorm_epilogue *const e = &c->epilogue.is;
    c->infer.is = bnorm_infer_defaults();
    c->train.is = bnorm_train_defaults();
    c->backward.is = bnorm_backward_defaults();
    *e = bnorm_epilogue_defaults();
    c->no_epilogue = take_rarely(bytes, 2);
    e->activation = (bnorm_activation)(take_rarely(bytes, 2) ? take_enum(bytes, BNORM_ACT_MISH) : BNORM_ACT_RELU);
    const size_t known = (size_t)e->activation <= BNORM_ACT_MISH ? (size_t)e->activation : 0;
    e->alpha = take_number(bytes, usual[known].alpha);
    e->beta = take_number(bytes, usual[known].beta);
    c->infer.is.epsilon = c->train.is.epsilon = c->backward.is.epsilon = take_number(bytes, 1e-3f);
    c->train.is.momentum = take_number(bytes, 0.25f);
    c->train.is.running_variance = (bnorm_variance)take_enum(bytes, 1);
    c->backward.is.statistics = (bnorm_statistics)take_enum(bytes, 1);
    c->backward.is.accumulate = (int)take_below(bytes, 2);
    c->infer.is.hint = c->train.is.hint = c->backward.is.hint = (bnorm_hint)take_enum(bytes, 2);
    take_struct_size(bytes, &c->shape.is.struct_size, c->shape.more);
    take_struct_size(bytes, &e->struct_size, c->epilogue.more);
    take_struct_size(bytes, &c->infer.is.struct_size, c->infer.more);
    take_struct_size(bytes, &c->train.is.struct_size, c->train.more);
    take_struct_size(bytes, &c->backward.is.struct_size, c->backward.more);
    c->no_shape = take_rarely(bytes, 200);
    c->no_params = take_rarely(bytes, 200);
}

static void take_counts(cursor *bytes, call *c)
{
    static const size_t widths[] = { 1, 2, 3, 64, SIZE_MAX };
    const uint64_t values = (uint64_t)c->shape.is.batch * c->shape.is.points;
    c->no_executor = take_rarely(bytes, 2);
    c->executor = executor_backwards(TAKE_FROM(bytes, widths));
    if (take_rarely(bytes, 64))
        c->executor.width = 0;
    if (take_rarely(bytes, 64))
        c->executor.run = NULL;
    c->count = take_rarely(bytes, 4) ? take_below(bytes, 4) : values + take_below(bytes, 3);
    c->more_count = take_below(bytes, 3);
}

static void take_workspace_size(cursor *bytes, call *c)
{
    const bool forward = c->function == CALL_TRAIN || c->function == CALL_COLLECT;
    const size_t off = take_rarely(bytes, 16) ? take_below(bytes, 200) : 0;
    size_t size = 0;
    if (bnorm_workspace_size(&c->shape.is, forward ? BNORM_OP_TRAIN : BNORM_OP_BACKWARD,
                             c->no_executor ? NULL : &c->executor, &size))
        size = 64; /* of what will be refused */
    c->workspace_size = take_rarely(bytes, 2) ? size + off : size - (off < size ? off : size);
}

/* ---- Memory ---- */

/* Where an argument lies: in the block of another, or at the begin of its own. */
typedef struct place {
    size_t block;
    ptrdiff_t offset;
} place;

/* Beside another argument, exactly there, or some elements or bytes off. */
static ptrdiff_t take_offset(cursor *bytes, const call *c, slot s, slot other)
{
    const ptrdiff_t unit = (ptrdiff_t)unit_of(c, s);
    switch (take_below(bytes, 6)) {
    case 0:
    case 1:
        return 0;
    case 2:
        return (ptrdiff_t)bytes_of(c, other);
    case 3:
        return -(ptrdiff_t)bytes_of(c, s);
    case 4:
        return ((ptrdiff_t)take_below(bytes, 65) - 32) * unit;
    default:
        return ((ptrdiff_t)take_below(bytes, 2) * 2 - 1) * (ptrdiff_t)(c->shape.is.block % 64) * unit;
    }
}

static bool is_reasonable(const call *c, slot s)
{
    return bytes_of(c, s) <= LARGEST_BLOCK;
}

/* The blocks as they grow; and the arguments that are in them. */
typedef struct layout {
    place places[SLOTS];
    ptrdiff_t low[SLOTS], high[SLOTS];
    slot placed[SLOTS];
    size_t count;
} layout;

/* Beside an argument that has a place, or in a block of its own; what is of bytes begins anywhere, some before more. */
static void take_place(cursor *bytes, call *c, layout *l, slot s, bool beside)
{
    place p = { c->block_count, unit_of(c, s) == 1 ? (ptrdiff_t)take_below(bytes, 64) : 0 };
    if (beside && l->count) {
        const slot other = l->placed[take_below(bytes, l->count)];
        p.block = l->places[other].block;
        p.offset = l->places[other].offset + take_offset(bytes, c, s, other);
    } else {
        l->low[p.block] = l->high[p.block] = 0;
        c->block_count++;
    }
    p.offset += take_rarely(bytes, 96);
    const ptrdiff_t end = p.offset + (ptrdiff_t)bytes_of(c, s) + (p.offset > 32 ? 63 : 0);
    l->low[p.block] = p.offset < l->low[p.block] ? p.offset : l->low[p.block];
    l->high[p.block] = end > l->high[p.block] ? end : l->high[p.block];
    l->places[s] = p;
    l->placed[l->count++] = s;
}

/* In half of the calls some arguments overlap others, or lie close to them. */
static void take_places(cursor *bytes, call *c, layout *l)
{
    const size_t odds = take_rarely(bytes, 2) ? 6 : 256;
    for (slot s = 0; s < SLOTS; s++) {
        const use u = call_use(c, s);
        const bool absent = u == UNUSED || (u % 2 ? take_rarely(bytes, 2) : take_rarely(bytes, 96));
        c->at[s] = absent ? NULL : c; /* something, until there is memory */
        if (!absent && is_reasonable(c, s))
            take_place(bytes, c, l, s, take_rarely(bytes, odds));
        c->huge = c->huge || (!absent && !is_reasonable(c, s));
    }
}

/* Values that make sense for an argument. */
static void fill(call *c, slot s, random_state *r)
{
    const size_t unit = unit_of(c, s), count = (size_t)bytes_of(c, s) / unit;
    const bool positive = s == VAR || s == RSTD || s == SAVED_RSTD || s == RUNNING_VAR || s == M2 || s == MORE_M2;
    const bnorm_layout *l = layout_of_slot(c, s);
    for (size_t i = 0; i < count; i++) {
        const double d = (double)(int32_t)(uint32_t)random_bits(r) * 0x1p-30, value = positive ? fabs(d) : d;
        const float f = (float)value;
        uint32_t element = (uint32_t)random_bits(r);
        if (unit == sizeof(float))
            memcpy(&element, &f, sizeof(f));
        else if (l)
            store_elements(l->dtype, &element, &f, 1);
        memcpy((char *)c->at[s] + i * unit, unit == sizeof(double) ? (const void *)&value : &element, unit);
    }
}

static void take_memory(cursor *bytes, call *c, buffers *owner)
{
    layout l = { .count = 0 };
    random_state r = { take_byte(bytes) };
    c->side = take_rarely(bytes, 2) ? FLUSH_START : FLUSH_END;
    take_places(bytes, c, &l);
    for (size_t b = 0; b < c->block_count; b++) {
        c->blocks[b].bytes = (size_t)(l.high[b] - l.low[b]);
        c->blocks[b].data = take_guarded(owner, c->blocks[b].bytes, c->side);
        c->blocks[b].before = take_zeros(owner, c->blocks[b].bytes);
        memset(c->blocks[b].data, 0x5a, c->blocks[b].bytes);
    }
    for (slot s = 0; s < SLOTS; s++)
        if (c->at[s] && !is_reasonable(c, s)) {
            c->at[s] = (void *)(uintptr_t)(4096 * (s + 1)); /* in no memory */
        } else if (c->at[s]) {
            c->at[s] = c->blocks[l.places[s].block].data + (l.places[s].offset - l.low[l.places[s].block]);
            fill(c, s, &r);
        }
    for (size_t b = 0; b < c->block_count; b++)
        memcpy(c->blocks[b].before, c->blocks[b].data, c->blocks[b].bytes);
}

void take_call(cursor *bytes, call *c, buffers *owner)
{
    *c = (call){ .function = (function)take_below(bytes, FUNCTIONS) };
    c->shape.is = take_shape(bytes);
    take_structs(bytes, c);
    take_counts(bytes, c);
    take_workspace_size(bytes, c);
    c->at[Y] = c->at[DGAMMA] = c->at[DBETA] = c; /* what others are needed for: until it is known */
    take_memory(bytes, c, owner);
    point_structs(c);
}
