/* SPDX-License-Identifier: MIT */
/* The operators of bnorm.torch: the library's own, and what takes the place of PyTorch's native_batch_norm. */
#include "tensors.h"

#include <cmath>

namespace
{

using namespace bnorm_torch;

// ---- The operators ----

/* Three of the arguments in a row. */
bnorm_epilogue epilogue_of(const Arguments &in, size_t first)
{
    bnorm_epilogue epilogue = bnorm_epilogue_defaults();
    epilogue.activation = static_cast<bnorm_activation>(in.number<int64_t>(first));
    epilogue.alpha = in.real(first + 1);
    epilogue.beta = in.real(first + 2);
    return epilogue;
}

bool has_mask(const bnorm_epilogue &epilogue)
{
    bnorm_activation a = epilogue.activation;
    return a == BNORM_ACT_RELU || a == BNORM_ACT_CLAMP || a == BNORM_ACT_LEAKY_RELU || a == BNORM_ACT_HARD_SIGMOID;
}

/* y, what the backward pass needs of the statistics ([3][channels], or the [2][channels] of running ones), the mask. */
void forward(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "t?????........");
    const Tensor x = described(in.tensor(0));
    Tensor y = empty_like(x);
    const size_t channels = shape_of(x, y).channels;
    const Tensor residual = laid_out_as(in.tensor(1), y);
    const PerChannel weight(in.tensor(2), channels), bias(in.tensor(3), channels);
    const PerChannel running_mean(in.tensor(4), channels), running_var(in.tensor(5), channels);
    const bool training = in.flag(6), keep = in.flag(13);
    bnorm_epilogue epilogue = epilogue_of(in, 10);
    Tensor mask =
        empty({ keep && residual && has_mask(epilogue) ? mask_size(x, y) : 0 }, torch.aoti_torch_dtype_uint8());
    epilogue.residual = residual.data();
    epilogue.mask = mask_in(mask);

    const Norm norm = { .gamma = weight.data(),
                        .beta = bias.data(),
                        .running_mean = running_mean.data(),
                        .running_var = running_var.data(),
                        .momentum = in.real(7),
                        .running_variance = in.flag(8) ? BNORM_VARIANCE_BIASED : BNORM_VARIANCE_UNBIASED,
                        .epsilon = in.real(9),
                        .epilogue = &epilogue };
    Tensor saved = empty({ training ? 3u : keep ? 2u : 0u, channels }, torch.aoti_torch_dtype_float32());
    if (training) {
        train(shape_of(x, y), x.data(), y.data(), norm, saved_in(saved, channels), pool());
        running_mean.store();
        running_var.store();
    } else {
        infer(shape_of(x, y), x.data(), y.data(), norm, pool());
        if (keep) { // running statistics may change before the backward pass
            std::copy_n(norm.running_mean, channels, saved.data<float>());
            std::copy_n(norm.running_var, channels, saved.data<float>() + channels);
        }
    }
    stack[0] = result_like(std::move(y), in.tensor(0));
    stack[1] = saved.release();
    stack[2] = mask.release();
}

/* A gradient, which is in float, in the type of its parameter. */
Value as_parameter(Tensor gradient, const Tensor &parameter)
{
    if (!parameter || gradient.type() == parameter.type())
        return gradient.release();
    Tensor rounded = empty({ gradient.elements() }, parameter.type());
    copy(rounded, gradient);
    return rounded.release();
}

