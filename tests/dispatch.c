/* SPDX-License-Identifier: MIT */
/* The choice of an ISA: what runs here, what the environment and bnorm_set_isa change, and threads that race for it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "buffer.h"
#include "check.h"
#include "dispatch/calls.h"

/* ---- The ISAs of this CPU, as the kernel of the operating system sees them ---- */

#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__))

static bool has_flags(const char *flags, const char *const *wanted)
{
    for (; *wanted; wanted++) {
        char word[32];
        snprintf(word, sizeof(word), " %s ", *wanted);
        if (!strstr(flags, word))
            return false;
    }
    return true;
}

static void check_cpuinfo(void)
{
    static const char *const avx2[] = { "avx2", "fma", "f16c", NULL };
    static const char *const avx512[] = { "avx2",     "fma",      "f16c",     "avx512f", "avx512cd",
                                          "avx512bw", "avx512dq", "avx512vl", NULL };
    char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof(line), file) && strncmp(line, "flags", 5) != 0)
        ;
    if (!file || strncmp(line, "flags", 5) != 0) {
        check_skip("/proc/cpuinfo does not tell the flags of the CPU");
        return;
    }
    fclose(file);
    *strchr(line, '\n') = ' ';
    const bool has_avx512 = has_flags(line, avx512), has_avx2 = has_flags(line, avx2);
    size_t expected = 0;
#ifdef BNORM_HAVE_AVX512
    if (has_avx512)
        check(strcmp(bnorm_isa_name(expected++), "avx512") == 0, "/proc/cpuinfo shows AVX-512, the library does not");
#endif
#ifdef BNORM_HAVE_AVX2
    if (has_avx2)
        check(strcmp(bnorm_isa_name(expected++), "avx2") == 0, "/proc/cpuinfo shows AVX2, the library does not");
#endif
    (void)has_avx2;
    (void)has_avx512;
    check(bnorm_isa_count() == expected + 1, "the library lists an ISA that /proc/cpuinfo does not show");
}

#else

static void check_cpuinfo(void)
{
    check_skip("/proc/cpuinfo is compared on x86 only");
}

#endif

static void check_list(void)
{
    size_t count = bnorm_isa_count();
    check_case("the list of ISAs");
    check(count > 0 && strcmp(bnorm_isa_name(count - 1), "scalar") == 0, "portable C is not last");
    check(bnorm_isa_name(count) == NULL && bnorm_isa_name((size_t)-1) == NULL, "the list has no end");
#ifdef BNORM_HAVE_NEON
    check(count > 1 && strcmp(bnorm_isa_name(count - 2), "neon") == 0, "NEON does not run");
#endif
}

/* ---- In a process that has not chosen yet ---- */

#ifdef _WIN32
static void check_environment(void)
{
    check_case("BNORM_ISA");
    check_skip("there is no fork");
}

static void check_races(void)
{
}
#else
/* Runs `choice` in a child, with BNORM_ISA set to `isa` or unset, and returns its answer. */
static bool in_child(bool (*choice)(const char *), const char *isa, const char *expected)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        if (isa)
            setenv("BNORM_ISA", isa, 1);
        else
            unsetenv("BNORM_ISA");
        _exit(choice(expected) ? 0 : 1);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool default_is(const char *expected)
{
    return strcmp(bnorm_isa(), expected) == 0;
}

static void check_environment(void)
{
    check_case("BNORM_ISA");
    check(in_child(default_is, NULL, bnorm_isa_name(0)), "the default is not the best");
    for (size_t i = 0; i < bnorm_isa_count(); i++)
        check(in_child(default_is, bnorm_isa_name(i), bnorm_isa_name(i)), "an ISA that runs here was not chosen");
    check(in_child(default_is, "vax", bnorm_isa_name(0)), "an unknown name is not ignored");
    check(in_child(default_is, "", bnorm_isa_name(0)), "an empty name is not ignored");
}

enum { RACERS = 32, SET_CORE = 5, SET_SHARED = 6 };
static pthread_barrier_t start_line;

