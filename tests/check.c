/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bnorm/bnorm.h"

static const char *program;
static unsigned long long passed, failed, skipped;
static uint64_t seed = 20261123;
static bool best_only;
static char context[512];

static void crashed(int number)
{
    static const char before[] = "\ncrashed in: ", after[] = "\n";
    ssize_t written = write(STDERR_FILENO, before, sizeof(before) - 1);
    written += write(STDERR_FILENO, context, strlen(context));
    written += write(STDERR_FILENO, after, sizeof(after) - 1);
    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

typedef struct {
    char names[128];
} isa_list;

static isa_list list_isas(size_t count, const char *separator)
{
    isa_list list = { "" };
    for (size_t i = 0; i < count; i++) {
        strncat(list.names, i ? separator : "", sizeof(list.names) - strlen(list.names) - 1);
        strncat(list.names, bnorm_isa_name(i), sizeof(list.names) - strlen(list.names) - 1);
    }
    return list;
}

static void require(const char *names)
{
    const isa_list running = list_isas(bnorm_isa_count(), ",");
    check_context("--require=%s: %s run here", names, running.names);
    check(strcmp(running.names, names) == 0, "not the ISAs that should run");
}

void check_start(int argc, char **argv, const char *name)
{
    static const struct option options[] = { { "seed", required_argument, NULL, 's' },
                                             { "require", required_argument, NULL, 'r' },
                                             { "best", no_argument, NULL, 'b' },
                                             { NULL, 0, NULL, 0 } };
    static const int signals[] = {
        SIGSEGV,
        SIGILL,
        SIGFPE,
#ifdef SIGBUS
        SIGBUS,
#endif
    };
    int option;
    program = name;
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        signal(signals[i], crashed);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (option == 'r')
            require(optarg);
        else if (option == 'b')
            best_only = true;
        else
            exit(2);
    }
    check_note("%s --seed=%llu, bnorm %s", program, (unsigned long long)seed, bnorm_version());
}

void check_context(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);
}

bool check(bool ok, const char *what)
{
    enum { SHOWN = 30 };
    if (ok)
        passed++;
    else if (++failed <= SHOWN)
        printf("FAILED: %s: %s\n", context, what);
    return ok;
}

void check_skip(const char *why)
{
    skipped++;
    printf("# skipped: %s\n", why);
}

void check_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("# ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

size_t check_isa_count(void)
{
    return best_only ? 1 : bnorm_isa_count();
}

void check_note_isas(void)
{
    check_note("ISAs: %s", list_isas(check_isa_count(), " ").names);
}

int check_finish(void)
{
    printf("%s: %llu passed, %llu failed, %llu skipped\n", program, passed, failed, skipped);
    if (failed || passed + skipped == 0)
        return 1;
    return passed ? 0 : 77;
}

uint64_t check_seed(void)
{
    return seed;
}

bool same_bits(const float *a, const float *b, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

uint64_t check_digest(uint64_t hash, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof(bits));
        if (isnan(values[i]))
            bits = 0x7fc00000;
        for (int byte = 0; byte < 4; byte++, bits >>= 8)
            hash = (hash ^ (bits & 0xff)) * 0x100000001b3u;
    }
    return hash;
}
