/* SPDX-License-Identifier: MIT */
#include "element.h"

#include <math.h>
#include <string.h>

/* Bits of the fraction, and the exponent of the least normal value. */
static int fraction_bits(bnorm_dtype type)
{
    return type == BNORM_DTYPE_BF16 ? 7 : 10;
}

static int least_exponent(bnorm_dtype type)
{
    return type == BNORM_DTYPE_BF16 ? -126 : -14;
}

/* 2^exponent, faster than ldexp: tests convert each element. */
static double power(int exponent)
{
    const uint64_t bits = (uint64_t)(1023 + exponent) << 52;
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static int exponent_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (int)(bits >> 52 & 0x7ff) - 1023;
}

const char *type_name(bnorm_dtype type)
{
    return type == BNORM_DTYPE_F32 ? "f32" : type == BNORM_DTYPE_BF16 ? "bf16" : "f16";
}

size_t type_size(bnorm_dtype type)
{
    return type == BNORM_DTYPE_F32 ? 4 : 2;
}

uint16_t halve(bnorm_dtype type, float value)
{
    const int fraction = fraction_bits(type), least = least_exponent(type);
    const uint16_t sign = signbit(value) ? 0x8000 : 0, infinity = (uint16_t)(0x7fff >> fraction << fraction);
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value))
        return (uint16_t)(sign | infinity | (bits & 0x7fffff) >> (23 - fraction) | 1 << (fraction - 1));
    const double size = fabs((double)value);
    const int exponent = size < power(least) ? least : exponent_of(size);
    /* How often the unit of the last place is in it; adding 2^52 rounds. Exponents follow each other without a gap. */
    const volatile double units = size * power(fraction - exponent) + power(52);
    const double count = units - power(52) + (double)((exponent - least) << fraction);
    return isinf(size) || count >= infinity ? sign | infinity : (uint16_t)(sign | (uint16_t)count);
}

float of_half(bnorm_dtype type, uint16_t bits)
{
    const int fraction = fraction_bits(type), least = least_exponent(type), size = bits & 0x7fff;
    const int exponent = size >> fraction, field = size & ((1 << fraction) - 1), last = 0x7fff >> fraction;
    double value = field * power(least - fraction);
    if (exponent == last) {
        const uint32_t wide = (uint32_t)(bits & 0x8000) << 16 | 0x7f800000 | (uint32_t)field << (23 - fraction);
        const uint32_t quiet = field && type == BNORM_DTYPE_F16 ? wide | 0x400000 : wide;
        float special;
        memcpy(&special, &quiet, sizeof(special));
        return special;
    }
    if (exponent)
        value = (field + (1 << fraction)) * power(exponent - 1 + least - fraction);
    return (float)(bits & 0x8000 ? -value : value);
}

void store_elements(bnorm_dtype type, void *to, const float *values, size_t count)
{
    if (type == BNORM_DTYPE_F32)
        memcpy(to, values, count * sizeof(float));
    else
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)to)[i] = halve(type, values[i]);
}

void load_elements(bnorm_dtype type, float *values, const void *from, size_t count)
{
    if (type == BNORM_DTYPE_F32)
        memcpy(values, from, count * sizeof(float));
    else
        for (size_t i = 0; i < count; i++)
            values[i] = of_half(type, ((const uint16_t *)from)[i]);
}

void round_elements(bnorm_dtype type, float *values, size_t count)
{
    for (size_t i = 0; type != BNORM_DTYPE_F32 && i < count; i++)
        values[i] = of_half(type, halve(type, values[i]));
}

double half_unit(bnorm_dtype type, float value)
{
    const int exponent = exponent_of(fabs((double)value)), least = least_exponent(type);
    return type == BNORM_DTYPE_F32 ? 0 : power((exponent < least ? least : exponent) - fraction_bits(type) - 1);
}
