/* SPDX-License-Identifier: MIT */
/*
 * A test program prints TAP: each named case is a point, in which checks are counted. What fails is told before the
 * point, on lines that begin with "# ".
 */
#ifndef BNORM_TESTS_CHECK_H
#define BNORM_TESTS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __GNUC__
#define PRINTF_LIKE __attribute__((format(printf, 1, 2)))
#else
#define PRINTF_LIKE
#endif

/* Sanitizers need more stack, and a start of their own: gcc says which there is, clang is asked. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/*
 * Reads --seed=N; --require=ISA[,ISA...], the ISAs that must run here, all of them and best first; --best, where only
 * the best of them is to be compared with portable C. Without --require, BNORM_REQUIRE in the environment says the
 * same, if it is there; SVE may then run unasked. Has crashes name the case and the context that they happened in.
 */
void check_start(int argc, char **argv);
/* Begins a case, and ends the one before. Without a single check, a case fails, unless it was skipped. No '#' in it. */
void check_case(const char *format, ...) PRINTF_LIKE;
/* What of the case is being checked from here on; printed with each failure. */
void check_context(const char *format, ...) PRINTF_LIKE;
/* Counts one check. */
bool check(bool passed, const char *what);
/* Whether a check of this case failed. */
bool check_failed(void);
/* The case, or what is left of it, cannot run here; before the first case: the program cannot. */
void check_skip(const char *why);
/* Prints a line of information. */
void check_note(const char *format, ...) PRINTF_LIKE;
/* How many ISAs a test goes through, from the best on. */
size_t check_isa_count(void);
/* Ends the last case and prints the plan; returns the exit code: 1 after a failure or without a case. */
int check_finish(void);

/* The seed of this run. */
uint64_t check_seed(void);

/* Equal to the bit, a NaN being equal to a NaN. Compares `count` floats. */
bool same_bits(const float *a, const float *b, uint64_t count);
/* FNV-1a over the bytes of floats, the low one first; all NaN are one. */
#define CHECK_DIGEST_START UINT64_C(0xcbf29ce484222325)
uint64_t check_digest(uint64_t hash, const float *values, size_t count);

#endif
