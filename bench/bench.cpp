// SPDX-License-Identifier: MIT
// bnorm-bench: every operation x layout x shape x ISA x thread count as a row of Google Benchmark, named
// op/layout/dtype/shape/isa/threads. A row is checked against the reference, then timed by best_seconds() in a single
// iteration of Google Benchmark, whose own timing loop (--benchmark_min_time) is thus not used; repetitions are.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include "bnorm/bnorm.h"
#include "build.h"
#include "measure.h"
#include "pool.h"
#include "workload.h"
#ifdef BENCH_ONEDNN
#include "onednn.h"
#endif

#define DECLARE_COPY(isa) \
    extern "C" vector_copy bench_copy_##isa; \
    extern "C" bare_activation bench_bare_##isa;
BENCH_COPIES(DECLARE_COPY)

namespace
{

// The last-level cache that one thread sees. Where the system does not tell, a common size is assumed.
size_t last_level_cache()
{
    int level = 0;
    size_t size = size_t{ 32 } << 20;
    for (const auto &cache : benchmark::CPUInfo::Get().caches)
        if (cache.level > level) {
            level = cache.level;
            size = static_cast<size_t>(cache.size);
        }
    return size;
}

// Of the best ISA that has one: SVE copies with NEON.
template <class Function> Function *best_of(const std::map<std::string, Function *> &functions)
{
    size_t index = 0;
    while (!functions.count(bnorm_isa_name(index)))
        index++; // portable C has one
    return functions.at(bnorm_isa_name(index));
}

vector_copy *best_copy()
{
    return best_of<vector_copy>({
#define NAME_COPY(isa) { #isa, &bench_copy_##isa },
        BENCH_COPIES(NAME_COPY) });
}

bare_activation *best_bare()
{
    return best_of<bare_activation>({
#define NAME_BARE(isa) { #isa, &bench_bare_##isa },
        BENCH_COPIES(NAME_BARE) });
}

struct row {
    operation op;
    std::string layout;
    size_t block;
    const layer *shape;
    std::string isa;
    size_t threads;
    bnorm_dtype type = BNORM_F32;

    std::string name() const
    {
        return op.name() + '/' + layout + '/' + type_name(type) + '/' + shape->name + '/' + isa + "/t" +
               std::to_string(threads);
    }

    size_t bytes() const
    {
        return op.tensors() * bnorm_size_of(type) * shape->elements();
    }
};

// What rows share: buffers, threads, and what is computed once for several of them.
class session
{
public:
    session(size_t largest, const bnorm_executor &executor) : buffers(largest), executor(executor)
    {
    }

    void run(benchmark::State &state, const row &row)
    {
        batch_norm norm(*row.shape, row.block, row.type, row.threads > 1 ? &executor : nullptr);
        const void *x = buffers.x(row.type), *dy = buffers.dy(row.type);
        if (row.op.is_backward())
            norm.know(reference_of(row, norm));
        if (row.isa == "naive")
            measure(state, row, norm, [&] { return norm.run_naive(row.op, buffers.x(), buffers.dy(), buffers.y()); });
#ifdef BENCH_ONEDNN
        else if (row.isa == "onednn")
            run_onednn(state, row, norm);
#endif
        else if (row.isa == "unfused")
            measure(state, row, norm, [&] { return norm.run_unfused(row.op, x, dy, buffers.y()); });
        else if (row.isa == "bare")
            run_bare(state, row);
        else
            measure(state, row, norm, [&] { return norm.run(row.op, x, dy, buffers.y()); });
    }

private:
#ifdef BENCH_ONEDNN
    void run_onednn(benchmark::State &state, const row &row, batch_norm &norm)
    try {
        onednn_batch_norm peer(row.op, norm, buffers, row.threads);
        measure(state, row, norm, [&] {
            peer.run();
            return BNORM_OK;
        });
    } catch (const dnnl::error &error) {
        state.SkipWithError(error.what());
    }
#endif

