// SPDX-License-Identifier: MIT
// What batch norm is compared with: copies between the same buffers, reading and writing (copy.c), and activations
// alone (bare.c), once for each ISA, and how threads share them.
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <algorithm>
#include <cstring>

#include "bnorm/bnorm.h"
#include "kernels/kernels.h"

// `other` NULL copies, else two tensors become one.
using vector_copy = void(float *to, const float *from, const float *other, size_t count, int stream);
using vector_read = float(const float *from, const float *other, size_t count);
using vector_write = void(float *to, size_t count, int stream);
using bare_activation = void(float *y, const float *x, const bnorm_fusion *fusion, size_t first, size_t count,
                             int stream);

inline void library_copy(float *to, const float *from, const float *, size_t count, int)
{
    std::memcpy(to, from, count * sizeof(float));
}

// A loop over some elements, of which each thread takes a contiguous piece of whole cache lines.
template <class Loop> struct shared_loop {
    Loop loop; // takes the first element and a count
    size_t count;
    const bnorm_executor *executor; // NULL: one thread

    static void piece(void *argument, size_t index)
    {
        const auto *job = static_cast<const shared_loop *>(argument);
        constexpr size_t line = 64 / sizeof(float);
        const size_t lines = (job->count + line - 1) / line, pieces = job->executor ? job->executor->width : 1;
        const size_t piece = (lines + pieces - 1) / pieces * line;
        const size_t first = std::min(index * piece, job->count);
        job->loop(first, std::min(piece, job->count - first));
    }

    void operator()()
    {
        if (executor)
            executor->run(executor->context, executor->width, &piece, this);
        else
            piece(this, 0);
    }
};

template <class Loop> shared_loop(Loop, size_t, const bnorm_executor *) -> shared_loop<Loop>;

#endif
