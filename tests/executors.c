/* SPDX-License-Identifier: MIT */
#include "executors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct work {
    atomic_size_t next;
    size_t tasks;
    bnorm_task *task;
    void *argument;
} work;

static void *worker(void *argument)
{
    work *w = argument;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->tasks;)
        w->task(w->argument, i);
    return NULL;
}

static void run_threads(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    enum { MOST = 64 };
    pthread_t threads[MOST];
    size_t width = (uintptr_t)context < MOST ? (uintptr_t)context : MOST;
    work w = { .tasks = tasks, .task = task, .argument = argument };
    for (size_t i = 0; i < width; i++)
        if (pthread_create(&threads[i], NULL, worker, &w))
            abort();
    for (size_t i = 0; i < width; i++)
        pthread_join(threads[i], NULL);
}

static void run_backwards(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    (void)context;
    while (tasks--)
        task(argument, tasks);
}

bnorm_executor executor_threads(size_t width)
{
    return (bnorm_executor){ run_threads, (void *)(uintptr_t)width, width };
}

bnorm_executor executor_backwards(size_t width)
{
    return (bnorm_executor){ run_backwards, NULL, width };
}
