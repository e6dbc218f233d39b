/* SPDX-License-Identifier: MIT */
/* The handlers that bnorm.jax registers with XLA. Arrays are row-major; those of one value per channel are f32. */
#include "xla.h"

namespace
{

using namespace bnorm_calls;
using namespace xla;

bnorm_dtype dtype_of(const Buffer &x)
{
    if (x.type != F32 && x.type != BF16 && x.type != F16)
        throw Error("bnorm: an array is of none of the types float32, bfloat16 and float16");
    return x.type == F32 ? BNORM_DTYPE_F32 : x.type == BF16 ? BNORM_DTYPE_BF16 : BNORM_DTYPE_F16;
}

/* The attribute "axis" is that of channels. */
bnorm_shape shape_of(const CallFrame &frame, const Buffer &x, const Buffer &y)
{
    const int64_t axis = attribute<int64_t>(frame.attributes, "axis", S64);
    if (axis < 0 || axis >= x.rank || !std::equal(x.dims, x.dims + x.rank, y.dims, y.dims + y.rank))
        throw Error("bnorm: the arrays of the call have other shapes");
    const auto product = [&](int64_t begin, int64_t end) {
        size_t all = 1;
        for (int64_t i = begin; i < end; i++)
            all *= static_cast<size_t>(x.dims[i]);
        return all;
    };
    const size_t channels = product(axis, axis + 1);
    bnorm_shape shape = axis > 0 && axis == x.rank - 1
                            ? bnorm_nhwc(product(0, 1), channels, product(1, axis))
                            : bnorm_nchw(product(0, axis), channels, product(axis + 1, x.rank));
    shape.in.dtype = dtype_of(x);
    shape.out.dtype = dtype_of(y);
    return shape;
}

bnorm_epilogue epilogue_of(const CallFrame &frame)
{
    bnorm_epilogue epilogue = bnorm_epilogue_defaults();
    epilogue.activation = static_cast<bnorm_activation>(attribute<int32_t>(frame.attributes, "activation", S32));
    epilogue.alpha = attribute<float>(frame.attributes, "alpha", F32);
    epilogue.beta = attribute<float>(frame.attributes, "beta", F32);
    return epilogue;
}

void *mask_in(const Buffer &mask, const bnorm_shape &shape)
{
    size_t size = 0;
    check_status(bnorm_mask_size(&shape, &size));
    return array(mask, U8, elements(mask) ? size : 0);
}

/* Arrays of values are parts of one buffer: [4][channels] of mean, its low part, rstd and variance in training, and
 * [2][channels] of mean and variance in inference. */
bool is_training(const Buffer &statistics)
{
    return statistics.rank == 2 && statistics.dims[0] == 4;
}

/* x, gamma, beta, and in inference statistics, then the residual if there is one. Gives y, the mask, and in training
 * statistics. */
template <bool training> void forward(const CallFrame &frame)
{
    const Buffer &x = buffer_at(frame.arguments, 0), &y = buffer_at(frame.results, 0);
    const bnorm_shape shape = shape_of(frame, x, y);
    const size_t channels = shape.channels;
    const int64_t residual_at = training ? 3 : 4;
    bnorm_epilogue epilogue = epilogue_of(frame);
    epilogue.mask = mask_in(buffer_at(frame.results, 1), shape);
    if (frame.arguments.size > residual_at)
        epilogue.residual = array(buffer_at(frame.arguments, residual_at), y.type, elements(y));
    Norm norm = { .gamma = array<float>(buffer_at(frame.arguments, 1), F32, channels),
                  .beta = array<float>(buffer_at(frame.arguments, 2), F32, channels),
                  .epsilon = attribute<float>(frame.attributes, "epsilon", F32),
                  .epilogue = &epilogue };
    if constexpr (training) {
        float *mean = array<float>(buffer_at(frame.results, 2), F32, 4 * channels);
        norm.running_var = mean + 3 * channels;
        norm.running_variance = BNORM_VARIANCE_BIASED;
        norm.momentum = 1.0f; // the batch's own variance, whatever was there
        train(shape, x.data, y.data, norm, { mean, mean + channels, mean + 2 * channels }, pool(frame));
    } else {
        norm.running_mean = array<float>(buffer_at(frame.arguments, 3), F32, 2 * channels);
        norm.running_var = norm.running_mean + channels;
        infer(shape, x.data, y.data, norm, pool(frame));
    }
}

/* dy, x, gamma, beta, statistics and the mask, which may be empty. Gives dx, dgamma, dbeta, and if asked for the
 * gradient of the residual. */
void backward(const CallFrame &frame)
{
    const Buffer &dy = buffer_at(frame.arguments, 0), &x = buffer_at(frame.arguments, 1);
    const Buffer &statistics = buffer_at(frame.arguments, 4), &dx = buffer_at(frame.results, 0);
    const bnorm_shape shape = shape_of(frame, x, dy);
    const size_t channels = shape.channels;
    bnorm_epilogue epilogue = epilogue_of(frame);
    epilogue.mask = mask_in(buffer_at(frame.arguments, 5), shape);
    const bool training = is_training(statistics);
    float *mean = array<float>(statistics, F32, (training ? 4 : 2) * channels);
    const Norm norm = { .gamma = array<float>(buffer_at(frame.arguments, 2), F32, channels),
                        .beta = array<float>(buffer_at(frame.arguments, 3), F32, channels),
                        .running_mean = mean,
                        .running_var = mean + channels,
                        .epsilon = attribute<float>(frame.attributes, "epsilon", F32),
                        .epilogue = &epilogue };
    bnorm_backward_params params =
        training ? backward_params(norm, { mean, mean + channels, mean + 2 * channels }) : frozen_params(norm);
    params.dgamma = array<float>(buffer_at(frame.results, 1), F32, channels);
    params.dbeta = array<float>(buffer_at(frame.results, 2), F32, channels);
    if (frame.results.size > 3)
        params.dresidual = array(buffer_at(frame.results, 3), dy.type, elements(dy));
    differentiate(shape, x.data, dy.data, array(dx, x.type, elements(x)), params, pool(frame));
}

} // namespace

extern "C" {

BNORM_API Failure bnorm_jax_train(CallFrame *frame);
BNORM_API Failure bnorm_jax_infer(CallFrame *frame);
BNORM_API Failure bnorm_jax_backward(CallFrame *frame);

Failure bnorm_jax_train(CallFrame *frame)
{
    return handle<forward<true>>(frame);
}

Failure bnorm_jax_infer(CallFrame *frame)
{
    return handle<forward<false>>(frame);
}

Failure bnorm_jax_backward(CallFrame *frame)
{
    return handle<backward>(frame);
}
}
