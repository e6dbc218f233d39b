/* SPDX-License-Identifier: MIT */
/*
 * Instantiates all loops over data: each walk of the .inc files, for each arithmetic of sums.h and maps.h and each
 * tensor type. Their names are walk_arithmetic_type, such as sum_planes_squares_bf16. Type `any` is for tensors of
 * different types, and for rare calls, as it converts by function calls.
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

/* Groups of arithmetics, for loops.inc. */
#define SUMS_OF_X 1 /* deviations and squares */
#define SUMS_OF_PRODUCTS 2
#define MAPS 4
#define FUSED_SUMS 8
#define FUSED_MAPS 16
#define FUSED_CHANNELS 32 /* maps of planes of one channel */
#define CLAMPED_SUMS 64
#define RARE 128 /* arithmetics that are seldom used, or slow in any case: one instance is enough */

#define TARGET
#define T f32
#define LOOPS (SUMS_OF_X | SUMS_OF_PRODUCTS | MAPS | FUSED_SUMS | CLAMPED_SUMS | FUSED_MAPS | FUSED_CHANNELS)
#include "loops.inc"
#undef T
#ifdef TYPED_BF16
#define T bf16
#define LOOPS (SUMS_OF_X | SUMS_OF_PRODUCTS | MAPS | FUSED_SUMS | CLAMPED_SUMS | FUSED_MAPS | FUSED_CHANNELS)
#include "loops.inc"
#undef T
#endif
#ifdef TYPED_F16
#define T f16
#define LOOPS (SUMS_OF_X | SUMS_OF_PRODUCTS | MAPS)
#include "loops.inc"
#undef T
#endif
#ifdef BNORM_SEVERAL_TYPES
#define T any
#if V_TYPED
#define LOOPS (SUMS_OF_PRODUCTS | MAPS | FUSED_SUMS | FUSED_MAPS | RARE)
#else
#define LOOPS (SUMS_OF_X | SUMS_OF_PRODUCTS | MAPS | FUSED_SUMS | FUSED_MAPS | RARE)
#endif
#include "loops.inc"
#undef T
#else
#define T f32
#define LOOPS RARE
#include "loops.inc"
#undef T
#endif
#undef TARGET
#if defined(V_BF16_TARGET) && defined(TYPED_BF16)
#define TARGET V_BF16_TARGET
#define T bf16_fast
#define LOOPS (MAPS | FUSED_MAPS | FUSED_CHANNELS)
#include "loops.inc"
#undef T
#undef TARGET
#endif

/* ---- Tables of the loops, by arithmetic and type ---- */

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
/* In the order of bnorm_dtype, followed by the enumerators above. */
#define OF_X(walk) { walk##_f32, BF16(walk), F16(walk) }
#define OF_X_AND_DY(walk) { walk##_f32, BF16(walk), F16(walk), MIXED(walk) }
#define EACH_TYPE(walk) { walk##_f32, BF16(walk), F16(walk), MIXED(walk), FAST(walk) }
/* Fused loops for f16 are those for any type. */
#define OF_X_AND_DY_FUSED(walk) { walk##_f32, BF16(walk), MIXED(walk), MIXED(walk) }
#define EACH_TYPE_FUSED(walk) { walk##_f32, BF16(walk), MIXED(walk), MIXED(walk), FAST(walk) }
#define ANY_TYPE(walk) { MIXED(walk), MIXED(walk), MIXED(walk), MIXED(walk), MIXED(walk) }

/* These walks have no instance for any type. */
#define map_channels_fused_normalise_any map_planes_fused_normalise_any
#define map_channels_fused_gradient_any map_planes_fused_gradient_any
#define sum_planes_clamped_any sum_planes_fused_any
#define sum_small_planes_clamped_any sum_planes_fused_any

/* Sums of BNORM_FUSED with a clamp alone: another row of the tables. */
enum { CLAMPED = BNORM_FUSED + 1 };

