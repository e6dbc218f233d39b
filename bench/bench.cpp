// SPDX-License-Identifier: MIT
// bnorm-bench: every operation x layout x shape x ISA x thread count as a row of Google Benchmark, named
// op/layout/dtype/shape/isa/threads. Rows that differ in the ISA alone are checked against the reference and then
// measured in turns (measure.h); Google Benchmark chooses among the rows and writes the report, and its own timing loop
// (--benchmark_min_time) is not used. In the environment: BNORM_BENCH_ROUNDS=9, and BNORM_BENCH_PEERS, the command that
// starts python_peer.py. Without arguments it measures some of all, in minutes, and keeps it in a file.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#ifndef _WIN32
#include <unistd.h>
#endif

#include "accuracy.h"
#include "bnorm/bnorm.h"
#include "build.h"
#include "pool.h"
#include "rows.h"
#include "session.h"

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

// Elements of the largest tensor, in small pages or in huge ones.
size_t largest_of(const std::set<const row *> &rows, bool huge)
{
    size_t largest = 0;
    for (const row *row : rows)
        if (row->in_huge_pages() == huge)
            largest = std::max(largest, padded_elements(*row));
    return largest;
}

volatile std::sig_atomic_t interrupted = 0;

// Shapes of which three tensors fit half of the memory.
std::vector<layer> fitting_layers()
{
    std::vector<layer> layers = parse_layers(shapes_csv);
#ifdef _SC_PHYS_PAGES
    const size_t memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const auto too_large = [memory](const layer &l) { return l.elements() > memory / (2 * 3 * sizeof(float)); };
    layers.erase(std::remove_if(layers.begin(), layers.end(), too_large), layers.end());
#endif
    return layers;
}

// What is measured by then is reported; a second Ctrl-C ends the process.
void stop_early(int)
{
    interrupted = 1;
    std::signal(SIGINT, SIG_DFL);
}

// Runs rows for Google Benchmark: at first only to see which ones are wanted, then in earnest.
class runner
{
public:
    const std::set<const row *> &wanted_rows() const
    {
        return wanted;
    }

    // Measures from now on.
    void start(::session &with)
    {
        session = &with;
        started = std::chrono::steady_clock::now();
    }

    bool any_failed() const
    {
        return failed;
    }

    void run(benchmark::State &state, const row &row)
    {
        if (!session) {
            wanted.insert(&row);
            for (auto _ : state)
                state.SetIterationTime(1);
            return;
        }
        if (interrupted && !results.count(&row)) {
            state.SkipWithError("interrupted");
            return;
        }
        if (!results.count(&row))
            measure_beside(row);
        const result r = results.extract(&row).mapped(); // a repetition is measured anew
        if (r.error.empty())
            report(state, row, r);
        else
            state.SkipWithError(r.error.c_str());
    }

private:
    void measure_beside(const row &row)
    {
        std::vector<const ::row *> beside;
        for (const ::row *other : wanted)
            if (other->is_beside(row))
                beside.push_back(other);
        const std::vector<result> measured = session->measure(beside);
        for (size_t i = 0; i < beside.size(); i++) {
            results[beside[i]] = measured[i];
            print(*beside[i], measured[i]);
        }
    }

    // A line for each row, as it is done, with the minutes left if the others take as long.
    void print(const row &row, const result &r)
    {
        const std::chrono::duration<double, std::ratio<60>> passed = std::chrono::steady_clock::now() - started;
        done++;
        const double left = passed.count() / static_cast<double>(done) * static_cast<double>(wanted.size() - done);
        std::printf("[%4zu/%zu, %3.0f min left] %-62s", done, wanted.size(), left, row.name().c_str());
        if (r.error.empty())
            std::printf(" %6.1f GB/s +-%2.0f %% %5.2f of a copy, %.2f of the limit\n",
                        static_cast<double>(row.bytes()) / r.seconds / 1e9, r.spread * 50, r.copy, r.limit);
        else
            std::printf(" FAILED: %s\n", r.error.c_str());
        std::fflush(stdout);
        failed |= !r.error.empty();
    }

