/* SPDX-License-Identifier: MIT */
/* Fuzzing what legal calls compute: a job as test-calls has them, made plainly and in two more ways. */
#include "../calls.h"
#include "../check.h"
#include "../element.h"
#include "../executors.h"
#include "kernels/element.h"
#include "targets.h"

static bnorm_dtype take_type(cursor *c)
{
    const bnorm_dtype type = (bnorm_dtype)take_below(c, BNORM_DTYPE_F16 + 1);
    return bnorm_has_type(type) ? type : BNORM_DTYPE_F32;
}

/* Mostly a few; now and then as many as take a kernel through tiles and groups. */
static size_t take_size(cursor *c, size_t largest)
{
    static const size_t limits[] = { 4, 20, 20, 70, 300 };
    const size_t limit = TAKE_FROM(c, limits);
    return take_in(c, 1, limit < largest ? limit : largest);
}

/* Long planes; rows so wide that they are cut into strips; a plane so long that it has two segments. */
static bnorm_shape take_large_shape(cursor *c)
{
    const size_t kind = take_below(c, 3);
    if (kind == 0)
        return bnorm_nchw(1, take_in(c, 1, 2), take_in(c, 1000, 9000));
    if (kind == 1)
        return bnorm_nhwc(take_in(c, 1, 3), take_in(c, 2040, 4100), take_in(c, 3, 5));
    return bnorm_nchw(1, 1, take_in(c, 65530, 66000));
}

static bnorm_shape take_small_shape(cursor *c)
{
    enum { MOST = 800 };
    static const size_t blocks[] = { 1, 0, 8, 16, 3, 4, 30, 33 };
    const size_t channels = take_size(c, MOST / 4), points = take_size(c, MOST / channels);
    const size_t batch = take_size(c, MOST / (channels * points)), block = TAKE_FROM(c, blocks);
    return bnorm_blocked(batch, channels, points, block ? block : channels);
}

static bnorm_shape take_shape(cursor *c)
{
    bnorm_shape s = take_rarely(c, 40) ? take_large_shape(c) : take_small_shape(c);
    s.in.dtype = take_type(c);
    s.out.dtype = take_type(c);
    return s;
}

/* Replaces some of the values by such as no class of inputs has; whether there were any. */
static bool take_values(cursor *c, const job *j)
{
    static const uint32_t odd[] = { 0,          0x80000000, 1,          0x807fffff, 0x7f7fffff,
                                    0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
                                    0x477fe000, 0x33000000, 0x4b800001, 0x5f000000, 0x20000000 };
    float *const arrays[] = { j->x, j->x, j->x, j->dy, j->residual, j->gamma, j->beta, j->mean, j->var };
    const size_t count = take_rarely(c, 4) ? take_in(c, 1, 6) : 0;
    for (size_t i = 0; i < count; i++) {
        const size_t which = take_below(c, COUNT_OF(arrays));
        const size_t at = take_below(c, 65536) % (which < 5 ? job_elements(j) : j->shape.channels);
        const uint32_t bits = take_rarely(c, 4) ? take_bits(c) : TAKE_FROM(c, odd);
        float value = bnorm_float_of_bits(bits);
        round_elements(which < 3 ? j->shape.in.dtype : which < 5 ? j->shape.out.dtype : BNORM_DTYPE_F32, &value, 1);
        if (arrays[which])
            arrays[which][at] = value;
    }
    return count != 0;
}

/* One thread, tasks of one in another order, or threads, which take long to start. */
static const bnorm_executor *take_executor(cursor *c, bnorm_executor *executor)
{
    const size_t kind = take_below(c, 32), width = take_in(c, 1, 70);
    *executor = kind == 31 ? executor_threads(1 + width % 4) : executor_backwards(width);
    return kind < 8 ? NULL : executor;
}

static way take_way(cursor *c, const job *j, bnorm_executor *executor)
{
    way w = { .kernels = bnorm_kernels_at(take_below(c, bnorm_isa_count())) };
    const unsigned flags = (unsigned)take_below(c, 65536);
    w.tuning = tunings[take_below(c, tuning_count)];
    w.executor = take_executor(c, executor);
    w.hint = (bnorm_hint)take_below(c, 3);
    w.in = (spacing)take_below(c, SPACING_COUNT);
    w.out = (spacing)take_below(c, SPACING_COUNT);
    w.in_place = flags & 1;
    w.in_dy = flags & 2;
    w.in_residual = flags & 4;
    w.dresidual_in_dy = flags & 8;
    w.mask = flags & 16;
    w.steps = flags & 32;
    w.side = flags & 64 ? FLUSH_START : FLUSH_END;
    w.unwanted = is_backward(j->op) && flags & 128 ? (int)(flags >> 8) % NOTHING : 0;
    return w;
}

/* By portable C on one thread, in floats; in 16 bits it must be that, rounded. */
static result plainly(const job *j, bool steps)
{
    const way plain = { .tuning = &usual_tuning, .kernels = bnorm_kernels_at(bnorm_isa_count() - 1), .steps = steps };
    const job floats = job_in_floats(j);
    result r = perform(&floats, &plain);
    result_round(&r, j);
    return r;
}

void fuzz_results(cursor *c)
{
    static const float epsilons[] = { 1e-5f, 1e-3f, 1.0f, 1e-7f };
    const operation op = (operation)take_below(c, (size_t)operation_count);
    const bnorm_shape shape = take_shape(c);
    const input_class class = (input_class)take_below(c, INPUT_COUNT);
    const size_t seed = take_below(c, 256);
    job j = job_drawn(&shape, class, seed, op, !take_rarely(c, 4));
    j.epsilon = TAKE_FROM(c, epsilons);
    const bool any_values = take_values(c, &j);
    check_context("%s, %zux%zux%zu, block %zu, %s to %s, %s %zu%s", operation_name(op), shape.batch, shape.channels,
                  shape.points, shape.block, type_name(shape.in.dtype), type_name(shape.out.dtype), input_name(class),
                  seed, any_values ? " and other values" : "");
    for (int i = 0; i < 2 && operation_runs(op, bnorm_kernels_at(bnorm_isa_count() - 1)); i++) {
        bnorm_executor executor;
        if (i == 0)
            job_complete(&j);
        const way w = take_way(c, &j, &executor);
        result expected = plainly(&j, w.steps);
        if (i == 0 && !any_values)
            check_bounds(&j, &expected, class);
        way_context(&j, &w, input_name(class));
        check_same(&j, &expected, &w);
        give_back(&expected.taken);
    }
    give_back(&j.taken);
}
