/* SPDX-License-Identifier: MIT */
/*
 * Calls before main() and after it: before any constructor, in constructors and destructors of the program and of a
 * shared library, and in an atexit() handler. The program has a copy of bnorm inside, the library is linked with the
 * shared one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "one_call.h"
#include "startup_library.h"

/* glibc calls these before the constructors of all libraries; sanitizers begin with one of these. */
#if defined(__GLIBC__) && !IS_SANITIZED
enum { HAS_PREINIT = 1 };
static bool first_right;

static void begin_first(void)
{
    first_right = one_call(bnorm_infer);
}

__attribute__((section(".preinit_array"), used)) static void (*first)(void) = begin_first;
#else
enum { HAS_PREINIT = 0 };
static const bool first_right = false;
#endif

static bool constructor_right, handler_right, destructor_right;

__attribute__((constructor)) static void begin(void)
{
    constructor_right = one_call(bnorm_infer);
}

static void handle_exit(void)
{
    handler_right = one_call(bnorm_infer);
}

__attribute__((destructor)) static void end(void)
{
    destructor_right = one_call(bnorm_infer);
}

/* The library's destructor is the last of all: a bit for each call that gave something else. */
static void tell(bool last_right)
{
    _exit((handler_right ? 0 : 1) + (destructor_right ? 0 : 2) + (last_right ? 0 : 4));
}

static void check_exit(void)
{
    int status = -1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        startup_library_last = tell;
        exit(atexit(handle_exit) ? 8 : 16);
    }
    check_case("after main()");
    if (!check(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status), "the program did not exit"))
        return;
    status = WEXITSTATUS(status);
    check((status & 24) == 0, "the destructor of the library did not run");
    check((status & 1) == 0, "a call in an atexit() handler");
    check((status & 2) == 0, "a call in a destructor of the program");
    check((status & 4) == 0, "a call in a destructor of a library");
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_case("before all constructors");
    if (HAS_PREINIT)
        check(first_right, "a call gave something else");
    else
        check_skip("this C library has no place for it, or a sanitizer must be first");
    check_case("in constructors");
    check(startup_library_right, "a call in a constructor of a library");
    check(constructor_right, "a call in a constructor of the program");
    check_exit();
    return check_finish();
}