    static void report(benchmark::State &state, const row &row, const result &r)
    {
        for (auto _ : state)
            state.SetIterationTime(r.seconds);
        state.SetBytesProcessed(static_cast<int64_t>(row.bytes()));
        state.counters["copy"] = r.copy;
        state.counters["limit"] = r.limit;
        const auto tensor = static_cast<double>(row.shape->elements() * bnorm_size_of(row.type));
        state.counters["read"] = tensor / r.read;
        state.counters["write"] = tensor / r.write;
        state.counters["call"] = r.call / r.seconds;
        state.counters["spread"] = r.spread;
        state.counters["cold"] = tensor > static_cast<double>(last_level_cache());
        state.SetLabel(std::to_string(row.shape->batch) + 'x' + std::to_string(row.shape->channels) + 'x' +
                       std::to_string(row.shape->points));
    }

    ::session *session = nullptr; // until it measures
    bool failed = false;
    size_t done = 0;
    std::chrono::steady_clock::time_point started;
    std::set<const row *> wanted; // elements of one vector, so in its order
    std::map<const row *, result> results;
};

class silent_reporter : public benchmark::BenchmarkReporter
{
public:
    bool ReportContext(const Context &) override
    {
        return true;
    }
    void ReportRuns(const std::vector<Run> &) override
    {
    }
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
void add_context(const std::string &arguments, const python_peers &python)
{
    benchmark::AddCustomContext("arguments", arguments);
    benchmark::AddCustomContext("cpu", cpu_model());
    benchmark::AddCustomContext("bnorm_version", bnorm_version());
    benchmark::AddCustomContext("bnorm_commit", BENCH_COMMIT);
    benchmark::AddCustomContext("compiler", BENCH_COMPILER);
#ifdef _SC_PAGESIZE
    benchmark::AddCustomContext("pages", std::to_string(sysconf(_SC_PAGESIZE) / 1024) + " KiB pages");
#endif
    for (const std::string &name : python.names())
        if (name.find('-') == std::string::npos)
            benchmark::AddCustomContext(name, python.version(name));
#ifdef BENCH_XNNPACK
    benchmark::AddCustomContext("xnnpack", xnnpack_version());
#endif
    benchmark::AddCustomContext("rounds", std::to_string(wanted_rounds()));
#ifdef BENCH_ONEDNN
    const dnnl_version_t *onednn = dnnl_version();
    benchmark::AddCustomContext("onednn", std::to_string(onednn->major) + '.' + std::to_string(onednn->minor) + '.' +
                                              std::to_string(onednn->patch));
#endif
}

#ifdef BENCH_ONEDNN
// In a process of its own.
void serve_avx2_rows(int socket, const std::vector<layer> &layers)
{
    std::signal(SIGINT, SIG_IGN); // the process that asks tells when to end
    dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
    const std::vector<int> cpus = usable_cpus();
    keep_openmp_on(cpus);
    thread_pool pool(cpus);
    size_t largest = 0;
    std::map<std::string, row> rows;
    for (const layer &shape : layers)
        for (call call : { call::infer, call::train, call::backward })
            for (const row &row : avx2_rows(shape, call, cpus.size())) {
                rows.emplace(row.name(), row);
                largest = std::max(largest, padded_elements(row));
            }
    std::unique_ptr<session> session;
    peer_process::answer(socket, [&](const std::string &name) {
        if (!session)
            session = std::make_unique<::session>(largest, 0, pool.executor());
        return session->enter(rows.at(name));
    });
}
#endif

// The rows of `./run report`, of which each chart has its own; "quick" are some of them, in few minutes. As a filter.
std::string chosen_rows(const std::string &set, size_t threads)
{
    const bool quick = set == "quick";
    const std::string best = bnorm_isa_name(0), all = "/t" + std::to_string(threads) + '/', planes = "n(chw|hwc)";
    const std::string layouts = "(nchw|nhwc|nchw(8|16)c)", blocks = "nchw(8|16)c";
    const std::string resnet = quick ? "resnet50\\.(conv1|stage1b|stage2b)" : "resnet50\\.[a-z0-9_]+";
    const std::string sizes = "size\\.(1k|16k|256k|4m|64m)"; // of which quick has these
    const std::string some =
        quick ? '(' + sizes +
                    "|resnet50\\.(conv1|stage[1-4]b)|mobilenet_v2\\.(expand1|expand3|head)|"
                    "densenet121\\.block2|points\\.pointnet64|tabular\\.bn1d)"
              : "(size|resnet50|mobilenet_v2|densenet121|efficientnet_b0|unet3d|audio|points|tabular)\\.[a-z0-9_]+";
    const std::string rows[] = {
        planes + "/f32/" + some + "/(onednn|pytorch|xnnpack|onnxruntime|ncnn|" + best + ')' + all,
        planes + "/f32/" + (quick ? "(" + sizes + '|' + resnet + ')' : some) + "/(naive|scalar)" + all,
        blocks + "/f32/" + resnet + "/(naive|onednn|ncnn|" + best + ')' + all, // layouts
        layouts + "/(bf16|f16)/" + resnet + "/(onednn|pytorch|" + best + ')' + all, // types
        layouts + "/f32/" + resnet + '/' + best + "/t1/", // threads
        layouts + "/f32/" + resnet + "/(onednn|" + best + ")-huge" + all, // pages
        layouts + "/f32/" + resnet + '/' + best + "-inplace" + all,
        planes + "/f32/" + resnet + "/(avx2|onednn-avx2|pytorch-avx2)" + all, // the same ISA
        planes + "/f32/" + resnet + "/(pytorch|onnxruntime|ncnn)-call" + all, // as users call them
    };
    std::string any;
    for (const std::string &row : rows)
        any += (any.empty() ? "" : "|") + row;
    const std::string collect = quick ? "" : "|^collect/" + layouts + "/f32/" + resnet + '/' + best + "/t1/";
    return "^(infer|train|backward)/(" + any + ')' + collect;
}

// [quick | whole] [GOOGLE BENCHMARK FLAG...]; without arguments, as on a machine that has nothing but this program, it
// is quick, and the results go to a file.
std::vector<std::string> read_arguments(int argc, char **argv)
{
    if (argc == 1)
        return { "quick", "--benchmark_out=bnorm-results.json", "--benchmark_out_format=json" };
    return { argv + 1, argv + argc };
}

std::string join(const std::vector<std::string> &words)
{
    std::string all;
    for (const std::string &word : words)
        all += (all.empty() ? "" : " ") + word;
    return all;
}

} // namespace

