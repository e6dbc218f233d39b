// SPDX-License-Identifier: MIT
// What the rows compute: the shapes of real networks, the tensors, one batch norm over them, and the reference in
// double that each result is checked against before it is timed.
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "bnorm/bnorm.h"
#include "kernels/element.h"
#include "naive.h"

struct layer {
    std::string name; // set.name
    size_t batch, channels, points;

    size_t elements() const
    {
        return batch * channels * points;
    }
};

// Lines of set,name,batch,channels,points under a header line.
inline std::vector<layer> parse_layers(const char *csv)
{
    std::vector<layer> layers;
    std::istringstream lines(csv);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
        std::istringstream fields(line);
        std::string set, name;
        layer l;
        char comma;
        std::getline(fields, set, ',');
        std::getline(fields, name, ',');
        if (!(fields >> l.batch >> comma >> l.channels >> comma >> l.points))
            throw std::runtime_error("shapes.csv: cannot read: " + line);
        l.name = set + '.' + name;
        layers.push_back(l);
    }
    return layers;
}

// About N(0, 1), the same everywhere for the same index: four 16-bit uniforms out of splitmix64, summed.
inline float noise(uint64_t index)
{
    uint64_t z = (index + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    const auto sum = static_cast<int32_t>((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48));
    return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f / 0x10000);
}

inline std::string type_name(bnorm_dtype type)
{
    return type == BNORM_F32 ? "f32" : type == BNORM_BF16 ? "bf16" : "f16";
}

// A value that all types have: of eight significant bits.
inline float coarse(float value)
{
    return std::nearbyint(value * 64) / 64;
}

// The buffers that all rows and copies share, allocated once. In huge pages where the system has them, because small
// ones lie differently in the cache in every process: four runs of one hot row gave 33 to 55 GB/s in small pages, 55 in
// huge ones. Copies run in the same buffers, so the limit is as fair.
class tensors
{
public:
    explicit tensors(size_t count)
        : count(count), x_memory(allocate(count)), dy_memory(allocate(count)), y_memory(allocate(count))
    {
        for (size_t i = 0; i < count; i++) {
            x_memory.get()[i] = 0.5f + coarse(noise(i));
            dy_memory.get()[i] = coarse(noise(~i));
        }
    }

    const float *x() const
    {
        return x_memory.get();
    }
    const float *dy() const
    {
        return dy_memory.get();
    }
    float *y() const // or dx
    {
        return y_memory.get();
    }

    // The same values as elements of a type.
    const void *x(bnorm_dtype type)
    {
        return type == BNORM_F32 ? x() : converted(x_halves, type, x());
    }
    const void *dy(bnorm_dtype type)
    {
        return type == BNORM_F32 ? dy() : converted(dy_halves, type, dy());
    }
    // An element of y, which is of that type.
    double y(bnorm_dtype type, size_t i) const
    {
        return bnorm_element(y(), type, i);
    }

private:
    struct release {
        void operator()(float *memory) const
        {
            std::free(memory);
        }
    };
    using memory = std::unique_ptr<float, release>;

    static memory allocate(size_t count)
    {
        constexpr size_t page = size_t{ 2 } << 20;
        const size_t size = (count * sizeof(float) + page - 1) / page * page;
        void *start = std::aligned_alloc(page, size);
        if (!start)
            throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        madvise(start, size, MADV_HUGEPAGE);
#endif
        return memory(static_cast<float *>(start));
    }

    const void *converted(std::map<bnorm_dtype, memory> &kept, bnorm_dtype type, const float *from)
    {
        const auto [halves, is_new] = kept.try_emplace(type);
        if (is_new) {
            halves->second = allocate(count / 2 + 1);
            auto *to = reinterpret_cast<uint16_t *>(halves->second.get());
            for (size_t i = 0; i < count; i++)
                to[i] = type == BNORM_BF16 ? bnorm_to_bf16(from[i]) : bnorm_to_f16(from[i]);
        }
        return halves->second.get();
    }

    const size_t count;
    memory x_memory, dy_memory, y_memory;
    std::map<bnorm_dtype, memory> x_halves, dy_halves;
};

