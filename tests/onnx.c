/* SPDX-License-Identifier: MIT */
/*
 * Conformance: the ONNX project's own BatchNormalization vectors, on every ISA that runs here and in every layout.
 * Meson has tests/onnx_vectors.py write onnx_vectors.h from the vectors.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bnorm/bnorm.h"
#include "buffer.h"
#include "check.h"
#include "tensor.h"

struct onnx_vector {
    const char *name;
    size_t batch, channels, points;
    int training; /* 0: mean and var normalise x; 1: they are the running statistics before the call */
    float epsilon, momentum; /* ONNX's momentum is the weight of the old running statistic */
    const float *x, *gamma, *beta, *mean, *var; /* x and y are NCHW */
    const float *y, *new_mean, *new_var; /* expected; new_*: NULL unless training */
};

#include "onnx_vectors.h"

/* The tolerance of ONNX's own backend tests. */
static const double relative_tolerance = 1e-3, absolute_tolerance = 1e-7;

static double worst_error; /* |got - expected| / max(1, |expected|) */

/* One check an array. */
static void check_array(const char *what, const float *got, const float *expected, size_t length)
{
    bool ok = true;
    for (size_t i = 0; i < length; i++) {
        double want = (double)expected[i], error = fabs((double)got[i] - want);
        double relative_error = error / fmax(1, fabs(want));
        ok &= error <= absolute_tolerance + relative_tolerance * fabs(want); /* false for NaN */
        if (relative_error > worst_error) /* not fmax: gcc 12 for aarch64 dies of it */
            worst_error = relative_error;
    }
    check(ok, what);
}

static void run_inference(const struct onnx_vector *vector, const tensor *x, const tensor *y)
{
    bnorm_infer_params params = {
        .struct_size = sizeof(params),
        .mean = vector->mean,
        .var = vector->var,
        .gamma = vector->gamma,
        .beta = vector->beta,
        .epsilon = vector->epsilon,
    };
    check(bnorm_infer(&x->shape, &params, x->data, y->data, NULL) == BNORM_OK, "status");
}

static void run_training(buffers *owner, const struct onnx_vector *vector, const tensor *x, const tensor *y)
{
    size_t statistics_size = vector->channels * sizeof(float), workspace_size = 0;
    check(bnorm_workspace_size(&x->shape, BNORM_OP_TRAIN, NULL, &workspace_size) == BNORM_OK,
          "status of workspace_size");
    float *mean = take_guarded(owner, statistics_size, FLUSH_END),
          *var = take_guarded(owner, statistics_size, FLUSH_END);
    void *workspace = take_guarded(owner, workspace_size, FLUSH_END);
    bnorm_train_params params = {
        .struct_size = sizeof(params),
        .gamma = vector->gamma,
        .beta = vector->beta,
        .epsilon = vector->epsilon,
        .momentum = 1 - vector->momentum,
        .running_variance = BNORM_VARIANCE_BIASED,
        .running_mean = memcpy(mean, vector->mean, statistics_size),
        .running_var = memcpy(var, vector->var, statistics_size),
    };
    check(bnorm_train(&x->shape, &params, x->data, y->data, workspace, workspace_size, NULL) == BNORM_OK, "status");
    check_array("running mean", mean, vector->new_mean, vector->channels);
    check_array("running var", var, vector->new_var, vector->channels);
}

/* Runs one vector in the layout of one block size, on the ISA that is set. */
static void run_vector(const struct onnx_vector *vector, size_t block)
{
    bnorm_shape shape = bnorm_blocked(vector->batch, vector->channels, vector->points, block);
    size_t length = vector->batch * vector->channels * vector->points;
    buffers taken = { NULL };
    tensor x = tensor_new(&taken, &shape, shape.in, FLUSH_END, vector->x);
    tensor y = tensor_new(&taken, &shape, shape.out, FLUSH_END, NULL);
    float *got = take_zeros(&taken, length * sizeof(*got));

    check_context("block %zu", block);
    if (vector->training)
        run_training(&taken, vector, &x, &y);
    else
        run_inference(vector, &x, &y);
    check(tensor_read(&y, got, true), "padding of y");
    check_array("y", got, vector->y, length);
    give_back(&taken);
}

int main(int argc, char **argv)
{
    const size_t vectors = COUNT_OF(onnx_vectors), isas = bnorm_isa_count();
    check_start(argc, argv);
    for (size_t isa = 0; isa < isas; isa++) {
        check_case("bnorm_set_isa, %s", bnorm_isa_name(isa));
        check(bnorm_set_isa(bnorm_isa_name(isa)) == BNORM_OK, "status of set_isa");
        for (const struct onnx_vector *vector = onnx_vectors; vector < onnx_vectors + vectors; vector++) {
            const size_t blocks[] = { 1, vector->channels, 4, 16 };
            check_case("%s, %s", vector->name, bnorm_isa());
            for (size_t i = 0; i < COUNT_OF(blocks); i++)
                run_vector(vector, blocks[i]);
        }
    }
    check_note("%zu vectors x 4 layouts x %zu ISAs, worst error %.1e of max(1, |y|)", vectors, isas, worst_error);
    return check_finish();
}