typedef struct racer {
    pthread_t thread;
    int number;
    bool setter;
    const char *isa; /* that it saw, or NULL if anything went wrong */
} racer;

/* What a thread does first; others begin with a call. */
static void touch(int number)
{
    size_t core, shared;
    if (number % 4 == 1)
        bnorm_cache_sizes(&core, &shared);
    if (number % 4 == 2)
        bnorm_isa_count();
    if (number % 4 == 3)
        bnorm_isa();
}

static void *race(void *argument)
{
    racer *self = argument;
    static const float mean = 0.5f, var = 2.0f;
    const bnorm_infer_params p = { .struct_size = sizeof(p), .mean = &mean, .var = &var, .epsilon = 1e-5f };
    const bnorm_shape shape = bnorm_nchw(1, 1, 40);
    float x[40] = { 1.0f }, y[40] = { 0.0f };
    pthread_barrier_wait(&start_line);
    if (self->setter && bnorm_set_isa("scalar") != BNORM_OK)
        return NULL;
    if (self->setter)
        bnorm_set_cache_sizes(SET_CORE, SET_SHARED);
    touch(self->number);
    if (bnorm_infer(&shape, &p, x, y, NULL) != BNORM_OK || !(y[0] > 0.353f && y[0] < 0.354f))
        return NULL;
    self->isa = bnorm_isa();
    return NULL;
}

/* All racers see the same choice; where one of them sets it, it ends up set. */
static bool race_to(const char *expected)
{
    racer racers[RACERS] = { { 0 } };
    bool setting = strcmp(expected, "scalar") == 0, right = true;
    pthread_barrier_init(&start_line, NULL, RACERS);
    for (int i = 0; i < RACERS; i++) {
        racers[i].number = i;
        racers[i].setter = setting && i == RACERS / 2;
        pthread_create(&racers[i].thread, NULL, race, &racers[i]);
    }
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        right = right && racers[i].isa && (setting || strcmp(racers[i].isa, expected) == 0);
    }
    size_t core, shared;
    bnorm_cache_sizes(&core, &shared);
    right = right && core && shared && (!setting || (core == SET_CORE && shared == SET_SHARED));
    return right && strcmp(bnorm_isa(), expected) == 0;
}

static void check_races(void)
{
    enum { RACES = 25 };
    check_case("%d threads race for the first use", RACERS);
    for (int i = 0; i < RACES; i++) {
        check(in_child(race_to, NULL, bnorm_isa_name(0)), "not all chose the same");
        check(in_child(race_to, NULL, "scalar"), "bnorm_set_isa or bnorm_set_cache_sizes was lost");
    }
}

#endif

/* ---- Setting ---- */

static void check_setting(void)
{
    check_case("bnorm_set_isa");
    for (size_t i = 0; i < bnorm_isa_count(); i++) {
        check(bnorm_set_isa(bnorm_isa_name(i)) == BNORM_OK, "an ISA that runs here was refused");
        check(strcmp(bnorm_isa(), bnorm_isa_name(i)) == 0, "the ISA was not set");
        check(bnorm_set_isa("vax") == BNORM_ERROR_ISA, "an unknown ISA was accepted");
        check(strcmp(bnorm_isa(), bnorm_isa_name(i)) == 0, "a refused name changed the ISA");
    }
#ifndef _WIN32
    unsetenv("BNORM_ISA");
#endif
    check(bnorm_set_isa(NULL) == BNORM_OK && strcmp(bnorm_isa(), bnorm_isa_name(0)) == 0, "NULL is not the default");
}

/* ---- Caches ---- */

#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__))

/* A line of a cache of the first CPU, as the kernel of the operating system tells. */
static bool read_line(int index, const char *name, char *line, int size)
{
    char path[96];
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
    FILE *file = fopen(path, "r");
    bool read = file && fgets(line, size, file);
    if (file)
        fclose(file);
    return read;
}

