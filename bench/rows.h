// SPDX-License-Identifier: MIT
// The rows that there are: each operation x layout x type x shape x ISA or peer x thread count.
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bnorm/bnorm.h"
#include "workload.h"
#ifdef BENCH_ONEDNN
#include "onednn_peer.h"
#endif

inline bool has_avx512()
{
    return std::string(bnorm_isa_name(0)) == "avx512";
}

struct row {
    operation op;
    std::string layout;
    size_t block;
    const layer *shape;
    std::string isa; // or a peer; "-avx2": held to that ISA, "-call": as its users call it, "-inplace", "-huge": pages
    size_t threads;
    bnorm_dtype type = BNORM_DTYPE_F32;

    std::string name() const
    {
        return op.name() + '/' + layout + '/' + type_name(type) + '/' + shape->name + '/' + isa + "/t" +
               std::to_string(threads);
    }

    size_t bytes() const
    {
        return op.tensors() * bnorm_size_of(type) * shape->elements();
    }

    // The ISA or the peer without what follows it.
    std::string by() const
    {
        return isa.substr(0, isa.find('-'));
    }

    bool in_huge_pages() const
    {
        return isa == by() + "-huge";
    }
    bool in_place() const
    {
        return isa == by() + "-inplace";
    }

    // oneDNN held to AVX2, and what is compared with nothing else.
    bool is_of_peer_process() const
    {
        return isa == "onednn-avx2" || (layout == "nchw8c" && has_avx512());
    }

    // Rows that differ in nothing but the ISA are compared, so they are measured together.
    bool is_beside(const row &other) const
    {
        const auto key = [](const row &r) {
            return std::tie(r.op.call, r.op.epilogue, r.block, r.layout, r.shape, r.threads, r.type);
        };
        return key(*this) == key(other);
    }
};

inline size_t padded_elements(const row &row)
{
    const size_t blocks = (row.shape->channels + row.block - 1) / row.block;
    return row.shape->batch * blocks * row.block * row.shape->points;
}

// Blocks are those that other libraries have loops for: 16 channels with AVX-512, else 8.
inline std::vector<std::pair<std::string, size_t>> layouts_of(const layer &shape)
{
    std::vector<std::pair<std::string, size_t>> layouts = { { "nchw", 1 }, { "nhwc", shape.channels } };
    layouts.push_back(has_avx512() ? std::pair("nchw16c", 16) : std::pair("nchw8c", 8));
    return layouts;
}

// Whether this build has the activation, and this CPU what it needs.
inline bool is_supported(const epilogue &e)
{
    const bnorm_shape empty = bnorm_nchw(0, 1, 1);
    const float one = 1;
    bnorm_epilogue probe = {};
    probe.struct_size = sizeof(probe);
    probe.activation = e.activation;
    probe.alpha = e.alpha;
    probe.beta = e.beta;
    bnorm_infer_params params = {};
    params.struct_size = sizeof(params);
    params.mean = params.var = &one;
    params.epilogue = &probe;
    return bnorm_infer(&empty, &params, nullptr, nullptr, nullptr) == BNORM_OK;
}

inline bool has(const epilogue &e, const layer &shape)
{
    return std::any_of(e.prefixes.begin(), e.prefixes.end(),
                       [&](const std::string &prefix) { return shape.name.rfind(prefix, 0) == 0; });
}

// Fused on all threads, beside the same in two calls, and the activation alone.
inline std::vector<row> fused_rows(const layer &shape, call call, size_t threads)
{
    std::vector<row> rows;
    for (const epilogue &e : epilogues) {
        const operation op = { call, &e };
        const bool slope_known = e.activation == BNORM_ACT_RELU || e.activation == BNORM_ACT_SILU;
        if (op.is_plain() || !has(e, shape) || !is_supported(e) || (op.is_backward() && !slope_known))
            continue;
        std::vector<std::string> isas = { "unfused", bnorm_isa_name(0) };
        if (!op.is_backward())
            isas.insert(isas.begin(), "bare");
#ifdef BENCH_ONEDNN
        if (!op.is_backward() && e.activation != BNORM_ACT_SOFTPLUS)
            isas.insert(isas.begin(), "onednn");
#endif
        for (const auto &[layout, block] : layouts_of(shape))
            for (const std::string &isa : isas)
                rows.push_back({ op, layout, block, &shape, isa, threads });
    }
    return rows;
}

// What computes plain batch norm on tensors of a type, from the simplest to the best.
inline std::vector<std::string> isas_of(bnorm_dtype type)
{
    std::vector<std::string> isas;
    if (!bnorm_has_type(type))
        return isas;
    if (type == BNORM_DTYPE_F32)
        isas.push_back("naive");
#ifdef BENCH_ONEDNN
    if (onednn_has(type))
        isas.push_back("onednn");
#endif
    for (size_t i = bnorm_isa_count(); i-- > 0;)
        isas.push_back(bnorm_isa_name(i));
    return isas;
}

