/* SPDX-License-Identifier: MIT */
/* The operators of bnorm.torch: of the library's own, and for PyTorch's native_batch_norm. */
#include "../include/bnorm/bnorm.h"
#include "libtorch.h"

namespace {

using namespace libtorch;

void check_status(bnorm_status status)
{
    if (status != BNORM_OK)
        throw Error(bnorm_status_string(status));
}

// ---- What the library takes ----

/* The stride of all axes of points as one, in whatever order they lie; false where they do not have one. */
bool point_stride(const Tensor &x, size_t &stride)
{
    std::vector<std::pair<int64_t, int64_t>> axes = axes_by_stride(x, 2);
    int64_t extent = axes.empty() ? 0 : axes.front().first;
    stride = static_cast<size_t>(extent);
    for (auto [step, size] : axes) {
        if (step == 0 || step != extent)
            return false;
        extent *= size;
    }
    return true;
}

bool has_dtype(const Tensor &x, bnorm_dtype &dtype)
{
    int32_t type = x.type();
    dtype = type == torch.aoti_torch_dtype_float32() ? BNORM_DTYPE_F32
        : type == torch.aoti_torch_dtype_bfloat16()  ? BNORM_DTYPE_BF16
                                                     : BNORM_DTYPE_F16;
    return dtype != BNORM_DTYPE_F16 || type == torch.aoti_torch_dtype_float16();
}

bool describe(const Tensor &x, bnorm_layout &layout)
{
    if (x.rank() < 2 || !has_dtype(x, layout.dtype) || !point_stride(x, layout.point_stride))
        return false;
    for (size_t i = 0; i < 2; i++)
        if (x.sizes()[i] > 1 && x.strides()[i] == 0)
            return false;
    layout.image_stride = x.sizes()[0] > 1 ? static_cast<size_t>(x.strides()[0]) : 0;
    layout.block_stride = x.sizes()[1] > 1 ? static_cast<size_t>(x.strides()[1]) : 0;
    return true;
}

/* Where channels are adjacent in both tensors, they are one block: NHWC. */
bool describe(const Tensor &x, const Tensor &y, bnorm_shape &shape)
{
    size_t size = 0;
    shape = bnorm_nchw(1, 1, 1);
    if (!describe(x, shape.in) || !describe(y, shape.out))
        return false;
    shape.batch = static_cast<size_t>(x.sizes()[0]);
    shape.channels = static_cast<size_t>(x.sizes()[1]);
    shape.points = shape.batch && shape.channels ? x.elements() / shape.batch / shape.channels : 0;
    if (shape.in.block_stride == 1 && shape.out.block_stride == 1) {
        shape.block = shape.channels;
        shape.in.block_stride = shape.out.block_stride = 0;
    }
    return bnorm_workspace_size(&shape, BNORM_OP_INFER, nullptr, &size) == BNORM_OK;
}

bnorm_shape shape_of(const Tensor &x, const Tensor &y)
{
    bnorm_shape shape;
    if (!describe(x, y, shape))
        throw Error("bnorm: not a tensor that the library takes");
    return shape;
}

bool is_described(const Tensor &x)
{
    bnorm_shape shape;
    return describe(x, x, shape);
}

/* x, or a copy that the library can take. */
Tensor described(const Tensor &x)
{
    if (is_described(x))
        return x.again();
    Tensor filled = laid_out_as(x, empty_like(x));
    return is_described(filled) ? std::move(filled) : laid_out_as(x, empty_contiguous(x));
}

/* The same without gaps between elements. */
Tensor described_dense(const Tensor &x)
{
    return is_dense(x) ? described(x) : described(laid_out_as(x, empty_like(x)));
}

/* What a call gave for a copy of a tensor, laid out as PyTorch lays out a tensor like the one that was given. */
Value result_like(Tensor result, const Tensor &given)
{
    if (is_described(given))
        return result.release();
    Tensor right = empty_like(given);
    if (same_strides(right, result))
        return result.release();
    copy(right, result);
    return right.release();
}

// ---- Threads and memory ----

struct Work {
    bnorm_task *task;
    void *argument;
};

void run_range(int64_t begin, int64_t end, void *context)
{
    const Work *work = static_cast<const Work *>(context);
    for (int64_t i = begin; i < end; i++)
        work->task(work->argument, static_cast<size_t>(i));
}

void run_on_torch(void *, size_t tasks, bnorm_task *task, void *argument)
{
    Work work = { task, argument };
    torch.torch_parallel_for(0, static_cast<int64_t>(tasks), 1, run_range, &work);
}

bnorm_executor pool()
{
    uint32_t threads = 1;
    check(torch.torch_get_num_threads(&threads));
    return { run_on_torch, nullptr, std::max<size_t>(threads, 1) };
}

/* Scratch memory that a thread keeps: glibc gives large blocks back to the system, and fresh pages cost more than most
 * calls. */
struct Workspace {
    void *memory;
    size_t size;