typedef void sum_function(const bnorm_walk *w, const bnorm_sum_job *c);

static sum_function *const plane_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_planes_deviations),    [BNORM_SQUARES] = OF_X(sum_planes_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_planes_products), [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = OF_X_AND_DY_FUSED(sum_planes_fused), [CLAMPED] = OF_X_AND_DY_FUSED(sum_planes_clamped),
};
static sum_function *const run_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_runs_deviations),      [BNORM_SQUARES] = OF_X(sum_runs_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_runs_products),   [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = OF_X_AND_DY_FUSED(sum_planes_fused), [CLAMPED] = OF_X_AND_DY_FUSED(sum_planes_clamped),
};
static sum_function *const small_plane_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_small_planes_deviations),    [BNORM_SQUARES] = OF_X(sum_small_planes_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_small_planes_products), [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = OF_X_AND_DY_FUSED(sum_planes_fused),       [CLAMPED] = OF_X_AND_DY_FUSED(sum_small_planes_clamped),
};
static sum_function *const memory_plane_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_planes_deviations),           [BNORM_SQUARES] = OF_X(sum_memory_planes_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_memory_planes_products), [BNORM_CENTERED] = ANY_TYPE(sum_planes_centered),
    [BNORM_FUSED] = OF_X_AND_DY_FUSED(sum_planes_fused),        [CLAMPED] = OF_X_AND_DY_FUSED(sum_planes_clamped),
};
/* Other terms of such channels are rare: sum_strided() gathers them, which is fast enough. */
static sum_function *const column_sums[BNORM_PRODUCTS + 1][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_columns_deviations),
    [BNORM_SQUARES] = OF_X(sum_columns_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_columns_products),
};
static sum_function *const row_sums[][TYPES] = {
    [BNORM_DEVIATIONS] = OF_X(sum_rows_deviations),    [BNORM_SQUARES] = OF_X(sum_rows_squares),
    [BNORM_PRODUCTS] = OF_X_AND_DY(sum_rows_products), [BNORM_CENTERED] = ANY_TYPE(sum_rows_centered),
    [BNORM_FUSED] = OF_X_AND_DY_FUSED(sum_rows_fused),
};

/* [0]: nothing is fused, [1]: something is. Fused BNORM_FROZEN uses the loops of BNORM_GRADIENT. */
static unit_function *const plane_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_planes_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_planes_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_planes_frozen) },
    { [BNORM_NORMALISE] = EACH_TYPE_FUSED(map_planes_fused_normalise),
      [BNORM_GRADIENT] = EACH_TYPE_FUSED(map_planes_fused_gradient),
      [BNORM_FROZEN] = EACH_TYPE_FUSED(map_planes_fused_gradient) },
};
/* Planes of one channel: what is fused takes so many registers that loops of their own pay off. */
static unit_function *const channel_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_planes_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_planes_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_planes_frozen) },
    { [BNORM_NORMALISE] = EACH_TYPE_FUSED(map_channels_fused_normalise),
      [BNORM_GRADIENT] = EACH_TYPE_FUSED(map_channels_fused_gradient),
      [BNORM_FROZEN] = EACH_TYPE_FUSED(map_channels_fused_gradient) },
};
static unit_function *const row_maps[2][BNORM_FROZEN + 1][TYPES] = {
    { [BNORM_NORMALISE] = EACH_TYPE(map_rows_normalise),
      [BNORM_GRADIENT] = EACH_TYPE(map_rows_gradient),
      [BNORM_FROZEN] = ANY_TYPE(map_rows_frozen) },
    { [BNORM_NORMALISE] = EACH_TYPE_FUSED(map_rows_fused_normalise),
      [BNORM_GRADIENT] = EACH_TYPE_FUSED(map_rows_fused_gradient),
      [BNORM_FROZEN] = EACH_TYPE_FUSED(map_rows_fused_gradient) },
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
