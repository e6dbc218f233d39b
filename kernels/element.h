/* SPDX-License-Identifier: MIT */
/*
 * Conversions of single tensor elements from and to float. Reading is exact; writing rounds once, to nearest even.
 * They define the bits that the vector conversions of every ISA must give. None computes with subnormal floats, so the
 * result does not depend on whether the caller flushes these.
 */
#ifndef BNORM_ELEMENT_H
#define BNORM_ELEMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../include/bnorm/bnorm.h"

/* These macros leave a type out of the whole build; calls then refuse it. */
#ifdef BNORM_NO_BF16
enum { BNORM_HAS_BF16 = 0 };
#else
enum { BNORM_HAS_BF16 = 1 };
#endif
#ifdef BNORM_NO_F16
enum { BNORM_HAS_F16 = 0 };
#else
enum { BNORM_HAS_F16 = 1 };
#endif

#if !defined(BNORM_NO_BF16) || !defined(BNORM_NO_F16)
#define BNORM_SEVERAL_TYPES
#endif

static inline bool bnorm_has_type(bnorm_dtype type)
{
    return type == BNORM_DTYPE_F32 || (BNORM_HAS_BF16 && type == BNORM_DTYPE_BF16) ||
           (BNORM_HAS_F16 && type == BNORM_DTYPE_F16);
}

/* Tells the compiler which types are possible: calls with the others were refused. */
static inline bnorm_dtype bnorm_known_type(bnorm_dtype type)
{
    if (BNORM_HAS_BF16 && BNORM_HAS_F16)
        return type;
    if (type == BNORM_DTYPE_F32 || !(BNORM_HAS_BF16 || BNORM_HAS_F16))
        return BNORM_DTYPE_F32;
    return BNORM_HAS_BF16 ? BNORM_DTYPE_BF16 : BNORM_DTYPE_F16;
}

static inline float bnorm_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t bnorm_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float bnorm_of_bf16(uint16_t h)
{
    return bnorm_float_of_bits((uint32_t)h << 16);
}

/* A NaN keeps its sign and upper bits, and is quiet. */
static inline uint16_t bnorm_to_bf16(float value)
{
    const uint32_t bits = bnorm_bits_of_float(value), odd = bits >> 16 & 1;
    const uint32_t rounded = (bits + 0x7fff + odd) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

/* A NaN becomes quiet, as with the CPUs' own conversions. */
static inline float bnorm_of_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, bits = h & 0x7fff;
    const uint32_t normal = (bits << 13) + (112u << 23), nan = bits > 0x7c00 ? 0x400000 : 0;
    const uint32_t subnormal = bnorm_bits_of_float((float)(int32_t)bits * 0x1p-24f);
    const uint32_t special = bits << 13 | 0x7f800000 | nan;
    return bnorm_float_of_bits(sign | (bits >= 0x7c00 ? special : bits < 0x400 ? subnormal : normal));
}

static inline uint16_t bnorm_to_f16(float value)
{
    const uint32_t bits = bnorm_bits_of_float(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    const uint32_t odd = size >> 13 & 1, rounded = (size + 0xfff + odd - (112u << 23)) >> 13;
    /* One ULP of 0.5 is 2^-24, one of a subnormal f16, so the addition rounds as the conversion should. */
    const uint32_t subnormal = bnorm_bits_of_float(bnorm_float_of_bits(size) + 0.5f) - 0x3f000000;
    const uint32_t finite = size < 0x38800000 ? subnormal : size >= 0x477ff000 ? 0x7c00 : rounded;
    return (uint16_t)(sign | (size > 0x7f800000 ? 0x7e00 | (size >> 13 & 0x1ff) : finite));
}

static inline size_t bnorm_size_of(bnorm_dtype type)
{
    return type == BNORM_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* The address of a tensor's i-th element. */
static inline const void *bnorm_elements(const void *tensor, bnorm_dtype type, size_t i)
{
    return (const char *)tensor + i * bnorm_size_of(type);
}

static inline void *bnorm_output(void *tensor, bnorm_dtype type, size_t i)
{
    return (char *)tensor + i * bnorm_size_of(type);
}

static inline float bnorm_element(const void *tensor, bnorm_dtype type, size_t i)
{
    switch (bnorm_known_type(type)) {
    case BNORM_DTYPE_BF16:
        return bnorm_of_bf16(((const uint16_t *)tensor)[i]);
    case BNORM_DTYPE_F16:
        return bnorm_of_f16(((const uint16_t *)tensor)[i]);
    default:
        return ((const float *)tensor)[i];
    }
}

static inline void bnorm_set_element(void *tensor, bnorm_dtype type, size_t i, float value)
{
    switch (bnorm_known_type(type)) {
    case BNORM_DTYPE_BF16:
        ((uint16_t *)tensor)[i] = bnorm_to_bf16(value);
        break;
    case BNORM_DTYPE_F16:
        ((uint16_t *)tensor)[i] = bnorm_to_f16(value);
        break;
    default:
        ((float *)tensor)[i] = value;
    }
}

#endif
