/* SPDX-License-Identifier: MIT */
#include "every.h"

#include <string.h>

#include "check.h"
#include "element.h"
#include "inputs.h"

/* ---- Cases ---- */

enum { BATCH = 2, POINTS = 37, LAYOUTS = 9, ACTIVATIONS = BNORM_ACT_MISH + 1 };

/* Channels side by side, told by strides. */
static bnorm_layout side_by_side(const bnorm_shape *s)
{
    return (bnorm_layout){ .image_stride = s->points * s->channels, .block_stride = 1, .point_stride = s->channels };
}

/* Gaps between points, planes and images. */
static bnorm_layout spaced(const bnorm_shape *s)
{
    bnorm_layout l = { .point_stride = 4, .block_stride = 4 * s->points + 5 };
    l.image_stride = s->channels * l.block_stride + 7;
    return l;
}

static bnorm_shape shape_of(size_t layout)
{
    static const size_t blocks[] = { 1, EVERY_CHANNELS, 8, 16 };
    bnorm_shape s = bnorm_blocked(BATCH, EVERY_CHANNELS, POINTS, layout < COUNT_OF(blocks) ? blocks[layout] : 1);
    if (layout == 4)
        s = bnorm_nchw(BATCH, EVERY_CHANNELS, 9); /* planes smaller than a pair of vectors */
    else if (layout == 5)
        s = bnorm_nhwc(BATCH * POINTS, EVERY_CHANNELS, 1);
    else if (layout == 6)
        s.in = s.out = side_by_side(&s);
    else if (layout == 7)
        s.in = side_by_side(&s); /* transposed */
    else if (layout == 8)
        s.in = s.out = spaced(&s);
    return s;
}

bool every_case_at(size_t index, every_case *c)
{
    static const bnorm_dtype types[][2] = { { BNORM_DTYPE_F32, BNORM_DTYPE_F32 },
                                            { BNORM_DTYPE_BF16, BNORM_DTYPE_BF16 },
                                            { BNORM_DTYPE_F16, BNORM_DTYPE_F16 },
                                            { BNORM_DTYPE_F32, BNORM_DTYPE_BF16 } };
    const size_t type = index / ACTIVATIONS / LAYOUTS;
    if (type >= COUNT_OF(types))
        return false;
    c->activation = (bnorm_activation)(index % ACTIVATIONS);
    c->residual = c->activation % 2;
    c->shape = shape_of(index / ACTIVATIONS % LAYOUTS);
    c->shape.in.dtype = types[type][0];
    c->shape.out.dtype = types[type][1];
    return true;
}

static void draw(every_tensor *t, bnorm_dtype type, double mean, double deviation, random_state *r)
{
    static float values[EVERY_ELEMENTS];
    for (size_t i = 0; i < EVERY_ELEMENTS; i++)
        values[i] = (float)(mean + deviation * random_normal(r));
    store_elements(type, t, values, EVERY_ELEMENTS);
}

void every_draw(every *e, const every_case *c)
{
    random_state r = { check_seed() };
    if (e->drawn && e->x_type == c->shape.in.dtype && e->y_type == c->shape.out.dtype)
        return;
    e->drawn = true;
    e->x_type = c->shape.in.dtype;
    e->y_type = c->shape.out.dtype;
    draw(&e->x, e->x_type, 3, 2, &r);
    draw(&e->dy, e->y_type, 0, 1, &r);
    draw(&e->residual, e->y_type, 0, 1, &r);
    for (int i = 0; i < EVERY_CHANNELS; i++) {
        e->mean[i] = 3 + (float)i / 16;
        e->var[i] = 4 + (float)i / 8;
        e->gamma[i] = 1 + (float)i / 8;
        e->beta[i] = (float)i / 16;
    }
}

/* ---- The calls ---- */

static bnorm_epilogue epilogue_of(every *e, const every_case *c, bool backward)
{
    bnorm_epilogue p = bnorm_epilogue_defaults();
    p.activation = c->activation;
    p.alpha = 0.25f;
    p.beta = 0.5f;
    p.mask = c->activation >= BNORM_ACT_RELU && c->activation <= BNORM_ACT_HARD_SIGMOID ? e->out.mask : NULL;
    p.residual = c->residual && !(backward && p.mask) ? &e->residual : NULL;
    return p;
}

static bnorm_infer_params infer_params(const every *e, const bnorm_epilogue *epilogue)
{
    bnorm_infer_params p = bnorm_infer_defaults();
    p.mean = e->mean;
    p.var = e->var;
    p.gamma = e->gamma;
    p.beta = e->beta;
    p.epilogue = epilogue;
    return p;
}

static bnorm_status infer(every *e, const every_case *c, const bnorm_executor *executor)
{
    const bnorm_epilogue epilogue = epilogue_of(e, c, false);
    const bnorm_infer_params p = infer_params(e, &epilogue), plain = infer_params(e, NULL);
    bnorm_status status = bnorm_infer(&c->shape, &p, &e->x, &e->out.inferred, executor);
    return status ? status : bnorm_fold(&c->shape, &plain, &e->x, e->beta, &e->out.weights, e->out.bias);
}

static bnorm_train_params train_params(every *e, const bnorm_epilogue *epilogue, float (*saved)[EVERY_CHANNELS])
{
    bnorm_train_params p = bnorm_train_defaults();
    p.gamma = e->gamma;
    p.beta = e->beta;
    p.running_mean = e->out.running[0];
    p.running_var = e->out.running[1];
    p.saved_mean = saved[0];
    p.saved_mean_low = saved[1];
    p.saved_rstd = saved[2];
    p.epilogue = epilogue;
    return p;
}

