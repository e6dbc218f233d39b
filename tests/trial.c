/* SPDX-License-Identifier: MIT */
#include "trial.h"

#include <math.h>
#include <string.h>

#include "element.h"

float *trial_input(trial *t, size_t count)
{
    float *values = take_guarded(&t->taken, count * sizeof(*values), t->side);
    input_fill(t->class, values, 1, 1, count, random_bits(&t->random));
    return values;
}

float *trial_output(trial *t, size_t count)
{
    float *values = take_guarded(&t->taken, count * sizeof(*values), t->side);
    memset(values, 0x5a, count * sizeof(*values));
    return values;
}

double *trial_doubles(trial *t, bool positive)
{
    const float *floats = trial_input(t, t->length);
    double *values = take_guarded(&t->taken, t->length * sizeof(*values), t->side);
    for (size_t i = 0; i < t->length; i++)
        values[i] = positive ? fabs((double)floats[i] * 1.7) : (double)floats[i] * 1.7;
    return values;
}

float *trial_copy(trial *t, const float *values, size_t count)
{
    return memcpy(take_guarded(&t->taken, count * sizeof(*values), t->side), values, count * sizeof(*values));
}

double *trial_copy_doubles(trial *t, const double *values, size_t count)
{
    return memcpy(take_guarded(&t->taken, count * sizeof(*values), t->side), values, count * sizeof(*values));
}

bnorm_dtype trial_type(trial *t)
{
    const bnorm_dtype type = (bnorm_dtype)random_below(&t->random, BNORM_DTYPE_F16 + 1);
    return bnorm_has_type(type) ? type : BNORM_DTYPE_F32;
}

float *trial_typed_input(trial *t, size_t count, bnorm_dtype type, void **typed)
{
    float *values = trial_input(t, count);
    round_elements(type, values, count);
    *typed = take_guarded(&t->taken, count * type_size(type), t->side);
    store_elements(type, *typed, values, count);
    return values;
}

bool same_doubles(const double *a, const double *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

bool near(long double value, long double exact, long double scale, long double unit)
{
    return !(fabsl(scale) < 1e38L) || fabsl(value - exact) <= unit * scale + 1e-36L;
}