enum class call { infer, train, backward };

// What is fused behind batch norm, and which layers have it.
struct epilogue {
    std::string name; // as a row's name has it, or nothing
    bnorm_activation activation;
    float alpha, beta;
    bool residual;
    std::vector<std::string> prefixes; // of the layers' names
};

inline const std::vector<epilogue> epilogues = {
    { "", BNORM_IDENTITY, 0, 0, false, { "" } },
    { "+relu", BNORM_RELU, 0, 0, false, { "resnet50.stage", "densenet121.", "tiny." } },
    { "+residual+relu", BNORM_RELU, 0, 0, true, { "resnet50.stage", "tiny." } },
    { "+clamp", BNORM_CLAMP, 0, 6, false, { "mobilenet_v2." } },
    { "+leaky_relu", BNORM_LEAKY_RELU, 0.1f, 0, false, { "mobilenet_v2.e" } },
    { "+hard_swish", BNORM_HARD_SWISH, 0, 0, false, { "mobilenet_v2.e" } },
    { "+silu", BNORM_SILU, 0, 0, false, { "efficientnet_b0.", "tiny." } },
    { "+sigmoid", BNORM_SIGMOID, 0, 0, false, { "unet3d." } },
    { "+tanh", BNORM_TANH, 0, 0, false, { "unet3d." } },
    { "+gelu", BNORM_GELU, 0, 0, false, { "unet3d." } },
    { "+gelu_tanh", BNORM_GELU_TANH, 0, 0, false, { "unet3d." } },
    { "+elu", BNORM_ELU, 1, 0, false, { "unet3d." } },
    { "+softplus", BNORM_SOFTPLUS, 0, 0, false, { "unet3d." } },
    { "+mish", BNORM_MISH, 0, 0, false, { "unet3d." } },
};

// A call, and what is fused into it.
struct operation {
    ::call call;
    const ::epilogue *epilogue;

    bool is_backward() const
    {
        return call == ::call::backward;
    }
    bool is_plain() const
    {
        return epilogue->activation == BNORM_IDENTITY && !epilogue->residual;
    }
    std::string name() const
    {
        return (call == ::call::infer ? "infer" : call == ::call::train ? "train" : "backward") + epilogue->name;
    }
    // Tensors that are read and written once each.
    size_t tensors() const
    {
        return is_backward() || epilogue->residual ? 3 : 2;
    }
};

// An activation by its definition; the slope of one that is benchmarked backward.
inline double activate(const epilogue &e, double z)
{
    switch (e.activation) {
    case BNORM_RELU:
        return std::max(z, 0.0);
    case BNORM_CLAMP:
        return std::min(std::max(z, double{ e.alpha }), double{ e.beta });
    case BNORM_LEAKY_RELU:
        return z > 0 ? z : e.alpha * z;
    case BNORM_HARD_SWISH:
        return z * std::min(std::max(z + 3, 0.0), 6.0) / 6;
    case BNORM_SIGMOID:
        return 1 / (1 + std::exp(-z));
    case BNORM_SILU:
        return z / (1 + std::exp(-z));
    case BNORM_TANH:
        return std::tanh(z);
    case BNORM_GELU:
        return z * std::erfc(-z / std::sqrt(2.0)) / 2;
    case BNORM_GELU_TANH:
        return z / 2 * (1 + std::tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));
    case BNORM_ELU:
        return z > 0 ? z : e.alpha * std::expm1(z);
    case BNORM_SOFTPLUS:
        return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
    case BNORM_MISH:
        return z * std::tanh(std::log1p(std::exp(z)));
    default:
        return z;
    }
}

inline double slope(const epilogue &e, double z)
{
    const double s = 1 / (1 + std::exp(-z));
    return e.activation == BNORM_SILU ? s * (1 + z * (1 - s)) : e.activation == BNORM_RELU ? z > 0 : 1;
}

struct statistics {
    std::vector<double> mean, var; // padding channels too
};

