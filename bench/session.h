// SPDX-License-Identifier: MIT
// What rows share, and how they are measured: rows that are compared take turns, beside a copy of their size.
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bnorm/bnorm.h"
#include "build.h"
#include "loops.h"
#include "measure.h"
#include "reference.h"
#include "rows.h"
#ifdef BENCH_ONEDNN
#include "onednn.h"
#include "peer_process.h"
#endif

#define DECLARE_COPY(isa) \
    extern "C" vector_copy bench_copy_##isa; \
    extern "C" vector_read bench_read_##isa; \
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

inline bare_activation *best_bare()
{
    return best_of<bare_activation>({
#define NAME_BARE(isa) { #isa, &bench_bare_##isa },
        BENCH_COPIES(NAME_BARE) });
}

struct result {
    std::string error; // then nothing else is there
    double seconds, spread; // of the median call
    double copy, limit; // its speed over those of the copy, and of the loop with the same loads and stores
};

class session
{
public:
    session(size_t largest, const bnorm_executor &executor) : buffers(largest), executor(executor)
    {
    }

    const tensors &memory() const
    {
        return buffers;
    }

#ifdef BENCH_ONEDNN
    void take(peer_process *process)
    {
        peer = process;
    }
#endif

    // All rows that are compared with each other, in rounds.
    std::vector<result> measure(const std::vector<const row *> &rows)
    {
        std::vector<contestant> contestants;
        for (const row *row : rows)
            contestants.push_back(enter(*row));
        contestant copy = enter_copy(*rows[0]), limit = enter_limit(*rows[0]);
        std::vector<contestant *> able = { &copy };
        if (has_limit(*rows[0]))
            able.push_back(&limit);
        for (contestant &c : contestants)
            if (c.error.empty())
                able.push_back(&c);
        take_turns(able, wanted_rounds());

        std::vector<result> results;
        for (size_t i = 0; i < rows.size(); i++) {
            const contestant &c = contestants[i];
            if (!c.error.empty()) {
                results.push_back({ c.error, 0, 0, 0, 0 });
                continue;
            }
            const double of_copy = tensors_of_a_copy(*rows[i]) * copy.median() / c.median();
            const double of_limit = has_limit(*rows[i]) ? limit.median() / c.median() : of_copy;
            results.push_back({ {}, c.median(), c.spread(), of_copy, of_limit });
        }
        return results;
    }

    // Checks one result of a row against the reference, and says how the row is sampled.
    contestant enter(const row &row)
    {
#ifdef BENCH_ONEDNN
        if (peer && row.is_of_peer_process())
            return peer->enter(row.name());
#endif
        auto norm = std::make_shared<batch_norm>(*row.shape, row.block, row.type, executor_of(row));
        const void *x = buffers.x(row.type), *dy = buffers.dy(row.type);
        float *y = buffers.y();
        if (row.op.is_backward() && row.op.epilogue->residual)
            norm->dresidual = buffers.dresidual();
        if (row.op.is_backward())
            norm->know(row.op, reference_of(row, *norm), x, dy, y);
        if (row.isa == "naive")
            return check(row, norm, [=] { return norm->run_naive(row.op, buffers.x(), buffers.dy(), y); });
        if (row.isa == "unfused")
            return check(row, norm, [=] { return norm->run_unfused(row.op, x, dy, y); });
        if (row.isa == "bare")
            return enter_bare(row);
#ifdef BENCH_ONEDNN
        if (row.isa.rfind("onednn", 0) == 0)
            return enter_onednn(row, norm);
#endif
        return check(row, norm, [=] { return norm->run(row.op, x, dy, y); });
    }

private:
    const bnorm_executor *executor_of(const row &row) const
    {
        return row.threads > 1 ? &executor : nullptr;
    }

    // With the ISA of the row, or the best for what has none.
    template <class Call> contestant check(const row &row, const std::shared_ptr<batch_norm> &norm, const Call &call)
    {
        const std::string isa = row.is_kernel() ? row.isa : bnorm_isa_name(0);
        contestant c;
        c.sample = [call, isa, norm] { // whose arrays the call uses
            bnorm_set_isa(isa.c_str());
            return sample(call);
        };
        const bnorm_status status = bnorm_set_isa(isa.c_str());
        c.error = status == BNORM_OK ? what_is_wrong(row, *norm, call) : bnorm_status_string(status);
        return c;
    }

    template <class Call> std::string what_is_wrong(const row &row, const batch_norm &norm, const Call &call)
    {
        const bool other = row.isa == "naive" || row.isa.rfind("onednn", 0) == 0;
        statistics given = { { norm.mean.begin(), norm.mean.end() }, { norm.var.begin(), norm.var.end() } };
        if (row.op.call != call::infer)
            given = reference_of(row, norm);
        std::memset(buffers.y(), 0xff, norm.padded_elements() * bnorm_size_of(row.type)); // NaN: none is inherited
        const bnorm_status status = call();
        if (status != BNORM_OK)
            return bnorm_status_string(status);
        // Plain sums lose digits; and a z so near ReLU's kink that it may be on either side moves its channel's means.
        const double rounding = row.type == BNORM_DTYPE_F32 ? 0 : row.type == BNORM_DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
        const double tolerance = (other ? 1e-2 : row.op.is_backward() && !row.op.is_plain() ? 1e-4 : 1e-5) + rounding;
        if (row.op.call == call::collect)
            return find_statistics_difference(norm, given, tolerance);
        return row.op.is_backward() ? find_gradient_difference(norm, *row.op.epilogue, given, buffers, tolerance)
                                    : find_difference(norm, *row.op.epilogue, given, buffers, tolerance);
    }

