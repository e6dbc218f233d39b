// SPDX-License-Identifier: MIT
// What no row shows: how far training's y is from the reference on each class of input of the tests, for each that is
// compared, and whether its bits depend on the number of threads.
#ifndef BENCH_ACCURACY_H
#define BENCH_ACCURACY_H

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bnorm/bnorm.h"
#include "python_peer.h"
#include "reference.h"
#include "workload.h"
#ifdef BENCH_ONEDNN
#include "onednn_peer.h"
#endif

extern "C" {
#include "tests/inputs.h"
}

class accuracy
{
public:
    accuracy(const bnorm_executor &executor, python_peer *pytorch) : executor(executor), pytorch(pytorch)
    {
    }

    // By name, as in "error.bnorm.nhwc.offset_1e4" and "bits.bnorm.nhwc", which are "same" or "differ".
    std::map<std::string, std::string> measure()
    {
        std::map<std::string, std::string> found;
        for (int i = 0; i < INPUT_COUNT; i++)
            for (const auto &[layout, block] : { std::pair("nchw", size_t{ 1 }), std::pair("nhwc", images.channels) }) {
                const std::string input = input_name(static_cast<input_class>(i));
                fill(static_cast<input_class>(i), block);
                for (const std::string &name : names()) {
                    const std::vector<float> serial = train(name, layout, block, 1);
                    char value[32];
                    std::snprintf(value, sizeof(value), "%.1e", error(block, serial));
                    found["error." + name + '.' + layout + '.' + input] = value;
                    if (executor.width > 1)
                        note_bits(found["bits." + name + '.' + layout],
                                  are_same(serial, train(name, layout, block, executor.width)));
                }
            }
        if (pytorch)
            pytorch->forget();
        return found;
    }

private:
    std::vector<std::string> names() const
    {
        std::vector<std::string> all = { "naive", "bnorm" };
#ifdef BENCH_ONEDNN
        all.push_back("onednn");
#endif
        if (pytorch)
            all.push_back("pytorch");
        return all;
    }

    void fill(input_class input, size_t block)
    {
        std::vector<float> planes(images.elements());
        input_fill(input, planes.data(), images.batch, images.channels, images.points, 1);
        for (size_t i = 0; i < planes.size(); i++) {
            const size_t point = i % images.points, channel = i / images.points % images.channels;
            const size_t image = i / images.points / images.channels;
            buffers.x()[block == 1 ? i : (image * images.points + point) * block + channel] = planes[i];
        }
        if (pytorch)
            pytorch->forget();
    }

    static bool are_same(const std::vector<float> &one, const std::vector<float> &other)
    {
        return std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
    }

    static void note_bits(std::string &known, bool same)
    {
        if (known != "differ")
            known = same ? "same" : "differ";
    }

    std::vector<float> train(const std::string &name, const std::string &layout, size_t block, size_t threads)
    {
        const operation op = { call::train, &epilogues[0] };
        batch_norm norm(images, block, BNORM_DTYPE_F32, threads > 1 ? &executor : nullptr);
        if (name == "naive")
            norm.run_naive(op, buffers.x(), buffers.dy(), buffers.y());
        else if (name == "bnorm")
            norm.run(op, buffers.x(), buffers.dy(), buffers.y());
#ifdef BENCH_ONEDNN
        else if (name == "onednn")
            onednn_batch_norm(op, norm, buffers, threads).run();
#endif
        else if (const row row = { op, layout, block, &images, name, threads };
                 pytorch->compute(row, norm, buffers).empty())
            pytorch->store(row, norm, buffers);
        else
            return std::vector<float>(images.elements(), NAN);
        return { buffers.y(), buffers.y() + images.elements() };
    }

    // The largest, relative to values above 1; infinite where there is no number and should be one, or the other way.
    double error(size_t block, const std::vector<float> &y) const
    {
        const batch_norm norm(images, block, BNORM_DTYPE_F32, nullptr);
        const statistics given = batch_statistics(norm, buffers.x());
        double largest = 0;
        for_each_row(norm.shape, [&](size_t start, size_t channel) {
            for (size_t i = start, c = channel; c < channel + block; i++, c++) {
                const double rstd = 1 / std::sqrt(given.var[c] + batch_norm::epsilon);
                const double want = (buffers.x()[i] - given.mean[c]) * rstd * norm.gamma[c] + norm.beta[c];
                const double off = std::abs(y[i] - want) / std::max(1.0, std::abs(want));
                if (!std::isnan(want) || !std::isnan(y[i]))
                    largest = off <= largest ? largest : std::isnan(off) ? INFINITY : off;
            }
        });
        return largest;
    }

    static inline const layer images = { "images", 8, 64, 784 };
    tensors buffers{ images.elements() };
    const bnorm_executor executor;
    python_peer *const pytorch; // or NULL
};

#endif
