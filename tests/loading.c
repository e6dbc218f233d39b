/* SPDX-License-Identifier: MIT */
/*
 * The shared library, loaded and unloaded again and again, by one thread and by several at once: test-loading
 * libbnorm.so. The first use after each loading works, and nothing stays behind: no thread, no thread-local memory.
 */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "one_call.h"

#define TEXT_OF(name) #name
#define NAME_OF(name) TEXT_OF(name) /* with the prefix of this build */

static const char *path;

/* Loads the library, uses it for the first time, and unloads it. */
static bool load_and_call(void)
{
    infer_function *infer = NULL;
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *const symbol = library ? dlsym(library, NAME_OF(bnorm_infer)) : NULL;
    memcpy(&infer, &symbol, sizeof(infer));
    const bool right = infer && one_call(infer);
    return library && dlclose(library) == 0 && right;
}

/* Elsewhere than in glibc, what was loaded may stay. */
static bool is_gone(void)
{
#ifdef __GLIBC__
    return !dlopen(path, RTLD_NOW | RTLD_NOLOAD);
#else
    return true;
#endif
}

static int count_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && readdir(tasks))
        count++;
    return tasks ? closedir(tasks) + count : 0;
}

/* Of thread-local memory, a segment of the library would tell. */
static int find_tls(struct dl_phdr_info *info, size_t size, void *found)
{
    (void)size;
    for (int i = 0; strcmp(info->dlpi_name, path) == 0 && i < info->dlpi_phnum; i++) {
        *(int *)found |= 1;
        *(int *)found |= info->dlpi_phdr[i].p_type == PT_TLS ? 2 : 0;
    }
    return 0;
}

static void check_segments(void)
{
    int found = 0;
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    check_case("no thread-local memory");
    check_context("%s", library ? path : dlerror());
    if (!check(library != NULL, "it cannot be loaded"))
        return;
    dl_iterate_phdr(find_tls, &found);
    check(found & 1, "the library is not among those that are loaded");
    check(!(found & 2), "it has thread-local memory");
    dlclose(library);
}

static void check_one_thread(void)
{
    enum { ROUNDS = 200 };
    const int threads = count_threads();
    check_case("loaded %d times", ROUNDS);
    for (int i = 0; i < ROUNDS; i++) {
        check(load_and_call(), "the first use after loading");
        check(is_gone(), "it is not unloaded");
    }
    check(count_threads() == threads, "a thread was started");
}

static atomic_bool wrong;

static void *load_often(void *argument)
{
    enum { ROUNDS = 100 };
    for (int i = 0; i < ROUNDS; i++)
        if (!load_and_call())
            atomic_store(&wrong, true);
    return argument;
}

static void check_several_threads(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    check_case("loaded by %d threads at once", THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, load_often, NULL))
            atomic_store(&wrong, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(!atomic_load(&wrong), "the first use after loading");
    check(is_gone(), "it is not unloaded");
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    path = realpath(argv[argc - 1], NULL); /* as it is listed once it is loaded */
    if (!path)
        path = argv[argc - 1];
    check_segments();
    check_one_thread();
    check_several_threads();
    return check_finish();
}
