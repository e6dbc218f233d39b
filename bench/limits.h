// SPDX-License-Identifier: MIT
// What this machine can move at most, with as many threads and tensors of the same size as a row: what the row is
// measured beside.
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "build.h"
#include "loops.h"
#include "measure.h"
#include "rows.h"

#define DECLARE_COPY(isa) \
    extern "C" vector_copy bench_copy_##isa; \
    extern "C" vector_read bench_read_##isa; \
    extern "C" vector_write bench_write_##isa; \
    extern "C" bare_activation bench_bare_##isa;
BENCH_COPIES(DECLARE_COPY)

// Of the best ISA that has one: SVE copies with NEON.
template <class Function> Function *best_of(const std::map<std::string, Function *> &functions)
{
    size_t index = 0;
    while (!functions.count(bnorm_isa_name(index)))
        index++; // portable C has one
    return functions.at(bnorm_isa_name(index));
}

inline vector_copy *best_copy()
{
    return best_of<vector_copy>({
#define NAME_COPY(isa) { #isa, &bench_copy_##isa },
        BENCH_COPIES(NAME_COPY) });
}

inline vector_read *best_read()
{
    return best_of<vector_read>({
#define NAME_READ(isa) { #isa, &bench_read_##isa },
        BENCH_COPIES(NAME_READ) });
}

inline vector_write *best_write()
{
    return best_of<vector_write>({
#define NAME_WRITE(isa) { #isa, &bench_write_##isa },
        BENCH_COPIES(NAME_WRITE) });
}

inline bare_activation *best_bare()
{
    return best_of<bare_activation>({
#define NAME_BARE(isa) { #isa, &bench_bare_##isa },
        BENCH_COPIES(NAME_BARE) });
}

// The fastest of several ways to do the same, each sampled some times.
inline contestant fastest(const std::vector<contestant> &ways)
{
    const contestant *best = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (const contestant &way : ways)
        for (int i = 0; i < 3; i++)
            if (const double seconds = way.sample(); seconds < least) {
                least = seconds;
                best = &way;
            }
    return *best;
}

template <class Loop> contestant enter_loop(const Loop &loop, size_t count, const bnorm_executor *on)
{
    contestant c;
    c.sample = [=]() mutable {
        shared_loop shared{ loop, count, on };
        return sample(shared);
    };
    return c;
}

class limits
{
public:
    limits(const tensors &buffers, const bnorm_executor &executor) : buffers(buffers), executor(executor)
    {
    }

    // How many copies of its size move the tensors of a row.
    static double tensors_of_a_copy(const row &row)
    {
        return static_cast<double>(row.op.tensors()) / (row.op.tensors() == 2 ? 2 : 3);
    }

    // A copy of the row's size, or for more than two tensors a loop that makes one of two. More threads may also copy
    // with one, which is faster where the tensor is tiny. The best way is found once for a size.
    contestant copy(const row &row)
    {
        const bool two = row.op.tensors() > 2;
        const auto [known, is_new] = copies.try_emplace({ row.shape, two, row.threads, row.type });
        if (!is_new)
            return known->second;
        const size_t floats = floats_of(row);
        std::vector<contestant> ways;
        for (const bnorm_executor *on : { executor_of(row), static_cast<const bnorm_executor *>(nullptr) })
            for (const auto &[loop, stream] :
                 { std::pair{ &library_copy, 0 }, std::pair{ best_copy(), 0 }, std::pair{ best_copy(), 1 } })
                if (!two || loop != &library_copy)
                    ways.push_back(enter_loop(
                        [loop = loop, stream = stream, to = buffers.y(), from = buffers.x(),
                         other = two ? buffers.dy() : nullptr](size_t first, size_t count) {
                            loop(to + first, from + first, other ? other + first : nullptr, count, stream);
                        },
                        floats, on));
        return known->second = fastest(ways);
    }

    // Seconds of reading x alone, and of writing y alone, with the threads of a row: once for a size.
    std::pair<double, double> one_way(const row &row)
    {
        const auto [known, is_new] = one_ways.try_emplace({ row.shape, row.threads, row.type });
        if (!is_new)
            return known->second;
        const size_t floats = floats_of(row);
        contestant read = enter_loop(
            [read = best_read(), from = buffers.x()](size_t first, size_t count) {
                volatile float sum = read(from + first, nullptr, count);
                static_cast<void>(sum);
            },
            floats, executor_of(row));
        std::vector<contestant> ways;
        for (int stream : { 0, 1 })
            ways.push_back(enter_loop([write = best_write(), to = buffers.y(),
                                       stream](size_t first, size_t count) { write(to + first, count, stream); },
                                      floats, executor_of(row)));
        contestant write = fastest(ways);
        take_turns({ &read, &write }, wanted_rounds());
        return known->second = { read.median(), write.median() };
    }

    // Inference, and what is fused, is held to the copy alone.
    static bool has_limit(const row &row)
    {
        return row.op.call != call::infer && row.op.is_plain();
    }

    // What training and backward read and write, without what they compute: a piece is read, and again, from where it
    // then lies, while y is written; all of the tensor in NHWC, whose statistics are those of all rows, and what half
    // of a core's cache holds else. Of statistics alone: reading.
    contestant loads_and_stores(const row &row)
    {
        if (!has_limit(row))
            return {};
        const bool two = row.op.is_backward(), writes = row.op.call != call::collect;
        const bool whole = !writes || row.block == row.shape->channels || row.shape->points == 1;
        const auto [known, is_new] = loads.try_emplace({ row.shape, row.op.call, whole, row.threads, row.type });
        if (!is_new)
            return known->second;
        size_t core = 0;
        bnorm_cache_sizes(&core, nullptr);
        const size_t piece = whole ? floats_of(row) : core / 2 / sizeof(float) / (two ? 2 : 1);
        std::vector<contestant> ways;
        for (const bnorm_executor *on : { executor_of(row), static_cast<const bnorm_executor *>(nullptr) })
            for (int stream : { 0, 1 })
                ways.push_back(enter_loop(
                    [=, read = best_read(), copy = best_copy(), to = buffers.y(), from = buffers.x(),
                     other = two ? buffers.dy() : nullptr](size_t first, size_t count) {
                        for (size_t done = 0; done < count; done += piece) {
                            const size_t at = first + done, some = std::min(piece, count - done);
                            const float *const more = other ? other + at : nullptr;
                            volatile float sum = read(from + at, more, some);
                            static_cast<void>(sum);
                            if (writes)
                                copy(to + at, from + at, more, some, stream);
                        }
                    },
                    floats_of(row), on));
        return known->second = fastest(ways);
    }

private:
    const bnorm_executor *executor_of(const row &row) const
    {
        return row.threads > 1 ? &executor : nullptr;
    }

    static size_t floats_of(const row &row)
    {
        return row.shape->elements() * bnorm_size_of(row.type) / sizeof(float);
    }

    const tensors &buffers;
    const bnorm_executor &executor;
    std::map<std::tuple<const layer *, bool, size_t, bnorm_dtype>, contestant> copies; // by what decides them
    std::map<std::tuple<const layer *, call, bool, size_t, bnorm_dtype>, contestant> loads;
    std::map<std::tuple<const layer *, size_t, bnorm_dtype>, std::pair<double, double>> one_ways;
};

#endif
