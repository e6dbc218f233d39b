// SPDX-License-Identifier: MIT
// How time is taken: what is to be compared is measured in turns, several rounds of it, and each has its median.
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// Seconds of a call now: of as many calls as dwarf the clock's own cost. The calls before them bring caches, and
// threads that slept meanwhile, into the state that is measured.
template <class Call> double sample(Call &&call)
{
    using clock = std::chrono::steady_clock;
    const auto seconds_since = [](clock::time_point start) {
        return std::chrono::duration<double>(clock::now() - start).count();
    };
    constexpr double warm_up = 1e-3, measured = 4e-3;
    size_t calls = 0;
    const auto began = clock::now();
    for (; calls == 0 || seconds_since(began) < warm_up; calls++)
        call();
    const double expected = seconds_since(began) / static_cast<double>(calls);
    calls = static_cast<size_t>(std::max(1.0, std::ceil(measured / expected)));
    const auto start = clock::now();
    for (size_t i = 0; i < calls; i++)
        call();
    return seconds_since(start) / static_cast<double>(calls);
}

// One that takes part in the rounds: how it is sampled, or why it cannot be.
struct contestant {
    std::function<double()> sample;
    std::string error;
    bool has_threads = false; // that spin for some milliseconds after a call, as OpenMP's do

    std::vector<double> samples; // sorted once all rounds are over

    double median() const
    {
        return samples[samples.size() / 2];
    }
    // From the first quartile to the third, as a fraction of the median.
    double spread() const
    {
        return (samples[samples.size() * 3 / 4] - samples[samples.size() / 4]) / median();
    }
};

// An odd number, as BNORM_BENCH_ROUNDS says.
inline size_t wanted_rounds()
{
    const char *wanted = std::getenv("BNORM_BENCH_ROUNDS");
    return (wanted ? std::strtoul(wanted, nullptr, 10) : 9) | 1;
}

// Each round begins with another one, so that none always follows the same.
inline void take_turns(std::vector<contestant *> contestants, size_t rounds)
{
    constexpr std::chrono::milliseconds until_threads_sleep{ 8 };
    for (size_t round = 0; round < rounds; round++) {
        for (contestant *c : contestants) {
            c->samples.push_back(c->sample());
            if (c->has_threads)
                std::this_thread::sleep_for(until_threads_sleep);
        }
        std::rotate(contestants.begin(), contestants.begin() + !contestants.empty(), contestants.end());
    }
    for (contestant *c : contestants)
        std::sort(c->samples.begin(), c->samples.end());
}

#endif