/* As one call; and in steps, of the same tensor twice. */
static bnorm_status train(every *e, const every_case *c, const bnorm_executor *executor)
{
    every_outputs *o = &e->out;
    const bnorm_epilogue epilogue = epilogue_of(e, c, false);
    const bnorm_train_params p = train_params(e, &epilogue, o->saved),
                             steps = train_params(e, &epilogue, o->saved_in_steps);
    const uint64_t count = (uint64_t)c->shape.batch * c->shape.points;
    bnorm_status status = bnorm_train(&c->shape, &p, &e->x, &o->trained, e->workspace, EVERY_WORKSPACE, executor);
    for (int i = 0; !status && i < 2; i++)
        status = bnorm_train_collect(&c->shape, &e->x, o->moments[2 * i], o->moments[2 * i + 1], e->workspace,
                                     EVERY_WORKSPACE, executor);
    if (!status)
        status =
            bnorm_train_merge(EVERY_CHANNELS, count, o->moments[0], o->moments[1], count, o->moments[2], o->moments[3]);
    if (!status)
        status = bnorm_train_finish(EVERY_CHANNELS, 2 * count, o->moments[0], o->moments[1], &steps);
    return status ? status : bnorm_train_apply(&c->shape, &steps, &e->x, &o->applied, executor);
}

static bnorm_backward_params backward_params(every *e, const bnorm_epilogue *epilogue, int call)
{
    bnorm_backward_params p = bnorm_backward_defaults();
    p.gamma = e->gamma;
    p.beta = e->beta;
    p.mean = e->out.saved[0];
    p.mean_low = e->out.saved[1];
    p.rstd = e->out.saved[2];
    p.dgamma = e->out.gradients[2 * call];
    p.dbeta = e->out.gradients[2 * call + 1];
    p.epilogue = epilogue;
    return p;
}

/* As one call, in steps, and with frozen statistics. */
static bnorm_status backward(every *e, const every_case *c, const bnorm_executor *executor)
{
    every_outputs *o = &e->out;
    const bnorm_epilogue epilogue = epilogue_of(e, c, true);
    const uint64_t count = (uint64_t)c->shape.batch * c->shape.points;
    bnorm_backward_params p = backward_params(e, &epilogue, 0), steps = backward_params(e, &epilogue, 1);
    bnorm_backward_params frozen = backward_params(e, &epilogue, 2);
    p.dresidual = &o->dresidual;
    frozen.statistics = BNORM_STATISTICS_FROZEN;
    frozen.mean = e->mean;
    frozen.var = e->var;
    bnorm_status status = bnorm_backward(&c->shape, &p, &e->x, &e->dy, &o->dx, e->workspace, EVERY_WORKSPACE, executor);
    if (!status)
        status =
            bnorm_backward_reduce(&c->shape, &steps, &e->x, &e->dy, o->sums, e->workspace, EVERY_WORKSPACE, executor);
    if (!status)
        status = bnorm_backward_apply(&c->shape, &steps, count, o->sums, &e->x, &e->dy, &o->dx_in_steps, executor);
    return status ? status
                  : bnorm_backward(&c->shape, &frozen, &e->x, &e->dy, &o->frozen_dx, e->workspace, EVERY_WORKSPACE,
                                   executor);
}

bnorm_status every_call(every *e, const every_case *c, const bnorm_executor *executor)
{
    static const uint32_t signalling = 0x7fa00000;
    memset(&e->out, 0, sizeof(e->out));
    for (size_t i = 0; i < EVERY_WORKSPACE; i += sizeof(signalling))
        memcpy(e->workspace + i, &signalling, sizeof(signalling));
    bnorm_status status = every_query(e, c);
    if (!status)
        status = infer(e, c, executor);
    if (!status)
        status = train(e, c, executor);
    return status ? status : backward(e, c, executor);
}

/* What the process has set is set again. */
static bnorm_status ask_settings(void)
{
    size_t core, shared;
    bnorm_cache_sizes(&core, &shared);
    bnorm_set_cache_sizes(core, shared);
    const bool named = bnorm_isa_count() && bnorm_isa_name(0) && bnorm_version() && bnorm_status_string(BNORM_OK);
    return named ? bnorm_set_isa(bnorm_isa()) : BNORM_ERROR_ISA;
}

bnorm_status every_query(every *e, const every_case *c)
{
    const bnorm_epilogue epilogue = epilogue_of(e, c, false), gradient = epilogue_of(e, c, true);
    const bnorm_infer_params p = infer_params(e, &epilogue);
    const bnorm_train_params t = train_params(e, &epilogue, e->out.saved);
    const bnorm_backward_params b = backward_params(e, &gradient, 0);
    size_t size;
    bnorm_status status = ask_settings();
    if (!status)
        status = bnorm_workspace_size(&c->shape, BNORM_OP_BACKWARD, NULL, &size);
    if (!status)
        status = bnorm_mask_size(&c->shape, &size);
    if (!status)
        status = bnorm_infer_check(&c->shape, &p, &e->x, &e->out.inferred, NULL);
    if (!status)
        status = bnorm_train_check(&c->shape, &t, &e->x, &e->out.trained, e->workspace, EVERY_WORKSPACE, NULL);
    return status ? status
                  : bnorm_backward_check(&c->shape, &b, &e->x, &e->dy, &e->out.dx, e->workspace, EVERY_WORKSPACE, NULL);
}

uint64_t every_digest(const every *e)
{
    const unsigned char *const bytes = (const unsigned char *)&e->out;
    uint64_t hash = CHECK_DIGEST_START;
    for (size_t i = 0; i < sizeof(e->out); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}
