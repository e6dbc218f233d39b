/* SPDX-License-Identifier: MIT */
/* One target as a program of libFuzzer's: FUZZ_TARGET names it. */
#include <stdlib.h>

#include "../check.h"
#include "targets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cursor c = { data, data + size };
    FUZZ_TARGET(&c);
    if (check_failed())
        abort(); /* what failed was said */
    return 0;
}