    // The activation alone, from x to y: with plain stores or past the caches, whichever is faster.
    void run_bare(benchmark::State &state, const row &row)
    {
        const epilogue &e = *row.op.epilogue;
        bnorm_fusion fusion = {};
        fusion.activation = e.activation == BNORM_RELU ? BNORM_CLAMP : e.activation;
        fusion.alpha = e.alpha;
        fusion.beta = e.beta;
        fusion.low = e.activation == BNORM_CLAMP ? e.alpha : 0;
        fusion.high = e.activation == BNORM_CLAMP ? e.beta : NAN;
        fusion.residual = e.residual ? buffers.dy() : nullptr;
        bare_job job{ best_bare(), buffers.x(), buffers.y(), &fusion, row.shape->elements(), row.threads, 0 };
        double seconds = std::numeric_limits<double>::infinity();
        for (job.stream = 0; job.stream < 2; job.stream++)
            seconds = std::min(seconds, best_seconds([&] { job.run(executor); }));
        report(state, row, seconds);
    }

    template <class Call>
    void measure(benchmark::State &state, const row &row, const batch_norm &norm, const Call &call)
    {
        const std::string error = check(row, norm, call);
        if (!error.empty())
            state.SkipWithError(error.c_str());
        else
            report(state, row, best_seconds(call));
    }

    void report(benchmark::State &state, const row &row, double seconds)
    {
        for (auto _ : state)
            state.SetIterationTime(seconds);
        const size_t bytes = row.bytes();
        const double speed = static_cast<double>(bytes) / seconds;
        state.SetBytesProcessed(static_cast<int64_t>(bytes));
        state.counters["limit"] = speed / copy_limit(row, speed);
        state.counters["cold"] = bytes > last_level_cache();
        state.SetLabel(std::to_string(row.shape->batch) + 'x' + std::to_string(row.shape->channels) + 'x' +
                       std::to_string(row.shape->points));
    }

