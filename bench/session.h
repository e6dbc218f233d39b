// SPDX-License-Identifier: MIT
// What rows share, and how they are measured: rows that are compared take turns, beside a copy of their size.
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bnorm/bnorm.h"
#include "limits.h"
#include "measure.h"
#include "python_peer.h"
#include "reference.h"
#include "rows.h"
#ifdef BENCH_ONEDNN
#include "onednn_peer.h"
#include "peer_process.h"
#endif
#ifdef BENCH_XNNPACK
#include "xnnpack_peer.h"
#endif

struct result {
    std::string error; // then nothing else is there
    double seconds, spread; // of the median call
    double copy, limit; // its speed over those of the copy, and of the loop with the same loads and stores
    double read, write; // seconds of reading, and of writing, a tensor of its size
    double call; // seconds of the same call on one value
};

class session
{
public:
    // `largest` elements of a row, and of one in huge pages.
    session(size_t largest, size_t largest_huge, const bnorm_executor &executor, const python_peers *python = nullptr)
        : buffers(largest), huge(largest_huge, pages::huge), executor(executor), limits(buffers, this->executor),
          python(python)
    {
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
        const row &first = *rows[0];
        std::vector<contestant> contestants;
        for (const row *row : rows)
            contestants.push_back(enter(*row));
        contestant copy = limits.copy(first), limit = limits.loads_and_stores(first);
        std::vector<contestant *> able = { &copy };
        if (limits.has_limit(first))
            able.push_back(&limit);
        for (contestant &c : contestants)
            if (c.error.empty())
                able.push_back(&c);
        take_turns(able, wanted_rounds());
        const auto [read, write] = limits.one_way(first);
        const double call = empty_call(first);

        std::vector<result> results;
        for (size_t i = 0; i < rows.size(); i++) {
            const contestant &c = contestants[i];
            result r = { c.error, 0, 0, 0, 0, read, write, call };
            if (r.error.empty() && c.median() == 0)
                r.error = "the process of this peer has ended";
            if (r.error.empty()) {
                r.seconds = c.median();
                r.spread = c.spread();
                r.copy = limits.tensors_of_a_copy(first) * copy.median() / r.seconds;
                r.limit = limits.has_limit(first) ? limit.median() / r.seconds : r.copy;
            }
            results.push_back(r);
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
        tensors &lie_in = tensors_of(row);
        auto norm = std::make_shared<batch_norm>(*row.shape, row.block, row.type, executor_of(row));
        const void *x = lie_in.x(row.type), *dy = lie_in.dy(row.type);
        float *y = lie_in.y();
        if (row.op.is_backward() && row.op.epilogue->residual)
            norm->dresidual = lie_in.dresidual();
        if (row.op.is_backward())
            norm->know(row.op, reference_of(row, *norm), x, dy, y);
        if (row.in_place())
            return enter_in_place(row, norm);
        if (row.isa == "naive")
            return check(row, norm, [=] { return norm->run_naive(row.op, buffers.x(), buffers.dy(), y); });
        if (row.isa == "unfused")
            return check(row, norm, [=] { return norm->run_unfused(row.op, x, dy, y); });
        if (row.isa == "bare")
            return enter_bare(row);
        if (python_peer *other = python ? python->find(row.isa) : nullptr)
            return enter_python(row, *norm, *other);
#ifdef BENCH_ONEDNN
        if (row.by() == "onednn")
            return enter_peer<onednn_batch_norm>(row, norm);
#endif
#ifdef BENCH_XNNPACK
        if (row.by() == "xnnpack")
            return enter_peer<xnnpack_batch_norm>(row, norm);
#endif
        return check(row, norm, [=] { return norm->run(row.op, x, dy, y); });
    }

private:
    const bnorm_executor *executor_of(const row &row) const
    {
        return row.threads > 1 ? &executor : nullptr;
    }

    tensors &tensors_of(const row &row)
    {
        return row.in_huge_pages() ? huge : buffers;
    }

    // With the ISA of the row, or the best for what has none.
    template <class Call> contestant check(const row &row, const std::shared_ptr<batch_norm> &norm, const Call &call)
    {
        const std::string isa = is_ours(row) ? row.by() : bnorm_isa_name(0);
        contestant c;
        c.sample = [call, isa, norm] { // whose arrays the call uses
            bnorm_set_isa(isa.c_str());
            return sample(call);
        };
        const bnorm_status status = bnorm_set_isa(isa.c_str());
        c.error = status == BNORM_OK ? what_is_wrong(row, *norm, call) : bnorm_status_string(status);
        return c;
    }

    // By an ISA, not by a peer, nor by two calls of ours.
    static bool is_ours(const row &row)
    {
        for (size_t i = 0; i < bnorm_isa_count(); i++)
            if (row.by() == bnorm_isa_name(i))
                return true;
        return false;
    }

    template <class Call> std::string what_is_wrong(const row &row, const batch_norm &norm, const Call &call)
    {
        tensors &lie_in = tensors_of(row);
        const bool other = !is_ours(row) && row.isa != "unfused";
        statistics given = { { norm.mean.begin(), norm.mean.end() }, { norm.var.begin(), norm.var.end() } };
        if (row.op.call != call::infer)
            given = reference_of(row, norm);
        std::memset(lie_in.y(), 0xff, norm.padded_elements() * bnorm_size_of(row.type)); // NaN: none is inherited
        const bnorm_status status = call();
        if (status != BNORM_OK)
            return bnorm_status_string(status);
        // Plain sums lose digits; and a z so near ReLU's kink that it may be on either side moves its channel's means.
        const double rounding = row.type == BNORM_DTYPE_F32 ? 0 : row.type == BNORM_DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
        const double tolerance = (other ? 1e-2 : row.op.is_backward() && !row.op.is_plain() ? 1e-4 : 1e-5) + rounding;
        if (row.op.call == call::collect)
            return find_statistics_difference(norm, given, tolerance);
        return row.op.is_backward()
                   ? find_gradient_difference(norm, *row.op.epilogue, given, lie_in, tolerance, executor)
                   : find_difference(norm, *row.op.epilogue, given, lie_in, tolerance, executor);
    }

    const statistics &reference_of(const row &row, const batch_norm &norm)
    {
        const auto [reference, is_new] = references.try_emplace({ row.shape, row.block });
        if (is_new)
            reference->second = batch_statistics(norm, buffers.x());
        return reference->second;
    }

    // A library in this process, with threads of its own.
    template <class Peer> contestant enter_peer(const row &row, const std::shared_ptr<batch_norm> &norm)
    try {
        const auto primitive = std::make_shared<Peer>(row.op, *norm, tensors_of(row), row.threads);
        contestant c = check(row, norm, [=] {
            primitive->run();
            return BNORM_OK;
        });
        c.has_threads = row.threads > 1;
        return c;
    } catch (const std::exception &error) {
        contestant c;
        c.error = error.what();
        return c;
    }

    // y after y; what is checked is the first call, on x.
    contestant enter_in_place(const row &row, const std::shared_ptr<batch_norm> &norm)
    {
        float *y = buffers.y();
        contestant c;
        bnorm_set_isa(row.by().c_str());
        c.error = what_is_wrong(row, *norm, [&] {
            std::memcpy(y, buffers.x(), norm->padded_elements() * sizeof(float));
            return norm->run(row.op, y, nullptr, y);
        });
        c.sample = [=, op = row.op, isa = row.by()] {
            bnorm_set_isa(isa.c_str());
            return sample([&] { norm->run(op, y, nullptr, y); });
        };
        return c;
    }

    contestant enter_python(const row &row, batch_norm &norm, python_peer &peer)
    {
        contestant c;
        c.sample = [&peer] { return peer.sample(); };
        c.has_threads = row.threads > 1;
        c.error = peer.compute(row, norm, buffers);
        if (c.error.empty())
            c.error = what_is_wrong(row, norm, [&] {
                peer.store(row, norm, buffers);
                return BNORM_OK;
            });
        return c;
    }

    // The activation alone, from x to y: with plain stores or non-temporal ones.
    contestant enter_bare(const row &row)
    {
        const epilogue &e = *row.op.epilogue;
        bnorm_fusion fusion = {};
        fusion.activation = e.activation == BNORM_ACT_RELU ? BNORM_ACT_CLAMP : e.activation;
        fusion.alpha = e.alpha;
        fusion.beta = e.activation == BNORM_ACT_RELU ? INFINITY : e.beta;
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

    // Seconds of our call on one value: what it takes beside the work.
    double empty_call(const row &row)
    {
        const auto [known, is_new] = empty_calls.try_emplace({ row.op.call, row.threads });
        if (!is_new)
            return known->second;
        batch_norm norm(one_value, 1, BNORM_DTYPE_F32, executor_of(row));
        const operation op = { row.op.call, &epilogues[0] };
        if (op.is_backward())
            norm.know(op, batch_statistics(norm, buffers.x()), buffers.x(), buffers.dy(), buffers.y());
        contestant c;
        c.sample = [&] { return sample([&] { norm.run(op, buffers.x(), buffers.dy(), buffers.y()); }); };
        take_turns({ &c }, wanted_rounds());
        return known->second = c.median();
    }

    static inline const layer one_value = { "one", 1, 1, 1 };
    tensors buffers, huge;
    const bnorm_executor executor;
    ::limits limits;
    const python_peers *const python; // NULL: there are none
#ifdef BENCH_ONEDNN
    peer_process *peer = nullptr; // NULL in that process
#endif
    std::map<std::pair<call, size_t>, double> empty_calls;
    std::map<std::pair<const layer *, size_t>, statistics> references; // by shape, block
};

#endif
