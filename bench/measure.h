// SPDX-License-Identifier: MIT
// How time is taken, and the limit that every speed is compared with: a copy between the same buffers.
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "bnorm/bnorm.h"
#include "kernels/kernels.h"

// Seconds a call takes: the best of many samples, as STREAM reports it, since noise only ever adds. Kernels and copies
// get the same budget. The first call is not counted: it brings the buffers into the cache state that the others find.
template <class Call> double best_seconds(Call &&call)
{
    using clock = std::chrono::steady_clock;
    constexpr double budget = 0.1, shortest_sample = 20e-6; // a sample must dwarf the clock's own cost
    constexpr int fewest_samples = 5;
    double best = std::numeric_limits<double>::infinity(), total = 0;
    size_t calls = 1;
    call();
    for (int samples = 0; samples < fewest_samples || total < budget;) {
        const auto start = clock::now();
        for (size_t i = 0; i < calls; i++)
            call();
        const double elapsed = std::chrono::duration<double>(clock::now() - start).count();
        total += elapsed;
        if (elapsed < shortest_sample) {
            calls *= 2;
            continue;
        }
        best = std::min(best, elapsed / static_cast<double>(calls));
        samples++;
    }
    return best;
}

// copy.c, once for each ISA: `other` NULL copies, else two tensors become one.
using vector_copy = void(float *to, const float *from, const float *other, size_t count, int stream);

// A way to copy, and how threads share it: a contiguous piece each, of whole cache lines.
struct copy_job {
    vector_copy *copy;
    int stream;
    const float *from, *other;
    float *to;
    size_t count, pieces;

    static void piece(void *argument, size_t index)
    {
        const auto *job = static_cast<copy_job *>(argument);
        constexpr size_t line = 64 / sizeof(float);
        const size_t lines = (job->count + line - 1) / line;
        const size_t piece = (lines + job->pieces - 1) / job->pieces * line;
        const size_t first = std::min(index * piece, job->count);
        job->copy(job->to + first, job->from + first, job->other ? job->other + first : nullptr,
                  std::min(piece, job->count - first), job->stream);
    }
};

// bare.c, once for each ISA.
using bare_activation = void(float *y, const float *x, const bnorm_fusion *fusion, size_t first, size_t count,
                             int stream);

struct bare_job {
    bare_activation *loop;
    const float *x;
    float *y;
    const bnorm_fusion *fusion;
    size_t count, pieces;
    int stream;

    static void piece(void *argument, size_t index)
    {
        const auto *job = static_cast<bare_job *>(argument);
        const size_t tiles = job->count / BNORM_TILE, piece = (tiles + job->pieces - 1) / job->pieces * BNORM_TILE;
        const size_t first = std::min(index * piece, job->count);
        job->loop(job->y, job->x, job->fusion, first, std::min(piece, job->count - first), job->stream);
    }

    void run(const bnorm_executor &executor)
    {
        if (pieces > 1)
            executor.run(executor.context, pieces, &bare_job::piece, this);
        else
            piece(this, 0);
    }
};

inline void library_copy(float *to, const float *from, const float *, size_t count, int)
{
    std::memcpy(to, from, count * sizeof(float));
}

// Bytes a second, read and written, of the best copy of `count` floats: memcpy, plain stores or streaming stores.
inline double copy_speed(vector_copy *vectors, const float *from, const float *other, float *to, size_t count,
                         const bnorm_executor *executor)
{
    double best = std::numeric_limits<double>::infinity();
    for (const auto &[copy, stream] :
         { std::pair{ &library_copy, 0 }, std::pair{ vectors, 0 }, std::pair{ vectors, 1 } }) {
        if (other && copy == &library_copy)
            continue;
        copy_job job{ copy, stream, from, other, to, count, executor ? executor->width : 1 };
        const auto call = [&] {
            if (executor)
                executor->run(executor->context, job.pieces, &copy_job::piece, &job);
            else
                copy_job::piece(&job, 0);
        };
        best = std::min(best, best_seconds(call));
    }
    return (other ? 3.0 : 2.0) * sizeof(float) * static_cast<double>(count) / best;
}

#endif
