// SPDX-License-Identifier: MIT
// bnorm-bench: every operation x layout x shape x ISA x thread count as a row of Google Benchmark, named
// op/layout/dtype/shape/isa/threads. Rows that differ in the ISA alone are checked against the reference and then
// measured in turns (measure.h); Google Benchmark chooses among the rows and writes the report, and its own timing loop
// (--benchmark_min_time) is not used. In the environment: BNORM_BENCH_PAGES=small or huge, BNORM_BENCH_ROUNDS=9.
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

volatile std::sig_atomic_t interrupted = 0;

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
        state.counters["spread"] = r.spread;
        state.counters["cold"] = row.bytes() > last_level_cache();
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
void add_context(const std::string &arguments, const tensors &memory)
{
    benchmark::AddCustomContext("arguments", arguments);
    benchmark::AddCustomContext("cpu", cpu_model());
    benchmark::AddCustomContext("bnorm_version", bnorm_version());
    benchmark::AddCustomContext("bnorm_commit", BENCH_COMMIT);
    benchmark::AddCustomContext("compiler", BENCH_COMPILER);
    benchmark::AddCustomContext("pages", memory.describe_pages());
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
            session = std::make_unique<::session>(largest, pool.executor());
        return session->enter(rows.at(name));
    });
}
#endif

// Without arguments, as on a machine that has nothing but this program: some of all, in minutes, kept in a file.
std::vector<std::string> arguments_alone()
{
    return { "--benchmark_filter=^(infer|train|backward)/n(chw|hwc)/f32/(size\\.(1k|16k|256k|4m|64m)|resnet50\\.(conv1|"
             "stage[1-4]b)|mobilenet_v2\\.(expand1|expand3|head))/",
             "--benchmark_out=bnorm-results.json", "--benchmark_out_format=json" };
}

} // namespace

int main(int argc, char **argv)
{
    std::vector<std::string> given(argv + 1, argv + argc);
    const bool alone = given.empty();
    if (alone)
        given = arguments_alone();
    std::string arguments;
    std::vector<char *> pointers = { argv[0] };
    for (std::string &argument : given) {
        arguments += (arguments.empty() ? "" : " ") + argument;
        pointers.push_back(argument.data());
    }
    argc = static_cast<int>(pointers.size());
    pointers.push_back(nullptr);
    argv = pointers.data();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;

    const std::vector<layer> layers = parse_layers(shapes_csv);
    const std::vector<int> cpus = usable_cpus(); // before the pool keeps this thread to one of them
#ifdef BENCH_ONEDNN
    peer_process peer([&](int socket) { serve_avx2_rows(socket, layers); });
    keep_openmp_on(cpus);
#endif
    thread_pool pool(cpus);
    const std::vector<row> rows = all_rows(layers, pool.executor().width);
    runner runner;
    for (const row &row : rows)
        benchmark::RegisterBenchmark(row.name().c_str(), [&](benchmark::State &state) { runner.run(state, row); })
            ->Iterations(1)
            ->UseManualTime();

    silent_reporter silent;
    const size_t matching = benchmark::RunSpecifiedBenchmarks(&silent);
    if (runner.wanted_rows().empty())
        return matching == 0; // --benchmark_list_tests has listed them
    size_t largest = 0;
    for (const row *row : runner.wanted_rows())
        largest = std::max(largest, padded_elements(*row));
    session session(largest, pool.executor());
#ifdef BENCH_ONEDNN
    session.take(&peer);
#endif
    add_context(arguments, session.memory());
    for (const auto &[name, value] : accuracy(pool.executor()).measure())
        benchmark::AddCustomContext(name, value);
    std::signal(SIGINT, stop_early);
    runner.start(session);
    benchmark::RunSpecifiedBenchmarks(&silent);
    if (alone)
        std::printf("\nbnorm-results.json has the results. bnorm collects those of many machines: send it in.\n");
    return interrupted ? 128 + SIGINT : runner.any_failed();
}
