/* SPDX-License-Identifier: MIT */
/* A program of somebody else's, in C99 and in C++: it must build against bnorm in every way there is, and be right. */
#include <bnorm/bnorm.h>
#include <stdio.h>

#if defined(WITH_OPENMP)
#include <bnorm/openmp.h>
#elif defined(WITH_PTHREADPOOL)
#include <bnorm/pthreadpool.h>
#elif defined(WITH_MPI)
#include <bnorm/mpi.h>
#endif

int main(void)
{
    const float x[4] = { 0, 2, 4, 6 }, mean[1] = { 2 }, var[1] = { 4 }, gamma[1] = { 3 }, beta[1] = { 1 };
    const float expected[4] = { -2, 1, 4, 7 };
    float y[4] = { 0, 0, 0, 0 };
    bnorm_shape shape = bnorm_nchw(1, 1, 4);
    bnorm_infer_params params = { sizeof(bnorm_infer_params) };
    const bnorm_executor *threads = NULL;
    bnorm_status status;
    int i, wrong;
#if defined(WITH_OPENMP)
    bnorm_executor executor = bnorm_openmp_executor(2);
    threads = &executor;
#elif defined(WITH_PTHREADPOOL)
    bnorm_executor executor = bnorm_pthreadpool_executor(pthreadpool_create(2));
    threads = &executor;
#endif
    params.mean = mean;
    params.var = var;
    params.gamma = gamma;
    params.beta = beta;
    status = bnorm_infer(&shape, &params, x, y, threads);
    wrong = status != BNORM_OK;
#if defined(WITH_MPI)
    size_t workspace_size;
    wrong += bnorm_mpi_workspace_size(&shape, BNORM_OP_TRAIN, threads, &workspace_size) != BNORM_OK;
#endif
    for (i = 0; i < 4; i++)
        wrong += y[i] != expected[i];
    printf("%s, %s, bnorm %s: %s\n", bnorm_status_string(status), bnorm_isa(), bnorm_version(),
           wrong ? "WRONG" : "right");
    return wrong;
}
