// SPDX-License-Identifier: MIT
// What no row shows: how far training's y is from the reference when values lie around an offset, for each that is
// compared, and whether its bits depend on the number of threads.
#ifndef BENCH_ACCURACY_H
#define BENCH_ACCURACY_H

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bnorm/bnorm.h"
#include "reference.h"
#include "workload.h"
#ifdef BENCH_ONEDNN
#include "onednn.h"
#endif

class accuracy
{
public:
    explicit accuracy(const bnorm_executor &executor) : executor(executor)
    {
    }

    // By name, as in "error.bnorm.nhwc.10000" and "bits.bnorm.nhwc", which are "same" or "differ".
    std::map<std::string, std::string> measure()
    {
        std::map<std::string, std::string> found;
        for (const double offset : { 0.0, 1e2, 1e4, 1e6 }) {
            tensors buffers(images.elements(), static_cast<float>(offset));
            for (const auto &[layout, block] : { std::pair("nchw", size_t{ 1 }), std::pair("nhwc", images.channels) })
                for (const std::string &name : names()) {
                    const std::vector<float> serial = train(name, block, buffers, nullptr);
                    char key[64], value[32];
                    std::snprintf(key, sizeof(key), "error.%s.%s.%g", name.c_str(), layout, offset);
                    std::snprintf(value, sizeof(value), "%.1e", error(block, buffers, serial));
                    found[key] = value;
                    if (executor.width > 1)
                        note_bits(found["bits." + name + '.' + layout],
                                  serial == train(name, block, buffers, &executor));
                }
        }
        return found;
    }

private:
    static std::vector<std::string> names()
    {
#ifdef BENCH_ONEDNN
        return { "naive", "onednn", "bnorm" };
#else
        return { "naive", "bnorm" };
#endif
    }

    static void note_bits(std::string &known, bool same)
    {
        if (known != "differ")
            known = same ? "same" : "differ";
    }

    std::vector<float> train(const std::string &name, size_t block, tensors &buffers, const bnorm_executor *on) const
    {
        const operation op = { call::train, &epilogues[0] };
        batch_norm norm(images, block, BNORM_DTYPE_F32, on);
        if (name == "naive")
            norm.run_naive(op, buffers.x(), buffers.dy(), buffers.y());
#ifdef BENCH_ONEDNN
        else if (name == "onednn")
            onednn_batch_norm(op, norm, buffers, on ? on->width : 1).run();
#endif
        else
            norm.run(op, buffers.x(), buffers.dy(), buffers.y());
        return { buffers.y(), buffers.y() + images.elements() };
    }

    // The largest; infinite where there are NaNs.
    static double error(size_t block, const tensors &buffers, const std::vector<float> &y)
    {
        const batch_norm norm(images, block, BNORM_DTYPE_F32, nullptr);
        const statistics given = batch_statistics(norm, buffers.x());
        double largest = 0;
        for_each_row(norm.shape, [&](size_t start, size_t channel) {
            for (size_t i = start, c = channel; c < channel + block; i++, c++) {
                const double rstd = 1 / std::sqrt(given.var[c] + batch_norm::epsilon);
                const double want = (buffers.x()[i] - given.mean[c]) * rstd * norm.gamma[c] + norm.beta[c];
                const double off = std::abs(y[i] - want);
                largest = std::isnan(off) ? INFINITY : std::max(largest, off);
            }
        });
        return largest;
    }

    static inline const layer images = { "accuracy", 8, 64, 784 };
    const bnorm_executor executor;
};

#endif
