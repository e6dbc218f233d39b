// SPDX-License-Identifier: MIT
// What the rows compute: the shapes of real networks, the operations, and one batch norm over a shape.
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bnorm/bnorm.h"
#include "memory.h"
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

enum class call { infer, train, backward, collect };

// What is fused behind batch norm, and which layers have it.
struct epilogue {
    std::string name; // as a row's name has it, or nothing
    bnorm_activation activation;
    float alpha, beta;
    bool residual;
    std::vector<std::string> prefixes; // of the layers' names
};

inline const std::vector<epilogue> epilogues = {
    { "", BNORM_ACT_IDENTITY, 0, 0, false, { "" } },
    { "+relu", BNORM_ACT_RELU, 0, 0, false, { "resnet50.stage", "densenet121.", "tiny." } },
    { "+residual+relu", BNORM_ACT_RELU, 0, 0, true, { "resnet50.stage", "tiny." } },
    { "+clamp", BNORM_ACT_CLAMP, 0, 6, false, { "mobilenet_v2." } },
    { "+leaky_relu", BNORM_ACT_LEAKY_RELU, 0.1f, 0, false, { "mobilenet_v2.e" } },
    { "+hard_swish", BNORM_ACT_HARD_SWISH, 0, 0, false, { "mobilenet_v2.e" } },
    { "+silu", BNORM_ACT_SILU, 0, 0, false, { "efficientnet_b0.", "tiny." } },
    { "+sigmoid", BNORM_ACT_SIGMOID, 0, 0, false, { "unet3d." } },
    { "+tanh", BNORM_ACT_TANH, 0, 0, false, { "unet3d." } },
    { "+gelu", BNORM_ACT_GELU, 0, 0, false, { "unet3d." } },
    { "+gelu_tanh", BNORM_ACT_GELU_TANH, 0, 0, false, { "unet3d." } },
    { "+elu", BNORM_ACT_ELU, 1, 0, false, { "unet3d." } },
    { "+softplus", BNORM_ACT_SOFTPLUS, 0, 0, false, { "unet3d." } },
    { "+mish", BNORM_ACT_MISH, 0, 0, false, { "unet3d." } },
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
        return epilogue->activation == BNORM_ACT_IDENTITY && !epilogue->residual;
    }
    std::string name() const
    {
        static const char *const names[] = { "infer", "train", "backward", "collect" };
        return names[static_cast<int>(call)] + epilogue->name;
    }
    // Tensors that are read and written once each: x and, unless statistics are all, y; dy; the residual or its
    // gradient.
    size_t tensors() const
    {
        return size_t{ 2 } - (call == ::call::collect) + is_backward() + epilogue->residual;
    }
};

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
          collected_mean(layer.channels), collected_m2(layer.channels), saved_mean(layer.channels),
          saved_mean_low(layer.channels), saved_rstd(layer.channels)
    {
        for (size_t c = 0; c < layer.channels; c++) {
            gamma[c] = 1 + 0.25f * noise(4 * c);
            beta[c] = 0.5f * noise(4 * c + 1);
            mean[c] = 0.5f + 0.1f * noise(4 * c + 2);
            var[c] = 1 + 0.2f * noise(4 * c + 3);
        }
        size_t train_size = 0, backward_size = 0; // a failure shows when the operation runs
        bnorm_workspace_size(&shape, BNORM_OP_TRAIN, executor, &train_size);
        bnorm_workspace_size(&shape, BNORM_OP_BACKWARD, executor, &backward_size);
        workspace.resize(std::max(train_size, backward_size));
        naive_scratch.resize(((executor ? executor->width : 1) + 1) * 2 * block);
    }

    // As a framework calls it: with all parameters, training with all statistics, and backward through a residual with
    // the mask that the forward pass left.
    bnorm_status run(operation op, const void *x, const void *dy, void *y)
    {
        const bnorm_epilogue fused = epilogue_of(op, dy);
        const bnorm_epilogue *given = op.is_plain() ? nullptr : &fused;
        if (op.is_backward()) {
            bnorm_backward_params params = backward_params(given);
            params.dgamma = dgamma.data();
            params.dbeta = dbeta.data();
            params.dresidual = op.epilogue->residual ? dresidual : nullptr;
            return bnorm_backward(&shape, &params, x, dy, y, workspace.data(), workspace.size(), executor);
        }
        if (op.call == call::collect)
            return bnorm_train_collect(&shape, x, collected_mean.data(), collected_m2.data(), workspace.data(),
                                       workspace.size(), executor);
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
        bnorm_train_params params = train_params(given);
        params.momentum = 0.1f;
        params.running_variance = BNORM_VARIANCE_BIASED; // legal for one value per channel, too
        params.running_mean = mean.data();
        params.running_var = var.data();
        return bnorm_train(&shape, &params, x, y, workspace.data(), workspace.size(), executor);
    }

    // Batch norm and then what follows it, in a second call that normalises by a mean of 0 and a variance of 1;
    // backward the other way round.
    bnorm_status run_unfused(operation op, const void *x, const void *dy, void *y)
    {
        const operation plain = { op.call, &epilogues[0] };
        const std::vector<float> zeros(shape.channels), ones(shape.channels, 1.0f);
        const bnorm_epilogue epilogue = epilogue_of(op, dy);
        if (op.is_backward()) {
            bnorm_backward_params params = backward_params(&epilogue);
            void *dz = params.dresidual = op.epilogue->residual ? dresidual : y;
            const bnorm_status status = bnorm_backward(&shape, &params, x, dy, nullptr, nullptr, 0, executor);
            return status ? status : run(plain, x, dz, y);
        }
        bnorm_infer_params params = {};
        params.struct_size = sizeof(params);
        params.mean = zeros.data();
        params.var = ones.data();
        params.epilogue = &epilogue;
        const bnorm_status status = run(plain, x, dy, y);
        return status ? status : bnorm_infer(&shape, &params, y, y, executor);
    }

    // What a forward pass would have saved: the statistics, and the mask of what is fused behind a residual.
    void know(operation op, const statistics &given, const void *x, const void *residual, void *y)
    {
        for (size_t c = 0; c < shape.channels; c++) {
            mean[c] = static_cast<float>(given.mean[c]);
            var[c] = static_cast<float>(given.var[c]);
            saved_mean[c] = mean[c];
            saved_mean_low[c] = static_cast<float>(given.mean[c] - mean[c]);
            saved_rstd[c] = static_cast<float>(1 / std::sqrt(given.var[c] + epsilon));
        }
        if (!op.epilogue->residual)
            return;
        bnorm_epilogue fused = epilogue_of({ call::train, op.epilogue }, residual);
        size_t size = 0;
        bnorm_mask_size(&shape, &size);
        mask.resize(size);
        fused.mask = mask.data();
        const bnorm_train_params params = train_params(&fused);
        bnorm_train_apply(&shape, &params, x, y, executor);
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
    std::vector<double> collected_mean, collected_m2;
    void *dresidual = nullptr; // where it goes; only backward through a residual asks for it

private:
    bnorm_epilogue epilogue_of(operation op, const void *residual)
    {
        bnorm_epilogue e = {};
        e.struct_size = sizeof(e);
        e.activation = op.epilogue->activation;
        e.alpha = op.epilogue->alpha;
        e.beta = op.epilogue->beta;
        if (op.epilogue->residual && op.is_backward())
            e.mask = mask.data();
        else if (op.epilogue->residual)
            e.residual = residual;
        return e;
    }

    bnorm_train_params train_params(const bnorm_epilogue *epilogue)
    {
        bnorm_train_params params = {};
        params.struct_size = sizeof(params);
        params.gamma = gamma.data();
        params.beta = beta.data();
        params.epsilon = epsilon;
        params.saved_mean = saved_mean.data();
        params.saved_mean_low = saved_mean_low.data();
        params.saved_rstd = saved_rstd.data();
        params.epilogue = epilogue;
        return params;
    }

    bnorm_backward_params backward_params(const bnorm_epilogue *epilogue) const
    {
        bnorm_backward_params params = {};
        params.struct_size = sizeof(params);
        params.epilogue = epilogue;
        params.gamma = gamma.data();
        params.beta = beta.data();
        params.mean = saved_mean.data();
        params.mean_low = saved_mean_low.data();
        params.rstd = saved_rstd.data();
        return params;
    }

    static bnorm_shape shape_of(const layer &layer, size_t block, bnorm_dtype type)
    {
        bnorm_shape shape = bnorm_blocked(layer.batch, layer.channels, layer.points, block);
        shape.in.dtype = shape.out.dtype = type;
        return shape;
    }

    std::vector<float> saved_mean, saved_mean_low, saved_rstd, naive_scratch;
    std::vector<unsigned char> workspace, mask;
};

#endif