    Workspace(const bnorm_shape &shape, bnorm_operation operation, const bnorm_executor &executor)
    {
        static thread_local std::vector<char> kept;
        check_status(bnorm_workspace_size(&shape, operation, &executor, &size));
        if (kept.size() < size)
            kept.resize(size);
        memory = kept.data();
    }
};

/* One float per channel, of whatever a model keeps: 16-bit values are converted, and back. */
class PerChannel {
    Tensor source, floats;

public:
    PerChannel(Tensor tensor, size_t channels) : source(std::move(tensor))
    {
        if (!source)
            return;
        if (source.elements() != channels)
            throw Error("bnorm: a parameter does not have one value per channel");
        int32_t f32 = torch.aoti_torch_dtype_float32();
        if (source.type() == f32 && is_dense(source)) {
            floats = source.again();
        } else {
            floats = empty({ channels }, f32);
            copy(floats, source);
        }
    }
    float *data() const { return floats.data<float>(); }
    void store() const // what a call wrote
    {
        if (source && floats.get() != source.get())
            copy(source, floats);
    }
};

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

Tensor new_mask(const bnorm_shape &shape, bool wanted)
{
    size_t size = 0;
    if (wanted)
        check_status(bnorm_mask_size(&shape, &size));
    Tensor mask = empty({ size }, torch.aoti_torch_dtype_uint8());
    if (size)
        mask.data<char>()[size - 1] = 0; // whose last bits are of no element
    return mask;
}

/* What training saves is [3][channels]: the mean in two floats, and rstd. */
void save_to(const Tensor &saved, size_t channels, bnorm_train_params &params)
{
    params.saved_mean = saved.data<float>();
    params.saved_mean_low = params.saved_mean + channels;
    params.saved_rstd = params.saved_mean_low + channels;
}

void read_saved(const Tensor &saved, size_t channels, bnorm_backward_params &params)
{
    params.mean = saved.data<float>();
    params.mean_low = params.mean + channels;
    params.rstd = params.mean_low + channels;
}

void call(const bnorm_shape &shape, const bnorm_train_params &params, const Tensor &x, const Tensor &y)
{
    const bnorm_executor threads = pool();
    const Workspace workspace(shape, BNORM_OP_TRAIN, threads);
    check_status(bnorm_train(&shape, &params, x.data(), y.data(), workspace.memory, workspace.size, &threads));
}

void call(const bnorm_shape &shape, const bnorm_infer_params &params, const Tensor &x, const Tensor &y)
{
    const bnorm_executor threads = pool();
    check_status(bnorm_infer(&shape, &params, x.data(), y.data(), &threads));
}

void call(const bnorm_shape &shape, const bnorm_backward_params &params, const Tensor &x, const Tensor &dy,
          const Tensor &dx)
{
    const bnorm_executor threads = pool();
    const Workspace workspace(shape, BNORM_OP_BACKWARD, threads);
    check_status(bnorm_backward(&shape, &params, x.data(), dy.data(), dx.data(), workspace.memory, workspace.size,
                                &threads));
}

/* y, what the backward pass needs of the statistics, and the mask. */
void forward(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "t?????........");
    const Tensor x = described(in.tensor(0));
    Tensor y = empty_like(x);
    const bnorm_shape shape = shape_of(x, y);
    const size_t channels = shape.channels;
    const Tensor residual = laid_out_as(in.tensor(1), y);
    const PerChannel weight(in.tensor(2), channels), bias(in.tensor(3), channels);
    const PerChannel running_mean(in.tensor(4), channels), running_var(in.tensor(5), channels);
    const bool training = in.flag(6), keep = in.flag(13);
    bnorm_epilogue epilogue = epilogue_of(in, 10);
    Tensor mask = new_mask(shape, keep && residual && has_mask(epilogue));
    epilogue.residual = residual.data();
    epilogue.mask = mask.elements() ? mask.data() : nullptr;

