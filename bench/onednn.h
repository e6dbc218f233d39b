// SPDX-License-Identifier: MIT
// The peer behind the rows named `onednn`: one batch norm of oneDNN (2.x or 3.x) in the layout of ours, on as many
// threads. Its training computes y, mean and variance; it keeps no running statistics.
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H

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

class onednn_batch_norm
{
public:
    onednn_batch_norm(operation op, batch_norm &norm, const float *x, float *y, size_t threads)
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
                                                               : memory::format_tag::nChw16c;
        const memory::desc data(dims, memory::data_type::f32, tag);
        const memory::desc channels({ dim(s.channels) }, memory::data_type::f32, memory::format_tag::x);
        primitive = dnnl::batch_normalization_forward(descriptor(op, data));
        arguments = {
            { DNNL_ARG_SRC, memory(data, engine, const_cast<float *>(x)) },
            { DNNL_ARG_DST, memory(data, engine, y) },
            { DNNL_ARG_MEAN, memory(channels, engine, norm.mean.data()) },
            { DNNL_ARG_VARIANCE, memory(channels, engine, norm.var.data()) },
            { DNNL_ARG_SCALE, memory(channels, engine, norm.gamma.data()) },
            { DNNL_ARG_SHIFT, memory(channels, engine, norm.beta.data()) },
        };
    }

    void run()
    {
        omp_set_num_threads(threads);
        primitive.execute(stream, arguments);
        stream.wait();
    }

private:
    static dnnl::memory::dim dim(size_t size)
    {
        return static_cast<dnnl::memory::dim>(size);
    }

    dnnl::batch_normalization_forward::primitive_desc descriptor(operation op, const dnnl::memory::desc &data)
    {
        const bool training = op == operation::train;
        const auto kind = training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
        const auto affine = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
        const auto flags = training ? affine : affine | dnnl::normalization_flags::use_global_stats;
#if DNNL_VERSION_MAJOR >= 3
        return { engine, kind, data, data, batch_norm::epsilon, flags };
#else
        return { { kind, data, batch_norm::epsilon, flags }, engine };
#endif
    }

    int threads;
    dnnl::engine engine;
    dnnl::stream stream;
    dnnl::batch_normalization_forward primitive;
    std::unordered_map<int, dnnl::memory> arguments;
};

#endif
