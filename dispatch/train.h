/* SPDX-License-Identifier: MIT */
/* What training in one call and in steps share. */
#ifndef BNORM_DISPATCH_TRAIN_H
#define BNORM_DISPATCH_TRAIN_H

#include "arguments.h"

bnorm_status bnorm_check_train_params(const bnorm_train_params *params);
/* Averages the statistics of some channels, from `count` values each, into the running ones. */
void bnorm_update_running(const bnorm_kernels *kernels, const bnorm_train_params *params, double count, size_t channel,
                          size_t channels, const double *mean, const double *m2);

#endif
