// SPDX-License-Identifier: MIT
// The reference in double that each result is checked against before it is timed. The exact bounds are for the tests to
// hold: this only keeps wrong results from being timed.
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <vector>

#include "loops.h"
#include "workload.h"

// An activation by its definition; the slope of one that is benchmarked backward.
inline double activate(const epilogue &e, double z)
{
    switch (e.activation) {
    case BNORM_ACT_RELU:
        return std::max(z, 0.0);
    case BNORM_ACT_CLAMP:
        return std::min(std::max(z, double{ e.alpha }), double{ e.beta });
    case BNORM_ACT_LEAKY_RELU:
        return z > 0 ? z : e.alpha * z;
    case BNORM_ACT_HARD_SWISH:
        return z * std::min(std::max(z + 3, 0.0), 6.0) / 6;
    case BNORM_ACT_SIGMOID:
        return 1 / (1 + std::exp(-z));
    case BNORM_ACT_SILU:
        return z / (1 + std::exp(-z));
    case BNORM_ACT_TANH:
        return std::tanh(z);
    case BNORM_ACT_GELU:
        return z * std::erfc(-z / std::sqrt(2.0)) / 2;
    case BNORM_ACT_GELU_TANH:
        return z / 2 * (1 + std::tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));
    case BNORM_ACT_ELU:
        return z > 0 ? z : e.alpha * std::expm1(z);
    case BNORM_ACT_SOFTPLUS:
        return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
    case BNORM_ACT_MISH:
        return z * std::tanh(std::log1p(std::exp(z)));
    default:
        return z;
    }
}

inline double slope(const epilogue &e, double z)
{
    const double s = 1 / (1 + std::exp(-z));
    return e.activation == BNORM_ACT_SILU ? s * (1 + z * (1 - s)) : e.activation == BNORM_ACT_RELU ? z > 0 : 1;
}

// `count` rows of `block` channels side by side, from the first on: where each starts, and its first channel.
template <class Visit> void for_rows(const bnorm_shape &shape, size_t first, size_t count, Visit &&visit)
{
    const size_t blocks = (shape.channels + shape.block - 1) / shape.block;
    for (size_t row = first; row < first + count;) {
        const size_t channel = row / shape.points % blocks * shape.block;
        const size_t end = std::min(row / shape.points * shape.points + shape.points, first + count);
        for (; row < end; row++)
            visit(row * shape.block, channel);
    }
}

template <class Visit> void for_each_row(const bnorm_shape &shape, Visit &&visit)
{
    const size_t blocks = (shape.channels + shape.block - 1) / shape.block;
    for_rows(shape, 0, shape.batch * blocks * shape.points, visit);
}

// How many elements of all channels are wrong(index, channel), which several threads ask.
template <class Wrong> size_t count_wrong(const bnorm_shape &shape, const bnorm_executor &on, const Wrong &wrong)
{
    const size_t blocks = (shape.channels + shape.block - 1) / shape.block;
    std::atomic<size_t> all{ 0 };
    shared_loop count{ [&](size_t first, size_t rows) {
                          size_t some = 0;
                          for_rows(shape, first, rows, [&](size_t start, size_t channel) {
                              const size_t lanes =
                                  std::min(shape.block, shape.channels - channel); // the rest is padding
                              for (size_t lane = 0; lane < lanes; lane++)
                                  some += wrong(start + lane, channel + lane);
                          });
                          all += some;
                      },
                       shape.batch * blocks * shape.points, &on };
    count();
    return all;
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
                                   const tensors &buffers, double tolerance, const bnorm_executor &on)
{
    const float *x = buffers.x(), *residual = epilogue.residual ? buffers.dy() : nullptr;
    std::vector<double> scale(norm.padded_channels());
    for (size_t c = 0; c < scale.size(); c++)
        scale[c] = norm.gamma[c] / std::sqrt(given.var[c] + batch_norm::epsilon);
    const size_t wrong = count_wrong(norm.shape, on, [&](size_t i, size_t c) {
        const double z = (x[i] - given.mean[c]) * scale[c] + norm.beta[c] + (residual ? residual[i] : 0);
        const double want = activate(epilogue, z);
        return !(std::abs(buffers.y(norm.shape.out.dtype, i) - want) <= tolerance * (1 + std::abs(want)));
    });
    return wrong ? std::to_string(wrong) + " elements differ" : std::string();
}

