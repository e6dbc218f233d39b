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

/* Of the case, and of all before. */
static struct {
    char name[256], context[512], skipped[256];
    unsigned long long passed, failed;
} now;
static unsigned long long points, failed_points, checks;
static uint64_t seed = 20261123;
static bool best_only;

static void print_error(const char *text)
{
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void crashed(int number)
{
    print_error("\ncrashed in: ");
    print_error(now.name);
    print_error(*now.context ? ": " : "");
    print_error(now.context);
    print_error("\n");
    signal(number, SIG_DFL);
    raise(number);
}

/* The ISAs that run here, with commas between them; without SVE if that is not wanted. */
static void list_isas(char *list, size_t size, bool sve)
{
    *list = '\0';
    for (size_t i = 0; i < bnorm_isa_count(); i++)
        if (sve || strcmp(bnorm_isa_name(i), "sve") != 0) {
            strncat(list, *list ? "," : "", size - strlen(list) - 1);
            strncat(list, bnorm_isa_name(i), size - strlen(list) - 1);
        }
}

/* Whether SVE runs depends on the length of vectors, too, of which lists of a CPU's features say nothing. */
static void require(const char *names, bool exactly)
{
    char running[128];
    list_isas(running, sizeof(running), exactly || strstr(names, "sve"));
    check_case("the ISAs that run are %s", names);
    check_context("%s", running);
    check(strcmp(running, names) == 0, "others run");
}

void check_start(int argc, char **argv)
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
    const char *required = NULL, *usual = getenv("BNORM_REQUIRE");
    int option;
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        signal(signals[i], crashed);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (option == 'r')
            required = optarg;
        else if (option == 'b')
            best_only = true;
        else
            exit(2);
    }
    check_note("--seed=%llu, bnorm %s", (unsigned long long)seed, bnorm_version());
    if (required || (usual && *usual))
        require(required ? required : usual, required != NULL);
}

static void print_point(bool ok, const char *name, const char *skipped)
{
    points++;
    failed_points += !ok;
    printf("%sok %llu - %s%s%s\n", ok ? "" : "not ", points, name, *skipped ? " # SKIP " : "", skipped);
    fflush(stdout); /* a crash must not take it along */
}

static void end_case(void)
{
    const bool checked = now.passed || now.failed;
    checks += now.passed + now.failed;
    if (!*now.name)
        return;
    if (!checked && !*now.skipped)
        check_note("nothing was checked");
    if (checked && *now.skipped)
        check_note("skipped: %s", now.skipped);
    print_point(!now.failed && (checked || *now.skipped), now.name, checked ? "" : now.skipped);
}

void check_case(const char *format, ...)
{
    va_list arguments;
    end_case();
    memset(&now, 0, sizeof(now));
    va_start(arguments, format);
    vsnprintf(now.name, sizeof(now.name), format, arguments);
    va_end(arguments);
}

void check_context(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(now.context, sizeof(now.context), format, arguments);
    va_end(arguments);
}

bool check(bool ok, const char *what)
{
    enum { SHOWN = 10 };
    if (!*now.name)
        check_case("outside of cases");
    if (ok) {
        now.passed++;
    } else if (++now.failed <= SHOWN) {
        check_note("%s%s%s", now.context, *now.context ? ": " : "", what);
        fflush(stdout);
    } else if (now.failed == SHOWN + 1) {
        check_note("and more");
    }
    return ok;
}

bool check_failed(void)
{
    return now.failed != 0;
}

void check_skip(const char *why)
{
    snprintf(now.skipped, sizeof(now.skipped), "%s", why);
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

int check_finish(void)
{
    end_case();
    check_note("%llu checks", checks);
    printf("1..%llu%s%s\n", points, points || !*now.skipped ? "" : " # SKIP ", points ? "" : now.skipped);
    return failed_points || (!points && !*now.skipped);
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