    Tensor saved = empty({ training ? 3u : keep ? 2u : 0u, channels }, torch.aoti_torch_dtype_float32());
    if (training) {
        bnorm_train_params params = bnorm_train_defaults();
        params.gamma = weight.data();
        params.beta = bias.data();
        params.momentum = in.real(7);
        params.running_variance = in.flag(8) ? BNORM_VARIANCE_BIASED : BNORM_VARIANCE_UNBIASED;
        params.epsilon = in.real(9);
        params.running_mean = running_mean.data();
        params.running_var = running_var.data();
        params.epilogue = &epilogue;
        save_to(saved, channels, params);
        call(shape, params, x, y);
        running_mean.store();
        running_var.store();
    } else {
        bnorm_infer_params params = bnorm_infer_defaults();
        params.mean = running_mean.data();
        params.var = running_var.data();
        params.gamma = weight.data();
        params.beta = bias.data();
        params.epsilon = in.real(9);
        params.epilogue = &epilogue;
        call(shape, params, x, y);
        if (keep) { // running statistics may change before the backward pass
            std::copy_n(params.mean, channels, saved.data<float>());
            std::copy_n(params.var, channels, saved.data<float>() + channels);
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
    const Tensor x = described_dense(in.tensor(1)), dy = laid_out_as(in.tensor(0), x);
    const bnorm_shape shape = shape_of(x, dy);
    const size_t channels = shape.channels;
    const PerChannel weight(in.tensor(2), channels), bias(in.tensor(3), channels);
    const Tensor saved = in.tensor(4), mask = in.tensor(5);
    const bool training = in.flag(6), wants_parameters = in.flag(13);
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor dx = in.flag(11) ? empty_like(x) : Tensor(), dresidual = in.flag(12) ? empty_like(x) : Tensor();
    Tensor dweight = wants_parameters ? empty({ channels }, f32) : Tensor();
    Tensor dbias = wants_parameters ? empty({ channels }, f32) : Tensor();

    bnorm_epilogue epilogue = epilogue_of(in, 8);
    epilogue.mask = mask.elements() ? mask.data() : nullptr;
    bnorm_backward_params params = bnorm_backward_defaults();
    params.epilogue = &epilogue;
    params.gamma = weight.data();
    params.beta = bias.data();
    params.epsilon = in.real(7);
    params.dgamma = dweight.data<float>();
    params.dbeta = dbias.data<float>();
    params.dresidual = dresidual.data();
    if (training) {
        read_saved(saved, channels, params);
    } else {
        params.statistics = BNORM_STATISTICS_FROZEN;
        params.mean = saved.data<float>();
        params.var = params.mean + channels;
    }
    call(shape, params, x, dy, dx);

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
    check_status(bnorm_train_collect(&shape, x.data(), mean, mean + shape.channels, workspace.memory, workspace.size,
                                     &threads));
    stack[0] = moments.release();
}

/* The moments of all parts [parts][2][channels], of which counts says how many values they are; running statistics follow,
 * and what is saved is returned. Parts are merged in their order. */
void train_finish(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "tt??..");
    const Tensor parts = in.tensor(0), counts = in.tensor(1);
    const size_t channels = static_cast<size_t>(parts.sizes()[2]);
    const PerChannel running_mean(in.tensor(2), channels), running_var(in.tensor(3), channels);
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
    bnorm_train_params params = bnorm_train_defaults();
    params.momentum = in.real(4);
    params.epsilon = in.real(5);
    params.running_mean = running_mean.data();
    params.running_var = running_var.data();
    save_to(saved, channels, params);
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
    bnorm_train_params params = bnorm_train_defaults();
    params.gamma = weight.data();
    params.beta = bias.data();
    params.epsilon = in.real(4);
    save_to(in.tensor(3), shape.channels, params);
    const bnorm_executor threads = pool();
    check_status(bnorm_train_apply(&shape, &params, x.data(), y.data(), &threads));
    stack[0] = result_like(std::move(y), in.tensor(0));
}

/* [3][channels]: the sums over one part that its gradients, added up over all parts, follow from. */
void backward_reduce(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "ttt");
    const Tensor x = described_dense(in.tensor(1)), dy = laid_out_as(in.tensor(0), x);
    const bnorm_shape shape = shape_of(x, dy);
    Tensor sums = empty({ 3, shape.channels }, torch.aoti_torch_dtype_float64());
    bnorm_backward_params params = bnorm_backward_defaults();
    read_saved(in.tensor(2), shape.channels, params);
    const bnorm_executor threads = pool();
    const Workspace workspace(shape, BNORM_OP_BACKWARD, threads);
    check_status(bnorm_backward_reduce(&shape, &params, x.data(), dy.data(), sums.data<double>(), workspace.memory,
                                       workspace.size, &threads));
    stack[0] = sums.release();
}