/* The gradients of x, the residual, the weight and the bias; those that are not wanted are empty. */
void backward(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "tt??tt........");
    const Tensor x = described(in.tensor(1), true), dy = laid_out_as(in.tensor(0), x);
    const size_t channels = shape_of(x, dy).channels;
    const PerChannel weight(in.tensor(2), channels), bias(in.tensor(3), channels);
    const Tensor saved = in.tensor(4), mask = in.tensor(5);
    const bool training = in.flag(6), wants_parameters = in.flag(13);
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor dx = in.flag(11) ? empty_like(x) : Tensor(), dresidual = in.flag(12) ? empty_like(x) : Tensor();
    Tensor dweight = wants_parameters ? empty({ channels }, f32) : Tensor();
    Tensor dbias = wants_parameters ? empty({ channels }, f32) : Tensor();

    bnorm_epilogue epilogue = epilogue_of(in, 8);
    require(mask, mask.elements() ? mask_size(x, dy) : 0, torch.aoti_torch_dtype_uint8());
    epilogue.mask = mask_in(mask);
    Norm norm = { .gamma = weight.data(), .beta = bias.data(), .epsilon = in.real(7), .epilogue = &epilogue };
    if (!training) {
        require(saved, 2 * channels, f32);
        norm.running_mean = saved.data<float>();
        norm.running_var = norm.running_mean + channels;
    }
    bnorm_backward_params params = training ? backward_params(norm, saved_in(saved, channels)) : frozen_params(norm);
    params.dgamma = dweight.data<float>();
    params.dbeta = dbias.data<float>();
    params.dresidual = dresidual.data();
    differentiate(shape_of(x, dy), x.data(), dy.data(), dx.data(), params, pool());

    const auto nothing = [&] { return empty({ 0 }, x.type()).release(); };
    stack[0] = dx ? result_like(std::move(dx), in.tensor(1)) : nothing();
    stack[1] = dresidual ? result_like(std::move(dresidual), in.tensor(1)) : nothing();
    stack[2] = dweight ? as_parameter(std::move(dweight), in.tensor(2)) : nothing();
    stack[3] = dbias ? as_parameter(std::move(dbias), in.tensor(3)) : nothing();
}

// ---- Batches that processes share ----

/* [2][channels]: the mean, and the sum of squared deviations from it. */
void train_collect(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "t");
    const Tensor x = described(in.tensor(0));
    const bnorm_shape shape = shape_of(x, x);
    Tensor moments = empty({ 2, shape.channels }, torch.aoti_torch_dtype_float64());
    double *mean = moments.data<double>();
    const bnorm_executor threads = pool();
    const Workspace workspace(shape, BNORM_OP_TRAIN, threads);
    check_status(
        bnorm_train_collect(&shape, x.data(), mean, mean + shape.channels, workspace.memory, workspace.size, &threads));
    stack[0] = moments.release();
}

/* The moments of all parts [parts][2][channels], of which counts says how many values they are; running statistics
 * follow, and what is saved is returned. Parts are merged in their order. */
void train_finish(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "tt??..");
    const Tensor parts = in.tensor(0), counts = in.tensor(1);
    if (counts.elements() == 0)
        throw Error("bnorm: moments of no part");
    const size_t channels = parts.elements() / counts.elements() / 2;
    const PerChannel running_mean(in.tensor(2), channels), running_var(in.tensor(3), channels);
    require(parts, 2 * channels * counts.elements(), torch.aoti_torch_dtype_float64());
    require(counts, counts.elements(), torch.aoti_torch_dtype_int64());
    const int64_t *count = counts.data<int64_t>();
    uint64_t merged = 0;
    std::vector<double> all(2 * channels);
    for (size_t i = 0; i < counts.elements(); i++) {
        const double *part = parts.data<double>() + 2 * channels * i;
        check_status(bnorm_train_merge(channels, merged, all.data(), all.data() + channels,
                                       static_cast<uint64_t>(count[i]), part, part + channels));
        merged += static_cast<uint64_t>(count[i]);
    }
    Tensor saved = empty({ 3, channels }, torch.aoti_torch_dtype_float32());
    const Norm norm = { .running_mean = running_mean.data(),
                        .running_var = running_var.data(),
                        .momentum = in.real(4),
                        .epsilon = in.real(5) };
    const bnorm_train_params params = train_params(norm, saved_in(saved, channels));
    check_status(bnorm_train_finish(channels, merged, all.data(), all.data() + channels, &params));
    running_mean.store();
    running_var.store();
    stack[0] = saved.release();
}

