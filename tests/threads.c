/* SPDX-License-Identifier: MIT */
/*
 * Many threads at once: calls of every kind side by side, on one shared executor or none, from within tasks of other
 * calls, while the ISA and the cache sizes are changed. Each must give the bits that it gives alone. It says the most
 * when it is built with -Db_sanitize=thread.
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
#include "inputs.h"

enum { BATCH = 3, CHANNELS = 24, POINTS = 700, ELEMENTS = BATCH * CHANNELS * POINTS, WORKSPACE = 1 << 18 };

static float x[ELEMENTS], dy[ELEMENTS], parameters[4][CHANNELS];

/* What a thread has of its own. */
typedef struct outputs {
    float y[ELEMENTS], dx[ELEMENTS], inferred[ELEMENTS], weights[ELEMENTS];
    float saved[3][CHANNELS], gradients[2][CHANNELS], bias[CHANNELS];
} outputs;

static bnorm_status call_all(const bnorm_shape *shape, const bnorm_executor *executor, outputs *o, char *workspace)
{
    const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };
    const bnorm_infer_params infer = { .struct_size = sizeof(infer), .mean = parameters[0], .var = parameters[1] };
    const bnorm_train_params train = { .struct_size = sizeof(train),
                                       .gamma = parameters[2],
                                       .beta = parameters[3],
                                       .epsilon = 1e-5f,
                                       .saved_mean = o->saved[0],
                                       .saved_mean_low = o->saved[1],
                                       .saved_rstd = o->saved[2],
                                       .epilogue = &relu };
    const bnorm_backward_params backward = { .struct_size = sizeof(backward),
                                             .gamma = parameters[2],
                                             .beta = parameters[3],
                                             .mean = o->saved[0],
                                             .mean_low = o->saved[1],
                                             .rstd = o->saved[2],
                                             .dgamma = o->gradients[0],
                                             .dbeta = o->gradients[1],
                                             .epilogue = &relu };
    bnorm_status status = bnorm_train(shape, &train, x, o->y, workspace, WORKSPACE, executor);
    if (!status)
        status = bnorm_backward(shape, &backward, x, dy, o->dx, workspace, WORKSPACE, executor);
    if (!status)
        status = bnorm_infer(shape, &infer, o->y, o->inferred, executor);
    return status ? status : bnorm_fold(shape, &infer, x, NULL, o->weights, o->bias);
}

/* ---- Executors ---- */

/* A task of an executor, before which its thread makes calls of its own. */
typedef struct nested_run {
    bnorm_task *task;
    void *argument;
    const bnorm_shape *shape;
    const outputs *expected;
    atomic_bool *right;
} nested_run;

static bool is_right(const bnorm_shape *shape, const bnorm_executor *executor, const outputs *expected)
{
    buffers taken = { NULL };
    outputs *o = take_zeros(&taken, sizeof(*o));
    char *workspace = take_zeros(&taken, WORKSPACE);
    const bool right = call_all(shape, executor, o, workspace) == BNORM_OK && memcmp(o, expected, sizeof(*o)) == 0;
    give_back(&taken);
    return right;
}

static atomic_size_t nested_calls;

static void nested_task(void *argument, size_t task)
{
    const nested_run *n = argument;
    if (task % 4 == 0 && !is_right(n->shape, NULL, n->expected))
        atomic_store(n->right, false);
    atomic_fetch_add(&nested_calls, task % 4 == 0);
    n->task(n->argument, task);
}

/* An executor of two threads each of whose tasks may make calls. */
typedef struct nested_context {
    const bnorm_shape *shape;
    const outputs *expected;
    atomic_bool right;
} nested_context;

static void run_nested(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    nested_context *c = context;
    const bnorm_executor two = executor_threads(2);
    nested_run n = { task, argument, c->shape, c->expected, &c->right };
    two.run(two.context, tasks, nested_task, &n);
}

/* ---- Threads ---- */

enum { SHAPES = 4 };
static bnorm_shape shapes[SHAPES];
static outputs expected[SHAPES];
static atomic_bool stopping;

typedef struct caller {
    pthread_t thread;
    size_t number;
    bool right;
} caller;

static void *call_often(void *argument)
{
    enum { ROUNDS = 6 };
    caller *self = argument;
    const bnorm_executor two = executor_threads(2), backwards = executor_backwards(8);
    for (size_t round = 0; round < ROUNDS; round++) {
        const size_t i = (self->number + round) % SHAPES;
        nested_context nested = { &shapes[i], &expected[i], true };
        const bnorm_executor outer = { run_nested, &nested, 2 };
        const bnorm_executor *const executors[] = { NULL, &two, &backwards, &outer };
        self->right =
            self->right && is_right(&shapes[i], executors[(self->number + round) % COUNT_OF(executors)], &expected[i]);
        self->right = self->right && atomic_load(&nested.right);
    }
    return NULL;
}

/* Changes, again and again, what must not change results. */
static void *change_settings(void *argument)
{
    (void)argument;
    for (size_t i = 0; !atomic_load(&stopping); i++) {
        size_t core, shared;
        bnorm_set_isa(bnorm_isa_name(i % bnorm_isa_count()));
        bnorm_set_cache_sizes(i % 3 * 100000, i % 5 * 50000);
        bnorm_cache_sizes(&core, &shared);
        bnorm_isa();
    }
    return NULL;
}

/* A stack as small as docs/embedding.md says is enough, where a thread can have one, and sanitizers do not need more.
 */
