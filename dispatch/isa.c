/* SPDX-License-Identifier: MIT */
/* Which kernels run: the tables that were built in, those that this CPU runs, and the one that is chosen. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* Best first. */
static const bnorm_kernels *const built[] = {
#ifdef BNORM_HAVE_AVX512
    &bnorm_kernels_avx512,
#endif
#ifdef BNORM_HAVE_AVX2
    &bnorm_kernels_avx2,
#endif
#ifdef BNORM_HAVE_SVE512
    &bnorm_kernels_sve512,
#endif
#ifdef BNORM_HAVE_SVE256
    &bnorm_kernels_sve256,
#endif
#ifdef BNORM_HAVE_SVE128
    &bnorm_kernels_sve128,
#endif
#ifdef BNORM_HAVE_NEON
    &bnorm_kernels_neon,
#endif
    &bnorm_kernels_scalar,
};

/* CPUID is slow in a virtual machine: asked once. Threads that race here store the same value. */
static unsigned cpu(void)
{
    enum { KNOWN = 1 << 30 };
    static atomic_uint cached;
    unsigned bits = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!bits) {
        bits = bnorm_cpu_detect() | KNOWN;
        atomic_store_explicit(&cached, bits, memory_order_relaxed);
    }
    return bits;
}

bool bnorm_runs(unsigned bits)
{
    return (bits & ~cpu()) == 0;
}

const bnorm_kernels *bnorm_kernels_at(size_t index)
{
    for (size_t i = 0; i < sizeof(built) / sizeof(*built); i++)
        if (bnorm_runs(built[i]->cpu) && index-- == 0)
            return built[i];
    return NULL;
}

static const bnorm_kernels *kernels_named(const char *name)
{
    const bnorm_kernels *kernels;
    for (size_t i = 0; (kernels = bnorm_kernels_at(i)) != NULL; i++)
        if (strcmp(kernels->name, name) == 0)
            return kernels;
    return NULL;
}

static const bnorm_kernels *default_kernels(void)
{
    const char *name = getenv("BNORM_ISA");
    const bnorm_kernels *kernels = name ? kernels_named(name) : NULL;
    return kernels ? kernels : bnorm_kernels_at(0);
}

/* NULL until the first use. The tables are constant, so no order with other memory is needed. */
static _Atomic(const bnorm_kernels *) chosen;

const bnorm_kernels *bnorm_kernels_chosen(void)
{
    const bnorm_kernels *kernels = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (kernels)
        return kernels;
    const bnorm_kernels *none = NULL;
    kernels = default_kernels();
    /* Where another thread was first, or called bnorm_set_isa meanwhile, its choice stays. */
    return atomic_compare_exchange_strong(&chosen, &none, kernels) ? kernels : none;
}

size_t bnorm_isa_count(void)
{
    size_t count = 0;
    while (bnorm_kernels_at(count))
        count++;
    return count;
}

const char *bnorm_isa_name(size_t index)
{
    const bnorm_kernels *kernels = bnorm_kernels_at(index);
    return kernels ? kernels->name : NULL;
}

const char *bnorm_isa(void)
{
    return bnorm_kernels_chosen()->name;
}

bnorm_status bnorm_set_isa(const char *name)
{
    const bnorm_kernels *kernels = name ? kernels_named(name) : default_kernels();
    if (!kernels)
        return BNORM_ERROR_ISA;
    atomic_store_explicit(&chosen, kernels, memory_order_relaxed);
    return BNORM_OK;
}
