/* SPDX-License-Identifier: MIT */
/* The parts of test-calls that compare results with their definition. */
#ifndef BNORM_TESTS_CALLS_H
#define BNORM_TESTS_CALLS_H

#include "job.h"

/* Within the bounds of docs/numerics.md for its class of inputs; and a NaN or Inf where it belongs. */
void check_bounds(const job *j, const result *r, input_class class);
/* The largest errors seen, as docs/numerics.md lists them. */
void note_largest_errors(void);
/* Gradients against central differences of the loss. */
void check_differences(void);

#endif