// One batch norm over a layer, in a layout with `block` channels side by side.
class batch_norm
{
public:
    batch_norm(const layer &layer, size_t block, bnorm_dtype type, const bnorm_executor *executor)
        : shape(shape_of(layer, block, type)), executor(executor), gamma(padded_channels()), beta(padded_channels()),
          mean(padded_channels()), var(padded_channels()), dgamma(padded_channels()), dbeta(padded_channels()),
          saved_mean(layer.channels), saved_mean_low(layer.channels), saved_rstd(layer.channels)
    {
        for (size_t c = 0; c < layer.channels; c++) {
            gamma[c] = 1 + 0.25f * noise(4 * c);
            beta[c] = 0.5f * noise(4 * c + 1);
            mean[c] = 0.5f + 0.1f * noise(4 * c + 2);
            var[c] = 1 + 0.2f * noise(4 * c + 3);
        }
        size_t train_size = 0, backward_size = 0; // a failure shows when the operation runs
        bnorm_workspace_size(&shape, BNORM_TRAIN, executor, &train_size);
        bnorm_workspace_size(&shape, BNORM_BACKWARD, executor, &backward_size);
        workspace.resize(std::max(train_size, backward_size));
        naive_scratch.resize(((executor ? executor->width : 1) + 1) * 2 * block);
    }

    // As a framework calls it: with all parameters, and training with all statistics.
    bnorm_status run(operation op, const void *x, const void *dy, void *y)
    {
        bnorm_epilogue fused = {};
        fused.struct_size = sizeof(fused);
        fused.activation = op.epilogue->activation;
        fused.alpha = op.epilogue->alpha;
        fused.beta = op.epilogue->beta;
        fused.residual = op.epilogue->residual ? dy : nullptr;
        const bnorm_epilogue *given = op.is_plain() ? nullptr : &fused;
        if (op.is_backward()) {
            bnorm_backward_params params = {};
            params.struct_size = sizeof(params);
            params.epilogue = given;
            params.gamma = gamma.data();
            params.beta = beta.data();
            params.mean = saved_mean.data();
            params.mean_low = saved_mean_low.data();
            params.rstd = saved_rstd.data();
            params.dgamma = dgamma.data();
            params.dbeta = dbeta.data();
            return bnorm_backward(&shape, &params, x, dy, y, workspace.data(), workspace.size(), executor);
        }
        if (op.call == call::infer) {
            bnorm_infer_params params = {};
            params.struct_size = sizeof(params);
            params.mean = mean.data();
            params.var = var.data();
            params.gamma = gamma.data();
            params.beta = beta.data();
            params.epsilon = epsilon;
            params.epilogue = given;
            return bnorm_infer(&shape, &params, x, y, executor);
        }
        bnorm_train_params params = {};
        params.struct_size = sizeof(params);
        params.gamma = gamma.data();
        params.beta = beta.data();
        params.epsilon = epsilon;
        params.momentum = 0.1f;
        params.running_variance = BNORM_BIASED; // legal for one value a channel, too
        params.running_mean = mean.data();
        params.running_var = var.data();
        params.saved_mean = saved_mean.data();
        params.saved_mean_low = saved_mean_low.data();
        params.saved_rstd = saved_rstd.data();
        params.epilogue = given;
        return bnorm_train(&shape, &params, x, y, workspace.data(), workspace.size(), executor);
    }

    // Batch norm and then what follows it, in a second call that normalises by a mean of 0 and a variance of 1;
    // backward the other way round.
    bnorm_status run_unfused(operation op, const void *x, const void *dy, void *y)
    {
        const operation plain = { op.call, &epilogues[0] };
        const std::vector<float> zeros(shape.channels), ones(shape.channels, 1.0f);
        bnorm_epilogue epilogue = {};
        epilogue.struct_size = sizeof(epilogue);
        epilogue.activation = op.epilogue->activation;
        epilogue.alpha = op.epilogue->alpha;
        epilogue.beta = op.epilogue->beta;
        epilogue.residual = op.epilogue->residual ? dy : nullptr;
        if (op.is_backward()) {
            bnorm_backward_params params = {};
            params.struct_size = sizeof(params);
            params.epilogue = &epilogue;
            params.gamma = gamma.data();
            params.beta = beta.data();
            params.mean = saved_mean.data();
            params.mean_low = saved_mean_low.data();
            params.rstd = saved_rstd.data();
            params.dresidual = y;
            const bnorm_status status = bnorm_backward(&shape, &params, x, dy, nullptr, nullptr, 0, executor);
            return status ? status : run(plain, x, y, y);
        }
        bnorm_infer_params params = {};
        params.struct_size = sizeof(params);
        params.mean = zeros.data();
        params.var = ones.data();
        params.epilogue = &epilogue;
        const bnorm_status status = run(plain, x, dy, y);
        return status ? status : bnorm_infer(&shape, &params, y, y, executor);
    }

