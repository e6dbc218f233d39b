/* SPDX-License-Identifier: MIT */
/* A shared library that uses bnorm before main() and after it, for test-startup. */
#include "startup_library.h"

#include "one_call.h"

bool startup_library_right;
void (*startup_library_last)(bool right);

__attribute__((constructor)) static void begin(void)
{
    startup_library_right = one_call(bnorm_infer);
}

__attribute__((destructor)) static void end(void)
{
    if (startup_library_last)
        startup_library_last(one_call(bnorm_infer));
}