void train_apply(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "t??t.");
    const Tensor x = described(in.tensor(0));
    Tensor y = empty_like(x);
    const bnorm_shape shape = shape_of(x, y);
    const PerChannel weight(in.tensor(1), shape.channels), bias(in.tensor(2), shape.channels);
    const Norm norm = { .gamma = weight.data(), .beta = bias.data(), .epsilon = in.real(4) };
    const bnorm_train_params params = train_params(norm, saved_in(in.tensor(3), shape.channels));
    const bnorm_executor threads = pool();
    check_status(bnorm_train_apply(&shape, &params, x.data(), y.data(), &threads));
    stack[0] = result_like(std::move(y), in.tensor(0));
}

/* [3][channels]: the sums over one part that its gradients, added up over all parts, follow from. */
void backward_reduce(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "ttt");
    const Tensor x = described(in.tensor(1), true), dy = laid_out_as(in.tensor(0), x);
    const bnorm_shape shape = shape_of(x, dy);
    Tensor sums = empty({ 3, shape.channels }, torch.aoti_torch_dtype_float64());
    const bnorm_backward_params params = backward_params({}, saved_in(in.tensor(2), shape.channels));
    const bnorm_executor threads = pool();
    const Workspace workspace(shape, BNORM_OP_BACKWARD, threads);
    check_status(bnorm_backward_reduce(&shape, &params, x.data(), dy.data(), sums.data<double>(), workspace.memory,
                                       workspace.size, &threads));
    stack[0] = sums.release();
}

void backward_apply(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "tt?tt.");
    const Tensor x = described(in.tensor(1), true), dy = laid_out_as(in.tensor(0), x);
    Tensor dx = empty_like(x);
    const bnorm_shape shape = shape_of(x, dy);
    const PerChannel weight(in.tensor(2), shape.channels);
    const Norm norm = { .gamma = weight.data() };
    const bnorm_backward_params params = backward_params(norm, saved_in(in.tensor(3), shape.channels));
    require(in.tensor(4), 3 * shape.channels, torch.aoti_torch_dtype_float64());
    const bnorm_executor threads = pool();
    check_status(bnorm_backward_apply(&shape, &params, static_cast<uint64_t>(in.number<int64_t>(5)),
                                      in.tensor(4).data<double>(), x.data(), dy.data(), dx.data(), &threads));
    stack[0] = result_like(std::move(dx), in.tensor(1));
}

// ---- PyTorch's own operators ----

/* What the means of a call are followed by in memory: what rounding them to float left over, and a word that tells that
 * it is so, as PyTorch hands only the means to the backward pass. No copy of them, and no other tensor, has the word.
 */
uint64_t word_of(const float *mean)
{
    return UINT64_C(0x626e6f726d6c6f77) ^ reinterpret_cast<uintptr_t>(mean);
}

float *low_part(const Tensor &mean, size_t channels)
{
    float *low = mean.data<float>() + channels;
    const size_t size = (2 * channels + 2) * sizeof(float);
    uint64_t word = 0;
    if (static_cast<size_t>(mean.storage_size()) == size)
        std::memcpy(&word, low + channels, sizeof(word));
    return word == word_of(low - channels) ? low : nullptr;
}

Tensor new_mean(size_t channels)
{
    const Tensor whole = empty({ 2 * channels + 2 }, torch.aoti_torch_dtype_float32());
    const uint64_t word = word_of(whole.data<float>());
    std::memcpy(whole.data<float>() + 2 * channels, &word, sizeof(word));
    const int64_t size = static_cast<int64_t>(channels), stride = 1;
    Handle mean = nullptr;
    check(torch.aoti_torch__reinterpret_tensor(whole.get(), 1, &size, &stride, 0, &mean));
    return Tensor::own(mean);
}

/* PyTorch computes with any. */
bool are_in_range(bool training, float momentum, float epsilon)
{
    return (!training || (momentum >= 0.0f && momentum <= 1.0f)) && epsilon >= 0.0f && std::isfinite(epsilon);
}