    // The statistics that a forward pass would have saved.
    void know(const statistics &given)
    {
        for (size_t c = 0; c < shape.channels; c++) {
            mean[c] = static_cast<float>(given.mean[c]);
            var[c] = static_cast<float>(given.var[c]);
            saved_mean[c] = mean[c];
            saved_mean_low[c] = static_cast<float>(given.mean[c] - mean[c]);
            saved_rstd[c] = static_cast<float>(1 / std::sqrt(given.var[c] + epsilon));
        }
    }

    bnorm_status run_naive(operation op, const float *x, const float *dy, float *y)
    {
        naive_batch_norm norm = {};
        norm.shape = &shape;
        norm.gamma = gamma.data();
        norm.beta = beta.data();
        norm.epsilon = epsilon;
        norm.mean = mean.data();
        norm.var = var.data();
        norm.scratch = naive_scratch.data();
        norm.dgamma = dgamma.data();
        norm.dbeta = dbeta.data();
        if (op.is_backward())
            naive_backward(&norm, x, dy, y, executor);
        else
            (op.call == call::infer ? naive_infer : naive_train)(&norm, x, y, executor);
        return BNORM_OK;
    }

    size_t padded_channels() const
    {
        return (shape.channels + shape.block - 1) / shape.block * shape.block;
    }
    size_t padded_elements() const
    {
        return shape.batch * padded_channels() * shape.points;
    }

    static constexpr float epsilon = 1e-5f;
    const bnorm_shape shape;
    const bnorm_executor *const executor;
    std::vector<float> gamma, beta; // 0 in the padding
    std::vector<float> mean, var; // inference and backward: given; training: the running statistics
    std::vector<float> dgamma, dbeta;

private:
    static bnorm_shape shape_of(const layer &layer, size_t block, bnorm_dtype type)
    {
        bnorm_shape shape = bnorm_blocked(layer.batch, layer.channels, layer.points, block);
        shape.in.dtype = shape.out.dtype = type;
        return shape;
    }

    std::vector<float> saved_mean, saved_mean_low, saved_rstd, naive_scratch;
    std::vector<unsigned char> workspace;
};

/* ---- The reference --------------------------------------------------------------------------------------------- */

// Every row of `block` channels side by side: where it starts, and its first channel.
template <class Visit> void for_each_row(const bnorm_shape &shape, Visit &&visit)
{
    size_t start = 0;
    for (size_t image = 0; image < shape.batch; image++)
        for (size_t channel = 0; channel < shape.channels; channel += shape.block)
            for (size_t point = 0; point < shape.points; point++, start += shape.block)
                visit(start, channel);
}

inline statistics batch_statistics(const batch_norm &norm, const float *x)
{
    const size_t lanes = norm.shape.block;
    const auto count = static_cast<double>(norm.shape.batch * norm.shape.points);
    std::vector<double> mean(norm.padded_channels()), var(norm.padded_channels());
    for_each_row(norm.shape, [&](size_t start, size_t channel) {
        for (size_t lane = 0; lane < lanes; lane++)
            mean[channel + lane] += x[start + lane];
    });
    for (double &m : mean)
        m /= count;
    for_each_row(norm.shape, [&](size_t start, size_t channel) {
        for (size_t lane = 0; lane < lanes; lane++) {
            const double d = x[start + lane] - mean[channel + lane];
            var[channel + lane] += d * d;
        }
    });
    for (double &v : var)
        v /= count;
    return { mean, var };
}

