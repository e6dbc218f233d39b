// SPDX-License-Identifier: MIT
// The reference in double that each result is checked against before it is timed. The exact bounds are for the tests to
// hold: this only keeps wrong results from being timed.
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

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

// The same of the gradients, given the statistics of the batch.
inline std::string find_gradient_difference(const batch_norm &norm, const epilogue &epilogue, const statistics &given,
                                            const tensors &buffers, double tolerance)
{
    const float *residual = epilogue.residual ? buffers.dy() : nullptr;
    const auto *dresidual = static_cast<const float *>(epilogue.residual ? norm.dresidual : nullptr);
    const size_t lanes = norm.shape.block;
    const auto count = static_cast<double>(norm.shape.batch * norm.shape.points);
    std::vector<double> rstd(norm.padded_channels()), sum(rstd.size()), product(rstd.size());
    for (size_t c = 0; c < rstd.size(); c++)
        rstd[c] = 1 / std::sqrt(given.var[c] + batch_norm::epsilon);
    const auto normalised = [&](size_t i, size_t c) { return (buffers.x()[i] - given.mean[c]) * rstd[c]; };
    const auto z_of = [&](size_t i, size_t c) {
        return normalised(i, c) * norm.gamma[c] + norm.beta[c] + (residual ? residual[i] : 0);
    };
    const auto dz = [&](size_t i, size_t c) { return buffers.dy()[i] * slope(epilogue, z_of(i, c)); };
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
            const bool kink =
                epilogue.activation == BNORM_ACT_RELU && std::abs(z_of(i, c)) < 1e-5; // either side is right
            if (kink || c >= norm.shape.channels)
                continue;
            wrong += !(std::abs(buffers.y(norm.shape.in.dtype, i) - want) <= tolerance * (1 + std::abs(want)));
            wrong += dresidual && !(std::abs(dresidual[i] - dz(i, c)) <= tolerance * (1 + std::abs(dz(i, c))));
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