static void check_found_caches(void)
{
    size_t core = 0, shared = 0, found_core, found_shared;
    char level[32], type[32], size[32];
    for (int i = 0;
         read_line(i, "level", level, 32) && read_line(i, "type", type, 32) && read_line(i, "size", size, 32); i++) {
        size_t bytes = (size_t)strtoull(size, NULL, 10) * 1024;
        if (strncmp(type, "Instruction", 11) == 0)
            continue;
        if (atoi(level) <= 2)
            core = bytes;
        if (atoi(level) >= 2)
            shared = bytes;
    }
    if (!shared) {
        check_skip("the system does not tell the sizes of its caches");
        return;
    }
    bnorm_cache_sizes(&found_core, &found_shared);
    check(found_core == core && found_shared == shared, "not the caches that the system shows");
}

#else

static void check_found_caches(void)
{
    check_skip("there is nothing to compare the caches with on this system");
}

#endif

/* Training that asks for its workspace while caches have one size, and runs when they have another. */
static void train_across(size_t query, size_t run, const bnorm_shape *shape, const float *x, float *y)
{
    bnorm_train_params p = { .struct_size = sizeof(p), .epsilon = 1e-5f };
    size_t size = 0;
    bnorm_set_cache_sizes(query, query);
    check(bnorm_workspace_size(shape, BNORM_OP_TRAIN, NULL, &size) == BNORM_OK, "no size");
    buffers taken = { NULL };
    void *workspace = take_zeros(&taken, size);
    bnorm_set_cache_sizes(run, run);
    check(bnorm_train(shape, &p, x, y, workspace, size, NULL) == BNORM_OK, "the workspace was too small");
    give_back(&taken);
}

static void check_caches(void)
{
    enum { CHANNELS = 40, POINTS = 50, BATCH = 3 };
    static const size_t sizes[] = { 1, 4096, 65536, SIZE_MAX };
    static float x[BATCH * CHANNELS * POINTS], y[2][BATCH * CHANNELS * POINTS];
    size_t found_core, found_shared, core, shared;
    check_case("cache sizes");
    bnorm_cache_sizes(&found_core, &found_shared);
    bnorm_set_cache_sizes(5, 0);
    bnorm_cache_sizes(&core, &shared);
    check(core == 5 && shared == found_shared, "the size of a core's cache was not set, or the other one was");
    bnorm_set_cache_sizes(0, 6);
    bnorm_cache_sizes(&core, NULL);
    bnorm_cache_sizes(NULL, &shared);
    check(core == found_core && shared == 6, "the size of the largest cache was not set, or the other one was");
    for (size_t i = 0; i < sizeof(x) / sizeof(*x); i++)
        x[i] = (float)(i * i % 1009);
    const bnorm_shape shape = bnorm_nchw(BATCH, CHANNELS, POINTS);
    for (size_t query = 0; query < COUNT_OF(sizes); query++)
        for (size_t run = 0; run < COUNT_OF(sizes); run++) {
            train_across(sizes[query], sizes[run], &shape, x, y[query || run]);
            check(memcmp(y[0], y[query || run], sizeof(y[0])) == 0, "the size of a cache changed a result");
        }
    bnorm_set_cache_sizes(0, 0);
    bnorm_cache_sizes(&core, &shared);
    check(core == found_core && shared == found_shared, "0 is not what was found");
}

int main(int argc, char **argv)
{
    bool emulated = false; /* then /proc/cpuinfo is not that of the CPU, and --require says what runs */
    for (int i = 1; i < argc; i++)
        emulated = emulated || strncmp(argv[i], "--require", 9) == 0;
    check_start(argc, argv);
    check_case("/proc/cpuinfo");
    if (emulated)
        check_skip("it is not that of the emulated CPU");
    else
        check_cpuinfo();
    check_list();
    check_environment();
    check_races();
    check_setting();
    check_case("the caches of this system");
    if (emulated)
        check_skip("they are not those of the emulated CPU");
    else
        check_found_caches();
    check_caches();
    return check_finish();
}