    const statistics &reference_of(const row &row, const batch_norm &norm)
    {
        const auto [reference, is_new] = references.try_emplace({ row.shape, row.block });
        if (is_new)
            reference->second = batch_statistics(norm, buffers.x());
        return reference->second;
    }

#ifdef BENCH_ONEDNN
    contestant enter_onednn(const row &row, const std::shared_ptr<batch_norm> &norm)
    try {
        const auto primitive = std::make_shared<onednn_batch_norm>(row.op, *norm, buffers, row.threads);
        contestant c = check(row, norm, [=] {
            primitive->run();
            return BNORM_OK;
        });
        c.has_threads = row.threads > 1;
        return c;
    } catch (const dnnl::error &error) {
        contestant c;
        c.error = error.what();
        return c;
    }
#endif

    // The fastest of several ways to do the same, each sampled some times.
    static contestant fastest(const std::vector<contestant> &ways)
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

    template <class Loop> contestant enter_loop(const Loop &loop, size_t count, const bnorm_executor *on) const
    {
        contestant c;
        c.sample = [=]() mutable {
            shared_loop shared{ loop, count, on };
            return sample(shared);
        };
        return c;
    }

    // The activation alone, from x to y: with plain stores or non-temporal ones.
    contestant enter_bare(const row &row)
    {
        const epilogue &e = *row.op.epilogue;
        bnorm_fusion fusion = {};
        fusion.activation = e.activation == BNORM_ACT_RELU ? BNORM_ACT_CLAMP : e.activation;
        fusion.alpha = e.alpha;
        fusion.beta = e.beta;
        fusion.low = e.activation == BNORM_ACT_CLAMP ? e.alpha : 0;
        fusion.high = e.activation == BNORM_ACT_CLAMP ? e.beta : NAN;
        fusion.residual = e.residual ? buffers.dy() : nullptr;
        std::vector<contestant> ways;
        for (int stream : { 0, 1 })
            ways.push_back(
                enter_loop([=, this_loop = best_bare(), y = buffers.y(), x = buffers.x()](
                               size_t first, size_t count) { this_loop(y, x, &fusion, first, count, stream); },
                           row.shape->elements(), executor_of(row)));
        return fastest(ways);
    }

    // How many copies of its size move the tensors of a row.
    static double tensors_of_a_copy(const row &row)
    {
        return static_cast<double>(row.op.tensors()) / (row.op.tensors() == 2 ? 2 : 3);
    }

    // A copy of the row's size, or for more than two tensors a loop that makes one of two. More threads may also copy
    // with one, which is faster where the tensor is tiny. The best way is found once for a size.
    contestant enter_copy(const row &row)
    {
        const bool two = row.op.tensors() > 2;
        const auto [known, is_new] = copies.try_emplace({ row.shape, two, row.threads, row.type });
        if (!is_new)
            return known->second;
        const size_t floats = floats_of(row);
        std::vector<contestant> ways;
        for (const bnorm_executor *on : { executor_of(row), static_cast<const bnorm_executor *>(nullptr) })
            for (const auto &[copy, stream] :
                 { std::pair{ &library_copy, 0 }, std::pair{ best_copy(), 0 }, std::pair{ best_copy(), 1 } })
                if (!two || copy != &library_copy)
                    ways.push_back(enter_loop(
                        [copy = copy, stream = stream, to = buffers.y(), from = buffers.x(),
                         other = two ? buffers.dy() : nullptr](size_t first, size_t count) {
                            copy(to + first, from + first, other ? other + first : nullptr, count, stream);
                        },
                        floats, on));
        return known->second = fastest(ways);
    }

    static size_t floats_of(const row &row)
    {
        return row.shape->elements() * bnorm_size_of(row.type) / sizeof(float);
    }

    // Inference, and what is fused, is held to the copy alone.
    static bool has_limit(const row &row)
    {
        return row.op.call != call::infer && row.op.is_plain();
    }

    // What training and backward read and write, without what they compute: a piece is read, and again, from where it
    // then lies, while y is written; all of the tensor in NHWC, whose statistics are those of all rows, and what half
    // of a core's cache holds else. Of statistics alone: reading.
    contestant enter_limit(const row &row)
    {
        if (!has_limit(row))
            return {};
        const bool two = row.op.is_backward(), writes = row.op.call != call::collect;
        const bool whole = !writes || row.block == row.shape->channels || row.shape->points == 1;
        const auto [known, is_new] = limits.try_emplace({ row.shape, row.op.call, whole, row.threads, row.type });
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

    tensors buffers;
    const bnorm_executor executor;
#ifdef BENCH_ONEDNN
    peer_process *peer = nullptr; // NULL in that process
#endif
    std::map<std::tuple<const layer *, bool, size_t, bnorm_dtype>, contestant> copies; // by what decides them
    std::map<std::tuple<const layer *, call, bool, size_t, bnorm_dtype>, contestant> limits;
    std::map<std::pair<const layer *, size_t>, statistics> references; // by shape, block
};

#endif
