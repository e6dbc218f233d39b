/* SPDX-License-Identifier: MIT */
/* The targets of fuzzing: each makes a call, or some, of any bytes, and checks what comes of it. */
#ifndef BNORM_TESTS_FUZZ_TARGETS_H
#define BNORM_TESTS_FUZZ_TARGETS_H

#include "cursor.h"

/* Legal calls: within the bounds of docs/numerics.md, and the same bits in any two ways of calling. */
void fuzz_results(cursor *c);
/* Any arguments: what must be refused is, and has written nothing; what must not is not, and writes what it may. */
void fuzz_arguments(cursor *c);
/* Tensors in parts, of which each is another: statistics and gradients of all; and weights that are folded. */
void fuzz_parts(cursor *c);

#endif
