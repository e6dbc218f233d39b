/* SPDX-License-Identifier: MIT */
/* Executors to test with: real threads, and one thread that takes the tasks in an order of its own. */
#ifndef BNORM_TESTS_EXECUTORS_H
#define BNORM_TESTS_EXECUTORS_H

#include "bnorm/bnorm.h"

/* `width` threads, started anew for each call. */
bnorm_executor executor_threads(size_t width);
/* Every task once, the last one first, as if for `width` threads. */
bnorm_executor executor_backwards(size_t width);

#endif
