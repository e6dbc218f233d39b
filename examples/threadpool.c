/* SPDX-License-Identifier: MIT */
/*
 * bnorm on a thread pool of one's own: what an engine has to write is `run_tasks` and a bnorm_executor that names it.
 * The pool is plain C11 and POSIX threads; the thread that calls bnorm works too. Results do not depend on the threads.
 */
#include <bnorm/bnorm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3 };

typedef struct pool {
    pthread_t workers[WORKERS];
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t wake, done;
    bnorm_task *task;
    void *argument;
    size_t next, tasks, unfinished;
    bool stopping;
} pool;

/* With the mutex held, before and after: takes tasks as long as there are any. */
static void work(pool *p)
{
    while (p->next < p->tasks) {
        const size_t i = p->next++;
        pthread_mutex_unlock(&p->mutex);
        p->task(p->argument, i);
        pthread_mutex_lock(&p->mutex);
        if (--p->unfinished == 0)
            pthread_cond_broadcast(&p->done);
    }
}

static void *serve(void *argument)
{
    pool *p = argument;
    pthread_mutex_lock(&p->mutex);
    while (!p->stopping) {
        work(p);
        if (!p->stopping)
            pthread_cond_wait(&p->wake, &p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* Each task once, on any thread; returns when all have returned. Calls from several threads take turns. */
static void run_tasks(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    pool *p = context;
    pthread_mutex_lock(&p->mutex);
    while (p->unfinished)
        pthread_cond_wait(&p->done, &p->mutex);
    p->task = task;
    p->argument = argument;
    p->next = 0;
    p->tasks = p->unfinished = tasks;
    pthread_cond_broadcast(&p->wake);
    work(p);
    while (p->unfinished)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

static void start(pool *p)
{
    memset(p, 0, sizeof(*p));
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&p->workers[i], NULL, serve, p);
}

static void stop(pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(p->workers[i], NULL);
}

enum { BATCH = 8, CHANNELS = 64, POINTS = 56 * 56, ELEMENTS = BATCH * CHANNELS * POINTS };

static bnorm_status train(const float *x, float *y, const bnorm_executor *executor)
{
    const bnorm_shape shape = bnorm_nchw(BATCH, CHANNELS, POINTS);
    const bnorm_train_params params = bnorm_train_defaults();
    size_t size;
    bnorm_status status = bnorm_workspace_size(&shape, BNORM_OP_TRAIN, executor, &size);
    if (status)
        return status;
    void *workspace = malloc(size);
    status = bnorm_train(&shape, &params, x, y, workspace, size, executor);
    free(workspace);
    return status;
}

int main(void)
{
    static float x[ELEMENTS], with_pool[ELEMENTS], without[ELEMENTS];
    pool p;
    start(&p);
    const bnorm_executor executor = { run_tasks, &p, WORKERS + 1 };
    for (size_t i = 0; i < ELEMENTS; i++)
        x[i] = (float)(i * 7919 % 10007);
    bnorm_status status = train(x, with_pool, &executor);
    if (!status)
        status = train(x, without, NULL);
    stop(&p);
    const bool same = memcmp(with_pool, without, sizeof(without)) == 0;
    printf("%s; %d threads and one give %s bits\n", bnorm_status_string(status), WORKERS + 1,
           same ? "the same" : "OTHER");
    return status || !same;
}
