// SPDX-License-Identifier: MIT
// The peer behind the rows named `onednn`: one batch norm of oneDNN (2.x or 3.x) in the layout of ours, on as many
// threads. Its training computes y, mean and variance; it keeps no running statistics.
#ifndef BENCH_ONEDNN_PEER_H
#define BENCH_ONEDNN_PEER_H

#include <cmath>
#include <unordered_map>
#include <vector>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "pool.h"
#include "workload.h"

// OpenMP's threads on CPUs of their own, like those of thread_pool. They are made by the caller, which may itself be
// kept to one CPU by now, so the CPUs are named.
inline void keep_openmp_on(const std::vector<int> &cpus)
{
    omp_set_num_threads(static_cast<int>(cpus.size()));
#pragma omp parallel
    stay_on(cpus[static_cast<size_t>(omp_get_thread_num())]);
}

inline dnnl::memory::data_type onednn_type(bnorm_dtype type)
{
    using dnnl::memory;
    return type == BNORM_DTYPE_F32    ? memory::data_type::f32
           : type == BNORM_DTYPE_BF16 ? memory::data_type::bf16
                                      : memory::data_type::f16;
}

class onednn_batch_norm
{
public:
    onednn_batch_norm(operation op, batch_norm &norm, tensors &buffers, size_t threads)
        : threads(static_cast<int>(threads)), engine(dnnl::engine::kind::cpu, 0), stream(engine)
    {
        using dnnl::memory;
        omp_set_num_threads(this->threads); // what the primitive is planned for
        const bnorm_shape &s = norm.shape;
        const auto square = static_cast<size_t>(std::lround(std::sqrt(static_cast<double>(s.points))));
        const size_t height = square * square == s.points ? square : 1;
        const memory::dims dims = { dim(s.batch), dim(s.channels), dim(height), dim(s.points / height) };
        const memory::format_tag tag = s.block == 1            ? memory::format_tag::nchw
                                       : s.block == s.channels ? memory::format_tag::nhwc
                                       : s.block == 8          ? memory::format_tag::nChw8c
                                                               : memory::format_tag::nChw16c;
        const bnorm_dtype type = s.in.dtype;
        const memory::desc data(dims, onednn_type(type), tag);
        const memory::desc channels({ dim(s.channels) }, memory::data_type::f32, memory::format_tag::x);
        const auto tensor = [&](const void *values) { return memory(data, engine, const_cast<void *>(values)); };
        const auto array = [&](std::vector<float> &values) { return memory(channels, engine, values.data()); };
        if (op.is_backward())
            primitive = dnnl::batch_normalization_backward(backward_descriptor(data));
        else
            primitive = dnnl::batch_normalization_forward(forward_descriptor(op, data));
        arguments = { { DNNL_ARG_SRC, tensor(buffers.x(type)) },
                      { DNNL_ARG_MEAN, array(norm.mean) },
                      { DNNL_ARG_VARIANCE, array(norm.var) },
                      { DNNL_ARG_SCALE, array(norm.gamma) } };
        if (op.is_backward()) {
            arguments[DNNL_ARG_DIFF_DST] = tensor(buffers.dy(type));
            arguments[DNNL_ARG_DIFF_SRC] = tensor(buffers.y());
            arguments[DNNL_ARG_DIFF_SCALE] = array(norm.dgamma);
            arguments[DNNL_ARG_DIFF_SHIFT] = array(norm.dbeta);
        } else {
            arguments[DNNL_ARG_SHIFT] = array(norm.beta);
            arguments[DNNL_ARG_DST] = tensor(buffers.y());
            if (op.epilogue->residual)
                add_step(add(data), { { DNNL_ARG_SRC_0, tensor(buffers.y()) },
                                      { DNNL_ARG_SRC_1, tensor(buffers.dy()) },
                                      { DNNL_ARG_DST, tensor(buffers.y()) } });
            if (op.epilogue->activation != BNORM_ACT_IDENTITY)
                add_step(activation(*op.epilogue, data),
                         { { DNNL_ARG_SRC, tensor(buffers.y()) }, { DNNL_ARG_DST, tensor(buffers.y()) } });
        }
    }

