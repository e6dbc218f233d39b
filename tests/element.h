/* SPDX-License-Identifier: MIT */
/* What elements of each type mean, by arithmetic on their definition: nothing is shared with kernels/. */
#ifndef BNORM_TESTS_ELEMENT_H
#define BNORM_TESTS_ELEMENT_H

#include <stddef.h>

#include "bnorm/bnorm.h"

const char *type_name(bnorm_dtype type);
size_t type_size(bnorm_dtype type);
/* The bits nearest to a value: ties to even, too large is Inf, a NaN quiet with its sign and its upper bits. */
uint16_t halve(bnorm_dtype type, float value);
float of_half(bnorm_dtype type, uint16_t bits);
/* Values of a type, each stored as that type; and back. */
void store_elements(bnorm_dtype type, void *to, const float *values, size_t count);
void load_elements(bnorm_dtype type, float *values, const void *from, size_t count);
/* Half of what the last place of a value counts, by which rounding is off at most; of floats 0. */
double half_unit(bnorm_dtype type, float value);
/* Rounds each to a value of the type. */
void round_elements(bnorm_dtype type, float *values, size_t count);

#endif