static void set_stack(pthread_attr_t *attributes)
{
    pthread_attr_init(attributes);
#if !IS_SANITIZED
    pthread_attr_setstacksize(attributes, 1 << 16);
#endif
}

static void check_callers(bool changing)
{
    enum { CALLERS = 8 };
    caller callers[CALLERS];
    pthread_t changer;
    pthread_attr_t attributes;
    set_stack(&attributes);
    check_case("%d threads%s", CALLERS, changing ? ", while the ISA and the cache sizes change" : "");
    atomic_store(&stopping, false);
    if (changing)
        pthread_create(&changer, NULL, change_settings, NULL);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i].number = i;
        callers[i].right = true;
        pthread_create(&callers[i].thread, &attributes, call_often, &callers[i]);
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        check(callers[i].right, "a thread's results have other bits than alone");
    }
    atomic_store(&stopping, true);
    if (changing)
        pthread_join(changer, NULL);
    pthread_attr_destroy(&attributes);
    bnorm_set_isa(NULL);
    bnorm_set_cache_sizes(0, 0);
}

/* ---- Every public call ---- */

enum { MOST_CASES = 2048, SHARERS = 8 };
static uint64_t digests[MOST_CASES];

/* A thread with tensors of its own, drawn before it starts: drawing is not for many threads. */
typedef struct sharer {
    pthread_t thread;
    size_t number;
    bool right;
    every e;
} sharer;

/* One of so many cases of the types that were drawn: makes its calls, and says whether they give what is known. */
static void *share_cases(void *argument)
{
    sharer *self = argument;
    const bnorm_executor two = executor_threads(2);
    every_case c;
    for (size_t i = 0; every_case_at(i, &c); i++) {
        if (c.shape.in.dtype != self->e.x_type || c.shape.out.dtype != self->e.y_type || i % 4 != self->number % 4)
            continue;
        const bnorm_status status = every_call(&self->e, &c, i / 4 % 4 ? NULL : &two);
        self->right = self->right && (status == BNORM_OK || status == BNORM_ERROR_UNSUPPORTED);
        self->right = self->right && every_digest(&self->e) == digests[i];
    }
    return NULL;
}

/* What each case gives alone; answers how many pairs of types there are, each drawn into one of `sharers`. */
static size_t learn_cases(sharer *sharers)
{
    size_t pairs = 0;
    every_case c;
    for (size_t i = 0; i < MOST_CASES && every_case_at(i, &c); i++) {
        if (!pairs || sharers[pairs - 1].e.x_type != c.shape.in.dtype ||
            sharers[pairs - 1].e.y_type != c.shape.out.dtype)
            every_draw(&sharers[pairs++].e, &c);
        every_call(&sharers[pairs - 1].e, &c, NULL);
        digests[i] = every_digest(&sharers[pairs - 1].e);
    }
    check(!every_case_at(MOST_CASES, &c), "there are more cases");
    return pairs;
}

static void check_every_call(void)
{
    buffers taken = { NULL };
    sharer *const sharers = take_zeros(&taken, SHARERS * sizeof(*sharers));
    pthread_t changer;
    check_case("every public call on %d threads, while the ISA and the cache sizes change", SHARERS);
    const size_t pairs = learn_cases(sharers);
    atomic_store(&stopping, false);
    pthread_create(&changer, NULL, change_settings, NULL);
    for (size_t i = 0; i < SHARERS; i++) {
        if (i >= pairs)
            sharers[i].e = sharers[i % pairs].e;
        sharers[i].number = i / pairs;
        sharers[i].right = true;
    }
    for (size_t i = 0; i < SHARERS; i++)
        pthread_create(&sharers[i].thread, NULL, share_cases, &sharers[i]);
    for (size_t i = 0; i < SHARERS; i++) {
        pthread_join(sharers[i].thread, NULL);
        check(sharers[i].right, "a thread's results have other bits than alone");
    }
    atomic_store(&stopping, true);
    pthread_join(changer, NULL);
    give_back(&taken);
}

int main(int argc, char **argv)
{
    static char workspace[WORKSPACE];
    check_start(argc, argv);
    input_fill(INPUT_normal, x, BATCH, CHANNELS, POINTS, check_seed());
    input_fill(INPUT_normal, dy, BATCH, CHANNELS, POINTS, check_seed() + 1);
    for (int c = 0; c < CHANNELS; c++) {
        parameters[0][c] = parameters[3][c] = (float)c / 7;
        parameters[1][c] = parameters[2][c] = (float)c / 9 + 1;
    }
    shapes[0] = bnorm_nchw(BATCH, CHANNELS, POINTS);
    shapes[1] = bnorm_nhwc(BATCH, CHANNELS, POINTS);
    shapes[2] = bnorm_blocked(BATCH, CHANNELS, POINTS, 8);
    shapes[3] = shapes[0]; /* to NCHW from channels side by side */
    shapes[3].in.block_stride = 1;
    shapes[3].in.point_stride = CHANNELS;
    shapes[3].in.image_stride = POINTS * CHANNELS;
    check_case("one thread");
    for (int i = 0; i < SHAPES; i++)
        check(call_all(&shapes[i], NULL, &expected[i], workspace) == BNORM_OK, "a call failed");
    check_callers(false);
    check_callers(true);
    check_every_call();
    check_case("calls from tasks of calls");
    check(atomic_load(&nested_calls) > 0, "no task made calls");
    return check_finish();
}
