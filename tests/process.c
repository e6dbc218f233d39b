/* SPDX-License-Identifier: MIT */
/*
 * Where calls can be made: in a forked child, whatever other threads were doing; in a signal handler that interrupts
 * another call; and on a small stack. Each gives the bits that it gives elsewhere.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "check.h"
#include "every.h"
#include "executors.h"

#ifdef _WIN32
int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_skip("there is no fork, no signal and no stack of one's own");
    return check_finish();
}
#else
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Calls, and the digest that they must have. */
typedef struct known_calls {
    every_case c;
    uint64_t digest;
    every e;
} known_calls;

static bool are_right(known_calls *k)
{
    return every_call(&k->e, &k->c, NULL) == BNORM_OK && every_digest(&k->e) == k->digest;
}

/* ReLU with a mask in padded blocks. */
static void prepare(known_calls *k)
{
    for (size_t i = 0; every_case_at(i, &k->c) && !(k->c.shape.block == 8 && k->c.activation == BNORM_ACT_RELU); i++)
        ;
    every_draw(&k->e, &k->c);
    check(every_call(&k->e, &k->c, NULL) == BNORM_OK, "a call failed");
    k->digest = every_digest(&k->e);
}

static known_calls here, elsewhere;

/* ---- fork ---- */

static atomic_bool stopping, wrong;

static void *call_until_stopped(void *argument)
{
    while (!atomic_load(&stopping))
        if (!are_right(argument))
            atomic_store(&wrong, true);
    return NULL;
}

static bool right_in_child(void)
{
    int status = 1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(are_right(&here) && bnorm_set_isa(NULL) == BNORM_OK && are_right(&here) ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void check_forks(void)
{
    enum { FORKS = 20 };
    pthread_t thread;
    check_case("fork, while another thread is in a call");
    if (!check(pthread_create(&thread, NULL, call_until_stopped, &elsewhere) == 0, "no thread"))
        return;
    for (int i = 0; i < FORKS; i++) {
        check(right_in_child(), "a call in a forked child is not as in its parent");
        check(are_right(&here), "a call after a fork is not as before");
    }
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    check(!atomic_load(&wrong), "a fork changed what a call in another thread gives");
}

/* ---- Signals ---- */

static volatile sig_atomic_t handled, handled_right;

static void handle(int number)
{
    (void)number;
    handled_right = handled_right + are_right(&elsewhere);
    handled = handled + 1;
}

/* At one time or another of the calls; on a stack of their own. */
static void check_signals(void)
{
    enum { SIGNALS = 50, STACK = 1 << 17 };
    static char stack[STACK];
    const stack_t alternative = { .ss_sp = stack, .ss_size = STACK };
    struct sigaction action = { .sa_handler = handle, .sa_flags = SA_ONSTACK };
    bool right = true;
    check_case("signal handlers that interrupt calls");
    sigemptyset(&action.sa_mask);
    sigaltstack(&alternative, NULL);
    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; handled < SIGNALS; i++) {
        const struct itimerval soon = { .it_value.tv_usec = 1 + 7 * i % 300 };
        setitimer(ITIMER_REAL, &soon, NULL);
        right = are_right(&here) && right;
    }
    setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_usec = 0 }, NULL);
    signal(SIGALRM, SIG_DFL);
    check(right, "a call that was interrupted gave something else");
    check(handled_right == handled, "a call in a signal handler gave something else");
}

/* ---- Stacks ---- */

#if defined(__OPTIMIZE__) && !IS_SANITIZED
enum { IS_LEAN = 1 };
#else
enum { IS_LEAN = 0 };
#endif

/* How much of a thread's stack is written. */
static size_t stack_used(void *(*start)(void *))
{
    enum { STACK = 1 << 20, PAINT = 0x5a };
    buffers taken = { NULL };
    unsigned char *const stack = memset(take_guarded(&taken, STACK, FLUSH_START), PAINT, STACK);
    pthread_attr_t attributes;
    pthread_t thread;
    size_t unused = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    if (pthread_create(&thread, &attributes, start, NULL) == 0) {
        pthread_join(thread, NULL);
        while (unused < STACK && stack[unused] == PAINT)
            unused++;
    }
    pthread_attr_destroy(&attributes);
    give_back(&taken);
    return STACK - unused;
}

static void *do_nothing(void *argument)
{
    return argument;
}

static every on_stack;

/* All cases; the caches so small that tensors count as large, every other time. */
static void *make_calls(void *argument)
{
    const bnorm_executor backwards = executor_backwards(2);
    every_case c;
    for (size_t i = 0; every_case_at(i, &c); i++) {
        every_draw(&on_stack, &c);
        bnorm_set_cache_sizes(i % 2, i % 2);
        every_call(&on_stack, &c, i % 3 ? NULL : &backwards);
    }
    bnorm_set_cache_sizes(0, 0);
    return argument;
}

static void *make_queries(void *argument)
{
    every_case c;
    for (size_t i = 0; every_case_at(i, &c); i++)
        every_query(&on_stack, &c);
    return argument;
}

static void check_stack(const char *isa)
{
    enum { PROMISED = 1 << 16, PROMISED_OF_QUERIES = 1 << 13 };
    bnorm_set_isa(isa);
    const size_t none = stack_used(do_nothing), calls = stack_used(make_calls), queries = stack_used(make_queries);
    check_note("%s: at most %zu bytes of stack; %zu of those that touch no tensor", isa, calls - none, queries - none);
    check(none > 0 && calls > none && queries > none, "the stack of a thread cannot be measured");
    check(calls - none <= PROMISED, "a call takes more stack than docs/guarantees.md says");
    check(queries - none <= PROMISED_OF_QUERIES, "one that touches no tensor takes more than docs/guarantees.md says");
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_case("on the first thread");
    prepare(&here);
    prepare(&elsewhere);
    check(are_right(&here), "the same calls give something else");
    check_forks();
    check_signals();
    for (size_t i = 0; i < check_isa_count(); i++) {
        check_case("stacks, %s", bnorm_isa_name(i));
        if (IS_LEAN)
            check_stack(bnorm_isa_name(i));
        else
            check_skip("what sanitizers add, and optimisation leaves out, is not the library's");
    }
    return check_finish();
}
#endif
