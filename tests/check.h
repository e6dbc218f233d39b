/* SPDX-License-Identifier: MIT */
/* Counting checks, reporting what failed and where, and the summary line that each test program ends with. */
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

/*
 * Reads --seed=N; --require=ISA[,ISA...], the ISAs that must run here, all of them and best first; --best, where only
 * the best of them is to be compared with portable C. Has crashes name the context that they happened in.
 */
void check_start(int argc, char **argv, const char *program);
/* What is being checked from here on; printed with each failure. */
void check_context(const char *format, ...) PRINTF_LIKE;
/* Counts one check. */
bool check(bool passed, const char *what);
/* Counts one check that cannot run here. */
void check_skip(const char *why);
/* Prints a line of information. */
void check_note(const char *format, ...) PRINTF_LIKE;
/* How many ISAs a test goes through, from the best on. */
size_t check_isa_count(void);
/* Prints the line "# ISAs: ..." of these, by which ./run knows that a test went through them. */
void check_note_isas(void);
/* Prints the summary; returns the exit code: 0, 1 after a failure or if nothing ran, 77 if all was skipped. */
int check_finish(void);

/* The seed of this run. */
uint64_t check_seed(void);

/* Equal to the bit, a NaN being equal to a NaN. Compares `count` floats. */
bool same_bits(const float *a, const float *b, uint64_t count);
/* FNV-1a over the bytes of floats, the low one first; all NaN are one. */
#define CHECK_DIGEST_START UINT64_C(0xcbf29ce484222325)
uint64_t check_digest(uint64_t hash, const float *values, size_t count);

#endif