int main(int argc, char **argv)
{
    const bool alone = argc == 1;
    const std::vector<int> cpus = usable_cpus(); // before the pool keeps this thread to one of them
    std::vector<std::string> given = read_arguments(argc, argv);
    const std::string arguments = join(given);
    if (given[0] == "quick" || given[0] == "whole")
        given[0] = "--benchmark_filter=" + chosen_rows(given[0], cpus.size());
    std::vector<char *> pointers = { argv[0] };
    for (std::string &argument : given)
        pointers.push_back(argument.data());
    argc = static_cast<int>(pointers.size());
    pointers.push_back(nullptr);
    argv = pointers.data();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;

    const std::vector<layer> layers = fitting_layers();
    const python_peers python;
    std::vector<std::string> peers = python.names();
#ifdef BENCH_XNNPACK
    peers.push_back("xnnpack");
#endif
    peers.push_back(std::string(bnorm_isa_name(0)) + "-inplace");
    if (has_huge_pages())
        for (const std::string &name : huge_names())
            peers.push_back(name);
#ifdef BENCH_ONEDNN
    peer_process peer([&](int socket) { serve_avx2_rows(socket, layers); });
    keep_openmp_on(cpus);
#endif
#ifdef BENCH_XNNPACK
    keep_xnnpack_on(cpus); // after the other process is there, which would inherit one CPU
#endif
    thread_pool pool(cpus);
    const std::vector<row> rows = all_rows(layers, pool.executor().width, peers);
    runner runner;
    for (const row &row : rows)
        benchmark::RegisterBenchmark(row.name().c_str(), [&](benchmark::State &state) { runner.run(state, row); })
            ->Iterations(1)
            ->UseManualTime();

    silent_reporter silent;
    const size_t matching = benchmark::RunSpecifiedBenchmarks(&silent);
    if (runner.wanted_rows().empty())
        return matching == 0; // --benchmark_list_tests has listed them
    session session(largest_of(runner.wanted_rows(), false), largest_of(runner.wanted_rows(), true), pool.executor(),
                    &python);
#ifdef BENCH_ONEDNN
    session.take(&peer);
#endif
    add_context(arguments, python);
    for (const auto &[name, value] : accuracy(pool.executor(), python.find("pytorch")).measure())
        benchmark::AddCustomContext(name, value);
    std::signal(SIGINT, stop_early);
    runner.start(session);
    benchmark::RunSpecifiedBenchmarks(&silent);
    if (alone)
        std::printf("\nbnorm-results.json has the results. bnorm collects those of many machines: send it in.\n");
    return interrupted ? 128 + SIGINT : runner.any_failed();
}