void backward_apply(Value *stack, uint64_t, uint64_t)
{
    const Arguments in(stack, "tt?tt.");
    const Tensor x = described_dense(in.tensor(1)), dy = laid_out_as(in.tensor(0), x);
    Tensor dx = empty_like(x);
    const bnorm_shape shape = shape_of(x, dy);
    const PerChannel weight(in.tensor(2), shape.channels);
    bnorm_backward_params params = bnorm_backward_defaults();
    params.gamma = weight.data();
    read_saved(in.tensor(3), shape.channels, params);
    const bnorm_executor threads = pool();
    check_status(bnorm_backward_apply(&shape, &params, static_cast<uint64_t>(in.number<int64_t>(5)),
                                      in.tensor(4).data<double>(), x.data(), dy.data(), dx.data(), &threads));
    stack[0] = result_like(std::move(dx), in.tensor(1));
}

// ---- PyTorch's own operators ----

/* What the means of a call are followed by in memory: what rounding them to float left over, and a word that tells that it
 * is so, as PyTorch hands only the means to the backward pass. No copy of them, and no other tensor, has the word. */
uint64_t word_of(const float *mean)
{
    return UINT64_C(0x626e6f726d6c6f77) ^ reinterpret_cast<uintptr_t>(mean);
}

const float *low_part(const Tensor &mean, size_t channels)
{
    const float *low = mean.data<float>() + channels;
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

bool is_per_channel(const Tensor &parameter)
{
    return !parameter || (parameter.type() == torch.aoti_torch_dtype_float32() && is_dense(parameter));
}

bool takes(const Tensor &x, bool training, std::initializer_list<Tensor> parameters)
{
    bnorm_shape shape;
    return x.rank() >= 2 && x.elements() > 0 && describe(x, x, shape)
        && !(training && x.elements() == shape.channels) // one value per channel, of which PyTorch makes NaN
        && std::all_of(parameters.begin(), parameters.end(), is_per_channel);
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
    check(torch.torch_call_dispatcher(name, overload, stack, torch.aoti_torch_abi_version()));
}

/* (input, weight, bias, running_mean, running_var, training, momentum, eps) to y, and to what training saves: mean, rstd.
 * What the library does not take goes to operators that do not come back here. */
void native_batch_norm(Value *stack, uint64_t, uint64_t)
{
    Arguments in(stack, "t????...");
    const Tensor x = in.tensor(0);
    const bool training = in.flag(5), statistics = static_cast<bool>(in.tensor(3));
    if (!takes(x, training, { in.tensor(1), in.tensor(2), in.tensor(3), in.tensor(4) }) || (!training && !statistics)) {
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
    const bnorm_shape shape = shape_of(x, y);
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor mean = training ? new_mean(shape.channels) : empty({ 0 }, f32);
    Tensor rstd = empty({ training ? shape.channels : 0 }, f32);
    if (training) {
        bnorm_train_params params = bnorm_train_defaults();
        params.gamma = in.tensor(1).data<float>();
        params.beta = in.tensor(2).data<float>();
        params.running_mean = in.tensor(3).data<float>();
        params.running_var = in.tensor(4).data<float>();
        params.momentum = in.real(6);
        params.epsilon = in.real(7);
        params.saved_mean = mean.data<float>();
        params.saved_mean_low = params.saved_mean + shape.channels;
        params.saved_rstd = rstd.data<float>();
        call(shape, params, x, y);
    } else {
        bnorm_infer_params params = bnorm_infer_defaults();
        params.gamma = in.tensor(1).data<float>();
        params.beta = in.tensor(2).data<float>();
        params.mean = in.tensor(3).data<float>();
        params.var = in.tensor(4).data<float>();
        params.epsilon = in.real(7);
        call(shape, params, x, y);
    }
    stack[0] = y.release();
    stack[1] = mean.release();
    stack[2] = rstd.release();
}

/* (grad_out, input, weight, running_mean, running_var, save_mean, save_invstd, train, eps, output_mask) to the gradients of
 * input, weight and bias; those that are not wanted are undefined. */
void native_batch_norm_backward(Value *stack, uint64_t, uint64_t)
{
    Arguments in(stack, "tt?????..l");
    const Tensor x = in.tensor(1), grad = in.tensor(0), mean = in.tensor(5), rstd = in.tensor(6);
    const bool training = in.flag(7);
    if (!takes(x, training, { in.tensor(2), in.tensor(3), in.tensor(4), in.tensor(5), in.tensor(6) }) || !is_dense(x)
        || grad.type() != x.type() || !(training ? mean && rstd : in.tensor(3) && in.tensor(4))) {
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
    const bnorm_shape shape = shape_of(x, dy);
    const int32_t f32 = torch.aoti_torch_dtype_float32();
    Tensor dx = in.flag(9, 0) ? empty_like(x) : Tensor();
    Tensor dweight = in.flag(9, 1) ? empty({ shape.channels }, f32) : Tensor();
    Tensor dbias = in.flag(9, 2) ? empty({ shape.channels }, f32) : Tensor();
    bnorm_backward_params params = bnorm_backward_defaults();
    params.gamma = in.tensor(2).data<float>();
    if (training) {
        params.mean = mean.data<float>();
        params.mean_low = low_part(mean, shape.channels);
        params.rstd = rstd.data<float>();
    } else {
        params.statistics = BNORM_STATISTICS_FROZEN;
        params.mean = in.tensor(3).data<float>();
        params.var = in.tensor(4).data<float>();
        params.epsilon = in.real(8);
    }
    params.dgamma = dweight.data<float>();
    params.dbeta = dbias.data<float>();
    call(shape, params, x, dy, dx);
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
      "forward(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, Tensor(a!)? running_mean, Tensor(b!)? running_var, "
      "bool training, float momentum, bool biased, float eps, " ACTIVATION ", bool keep) "
      "-> (Tensor y, Tensor saved, Tensor mask)",
      forward },
    { "backward",
      "backward(Tensor dy, Tensor x, Tensor? weight, Tensor? bias, Tensor saved, Tensor mask, bool training, float eps, "
      ACTIVATION ", bool wants_x, bool wants_residual, bool wants_parameters) "
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

/* Makes torch.ops.bnorm, for the life of the process. `find` gives the address of one of libtorch's functions, or NULL. What
 * is returned is the name of one that is missing, or NULL for success. */
BNORM_API const char *bnorm_torch_register(void *(*find)(const char *name));

const char *bnorm_torch_register(void *(*find)(const char *name))
{
    const char *missing = libtorch::load(find);
    if (missing)
        return missing;
    Library library = nullptr, kernels = nullptr;
    bool failed = torch.aoti_torch_library_init_def("bnorm", __FILE__, __LINE__, &library)
        || torch.aoti_torch_library_init_impl("bnorm", "CPU", __FILE__, __LINE__, &kernels);
    for (const auto &op : operators)
        failed = failed || torch.aoti_torch_library_def(library, op.schema)
            || torch.torch_library_impl(kernels, op.name, op.kernel, torch.aoti_torch_abi_version());
    return failed ? "torch_library_impl" : nullptr;
}
}
