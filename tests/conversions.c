/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing 16-bit types: all values that can be read, and those around each boundary that writing rounds at,
 * by portable C's conversions and through a kernel of each ISA that computes nothing else.
 */
#include <math.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "dispatch/calls.h"
#include "kernels/element.h"
#include "element.h"
#include "inputs.h"

enum { VALUES = 1 << 16, AROUND = 6, RANDOM = 1 << 18 };

/* y = (x - 0) * 1 + -0, which is x, but that a NaN may lose what it says. */
static void convert(const bnorm_kernels *kernels, const void *x, bnorm_dtype from, void *y, bnorm_dtype to,
                    size_t count, bool stream)
{
    static const float zero = 0.0f, one = 1.0f, minus_zero = -0.0f;
    const bnorm_planes p = { .job = { .map = BNORM_NORMALISE,
                                      .stream = stream,
                                      .x_type = from,
                                      .y_type = to,
                                      .x = x,
                                      .y = y,
                                      .k = { &zero, &one, &minus_zero } },
                             .width = 1,
                             .units = 1,
                             .lanes = count,
                             .images = 1 };
    kernels->map_planes(&p);
    kernels->store_fence();
}

/* y = (0 - 0) * 1 + value, of tensors that are all of the type: it has loops of its own. */
static void write_shifts(const bnorm_kernels *kernels, const float *values, void *y, bnorm_dtype type, size_t count,
                         bool stream, bool fast)
{
    buffers taken = { NULL };
    uint16_t *const x = take_zeros(&taken, count * sizeof(*x));
    float *const zeros = take_zeros(&taken, 2 * count * sizeof(*zeros)), *const ones = zeros + count;
    for (size_t i = 0; i < count; i++)
        ones[i] = 1.0f;
    const bnorm_rows r = { .job = { .stream = stream,
                                    .bf16_fast = fast,
                                    .x_type = type,
                                    .y_type = type,
                                    .x = x,
                                    .y = y,
                                    .k = { zeros, ones, values } },
                           .rows = 1,
                           .width = count,
                           .used = count,
                           .x_stride = count,
                           .y_stride = count };
    kernels->map_rows(&r);
    kernels->store_fence();
    give_back(&taken);
}

static void check_reading(bnorm_dtype type)
{
    buffers taken = { NULL };
    uint16_t *const h = take_guarded(&taken, VALUES * sizeof(*h), FLUSH_END);
    float *const values = take_guarded(&taken, VALUES * sizeof(*values), FLUSH_END);
    const bnorm_kernels *kernels;
    bool right = true;
    for (size_t i = 0; i < VALUES; i++)
        h[i] = (uint16_t)i;
    for (size_t i = 0; i < VALUES; i++)
        right = right && same_bits(&(float){ bnorm_element(h, type, i) }, &(float){ of_half(type, h[i]) }, 1);
    check_case("%s is read one at a time", type_name(type));
    check(right, "a value is read wrongly");
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++) {
        check_case("%s is read, %s", type_name(type), kernels->name);
        convert(kernels, h, type, values, BNORM_DTYPE_F32, VALUES, false);
        right = true;
        for (size_t i = 0; i < VALUES; i++) {
            const float exact = of_half(type, h[i]);
            right = right &&
                    (isnan(exact) ? isnan(values[i]) : bnorm_bits_of_float(values[i]) == bnorm_bits_of_float(exact));
        }
        check(right, "a value is read wrongly");
    }
    give_back(&taken);
}

