/* SPDX-License-Identifier: MIT */
#ifndef BNORM_TESTS_STARTUP_LIBRARY_H
#define BNORM_TESTS_STARTUP_LIBRARY_H

#include <stdbool.h>

/* Whether the constructor's call gave what it must. */
extern bool startup_library_right;
/* What the destructor is to tell about its call; NULL: nothing. */
extern void (*startup_library_last)(bool right);

#endif