    // Chooses the ISA and compares one result with the reference: what is wrong, or nothing.
    template <class Call> std::string check(const row &row, const batch_norm &norm, const Call &call)
    {
        const bool other = row.isa == "naive" || row.isa == "onednn";
        const std::string isa = row.isa == "unfused" ? bnorm_isa_name(0) : row.isa;
        statistics given = { { norm.mean.begin(), norm.mean.end() }, { norm.var.begin(), norm.var.end() } };
        if (row.op.call != call::infer)
            given = reference_of(row, norm);
        std::memset(buffers.y(), 0xff, norm.padded_elements() * bnorm_size_of(row.type)); // NaN: none is inherited
        bnorm_status status = other ? BNORM_OK : bnorm_set_isa(isa.c_str());
        if (status == BNORM_OK)
            status = call();
        if (status != BNORM_OK)
            return bnorm_status_string(status);
        // Plain sums lose digits; and a z so near ReLU's kink that it may be on either side moves its channel's means.
        const double rounding = row.type == BNORM_F32 ? 0 : row.type == BNORM_BF16 ? 0x1p-8 : 0x1p-11;
        const double tolerance = (other ? 1e-2 : row.op.is_backward() && !row.op.is_plain() ? 1e-4 : 1e-5) + rounding;
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

    // Measured for each operation again, next to the rows that it is compared with, because the speed of memory drifts;
    // and again when a row is faster, which says that the copy was disturbed. More threads may also copy with one,
    // which is faster where the tensor is tiny.
    double copy_limit(const row &row, double speed)
    {
        double &limit = limits[{ row.shape, row.op.name(), row.threads, row.type }];
        const size_t floats = row.bytes() / row.op.tensors() / sizeof(float);
        if (limit < speed) {
            const auto copy = [&](const bnorm_executor *executor) {
                const float *other = row.op.tensors() == 3 ? buffers.dy() : nullptr;
                return copy_speed(best_copy(), buffers.x(), other, buffers.y(), floats, executor);
            };
            limit = std::max(limit, copy(nullptr));
            if (row.threads > 1)
                limit = std::max(limit, copy(&executor));
        }
        return limit;
    }

    tensors buffers;
    const bnorm_executor executor;
    // By shape, operation, threads and type.
    std::map<std::tuple<const layer *, std::string, size_t, bnorm_dtype>, double> limits;
    std::map<std::pair<const layer *, size_t>, statistics> references; // by shape, block
};

bool has(const epilogue &e, const layer &shape)
{
    return std::any_of(e.prefixes.begin(), e.prefixes.end(),
                       [&](const std::string &prefix) { return shape.name.rfind(prefix, 0) == 0; });
}

// Whether this build has the activation, and this CPU what it needs.
bool is_supported(const epilogue &e)
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

// Fused on all threads, beside the same in two calls, and the activation alone.
std::vector<row> fused_rows(const layer &shape, call call, size_t threads)
{
    std::vector<row> rows;
    for (const epilogue &e : epilogues) {
        const operation op = { call, &e };
        const bool slope_known = e.activation == BNORM_RELU || e.activation == BNORM_SILU;
        if (op.is_plain() || !has(e, shape) || !is_supported(e) || (op.is_backward() && (e.residual || !slope_known)))
            continue;
        std::vector<std::string> isas = { "unfused", bnorm_isa_name(0) };
        if (!op.is_backward())
            isas.insert(isas.begin(), "bare");
#ifdef BENCH_ONEDNN
        if (!op.is_backward() && e.activation != BNORM_SOFTPLUS)
            isas.insert(isas.begin(), "onednn");
#endif
        for (const auto &[layout, block] : { std::pair{ "nchw", size_t{ 1 } }, std::pair{ "nhwc", shape.channels },
                                             std::pair{ "nchw16c", size_t{ 16 } } })
            for (const std::string &isa : isas)
                rows.push_back({ op, layout, block, &shape, isa, threads });
    }
    return rows;
}

// What computes plain batch norm on tensors of a type, from the simplest to the best.
std::vector<std::string> isas_of(bnorm_dtype type)
{
    std::vector<std::string> isas;
    if (!bnorm_has_type(type))
        return isas;
    if (type == BNORM_F32)
        isas.push_back("naive");
#ifdef BENCH_ONEDNN
    if (onednn_has(type))
        isas.push_back("onednn");
#endif
    for (size_t i = bnorm_isa_count(); i-- > 0;)
        isas.push_back(bnorm_isa_name(i));
    return isas;
}

std::vector<row> all_rows(const std::vector<layer> &layers, size_t threads)
{
    const std::pair<bnorm_dtype, std::vector<std::string>> types[] = { { BNORM_F32, isas_of(BNORM_F32) },
                                                                       { BNORM_BF16, isas_of(BNORM_BF16) },
                                                                       { BNORM_F16, isas_of(BNORM_F16) } };
    std::vector<size_t> thread_counts = { 1 };
    if (threads > 1)
        thread_counts.push_back(threads);

    std::vector<row> rows;
    for (const layer &shape : layers)
        for (call call : { call::infer, call::train, call::backward }) {
            const operation op = { call, &epilogues[0] };
            for (size_t count : thread_counts)
                for (const auto &[layout, block] :
                     { std::pair{ "nchw", size_t{ 1 } }, std::pair{ "nhwc", shape.channels },
                       std::pair{ "nchw16c", size_t{ 16 } } })
                    for (const auto &[type, isas] : types)
                        for (const std::string &isa : isas)
                            rows.push_back({ op, layout, block, &shape, isa, count, type });
            const std::vector<row> fused = fused_rows(shape, call, threads);
            rows.insert(rows.end(), fused.begin(), fused.end());
        }
    return rows;
}

// Refuses the run: what remains is how many rows the filter leaves.
class row_counter : public benchmark::BenchmarkReporter
{
public:
    bool ReportContext(const Context &) override
    {
        refused = true;
        return false;
    }
    void ReportRuns(const std::vector<Run> &) override
    {
    }