    void run()
    {
        omp_set_num_threads(threads);
        primitive.execute(stream, arguments);
        for (const auto &[step, with] : steps)
            step.execute(stream, with);
        stream.wait();
    }

private:
    static dnnl::memory::dim dim(size_t size)
    {
        return static_cast<dnnl::memory::dim>(size);
    }

    const dnnl::normalization_flags affine =
        dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;

    dnnl::batch_normalization_forward::primitive_desc forward_descriptor(operation op, const dnnl::memory::desc &data)
    {
        const bool inference = op.call == call::infer;
        const auto kind = inference ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
        const auto flags = inference ? affine | dnnl::normalization_flags::use_global_stats : affine;
#if DNNL_VERSION_MAJOR >= 3
        return { engine, kind, data, data, batch_norm::epsilon, flags };
#else
        return { { kind, data, batch_norm::epsilon, flags }, engine };
#endif
    }

    dnnl::batch_normalization_backward::primitive_desc backward_descriptor(const dnnl::memory::desc &data)
    {
        const auto kind = dnnl::prop_kind::backward;
        const auto forward = forward_descriptor({ call::train, &epilogues[0] }, data);
#if DNNL_VERSION_MAJOR >= 3
        return { engine, kind, data, data, data, batch_norm::epsilon, affine, forward };
#else
        return { { kind, data, data, batch_norm::epsilon, affine }, engine, forward };
#endif
    }

    using step_arguments = std::unordered_map<int, dnnl::memory>;

    void add_step(const dnnl::primitive &step, const step_arguments &with)
    {
        steps.emplace_back(step, with);
    }

    // What follows batch norm, in place.
    dnnl::primitive add(const dnnl::memory::desc &data)
    {
#if DNNL_VERSION_MAJOR >= 3
        return dnnl::binary({ engine, dnnl::algorithm::binary_add, data, data, data });
#else
        return dnnl::binary({ { dnnl::algorithm::binary_add, data, data, data }, engine });
#endif
    }

    dnnl::primitive activation(const epilogue &e, const dnnl::memory::desc &data)
    {
        using dnnl::algorithm;
        const std::unordered_map<int, algorithm> algorithms = {
            { BNORM_ACT_RELU, algorithm::eltwise_relu },
            { BNORM_ACT_LEAKY_RELU, algorithm::eltwise_relu },
            { BNORM_ACT_CLAMP, algorithm::eltwise_clip },
            { BNORM_ACT_HARD_SWISH, algorithm::eltwise_hardswish },
            { BNORM_ACT_SIGMOID, algorithm::eltwise_logistic },
            { BNORM_ACT_SILU, algorithm::eltwise_swish },
            { BNORM_ACT_TANH, algorithm::eltwise_tanh },
            { BNORM_ACT_GELU, algorithm::eltwise_gelu_erf },
            { BNORM_ACT_GELU_TANH, algorithm::eltwise_gelu_tanh },
            { BNORM_ACT_ELU, algorithm::eltwise_elu },
            { BNORM_ACT_MISH, algorithm::eltwise_mish },
        };
        const float alpha = e.activation == BNORM_ACT_SILU         ? 1
                            : e.activation == BNORM_ACT_HARD_SWISH ? 1.0f / 6
                                                                   : e.alpha;
        const float beta = e.activation == BNORM_ACT_HARD_SWISH ? 0.5f : e.beta;
        const auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
        return dnnl::eltwise_forward({ engine, kind, algorithms.at(e.activation), data, data, alpha, beta });
#else
        return dnnl::eltwise_forward({ { kind, algorithms.at(e.activation), data, alpha, beta }, engine });
#endif
    }

    int threads;
    dnnl::engine engine;
    dnnl::stream stream;
    dnnl::primitive primitive;
    step_arguments arguments;
    std::vector<std::pair<dnnl::primitive, step_arguments>> steps;
};

// Whether this oneDNN has batch norm of that type on this CPU.
inline bool onednn_has(bnorm_dtype type)
try {
    const layer tiny = { "tiny", 1, 16, 4 };
    const operation op = { call::infer, &epilogues[0] };
    batch_norm norm(tiny, 16, type, nullptr);
    tensors buffers(tiny.elements());
    onednn_batch_norm(op, norm, buffers, 1).run();
    return true;
} catch (const dnnl::error &) {
    return false;
}

#endif
