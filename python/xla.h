/* SPDX-License-Identifier: MIT */
/* XLA's foreign function interface, as far as handlers need it, and its thread pool as an executor.
 *
 * The structs are those of xla/ffi/api/c_api.h, in jaxlib's wheel. They are declared here, as one library then serves
 * every JAX, where a handler built against newer headers than the jaxlib that loads it is refused. python/tests/xla.cpp
 * compares them.
 */
#ifndef BNORM_XLA_H
#define BNORM_XLA_H

#include "calls.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace xla
{

using bnorm_calls::Error;

// ---- What XLA calls handlers with ----

/* The versions that this is written for, which have the same structs, as far as they are here. */
constexpr int MAJOR = 0, FIRST_MINOR = 1, LAST_MINOR = 3;

enum Type : int { U8 = 6, F16 = 10, F32 = 11, BF16 = 16, S32 = 4, S64 = 5 };
enum { METADATA = 1, SCALAR = 3, EXECUTE = 3, INVALID_ARGUMENT = 3 };

using Context = struct ContextObject *;
using Failure = struct FailureObject *;

struct Extension {
    size_t struct_size;
    int type;
    Extension *next;
};

struct Version {
    size_t struct_size;
    Extension *extension;
    int major_version, minor_version;
};

struct Metadata {
    size_t struct_size;
    Version version;
    uint32_t traits;
};

struct MetadataExtension {
    Extension base;
    Metadata *metadata;
};

struct Buffer {
    size_t struct_size;
    Extension *extension;
    Type type;
    void *data;
    int64_t rank;
    int64_t *dims;
};

struct Buffers { // arguments, or results
    size_t struct_size;
    Extension *extension;
    int64_t size;
    int *types;
    Buffer **buffers;
};

struct Name {
    const char *text;
    size_t length;
};

struct Scalar {
    Type type;
    void *value;
};

struct Attributes {
    size_t struct_size;
    Extension *extension;
    int64_t size;
    int *types;
    Name **names;
    void **values;
};

struct ErrorCreate {
    size_t struct_size;
    Extension *extension;
    const char *message;
    int code;
};

struct Schedule {
    size_t struct_size;
    Extension *extension;
    Context context;
    void (*task)(void *data);
    void *data;
};

struct NumThreads {
    size_t struct_size;
    Extension *extension;
    Context context;
    int64_t *threads;
};

struct ErrorDestroy {
    size_t struct_size;
    Extension *extension;
    Failure failure;
};

struct Api {
    size_t struct_size;
    Extension *extension;
    Version version;
    const void *internal;
    Failure (*error_create)(ErrorCreate *);
    void (*error_get_message)();
    void (*error_destroy)(ErrorDestroy *);
    void (*not_used[8])();
    Failure (*schedule)(Schedule *);
    Failure (*num_threads)(NumThreads *);
};

struct CallFrame {
    size_t struct_size;
    Extension *extension;
    const Api *api;
    Context context;
    int stage;
    Buffers arguments, results;
    Attributes attributes;
};

using Handler = Failure(CallFrame *);

// ---- Handlers ----

inline const Buffer &buffer_at(const Buffers &buffers, int64_t i)
{
    if (i >= buffers.size)
        throw Error("bnorm: the call has too few arrays");
    return *buffers.buffers[i];
}

inline size_t elements(const Buffer &buffer)
{
    size_t product = 1;
    for (int64_t i = 0; i < buffer.rank; i++)
        product *= static_cast<size_t>(buffer.dims[i]);
    return product;
}

/* An array of so many elements; of none: NULL. */
template <class T = void> T *array(const Buffer &buffer, Type type, size_t count)
{
    if (buffer.type != type || elements(buffer) != count)
        throw Error("bnorm: an array of the call has another type or size");
    return count ? static_cast<T *>(buffer.data) : nullptr;
}

template <class T> T attribute(const Attributes &attributes, const char *name, Type type)
{
    for (int64_t i = 0; i < attributes.size; i++) {
        const Name &given = *attributes.names[i];
        if (given.length != std::strlen(name) || std::memcmp(given.text, name, given.length) != 0)
            continue;
        const Scalar &scalar = *static_cast<const Scalar *>(attributes.values[i]);
        if (attributes.types[i] == SCALAR && scalar.type == type)
            return *static_cast<const T *>(scalar.value);
    }
    throw Error("bnorm: an attribute of the call is missing");
}

inline Failure failure(const CallFrame &frame, const char *message)
{
    ErrorCreate create = { sizeof(create), nullptr, message, INVALID_ARGUMENT };
    return frame.api->error_create(&create);
}

/* What a handler is asked for: the version that it is of, or that it runs. */
template <void (*body)(const CallFrame &)> Failure handle(CallFrame *frame)
{
    for (Extension *extension = frame->extension; extension; extension = extension->next)
        if (extension->type == METADATA) {
            Version &version = reinterpret_cast<MetadataExtension *>(extension)->metadata->version;
            version.major_version = MAJOR;
            version.minor_version = frame->api ? std::min(LAST_MINOR, frame->api->version.minor_version) : FIRST_MINOR;
            return nullptr;
        }
    if (frame->stage != EXECUTE)
        return failure(*frame, "bnorm: the handler only executes");
    try {
        body(*frame);
        return nullptr;
    } catch (const std::exception &error) {
        return failure(*frame, error.what());
    }
}

// ---- Threads ----

/* The tasks of one call. XLA's threads may all be busy, even with calls that wait for each other: whoever comes takes
 * the next task, and a thread that comes late finds none left, when the call may long have returned. So the last one
 * that knows the job deletes it. */
class Job
{
    bnorm_task *const task;
    void *const argument;
    const size_t tasks;
    std::atomic<size_t> begun = 0, finished = 0, holders;

public:
    Job(size_t count, bnorm_task *function, void *data, size_t threads)
        : task(function), argument(data), tasks(count), holders(threads)
    {
    }
    void work()
    {
        for (size_t i; (i = begun.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
            task(argument, i);
            if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks)
                finished.notify_one();
        }
    }
    void wait()
    {
        for (size_t done; (done = finished.load(std::memory_order_acquire)) < tasks;)
            finished.wait(done, std::memory_order_acquire);
    }
    void leave()
    {
        if (holders.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }
};

inline void help(void *data)
{
    Job *job = static_cast<Job *>(data);
    job->work();
    job->leave();
}

inline bool succeeds(const CallFrame &frame, Failure failed)
{
    if (failed) {
        ErrorDestroy destroy = { sizeof(destroy), nullptr, failed };
        frame.api->error_destroy(&destroy);
    }
    return !failed;
}

inline size_t num_threads(const CallFrame &frame)
{
    int64_t threads = 1;
    NumThreads ask = { sizeof(ask), nullptr, frame.context, &threads };
    const bool known = succeeds(frame, frame.api->num_threads(&ask));
    return known && threads > 1 ? static_cast<size_t>(threads) : 1;
}

/* The library is C, through which nothing may be thrown. */
inline void run_on_xla(void *context, size_t tasks, bnorm_task *task, void *argument) noexcept
{
    const CallFrame &frame = *static_cast<const CallFrame *>(context);
    const size_t threads = std::min(tasks, num_threads(frame));
    Job *job = new Job(tasks, task, argument, threads);
    for (size_t i = 1; i < threads; i++) {
        Schedule schedule = { sizeof(schedule), nullptr, frame.context, help, job };
        if (!succeeds(frame, frame.api->schedule(&schedule)))
            job->leave();
    }
    job->work();
    job->wait();
    job->leave();
}

/* Valid as long as the frame. */
inline bnorm_executor pool(const CallFrame &frame)
{
    return { run_on_xla, const_cast<CallFrame *>(&frame), num_threads(frame) };
}

} // namespace xla

#endif
