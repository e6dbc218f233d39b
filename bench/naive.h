/* SPDX-License-Identifier: MIT */
/*
 * The textbook batch norm behind the rows named `naive`: plain loops over the data (mean, variance, normalise; sums,
 * gradient), as they are usually written for each layout, left to the compiler. What a user has who does not take a
 * library.
 */
#ifndef BENCH_NAIVE_H
#define BENCH_NAIVE_H

#include "bnorm/bnorm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For dense tensors with block 1, 8, 16 or `channels`. Arrays hold whole blocks; gamma and beta end with zeros. */
typedef struct naive_batch_norm {
    const bnorm_shape *shape;
    const float *gamma, *beta;
    float epsilon;
    float *mean, *var; /* in for inference and backward, out for training */
    float *dgamma, *dbeta;
    float *scratch; /* (executor width + 1) * 2 * block floats */
} naive_batch_norm;

void naive_infer(const naive_batch_norm *norm, const float *x, float *y, const bnorm_executor *executor);
void naive_train(const naive_batch_norm *norm, const float *x, float *y, const bnorm_executor *executor);
void naive_backward(const naive_batch_norm *norm, const float *x, const float *dy, float *dx,
                    const bnorm_executor *executor);

#ifdef __cplusplus
}
#endif

#endif
