/* SPDX-License-Identifier: MIT */
/* The OpenMP executor: the bits of one thread, whatever its width. */
#include "bnorm/openmp.h"

#include "check.h"
#include "job.h"

int main(int argc, char **argv)
{
    static const size_t shapes[][4] = { { 4, 64, 196, 1 }, { 4, 64, 196, 64 }, { 4, 64, 196, 16 }, { 1, 3, 12544, 1 } };
    check_start(argc, argv, "openmp");
    check(bnorm_openmp_executor(0).width >= 1 && bnorm_openmp_executor(3).width == 3,
          "not the width that was asked for");
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
        for (int training = 0; training < 2; training++) {
            const size_t *d = shapes[s];
            const bnorm_shape shape = bnorm_blocked(d[0], d[1], d[2], d[3]);
            job j = job_new(&shape, INPUT_offset_1e4, check_seed(), training ? TRAIN : INFER, true);
            way w = { .kernels = bnorm_kernels_chosen(), .tuning = &usual_tuning };
            check_context("%s %zux%zux%zu block %zu", training ? "train" : "infer", d[0], d[1], d[2], d[3]);
            result serial = perform(&j, &w);
            for (size_t width = 1; width <= 4; width++) {
                const bnorm_executor executor = bnorm_openmp_executor(width);
                w.executor = &executor;
                w.tuning = tunings[width % TUNING_COUNT];
                result r = perform(&j, &w);
                check(same_bits(r.y, serial.y, job_elements(&j)), "y has other bits than on one thread");
                for (int i = 0; training && i < STATISTICS; i++)
                    check(same_bits(r.statistics[i], serial.statistics[i], d[1]), "statistics have other bits");
                result_free(&r);
            }
            result_free(&serial);
            job_free(&j);
        }
    return check_finish();
}