    bool refused = false; // false: there was no run to refuse, --benchmark_list_tests has listed the rows
};

// A line for each row, as it is done.
class progress : public benchmark::BenchmarkReporter
{
public:
    explicit progress(size_t rows) : rows(rows)
    {
    }

    bool ReportContext(const Context &) override
    {
        return true;
    }

    void ReportRuns(const std::vector<Run> &runs) override
    {
        if (runs.empty() || runs[0].run_type != Run::RT_Iteration)
            return; // aggregates of the repetitions before
        done++;
        for (const Run &run : runs) {
            std::printf("[%4zu/%zu] %-58s", done, rows, run.run_name.function_name.c_str());
            if (run.error_occurred)
                std::printf(" FAILED: %s\n", run.error_message.c_str());
            else
                std::printf(" %6.1f GB/s %5.2f of a copy\n", run.counters.at("bytes_per_second") / 1e9,
                            run.counters.at("limit").value);
            std::fflush(stdout);
            failed |= run.error_occurred;
        }
    }

    bool any_failed() const
    {
        return failed;
    }

private:
    size_t rows, done = 0;
    bool failed = false;
};

std::string cpu_model()
{
    std::ifstream info("/proc/cpuinfo");
    std::map<std::string, std::string> fields; // of the first processor
    for (std::string line; std::getline(info, line) && !line.empty();) {
        const size_t colon = line.find(':'), end = line.find_last_not_of("\t ", colon - 1);
        fields[line.substr(0, end + 1)] = line.substr(std::min(colon + 2, line.size()));
    }
    if (fields.count("CPU part"))
        return "ARM core " + fields["CPU part"]; // a number
    if (fields.count("model name")) // of several generations, it may be
        return fields["model name"] + " (family " + fields["cpu family"] + ", model " + fields["model"] + ")";
    return "unknown CPU";
}

// A number without its command, CPU, compiler and commit is no number.
void add_context(int argc, char **argv)
{
    std::string arguments;
    for (int i = 1; i < argc; i++)
        arguments += std::string(i > 1 ? " " : "") + argv[i];
    benchmark::AddCustomContext("arguments", arguments);
    benchmark::AddCustomContext("cpu", cpu_model());
    benchmark::AddCustomContext("bnorm_version", bnorm_version());
    benchmark::AddCustomContext("bnorm_commit", BENCH_COMMIT);
    benchmark::AddCustomContext("compiler", BENCH_COMPILER);
#ifdef BENCH_ONEDNN
    const dnnl_version_t *onednn = dnnl_version();
    benchmark::AddCustomContext("onednn", std::to_string(onednn->major) + '.' + std::to_string(onednn->minor) + '.' +
                                              std::to_string(onednn->patch));
#endif
}

} // namespace

int main(int argc, char **argv)
{
    add_context(argc, argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;

    const std::vector<layer> layers = parse_layers(shapes_csv);
    const std::vector<int> cpus = usable_cpus(); // before the pool keeps this thread to one of them
    thread_pool pool(cpus);
#ifdef BENCH_ONEDNN
    keep_openmp_on(cpus);
#endif
    const std::vector<row> rows = all_rows(layers, pool.executor().width);
    size_t largest = 0;
    for (const row &row : rows)
        largest = std::max(largest, batch_norm(*row.shape, row.block, row.type, nullptr).padded_elements());

    session session(largest, pool.executor());
    for (const row &row : rows)
        benchmark::RegisterBenchmark(row.name().c_str(), [&](benchmark::State &state) { session.run(state, row); })
            ->Iterations(1)
            ->UseManualTime();

    row_counter counter;
    const size_t matching = benchmark::RunSpecifiedBenchmarks(&counter);
    if (!counter.refused)
        return matching == 0;
    progress progress(matching);
    benchmark::RunSpecifiedBenchmarks(&progress);
    return progress.any_failed();
}