/* Of each 16-bit value, what lies around it and around the middle between it and the next, and all kinds of NaN. */
static float *hard_to_write(buffers *owner, bnorm_dtype type, size_t *count)
{
    float *values = take_zeros(owner, (VALUES * AROUND + RANDOM) * sizeof(*values));
    random_state r = { check_seed() };
    *count = 0;
    for (uint32_t h = 0; h < VALUES; h++) {
        const float value = of_half(type, (uint16_t)h), next = of_half(type, (uint16_t)(h + 1));
        const float middle = isfinite(next) ? value + (next - value) / 2 : value;
        for (int step = -1; step <= 1; step++) {
            values[(*count)++] = bnorm_float_of_bits(bnorm_bits_of_float(value) + (uint32_t)step);
            values[(*count)++] = bnorm_float_of_bits(bnorm_bits_of_float(middle) + (uint32_t)step);
        }
    }
    for (size_t i = 0; i < RANDOM; i++)
        values[(*count)++] = bnorm_float_of_bits((uint32_t)random_bits(&r) | (i % 4 ? 0 : 0x7f800000));
    return values;
}

static bool all_written(bnorm_dtype type, const uint16_t *written, const float *values, size_t count, bool zero)
{
    bool right = true;
    for (size_t i = 0; i < count; i++) {
        const float value = zero && values[i] == 0 ? 0.0f : values[i]; /* 0 + -0 is +0 */
        right = right && (isnan(value) ? isnan(of_half(type, written[i])) : written[i] == halve(type, value));
    }
    return right;
}

static void check_writing(bnorm_dtype type)
{
    size_t count;
    buffers taken = { NULL };
    const float *values = hard_to_write(&taken, type, &count);
    const size_t bytes = count * sizeof(uint16_t);
    uint16_t *const written = take_guarded(&taken, bytes, FLUSH_END);
    const bnorm_kernels *kernels;
    bool right = true;
    for (size_t i = 0; i < count; i++)
        right = right && (type == BNORM_DTYPE_BF16 ? bnorm_to_bf16(values[i]) : bnorm_to_f16(values[i])) ==
                             halve(type, values[i]);
    check_case("%s is written one at a time", type_name(type));
    check(right, "a value is written wrongly");
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++)
        for (int stream = 0; stream < 2; stream++) {
            check_case("%s is written, %s%s", type_name(type), kernels->name, stream ? ", non-temporally" : "");
            memset(written, 0x5a, bytes);
            convert(kernels, values, BNORM_DTYPE_F32, written, type, count, stream);
            check(all_written(type, written, values, count, false), "a value is written wrongly");
            for (int fast = 0; fast <= bnorm_runs(BNORM_CPU_AVX512BF16); fast++) {
                memset(written, 0x5a, bytes);
                write_shifts(kernels, values, written, type, count, stream, fast);
                check(all_written(type, written, values, count, true),
                      "by a loop for the type, a value is written wrongly");
            }
        }
    give_back(&taken);
}

/* On one machine NaNs agree too, sign and payload, on all ISAs. */
static void check_nans(bnorm_dtype type)
{
    enum { NANS = 1 << 12 };
    static float values[NANS];
    static uint16_t expected[NANS], written[NANS];
    random_state r = { check_seed() };
    const bnorm_kernels *kernels;
    for (size_t i = 0; i < NANS; i++)
        values[i] = bnorm_float_of_bits((uint32_t)random_bits(&r) | 0x7fc00000);
    convert(bnorm_kernels_at(bnorm_isa_count() - 1), values, BNORM_DTYPE_F32, expected, type, NANS, false);
    for (size_t k = 0; (kernels = bnorm_kernels_at(k)) != NULL; k++) {
        check_case("%s, NaN, %s", type_name(type), kernels->name);
        convert(kernels, values, BNORM_DTYPE_F32, written, type, NANS, false);
        check(memcmp(written, expected, sizeof(written)) == 0, "a NaN has other bits than portable C's");
    }
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    for (bnorm_dtype type = BNORM_DTYPE_BF16; type <= BNORM_DTYPE_F16; type++) {
        if (!bnorm_has_type(type)) {
            check_case("%s", type_name(type));
            check_skip("this build leaves it out");
            continue;
        }
        check_reading(type);
        check_writing(type);
        check_nans(type);
    }
    return check_finish();
}
