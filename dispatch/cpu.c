/* SPDX-License-Identifier: MIT */
/* What the CPU can do and the operating system keeps. */
#include "internal.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)

#include <cpuid.h>
#include <stdint.h>

/* XCR0: which registers the operating system saves. Read only where CPUID says OSXSAVE. */
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

unsigned bnorm_cpu_detect(void)
{
    const uint64_t ymm = 0x6, zmm = 0xe6; /* SSE and AVX state; with opmask and both halves of ZMM state */
    unsigned eax, ebx, ecx, edx, cpu = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE) || !(ecx & bit_AVX))
        return 0;
    const uint64_t saved = saved_registers();
    if ((saved & ymm) != ymm)
        return 0;
    cpu |= ecx & bit_FMA ? BNORM_CPU_FMA : 0;
    cpu |= ecx & bit_F16C ? BNORM_CPU_F16C : 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return cpu;
    cpu |= ebx & bit_AVX2 ? BNORM_CPU_AVX2 : 0;
    /* macOS turns ZMM state on at its first use, so XCR0 does not show it there: AVX2 is used instead. */
    if ((saved & zmm) != zmm)
        return cpu;
    cpu |= ebx & bit_AVX512F ? BNORM_CPU_AVX512F : 0;
    cpu |= ebx & bit_AVX512CD ? BNORM_CPU_AVX512CD : 0;
    cpu |= ebx & bit_AVX512BW ? BNORM_CPU_AVX512BW : 0;
    cpu |= ebx & bit_AVX512DQ ? BNORM_CPU_AVX512DQ : 0;
    cpu |= ebx & bit_AVX512VL ? BNORM_CPU_AVX512VL : 0;
    return cpu;
}

/* One cache of a list of CPUID: Intel's leaf 4 and AMD's 0x8000001D have the same form. False behind the last. */
static bool read_cache(unsigned leaf, unsigned index, unsigned *level, bool *data, size_t *bytes)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(leaf, index, &eax, &ebx, &ecx, &edx) || (eax & 31) == 0)
        return false;
    *level = eax >> 5 & 7;
    *data = (eax & 31) != 2;
    *bytes = ((size_t)(ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) * ((size_t)ecx + 1);
    return true;
}

void bnorm_cpu_caches(size_t *core, size_t *shared)
{
    static const unsigned leaves[2] = { 4, 0x8000001d };
    bool found = false;
    for (unsigned i = 0; i < 2 && !found; i++) {
        unsigned level;
        bool data;
        size_t bytes;
        for (unsigned index = 0; read_cache(leaves[i], index, &level, &data, &bytes); index++) {
            found = true;
            if (data && level <= 2)
                *core = bytes;
            if (data && level >= 2)
                *shared = bytes;
        }
    }
}

#else

/* Advanced SIMD is part of every AArch64 system. */
unsigned bnorm_cpu_detect(void)
{
#ifdef __aarch64__
    return BNORM_CPU_NEON;
#else
    return 0;
#endif
}

/* Only the operating system knows. */
void bnorm_cpu_caches(size_t *core, size_t *shared)
{
    (void)core;
    (void)shared;
}

#endif