bool takes(const Tensor &x, bool training, std::initializer_list<Tensor> parameters)
{
    bnorm_shape shape;
    if (!describe(x, x, shape) || x.elements() == 0)
        return false;
    if (training && x.elements() == shape.channels) // one value per channel, of which PyTorch makes NaN
        return false;
    return std::all_of(parameters.begin(), parameters.end(), [&](const Tensor &p) {
        return !p || (p.type() == torch.aoti_torch_dtype_float32() && p.elements() == shape.channels && is_dense(p));
    });
}

/* The value of an argument that may be None, as one that may not: an undefined tensor stands for None. */
Value required(Value optional)
{
    Value *cell = reinterpret_cast<Value *>(optional), value = 0;
    if (!cell)
        return undefined();
    value = *cell;
    delete cell;
    return value;
}

void call_torch(const char *name, const char *overload, Value *stack)
{
    check(torch.torch_call_dispatcher(name, overload, stack, WRITTEN_FOR));
}

/* (input, weight, bias, running_mean, running_var, training, momentum, eps) to y, and to what training saves: mean,
 * rstd. What the library does not take goes to operators that do not come back here. */
void native_batch_norm(Value *stack, uint64_t, uint64_t)
{
    Arguments in(stack, "t????...");
    const Tensor x = in.tensor(0);
    const bool training = in.flag(5), statistics = static_cast<bool>(in.tensor(3));
    if (!takes(x, training, { in.tensor(1), in.tensor(2), in.tensor(3), in.tensor(4) }) || (!training && !statistics) ||
        !are_in_range(training, in.real(6), in.real(7))) {
        in.keep();
        if (statistics) {
            stack[3] = required(stack[3]);
            stack[4] = required(stack[4]);
        } else {
            std::copy(stack + 5, stack + 8, stack + 3);
        }
        return call_torch("aten::_native_batch_norm_legit", statistics ? "" : "no_stats", stack);
    }
    Tensor y = empty_like(x);
    const size_t channels = shape_of(x, y).channels;
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor mean = training ? new_mean(channels) : empty({ 0 }, f32), rstd = empty({ training ? channels : 0 }, f32);
    const Norm norm = { .gamma = in.tensor(1).data<float>(),
                        .beta = in.tensor(2).data<float>(),
                        .running_mean = in.tensor(3).data<float>(),
                        .running_var = in.tensor(4).data<float>(),
                        .momentum = in.real(6),
                        .epsilon = in.real(7) };
    if (training)
        train(shape_of(x, y), x.data(), y.data(), norm,
              { mean.data<float>(), mean.data<float>() + channels, rstd.data<float>() }, pool());
    else
        infer(shape_of(x, y), x.data(), y.data(), norm, pool());
    stack[0] = y.release();
    stack[1] = mean.release();
    stack[2] = rstd.release();
}

/* (grad_out, input, weight, running_mean, running_var, save_mean, save_invstd, train, eps, output_mask) to the
 * gradients of input, weight and bias; those that are not wanted are undefined. */
void native_batch_norm_backward(Value *stack, uint64_t, uint64_t)
{
    Arguments in(stack, "tt?????..l");
    const Tensor x = in.tensor(1), grad = in.tensor(0), mean = in.tensor(5), rstd = in.tensor(6);
    const bool training = in.flag(7);
    if (!takes(x, training, { in.tensor(2), in.tensor(3), in.tensor(4), in.tensor(5), in.tensor(6) }) || !is_dense(x) ||
        grad.type() != x.type() || !are_in_range(false, 0.0f, in.real(8)) ||
        !(training ? mean && rstd : in.tensor(3) && in.tensor(4))) {
        in.keep();
        Value more[11];
        std::copy_n(stack, 10, more);
        more[2] = required(more[2]);
        more[10] = undefined();
        call_torch("aten::batch_norm_backward", "", more);
        std::copy_n(more, 3, stack);
        return;
    }
    const Tensor dy = laid_out_as(grad, x);
    const size_t channels = shape_of(x, dy).channels;
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor dx = in.flag(9, 0) ? empty_like(x) : Tensor();
    Tensor dweight = in.flag(9, 1) ? empty({ channels }, f32) : Tensor();
    Tensor dbias = in.flag(9, 2) ? empty({ channels }, f32) : Tensor();
    const Norm norm = { .gamma = in.tensor(2).data<float>(),
                        .running_mean = in.tensor(3).data<float>(),
                        .running_var = in.tensor(4).data<float>(),
                        .epsilon = in.real(8) };
    bnorm_backward_params params =
        training ? backward_params(norm, { mean.data<float>(), low_part(mean, channels), rstd.data<float>() })
                 : frozen_params(norm);
    params.dgamma = dweight.data<float>();
    params.dbeta = dbias.data<float>();
    differentiate(shape_of(x, dy), x.data(), dy.data(), dx.data(), params, pool());
    stack[0] = dx ? dx.release() : undefined();
    stack[1] = dweight ? dweight.release() : undefined();
    stack[2] = dbias ? dbias.release() : undefined();
}

