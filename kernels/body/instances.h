/* SPDX-License-Identifier: MIT */
/*
 * All loops over data that there are: each walk of sums.inc and maps.inc, for each arithmetic of sums.h and maps.h, for
 * tensors of each type; `any` is for tensors of different types. They are called walk_arithmetic_type, such as
 * sum_planes_squares_bf16.
 */
#include "maps.h"
#include "sums.h"

#define JOIN(a, b) JOIN_EXPANDED(a, b)
#define JOIN_EXPANDED(a, b) a##b
#define NAME(walk) JOIN(JOIN(walk, _), JOIN(ARITHMETIC, JOIN(_, T)))
#define LOAD JOIN(load_, T)
#define STORE JOIN(store_, T)
#define STREAM JOIN(stream_, T)

#if V_TYPED && !defined(BNORM_NO_BF16)
#define TYPED_BF16
#endif
#if V_TYPED && !defined(BNORM_NO_F16)
#define TYPED_F16
#endif

#define TARGET
#define T f32
#include "typed_squares.inc"
#include "typed_products.inc"
#include "typed_maps.inc"
#include "fused_sums.inc"
#include "fused_maps.inc"
#undef T
#ifdef TYPED_BF16
#define T bf16
#include "typed_squares.inc"
#include "typed_products.inc"
#include "typed_maps.inc"
#include "fused_sums.inc"
#include "fused_maps.inc"
#undef T
#endif
#ifdef TYPED_F16
#define T f16
#include "typed_squares.inc"
#include "typed_products.inc"
#include "typed_maps.inc"
#undef T
#endif
#ifdef BNORM_SEVERAL_TYPES
#define T any
#if !V_TYPED
#include "typed_squares.inc"
#endif
#include "typed_products.inc"
#include "typed_maps.inc"
#include "fused_sums.inc"
#include "fused_maps.inc"
#else
#define T f32
#endif
#include "mixed.inc"
#undef T
#undef TARGET
#if defined(V_BF16_TARGET) && defined(TYPED_BF16)
#define TARGET V_BF16_TARGET
#define T bf16_fast
#include "typed_maps.inc"
#include "fused_maps.inc"
#undef T
#undef TARGET
#endif

/* ---- Which of them: by arithmetic and type ---- */

enum { ANY = BNORM_DTYPE_F16 + 1, BF16_FAST, TYPES };

#ifdef BNORM_SEVERAL_TYPES
#define MIXED(walk) walk##_any
#else
#define MIXED(walk) walk##_f32
#endif
#ifdef TYPED_BF16
#define BF16(walk) walk##_bf16
#else
#define BF16(walk) MIXED(walk)
#endif
#ifdef TYPED_F16
#define F16(walk) walk##_f16
#else
#define F16(walk) MIXED(walk)
#endif
#if defined(V_BF16_TARGET) && defined(TYPED_BF16)
#define FAST(walk) walk##_bf16_fast
#else
#define FAST(walk) BF16(walk)
#endif
/* In the order of bnorm_dtype, and then of the enumeration above. */
#define OF_X(walk) { walk##_f32, BF16(walk), F16(walk) }
#define OF_X_AND_DY(walk) { walk##_f32, BF16(walk), F16(walk), MIXED(walk) }
#define EACH_TYPE(walk) { walk##_f32, BF16(walk), F16(walk), MIXED(walk), FAST(walk) }
/* The same without loops for f16. */
#define FUSED_SUMS(walk) { walk##_f32, BF16(walk), MIXED(walk), MIXED(walk) }
#define FUSED_MAPS(walk) { walk##_f32, BF16(walk), MIXED(walk), MIXED(walk), FAST(walk) }
#define ANY_TYPE(walk) { MIXED(walk), MIXED(walk), MIXED(walk), MIXED(walk), MIXED(walk) }

typedef void sum_function(const bnorm_walk *w, const bnorm_sum_job *c);

static sum_function *const plane_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_planes_deviations),    [BNORM_SQUARES] = OF_X(sum_planes_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_planes_products), [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = FUSED_SUMS(sum_planes_fused),
};
static sum_function *const run_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_runs_deviations),    [BNORM_SQUARES] = OF_X(sum_runs_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_runs_products), [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = FUSED_SUMS(sum_planes_fused),
};
static sum_function *const memory_plane_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_planes_deviations),
    [BNORM_SQUARES] = OF_X(sum_memory_planes_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_memory_planes_products),
    [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = FUSED_SUMS(sum_planes_fused),
};
/* Other terms of such channels are brought together: they are rare, and this is fast enough. */
static sum_function *const column_sums[BNORM_PRODUCTS + 1][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_columns_deviations),
    [BNORM_SQUARES] = OF_X(sum_columns_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_columns_products),
};
static sum_function *const row_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_rows_deviations),    [BNORM_SQUARES] = OF_X(sum_rows_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_rows_products), [BNORM_CENTERED] = ANY_TYPE(sum_rows_centered),
    [BNORM_FUSED] = FUSED_SUMS(sum_rows_fused),
};

/* Without and with something fused; then BNORM_FROZEN has the loops of BNORM_GRADIENT. */
static unit_function *const plane_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_planes_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_planes_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_planes_frozen) },
    { [BNORM_NORMALISE] = FUSED_MAPS(map_planes_fused_normalise),
      [BNORM_GRADIENT] = FUSED_MAPS(map_planes_fused_gradient),
      [BNORM_FROZEN] = FUSED_MAPS(map_planes_fused_gradient) },
};
static unit_function *const row_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_rows_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_rows_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_rows_frozen) },
    { [BNORM_NORMALISE] = FUSED_MAPS(map_rows_fused_normalise),
      [BNORM_GRADIENT] = FUSED_MAPS(map_rows_fused_gradient),
      [BNORM_FROZEN] = FUSED_MAPS(map_rows_fused_gradient) },
};
static column_function *const column_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_columns_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_columns_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_columns_frozen) },
    { [BNORM_NORMALISE] = ANY_TYPE(map_columns_fused_normalise),
      [BNORM_GRADIENT] = ANY_TYPE(map_columns_fused_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_columns_fused_gradient) },
};
static padded_function *const padded_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_padded_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_padded_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_padded_frozen) },
    { [BNORM_NORMALISE] = ANY_TYPE(map_padded_fused_normalise),
      [BNORM_GRADIENT] = ANY_TYPE(map_padded_fused_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_padded_fused_gradient) },
};
