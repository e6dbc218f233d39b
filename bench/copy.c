/* SPDX-License-Identifier: MIT */
/*
 * A copy, a sum of two, reading alone and writing alone, with one ISA's vectors: what the kernels of that ISA could
 * reach at most. Compiled once for each ISA, with its flags, its vector header in BNORM_SIMD_HEADER and its name in
 * BNORM_ISA_NAME.
 */
#include <stddef.h>

#include BNORM_SIMD_HEADER

#define JOIN(a, b) a##b
#define NAME(prefix, isa) JOIN(prefix, isa)

/* Four vectors a step keep the loop's own cost below that of its loads and stores. */
enum { STEP = 4 * V_LANES, AHEAD = 1024 };

/* Copies `count` floats, or the sums of two tensors; `to` is aligned to the vector. With `stream`, non-temporal stores.
 */
void NAME(bench_copy_, BNORM_ISA_NAME)(float *restrict to, const float *restrict from, const float *restrict other,
                                       size_t count, int stream);

static inline v_f32 load(const float *from, const float *other, size_t i)
{
    return other ? v_add(v_load(from + i), v_load(other + i)) : v_load(from + i);
}

/* Inlined with constants, so that each way has a loop of its own. */
static inline size_t copy_steps(float *restrict to, const float *restrict from, const float *restrict other,
                                size_t count, int stream)
{
    size_t i = 0;
    for (; i + STEP <= count; i += STEP)
        for (size_t v = i; v < i + STEP; v += V_LANES)
            if (stream)
                v_stream(to + v, load(from, other, v));
            else
                v_store(to + v, load(from, other, v));
    return i;
}

void NAME(bench_copy_, BNORM_ISA_NAME)(float *restrict to, const float *restrict from, const float *restrict other,
                                       size_t count, int stream)
{
    size_t i;
    if (other)
        i = stream ? copy_steps(to, from, other, count, 1) : copy_steps(to, from, other, count, 0);
    else
        i = stream ? copy_steps(to, from, NULL, count, 1) : copy_steps(to, from, NULL, count, 0);
    if (stream)
        v_stream_end();
    for (; i < count; i++)
        to[i] = other ? from[i] + other[i] : from[i];
}

/* The sum of `count` floats, or of two tensors; what comes from memory is prefetched. */
float NAME(bench_read_, BNORM_ISA_NAME)(const float *restrict from, const float *restrict other, size_t count);

static inline float read_steps(const float *restrict from, const float *restrict other, size_t count)
{
    v_f32 sums[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
    float lanes[V_LANES], sum = 0;
    for (size_t i = 0; i + STEP <= count; i += STEP)
        for (size_t v = 0; v < 4; v++) {
            const size_t at = i + v * V_LANES, ahead = count - i > AHEAD + STEP ? at + AHEAD : at;
            v_prefetch(from + ahead);
            if (other)
                v_prefetch(other + ahead);
            sums[v] = v_add(sums[v], load(from, other, at));
        }
    v_store(lanes, v_add(v_add(sums[0], sums[1]), v_add(sums[2], sums[3])));
    for (size_t i = 0; i < V_LANES; i++)
        sum += lanes[i];
    return sum;
}

float NAME(bench_read_, BNORM_ISA_NAME)(const float *restrict from, const float *restrict other, size_t count)
{
    return other ? read_steps(from, other, count) : read_steps(from, NULL, count);
}

/* Writes `count` ones; `to` is aligned to the vector. With `stream`, non-temporal stores. */
void NAME(bench_write_, BNORM_ISA_NAME)(float *to, size_t count, int stream);

void NAME(bench_write_, BNORM_ISA_NAME)(float *to, size_t count, int stream)
{
    const v_f32 one = v_set1(1.0f);
    size_t i = 0;
    if (stream) {
        for (; i + V_LANES <= count; i += V_LANES)
            v_stream(to + i, one);
        v_stream_end();
    } else {
        for (; i + V_LANES <= count; i += V_LANES)
            v_store(to + i, one);
    }
    for (; i < count; i++)
        to[i] = 1.0f;
}