// The same of statistics alone.
inline std::string find_statistics_difference(const batch_norm &norm, const statistics &given, double tolerance)
{
    const auto count = static_cast<double>(norm.shape.batch * norm.shape.points);
    size_t wrong = 0;
    for (size_t c = 0; c < norm.shape.channels; c++)
        wrong += !(std::abs(norm.collected_mean[c] - given.mean[c]) <= tolerance) ||
                 !(std::abs(norm.collected_m2[c] / count - given.var[c]) <= tolerance * (1 + given.var[c]));
    return wrong ? std::to_string(wrong) + " channels differ" : std::string();
}

// The gradients of a batch, before and after those of all of its values are subtracted.
class gradients
{
public:
    gradients(const batch_norm &norm, const epilogue &epilogue, const statistics &given, const tensors &buffers)
        : norm(norm), fused(epilogue), given(given), x(buffers.x()), dy(buffers.dy()), rstd(norm.padded_channels()),
          sum(rstd.size()), product(rstd.size())
    {
        for (size_t c = 0; c < rstd.size(); c++)
            rstd[c] = 1 / std::sqrt(given.var[c] + batch_norm::epsilon);
        for_each_row(norm.shape, [&](size_t start, size_t channel) {
            for (size_t i = start, c = channel; c < channel + norm.shape.block; i++, c++) {
                sum[c] += dz(i, c);
                product[c] += dz(i, c) * normalised(i, c);
            }
        });
    }

    double normalised(size_t i, size_t c) const
    {
        return (x[i] - given.mean[c]) * rstd[c];
    }
    double z(size_t i, size_t c) const
    {
        return normalised(i, c) * norm.gamma[c] + norm.beta[c] + (fused.residual ? dy[i] : 0);
    }
    double dz(size_t i, size_t c) const
    {
        return dy[i] * (fused.activation ? slope(fused, z(i, c)) : 1);
    }
    double dx(size_t i, size_t c) const
    {
        return norm.gamma[c] * rstd[c] * (dz(i, c) - sum[c] / count - normalised(i, c) * product[c] / count);
    }

private:
    const batch_norm &norm;
    const epilogue &fused;
    const statistics &given;
    const float *const x, *const dy;
    std::vector<double> rstd;

public:
    const double count = static_cast<double>(norm.shape.batch * norm.shape.points);
    std::vector<double> sum, product; // of dz, and of dz times the normalised x
};

inline std::string find_gradient_difference(const batch_norm &norm, const epilogue &epilogue, const statistics &given,
                                            const tensors &buffers, double tolerance, const bnorm_executor &on)
{
    const gradients want(norm, epilogue, given, buffers);
    const auto *dresidual = static_cast<const float *>(epilogue.residual ? norm.dresidual : nullptr);
    const auto differs = [tolerance](double value, double from) {
        return !(std::abs(value - from) <= tolerance * (1 + std::abs(from)));
    };
    size_t wrong = count_wrong(norm.shape, on, [&](size_t i, size_t c) {
        if (epilogue.activation == BNORM_ACT_RELU && std::abs(want.z(i, c)) < 1e-5)
            return false; // at the kink either side is right
        return differs(buffers.y(norm.shape.in.dtype, i), want.dx(i, c)) ||
               (dresidual && differs(dresidual[i], want.dz(i, c)));
    });
    for (size_t c = 0; c < norm.shape.channels; c++) {
        // A single dy on the other side of a kink is a term more or less.
        const double allowed = (epilogue.activation ? 0.02 : tolerance) * (1 + std::sqrt(want.count));
        wrong += !(std::abs(norm.dgamma[c] - want.product[c]) <= allowed) ||
                 !(std::abs(norm.dbeta[c] - want.sum[c]) <= allowed);
    }
    return wrong ? std::to_string(wrong) + " gradients differ" : std::string();
}

#endif
