/* SPDX-License-Identifier: MIT */
/* Synchronised batch norm over MPI, made of the calls for steps: what each process knows becomes what all know. */
#include "../include/bnorm/mpi.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>

/* What is told of some processes' values; its kind is how many values per channel follow. */
typedef enum kind { FAILED = 0, MOMENTS = 2, SUMS = 3 } kind;

typedef struct message {
    uint64_t kind, channels;
    uint64_t count; /* values per channel that this is of */
    double values[]; /* [kind][channels]: mean and m2, or the sums of bnorm_backward_reduce */
} message;

enum { HEAD = 3, MOST_CHANNELS = INT_MAX / 64 }; /* lengths in MPI are int */

/* The operation of MPI_Allreduce, on one element: joined = given and joined. */
static void join(void *given, void *joined, int *length, MPI_Datatype *type)
{
    const message *more = given;
    message *all = joined;
    const size_t channels = (size_t)all->channels;
    (void)length;
    (void)type;
    if (all->kind != more->kind || all->channels != more->channels)
        all->kind = FAILED;
    else if (all->kind == MOMENTS)
        bnorm_train_merge(channels, all->count, all->values, all->values + channels, more->count, more->values,
                          more->values + channels);
    else if (all->kind == SUMS)
        for (size_t i = 0; i < SUMS * channels; i++)
            all->values[i] += more->values[i];
    all->count += more->count;
}

/* One element, so that no part of it can be joined in another order: not commutative, and not cut into pieces. */
static bnorm_status exchange(MPI_Comm comm, message *m, size_t values)
{
    const int lengths[2] = { HEAD, (int)values };
    const MPI_Aint offsets[2] = { 0, offsetof(message, values) };
    const MPI_Datatype types[2] = { MPI_UINT64_T, MPI_DOUBLE };
    MPI_Datatype type;
    MPI_Op op;
    int error = MPI_Type_create_struct(2, lengths, offsets, types, &type);
    if (error)
        return BNORM_ERROR_COMMUNICATION;
    error = MPI_Type_commit(&type);
    if (!error)
        error = MPI_Op_create(join, 0, &op);
    if (!error) {
        error = MPI_Allreduce(MPI_IN_PLACE, m, 1, type, op, comm);
        MPI_Op_free(&op);
    }
    MPI_Type_free(&type);
    if (error)
        return BNORM_ERROR_COMMUNICATION;
    return m->kind == FAILED ? BNORM_ERROR_PEER : BNORM_OK;
}

static size_t message_bytes(kind k, size_t channels)
{
    return sizeof(message) + (size_t)k * channels * sizeof(double);
}

/* Tells the others, who wait for it; in memory of its own, as the workspace may be what is wrong. */
static bnorm_status fail(MPI_Comm comm, const bnorm_shape *shape, kind k, bnorm_status status)
{
    const bool readable = shape && shape->struct_size >= sizeof(*shape);
    const size_t channels = readable && shape->channels <= MOST_CHANNELS ? shape->channels : 0;
    message *m = channels ? calloc(1, message_bytes(k, channels)) : NULL; /* FAILED */
    if (m)
        exchange(comm, m, (size_t)k * channels);
    else
        MPI_Comm_call_errhandler(comm, MPI_ERR_ARG);
    free(m);
    return status;
}

/* ---- The workspace: a message, in training statistics that the caller does not save, and what the steps need ---- */

typedef struct parts {
    message *message;
    float *saved; /* [3][channels] */
    void *steps;
    size_t steps_size;
} parts;

static size_t saved_bytes(const bnorm_shape *shape, kind k)
{
    return k == MOMENTS ? 3 * shape->channels * sizeof(float) : 0;
}

static bnorm_status sizes(const bnorm_shape *shape, kind k, const bnorm_executor *executor, size_t *steps, size_t *all)
{
    const bnorm_operation operation = k == MOMENTS ? BNORM_OP_TRAIN : BNORM_OP_BACKWARD;
    bnorm_status status = bnorm_workspace_size(shape, operation, executor, steps);
    if (!status && shape->channels > MOST_CHANNELS)
        status = BNORM_ERROR_SHAPE;
    if (status)
        return status;
    const size_t own = sizeof(double) - 1 + message_bytes(k, shape->channels) + saved_bytes(shape, k);
    *all = own + *steps;
    return *all < own ? BNORM_ERROR_SHAPE : BNORM_OK;
}

