/* SPDX-License-Identifier: MIT */
/*
 * Synchronised batch norm: each process has some images of a batch, and all normalise by the statistics of the whole.
 *
 *     cc syncbn.c $(pkg-config --cflags --libs bnorm-mpi) && mpirun --oversubscribe -n 3 ./a.out
 */
#include <bnorm/mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    enum { CHANNELS = 4, POINTS = 100 };
    int rank, processes;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);

    /* As many images as the rank says: the first process has none. */
    const size_t images = (size_t)rank, elements = images * CHANNELS * POINTS;
    const bnorm_shape shape = bnorm_nhwc(images, CHANNELS, POINTS);
    float running_mean[CHANNELS] = { 0 }, running_var[CHANNELS] = { 0 };
    bnorm_train_params params = bnorm_train_defaults();
    params.momentum = 1.0f;
    params.running_mean = running_mean;
    params.running_var = running_var;
    float *x = malloc(elements * sizeof(*x) + 1), *y = malloc(elements * sizeof(*y) + 1);
    for (size_t i = 0; i < elements; i++)
        x[i] = (float)rank + (float)(i % CHANNELS);

    size_t size = 0;
    bnorm_status status = bnorm_mpi_workspace_size(&shape, BNORM_OP_TRAIN, NULL, &size);
    void *workspace = malloc(size);
    /* A failure here reaches all, as the other processes wait in this call. */
    status = bnorm_mpi_train(MPI_COMM_WORLD, &shape, &params, x, y, workspace, size, NULL);
    printf("process %d of %d, %zu images: %s, mean %g, variance %g\n", rank, processes, images,
           bnorm_status_string(status), (double)running_mean[0], (double)running_var[0]);
    free(workspace);
    free(y);
    free(x);
    MPI_Finalize();
    return status != BNORM_OK;
}
