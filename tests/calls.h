/* SPDX-License-Identifier: MIT */
/* The parts of test-calls that compare results with their definition. */
#ifndef BNORM_TESTS_CALLS_H
#define BNORM_TESTS_CALLS_H

#include "job.h"

/* Within the bounds of docs/numerics.md for its class of inputs; and a NaN or Inf where it belongs. */
void check_bounds(const job *j, const result *r, input_class class);
/* Makes the call in this way: to the bit what is expected. */
void check_same(const job *j, const result *expected, const way *w);
/* Says in the context of checks which call it is, on data of that name. */
void way_context(const job *j, const way *w, const char *name);
/* The largest errors seen, as docs/numerics.md lists them. */
void note_largest_errors(void);
/* Gradients against central differences of the loss. */
void check_differences(void);

#endif