static bnorm_status divide(const bnorm_shape *shape, kind k, const bnorm_executor *executor, void *workspace,
                           size_t workspace_size, parts *p)
{
    size_t all;
    bnorm_status status = sizes(shape, k, executor, &p->steps_size, &all);
    if (!status && !workspace)
        status = BNORM_ERROR_NULL_POINTER;
    if (!status && workspace_size < all)
        status = BNORM_ERROR_WORKSPACE_SIZE;
    if (status)
        return status;
    char *aligned = (char *)workspace + (0 - (uintptr_t)workspace) % sizeof(double);
    p->message = (message *)(void *)aligned;
    aligned += message_bytes(k, shape->channels);
    p->saved = (float *)(void *)aligned;
    p->steps = aligned + saved_bytes(shape, k);
    return BNORM_OK;
}

static void begin(message *m, kind k, const bnorm_shape *shape)
{
    m->kind = k;
    m->channels = shape->channels;
    m->count = (uint64_t)shape->batch * shape->points;
}

bnorm_status bnorm_mpi_workspace_size(const bnorm_shape *shape, bnorm_operation operation,
                                      const bnorm_executor *executor, size_t *size)
{
    size_t steps, all;
    if (operation != BNORM_OP_TRAIN && operation != BNORM_OP_BACKWARD)
        return BNORM_ERROR_UNSUPPORTED;
    if (!size)
        return BNORM_ERROR_NULL_POINTER;
    bnorm_status status = sizes(shape, operation == BNORM_OP_TRAIN ? MOMENTS : SUMS, executor, &steps, &all);
    if (!status)
        *size = all;
    return status;
}

/* ---- Training ---- */

/* As bnorm_train_check, but that a process may hold a single value. */
static bnorm_status check_train(const bnorm_shape *shape, const bnorm_train_params *params, const void *x, void *y,
                                void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    bnorm_status status = bnorm_train_check(shape, params, x, y, workspace, workspace_size, executor);
    if (status != BNORM_ERROR_SINGLE_VALUE)
        return status;
    bnorm_train_params biased = *params;
    biased.running_variance = BNORM_VARIANCE_BIASED;
    return bnorm_train_check(shape, &biased, x, y, workspace, workspace_size, executor);
}

/* Saved where the caller says, or in the workspace. */
static bnorm_train_params with_saved(const bnorm_train_params *params, float *saved, size_t channels)
{
    bnorm_train_params p = *params;
    p.saved_mean = p.saved_mean ? p.saved_mean : saved;
    p.saved_mean_low = p.saved_mean_low ? p.saved_mean_low : saved + channels;
    p.saved_rstd = p.saved_rstd ? p.saved_rstd : saved + 2 * channels;
    return p;
}

bnorm_status bnorm_mpi_train(MPI_Comm comm, const bnorm_shape *shape, const bnorm_train_params *params, const void *x,
                             void *y, void *workspace, size_t workspace_size, const bnorm_executor *executor)
{
    parts w;
    bnorm_status status = check_train(shape, params, x, y, workspace, workspace_size, executor);
    if (!status)
        status = divide(shape, MOMENTS, executor, workspace, workspace_size, &w);
    if (status)
        return fail(comm, shape, MOMENTS, status);
    message *m = w.message;
    const size_t channels = shape->channels;
    double *mean = m->values, *m2 = m->values + channels;
    begin(m, MOMENTS, shape);
    status = bnorm_train_collect(shape, x, mean, m2, w.steps, w.steps_size, executor);
    if (status)
        return fail(comm, shape, MOMENTS, status);
    status = exchange(comm, m, MOMENTS * channels);
    if (status || m->count == 0)
        return status;
    const bnorm_train_params p = with_saved(params, w.saved, channels);
    status = bnorm_train_finish(channels, m->count, mean, m2, &p);
    return status ? status : bnorm_train_apply(shape, &p, x, y, executor);
}

/* ---- Backward ---- */

bnorm_status bnorm_mpi_backward(MPI_Comm comm, const bnorm_shape *shape, const bnorm_backward_params *params,
                                const void *x, const void *dy, void *dx, void *workspace, size_t workspace_size,
                                const bnorm_executor *executor)
{
    parts w;
    bnorm_status status = bnorm_backward_check(shape, params, x, dy, dx, workspace, workspace_size, executor);
    if (!status)
        status = divide(shape, SUMS, executor, workspace, workspace_size, &w);
    if (!status && !x && shape->batch && shape->points)
        status = BNORM_ERROR_NULL_POINTER;
    if (status)
        return fail(comm, shape, SUMS, status);
    message *m = w.message;
    begin(m, SUMS, shape);
    status = bnorm_backward_reduce(shape, params, x, dy, m->values, w.steps, w.steps_size, executor);
    if (status)
        return fail(comm, shape, SUMS, status);
    status = exchange(comm, m, SUMS * shape->channels);
    return status ? status : bnorm_backward_apply(shape, params, m->count, m->values, x, dy, dx, executor);
}
