/* SPDX-License-Identifier: MIT */
#include "inputs.h"

#include <math.h>
#include <string.h>

uint64_t random_bits(random_state *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_uniform(random_state *r)
{
    return ((double)(random_bits(r) >> 32) + 0.5) / 4294967296.0;
}

/* The sum of twelve uniform values of 16 bits, less 6. */
double random_normal(random_state *r)
{
    uint64_t sum = 0;
    for (int i = 0; i < 3; i++)
        for (uint64_t bits = random_bits(r), k = 0; k < 4; k++, bits >>= 16)
            sum += bits & 0xffff;
    return (double)sum / 65536.0 - 6.0 + 6.0 / 65536.0;
}

size_t random_below(random_state *r, size_t limit)
{
    return (size_t)(random_bits(r) % limit);
}

const char *input_name(input_class class)
{
    static const char *const names[] = {
#define CLASS(name, bounded) #name,
        INPUT_CLASSES(CLASS)
#undef CLASS
    };
    return names[class];
}

bool input_bounded(input_class class)
{
    static const bool bounds[] = {
#define CLASS(name, bounded) bounded,
        INPUT_CLASSES(CLASS)
#undef CLASS
    };
    return bounds[class];
}

/* The index-th of `count` values of a channel. */
static float value(input_class class, size_t channel, size_t index, size_t count, random_state *r)
{
    double n = random_normal(r), u = random_uniform(r);
    switch (class) {
    case INPUT_normal:
        return (float)n;
    case INPUT_offset_1e2:
        return (float)(n + 1e2);
    case INPUT_offset_1e4:
        return (float)(n + (channel % 2 ? 1e4 : -1e4));
    case INPUT_offset_1e6:
        return (float)(n + (channel % 2 ? 1e6 : -1e6));
    case INPUT_constant_0:
        return 0.0f;
    case INPUT_constant_3_3:
        return 3.3f;
    case INPUT_constant_1e8:
        return 1e8f;
    case INPUT_outlier_first:
        return index == 0 ? 1e6f : (float)n;
    case INPUT_step:
        return (float)(n * 1e-3 + (index < count / 2 ? 0.0 : 1.1));
    case INPUT_two_values:
        return index % 3 ? 1.1f : -0.7f;
    case INPUT_ramp:
        return (float)((double)index / (double)count + 10.0);
    case INPUT_heavy_tailed:
        return (float)(n / (u * u + 1e-9));
    case INPUT_subnormal:
        return (float)(n * 1e-39);
    case INPUT_signed_zeros:
        return u < 0.5 ? 0.0f : -0.0f;
    case INPUT_inf_in_one:
        return channel == 1 && index == count / 2 ? (u < 0.5 ? INFINITY : -INFINITY) : (float)n;
    case INPUT_nan_in_one:
        return channel == 1 && index == count / 3 ? NAN : (float)n;
    case INPUT_random_patterns: {
        uint32_t bits = (uint32_t)random_bits(r);
        float pattern;
        memcpy(&pattern, &bits, sizeof(pattern));
        return pattern;
    }
    case INPUT_COUNT:
        break;
    }
    return 0.0f;
}

void input_fill(input_class class, float *x, size_t batch, size_t channels, size_t points, uint64_t seed)
{
    random_state r = { seed };
    for (size_t n = 0; n < batch; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < points; p++)
                x[(n * channels + c) * points + p] = value(class, c, n * points + p, batch * points, &r);
}