// What is wrong with y, in words; empty if nothing. The exact bounds are for the tests to hold: this only keeps wrong
// results from being timed.
inline std::string find_difference(const batch_norm &norm, const epilogue &epilogue, const statistics &given,
                                   const tensors &buffers, double tolerance)
{
    const float *x = buffers.x(), *residual = epilogue.residual ? buffers.dy() : nullptr;
    const bnorm_dtype type = norm.shape.out.dtype;
    const size_t lanes = norm.shape.block;
    std::vector<double> scale(norm.padded_channels());
    for (size_t c = 0; c < scale.size(); c++)
        scale[c] = norm.gamma[c] / std::sqrt(given.var[c] + batch_norm::epsilon);
    const auto expected = [x, residual, &epilogue, mean = given.mean.data(), scale = scale.data(),
                           beta = norm.beta.data()](size_t i, size_t c) {
        return activate(epilogue, (x[i] - mean[c]) * scale[c] + beta[c] + (residual ? residual[i] : 0));
    };

    size_t wrong = 0, wrong_element = 0, wrong_channel = 0; // the last one stands for all
    for_each_row(norm.shape, [&](size_t start, size_t channel) {
        for (size_t lane = 0; lane < lanes; lane++) {
            const size_t i = start + lane, c = channel + lane;
            if (c >= norm.shape.channels)
                continue; // padding
            const double want = expected(i, c);
            if (std::abs(buffers.y(type, i) - want) <= tolerance * (1 + std::abs(want)))
                continue;
            wrong++;
            wrong_element = i;
            wrong_channel = c;
        }
    });
    if (!wrong)
        return {};
    std::ostringstream words;
    words << wrong << " elements differ, such as " << wrong_element << " in channel " << wrong_channel << ": "
          << buffers.y(type, wrong_element) << " instead of " << expected(wrong_element, wrong_channel);
    return words.str();
}

// The same of dx, given the statistics of the batch.
inline std::string find_gradient_difference(const batch_norm &norm, const epilogue &epilogue, const statistics &given,
                                            const tensors &buffers, double tolerance)
{
    const size_t lanes = norm.shape.block;
    const auto count = static_cast<double>(norm.shape.batch * norm.shape.points);
    std::vector<double> rstd(norm.padded_channels()), sum(rstd.size()), product(rstd.size());
    for (size_t c = 0; c < rstd.size(); c++)
        rstd[c] = 1 / std::sqrt(given.var[c] + batch_norm::epsilon);
    const auto normalised = [&](size_t i, size_t c) { return (buffers.x()[i] - given.mean[c]) * rstd[c]; };
    const auto dz = [&](size_t i, size_t c) {
        return buffers.dy()[i] * slope(epilogue, normalised(i, c) * norm.gamma[c] + norm.beta[c]);
    };
    for_each_row(norm.shape, [&](size_t start, size_t channel) {
        for (size_t i = start, c = channel; c < channel + lanes; i++, c++) {
            sum[c] += dz(i, c);
            product[c] += dz(i, c) * normalised(i, c);
        }
    });

    size_t wrong = 0;
    for_each_row(norm.shape, [&](size_t start, size_t channel) {
        for (size_t i = start, c = channel; c < channel + lanes; i++, c++) {
            const double centered = dz(i, c) - sum[c] / count - normalised(i, c) * product[c] / count;
            const double want = norm.gamma[c] * rstd[c] * centered;
            const double z = normalised(i, c) * norm.gamma[c] + norm.beta[c];
            const bool kink = epilogue.activation == BNORM_RELU && std::abs(z) < 1e-5; // either side is right
            wrong += !kink && !(std::abs(buffers.y(norm.shape.in.dtype, i) - want) <= tolerance * (1 + std::abs(want)));
        }
    });
    for (size_t c = 0; c < norm.shape.channels; c++) {
        // A single dy on the other side of a kink is a term more or less.
        const double allowed = (epilogue.activation ? 0.02 : tolerance) * (1 + std::sqrt(count));
        wrong += !(std::abs(norm.dgamma[c] - product[c]) <= allowed) || !(std::abs(norm.dbeta[c] - sum[c]) <= allowed);
    }
    return wrong ? std::to_string(wrong) + " gradients differ" : std::string();
}

#endif
