/* SPDX-License-Identifier: MIT */
/* The executors on OpenMP threads and on a pthreadpool: the bits of one thread, whatever the width. */
#include "check.h"
#include "job.h"

#ifdef POOLS_OPENMP
#include "bnorm/openmp.h"

static bnorm_executor pool_new(size_t width)
{
    return bnorm_openmp_executor(width);
}

static void pool_free(const bnorm_executor *executor)
{
    (void)executor;
}

#else
#include "bnorm/pthreadpool.h"

static bnorm_executor pool_new(size_t width)
{
    return bnorm_pthreadpool_executor(width ? pthreadpool_create(width) : NULL);
}

static void pool_free(const bnorm_executor *executor)
{
    pthreadpool_destroy(executor->context);
}
#endif

int main(int argc, char **argv)
{
    static const size_t shapes[][4] = { { 4, 64, 196, 1 }, { 4, 64, 196, 64 }, { 4, 64, 196, 16 }, { 1, 3, 12544, 1 } };
    check_start(argc, argv);
    check_case("as many threads as the machine has");
    check(pool_new(0).width >= 1, "no thread at all");
    for (size_t s = 0; s < COUNT_OF(shapes); s++)
        for (int training = 0; training < 2; training++) {
            const size_t *d = shapes[s];
            const bnorm_shape shape = bnorm_blocked(d[0], d[1], d[2], d[3]);
            job j = job_new(&shape, INPUT_offset_1e4, check_seed(), training ? TRAIN : INFER, true);
            way w = { .kernels = bnorm_kernels_chosen(), .tuning = &usual_tuning };
            check_case("%s %zux%zux%zu block %zu", training ? "train" : "infer", d[0], d[1], d[2], d[3]);
            result serial = perform(&j, &w);
            for (size_t width = 1; width <= 4; width++) {
                const bnorm_executor executor = pool_new(width);
                check(executor.width == width, "not the width that was asked for");
                w.executor = &executor;
                w.tuning = tunings[width % tuning_count];
                result r = perform(&j, &w);
                check(same_bits(r.y, serial.y, job_elements(&j)), "y has other bits than on one thread");
                for (int i = 0; training && i < STATISTICS; i++)
                    check(same_bits(r.statistics[i], serial.statistics[i], d[1]), "statistics have other bits");
                give_back(&r.taken);
                pool_free(&executor);
            }
            give_back(&serial.taken);
            give_back(&j.taken);
        }
    return check_finish();
}
