/* SPDX-License-Identifier: MIT */
#include "job.h"

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
const bnorm_tuning *const tunings[] = { &usual_tuning, &tiny, &cold, &roomy, &no_cache };
const size_t tuning_count = COUNT_OF(tunings);

size_t job_elements(const job *j)
{
    return j->shape.batch * j->shape.channels * j->shape.points;
}

static float *floats(job *j, size_t count)
{
    return take_zeros(&j->taken, count * sizeof(float));
}

typedef enum made_by { INFERENCE, TRAINING, GRADIENT, FROZEN_GRADIENT } made_by;

/* Each activation forward and backward; and what a residual, its gradient and a mask add to that. */
static const struct {
    const char *name;
    made_by call;
    bool residual;
    bnorm_activation activation;
    float alpha, beta;
} operations[] = {
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

const int operation_count = COUNT_OF(operations);

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

static float *drawn(job *j, random_state *r, bool positive)
{
    float *values = floats(j, j->shape.channels);
    for (size_t c = 0; c < j->shape.channels; c++)
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
    for (size_t i = 0; i < job_elements(j); i++)
        j->y[i] = r.y[i] + (has_residual(j->op) ? j->residual[i] : 0);
    if (!is_frozen(j->op)) {
        size_t bytes = j->shape.channels * sizeof(float);
        memcpy(j->mean, r.statistics[2], bytes);
        memcpy(j->low, r.statistics[3], bytes);
        memcpy(j->rstd, r.statistics[4], bytes);
    }
    give_back(&r.taken);
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
static float *float_y(job *j)
{
    const way plain = { .kernels = bnorm_kernels_at(bnorm_isa_count() - 1), .tuning = &usual_tuning };
    const job in_floats = job_in_floats(j);
    result r = perform(&in_floats, &plain);
    float *y = floats(j, job_elements(j));
    memcpy(y, r.y, job_elements(j) * sizeof(*y));
    give_back(&r.taken);
    return y;
}

/* A tensor's values, of a class and a type. */
static float *filled(job *j, input_class class, bnorm_dtype type, random_state *r)
{
    const bnorm_shape *s = &j->shape;
    float *values = floats(j, job_elements(j));
    input_fill(class, values, s->batch, s->channels, s->points, random_bits(r));
    round_elements(type, values, job_elements(j));
    return values;
}

job job_drawn(const bnorm_shape *shape, input_class class, uint64_t seed, operation op, bool with_parameters)
{
    random_state r = { seed + class };
    const bnorm_dtype in = shape->in.dtype, out = shape->out.dtype;
    job j = { .shape = *shape, .op = op, .epsilon = 1e-5f, .with_parameters = with_parameters };
    j.x = filled(&j, class, in, &r);
    j.gamma = drawn(&j, &r, false);
    j.beta = drawn(&j, &r, false);
    j.mean = drawn(&j, &r, false);
    j.var = drawn(&j, &r, true);
    if (is_backward(op))
        j.dy = filled(&j, with_parameters ? class : INPUT_normal, out, &r);
    if (has_residual(op))
        j.residual = filled(&j, INPUT_normal, out, &r);
    return j;
}

void job_complete(job *j)
{
    if (is_backward(j->op)) {
        j->y = floats(j, job_elements(j));
        j->low = floats(j, j->shape.channels);
        j->rstd = floats(j, j->shape.channels);
        go_forward(j);
    } else if (is_typed(j) && has_mask(j->op)) {
        j->y = float_y(j);
    }
}

job job_new(const bnorm_shape *shape, input_class class, uint64_t seed, operation op, bool with_parameters)
{
    job j = job_drawn(shape, class, seed, op, with_parameters);
    job_complete(&j);
    return j;
}
