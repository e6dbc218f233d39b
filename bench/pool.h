// SPDX-License-Identifier: MIT
// A persistent thread pool as a bnorm_executor. A call on a small tensor takes a few microseconds, so handing work out
// must cost less: between calls a worker first spins, and sleeps only when none has come for a while. Each thread keeps
// to a CPU of its own, so that what else runs cannot push two of them onto one, and caches stay with their thread.
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#include "bnorm/bnorm.h"

// The CPUs that this process may use, and a way for a thread to stay on one of them.
#ifdef __linux__
inline std::vector<int> usable_cpus()
{
    cpu_set_t set;
    std::vector<int> cpus;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &set))
                cpus.push_back(cpu);
    return cpus;
}

inline void stay_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set); // a refusal costs precision only
}
#else
inline std::vector<int> usable_cpus()
{
    return std::vector<int>(std::thread::hardware_concurrency());
}

inline void stay_on(int)
{
}
#endif

class thread_pool
{
public:
    // A thread for each CPU, the caller of run() among them.
    explicit thread_pool(const std::vector<int> &cpus)
    {
        for (size_t i = 1; i < cpus.size(); i++)
            workers.emplace_back([this, cpu = cpus[i]] {
                stay_on(cpu);
                serve();
            });
        if (!cpus.empty())
            stay_on(cpus[0]);
    }

    ~thread_pool()
    {
        stopping = true;
        start_round();
        for (std::thread &worker : workers)
            worker.join();
    }

    bnorm_executor executor()
    {
        return { &thread_pool::run, this, workers.size() + 1 };
    }

private:
    // Not re-entrant: one round at a time.
    static void run(void *context, size_t tasks, bnorm_task *task, void *argument)
    {
        auto *pool = static_cast<thread_pool *>(context);
        pool->tasks = tasks;
        pool->task = task;
        pool->argument = argument;
        pool->next_task.store(0, std::memory_order_relaxed);
        pool->busy.store(pool->workers.size(), std::memory_order_relaxed);
        pool->start_round();
        pool->take_tasks();
        while (!spin_until([&] { return pool->busy.load(std::memory_order_acquire) == 0; }))
            std::this_thread::yield();
    }

    void start_round()
    {
        {
            std::lock_guard lock(mutex); // a worker about to sleep sees either this round or the notification
            round.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
    }

    void take_tasks()
    {
        for (size_t i; (i = next_task.fetch_add(1, std::memory_order_relaxed)) < tasks;)
            task(argument, i);
    }

    // Every worker reports the end of every round, so a worker is never more than one round behind.
    void serve()
    {
        for (size_t last_round = 0;; last_round++) {
            await_round_after(last_round);
            if (stopping)
                return;
            take_tasks();
            busy.fetch_sub(1, std::memory_order_release);
        }
    }

    void await_round_after(size_t last_round)
    {
        const auto started = [&] { return round.load(std::memory_order_acquire) != last_round; };
        if (spin_until(started))
            return;
        std::unique_lock lock(mutex);
        wake.wait(lock, started);
    }

    // False when it has not come about in the time that a sleeping thread takes to wake up, and more.
    template <class Condition> static bool spin_until(Condition &&condition)
    {
        using clock = std::chrono::steady_clock;
        const auto patience = clock::now() + std::chrono::microseconds(200);
        while (!condition())
            if (clock::now() > patience)
                return false;
        return true;
    }

    size_t tasks = 0;
    bnorm_task *task = nullptr;
    void *argument = nullptr;
    bool stopping = false;
    std::mutex mutex;
    std::condition_variable wake;
    alignas(64) std::atomic<size_t> next_task{ 0 }; // one cache line each: all threads write them
    alignas(64) std::atomic<size_t> round{ 0 };
    alignas(64) std::atomic<size_t> busy{ 0 }; // workers still in this round
    std::vector<std::thread> workers; // last: they use all of the above
};

#endif
