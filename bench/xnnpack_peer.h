// SPDX-License-Identifier: MIT
// The peer behind the rows named `xnnpack`: y = x * scale + shift, in NHWC. XNNPACK has it as a convolution of 1x1 with
// a group for each channel, which it recognises; batch norm is folded into scale and shift before.
#ifndef BENCH_XNNPACK_PEER_H
#define BENCH_XNNPACK_PEER_H

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthreadpool.h>
#include <xnnpack.h>

#include "pool.h"
#include "workload.h"

// It has no number of its own: what its file is called behind ".so.", which Debian ends with a date.
inline std::string xnnpack_version()
{
    Dl_info library;
    if (!dladdr(reinterpret_cast<void *>(&xnn_initialize), &library))
        return "unknown";
    const std::unique_ptr<char, decltype(&std::free)> path(realpath(library.dli_fname, nullptr), std::free);
    const std::string name = path ? path.get() : library.dli_fname;
    const size_t ending = name.rfind(".so.");
    return ending == std::string::npos ? "unknown" : name.substr(ending + 4);
}

inline pthreadpool_t xnnpack_threads(size_t count)
{
    static const std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)> pool(pthreadpool_create(count),
                                                                                   pthreadpool_destroy);
    return pool.get();
}

// Its threads on CPUs of their own, the caller's being the first: each waits until all are there.
inline void keep_xnnpack_on(const std::vector<int> &cpus)
{
    struct meeting {
        const std::vector<int> &cpus;
        std::atomic<size_t> there;
    } all = { cpus, {} };
    pthreadpool_parallelize_1d(
        xnnpack_threads(cpus.size()),
        [](void *context, size_t index) {
            auto *all = static_cast<meeting *>(context);
            stay_on(all->cpus[index]);
            for (all->there++; all->there < all->cpus.size();)
                std::this_thread::yield();
        },
        &all, cpus.size(), 0);
}

class xnnpack_batch_norm
{
public:
    xnnpack_batch_norm(operation, const batch_norm &norm, const tensors &buffers, size_t threads)
        : pool(threads > 1 ? xnnpack_threads(threads) : nullptr), convolution(nullptr, xnn_delete_operator)
    {
        const bnorm_shape &s = norm.shape;
        std::vector<float> scale(s.channels), shift(s.channels);
        for (size_t c = 0; c < s.channels; c++) {
            scale[c] = norm.gamma[c] / std::sqrt(norm.var[c] + batch_norm::epsilon);
            shift[c] = norm.beta[c] - norm.mean[c] * scale[c];
        }
        check(xnn_initialize(nullptr));
        xnn_operator_t made = nullptr;
        check(xnn_create_convolution2d_nhwc_f32(0, 0, 0, 0, 1, 1, 1, 1, 1, 1, static_cast<uint32_t>(s.channels), 1, 1,
                                                s.channels, s.channels, scale.data(), shift.data(), -INFINITY, INFINITY,
                                                XNN_FLAG_DEPTHWISE_CONVOLUTION, nullptr, nullptr, &made));
        convolution.reset(made);
        size_t workspace_size, alignment, height, width;
        check(xnn_reshape_convolution2d_nhwc_f32(made, s.batch, s.points, 1, &workspace_size, &alignment, &height,
                                                 &width, pool));
        check(xnn_setup_convolution2d_nhwc_f32(made, nullptr, buffers.x(), buffers.y()));
    }

    void run()
    {
        xnn_run_operator(convolution.get(), pool);
    }

private:
    static void check(xnn_status status)
    {
        if (status != xnn_status_success)
            throw std::runtime_error("XNNPACK fails with status " + std::to_string(status));
    }

    const pthreadpool_t pool;
    std::unique_ptr<xnn_operator, decltype(&xnn_delete_operator)> convolution;
};

#endif