using isas_by_type = std::map<bnorm_dtype, std::vector<std::string>>;

// Of one call on one shape, with nothing fused.
inline std::vector<row> plain_rows(const layer &shape, call call, size_t threads, const isas_by_type &isas)
{
    std::vector<row> rows;
    std::vector<size_t> thread_counts = { 1 };
    if (threads > 1)
        thread_counts.push_back(threads);
    for (size_t count : thread_counts)
        for (const auto &[layout, block] : layouts_of(shape))
            for (const auto &[type, names] : isas)
                for (const std::string &isa : names)
                    rows.push_back({ { call, &epilogues[0] }, layout, block, &shape, isa, count, type });
    return rows;
}

#ifdef BENCH_ONEDNN
constexpr bool has_onednn = true;
#else
constexpr bool has_onednn = false;
#endif

// oneDNN held to AVX2 beside our AVX2, where both have more: in floats, with the blocks that it has loops for then. Not
// for the tensors of all sizes, of which the other process would need its own.
inline std::vector<row> avx2_rows(const layer &shape, call call, size_t threads)
{
    std::vector<row> rows;
    if (!has_onednn || !has_avx512() || shape.name.rfind("size.", 0) == 0)
        return rows;
    for (row row : plain_rows(shape, call, threads, { { BNORM_DTYPE_F32, { "onednn-avx2", "avx2" } } })) {
        const bool blocked = row.block == 16 && row.layout != "nhwc";
        if (blocked)
            row.layout = "nchw8c", row.block = 8;
        if (blocked || row.isa == "onednn-avx2")
            rows.push_back(row);
    }
    return rows;
}

// The same in huge pages, where the kernel gives them.
inline std::vector<std::string> huge_names()
{
    std::vector<std::string> names = { std::string(bnorm_isa_name(0)) + "-huge" };
    if (has_onednn)
        names.push_back("onednn-huge");
    return names;
}

// Whether a peer, or a way to measure, has what a row of ours computes. A peer in another process has memory of its
// own, into which the largest tensors are not sent.
inline bool peer_has(const std::string &peer, const row &ours)
{
    constexpr size_t most_elements = size_t{ 1 } << 25;
    const std::string by = peer.substr(0, peer.find('-'));
    const bool plain = ours.op.is_plain(), floats = ours.type == BNORM_DTYPE_F32;
    const bool inference = ours.op.call == call::infer && plain && floats, call = peer == by + "-call";
    if (ours.op.call == call::collect || ours.shape->elements() > most_elements)
        return false;
    if (peer == by + "-huge")
        return plain && floats;
    if (peer == by + "-inplace")
        return inference;
    if (by == "pytorch" && !inference && ours.shape->batch * ours.shape->points == 1)
        return false; // it does not train on one value per channel
    if (by == "pytorch")
        return (ours.layout == "nchw" || ours.layout == "nhwc") && (plain || ours.op.epilogue->name == "+relu") &&
               (floats || (ours.type == BNORM_DTYPE_BF16 && plain)) && (peer != "pytorch-avx2" || (plain && floats));
    if (by == "onnxruntime")
        return inference && ours.layout == "nchw";
    if (by == "ncnn")
        return inference && (call ? ours.layout == "nchw" : ours.layout != "nhwc") &&
               ours.shape->channels % ours.block == 0;
    return inference && ours.layout == "nhwc"; // XNNPACK
}

// Beside each row of the best ISA what else has it.
inline std::vector<row> peer_rows(const std::vector<row> &rows, const std::vector<std::string> &peers)
{
    std::vector<row> beside;
    for (const row &ours : rows)
        for (const std::string &peer : peers)
            if (ours.isa == bnorm_isa_name(0) && peer_has(peer, ours)) {
                beside.push_back(ours);
                beside.back().isa = peer;
            }
    return beside;
}

inline std::vector<row> all_rows(const std::vector<layer> &layers, size_t threads,
                                 const std::vector<std::string> &peers)
{
    std::map<bnorm_dtype, std::vector<std::string>> isas;
    for (bnorm_dtype type : { BNORM_DTYPE_F32, BNORM_DTYPE_BF16, BNORM_DTYPE_F16 })
        isas[type] = isas_of(type);

    std::vector<row> rows;
    const auto add = [&rows](const std::vector<row> &some) { rows.insert(rows.end(), some.begin(), some.end()); };
    for (const layer &shape : layers) {
        for (call call : { call::infer, call::train, call::backward })
            for (const std::vector<row> &some : { plain_rows(shape, call, threads, isas),
                                                  avx2_rows(shape, call, threads), fused_rows(shape, call, threads) }) {
                add(some);
                add(peer_rows(some, peers));
            }
        add(plain_rows(shape, call::collect, threads, { { BNORM_DTYPE_F32, { bnorm_isa_name(0) } } }));
    }
    return rows;
}

#endif