// ---- Registration ----

#define ACTIVATION "int activation, float alpha, float beta"

const struct {
    const char *name, *schema;
    Kernel *kernel;
} operators[] = {
    { "forward",
      "forward(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, Tensor(a!)? running_mean, Tensor(b!)? "
      "running_var, bool training, float momentum, bool biased, float eps, " ACTIVATION ", bool keep) "
      "-> (Tensor y, Tensor saved, Tensor mask)",
      forward },
    { "backward",
      "backward(Tensor dy, Tensor x, Tensor? weight, Tensor? bias, Tensor saved, Tensor mask, bool training, float "
      "eps, " ACTIVATION ", bool wants_x, bool wants_residual, bool wants_parameters) "
      "-> (Tensor dx, Tensor dresidual, Tensor dweight, Tensor dbias)",
      backward },
    { "train_collect", "train_collect(Tensor x) -> Tensor moments", train_collect },
    { "train_finish",
      "train_finish(Tensor moments, Tensor counts, Tensor(a!)? running_mean, Tensor(b!)? running_var, float momentum, "
      "float eps) -> Tensor saved",
      train_finish },
    { "train_apply", "train_apply(Tensor x, Tensor? weight, Tensor? bias, Tensor saved, float eps) -> Tensor y",
      train_apply },
    { "backward_reduce", "backward_reduce(Tensor dy, Tensor x, Tensor saved) -> Tensor sums", backward_reduce },
    { "backward_apply",
      "backward_apply(Tensor dy, Tensor x, Tensor? weight, Tensor saved, Tensor sums, int count) -> Tensor dx",
      backward_apply },
    { "native_batch_norm",
      "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
      "bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
      native_batch_norm },
    { "native_batch_norm_backward",
      "native_batch_norm_backward(Tensor grad_out, Tensor input, Tensor? weight, Tensor? running_mean, "
      "Tensor? running_var, Tensor? save_mean, Tensor? save_invstd, bool train, float eps, bool[3] output_mask) "
      "-> (Tensor, Tensor, Tensor)",
      native_batch_norm_backward },
};

} // namespace

extern "C" {

/* Makes torch.ops.bnorm, for the life of the process. `find` gives the address of one of libtorch's functions, or NULL.
 * What is returned is the name of one that is missing, or NULL for success. */
BNORM_API const char *bnorm_torch_register(void *(*find)(const char *name));

const char *bnorm_torch_register(void *(*find)(const char *name))
{
    const char *missing = libtorch::load(find);
    if (missing)
        return missing;
    libtorch::Library library = nullptr, kernels = nullptr;
    bool failed = torch.aoti_torch_library_init_def("bnorm", __FILE__, __LINE__, &library) ||
                  torch.aoti_torch_library_init_impl("bnorm", "CPU", __FILE__, __LINE__, &kernels);
    for (const auto &op : operators)
        failed = failed || torch.aoti_torch_library_def(library, op.schema) ||
                 torch.torch_library_impl(kernels, op.name, op.kernel, WRITTEN_FOR);
    return failed ? "torch_library_impl" : nullptr;
}
}
