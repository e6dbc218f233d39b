/* SPDX-License-Identifier: MIT */
/* What the CPU can do and the operating system keeps. */
#include <stdint.h>

#include "machine.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)

#include <cpuid.h>

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
    enum { AVX512BF16 = 1 << 5 }; /* of EAX, of the next list */
    if (eax && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && eax & AVX512BF16)
        cpu |= BNORM_CPU_AVX512BF16;
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

#ifdef __aarch64__

#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__)
#include <sys/auxv.h>
#elif defined(_WIN32)
#include <windows.h>
#endif

/* Whether the CPU has SVE and the operating system keeps its registers: only the latter may ask the former. */
static bool has_sve(void)
{
#if defined(__linux__) /* Android, too */
    return (getauxval(AT_HWCAP) & 1ul << 22) != 0;
#elif defined(__FreeBSD__) || defined(__OpenBSD__)
    unsigned long capabilities = 0;
    return elf_aux_info(AT_HWCAP, &capabilities, (int)sizeof(capabilities)) == 0 && (capabilities & 1ul << 22) != 0;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(46); /* PF_ARM_SVE_INSTRUCTIONS_AVAILABLE, which older headers lack */
#else
    return false; /* Apple's CPUs have no SVE outside its streaming mode */
#endif
}

/* Of the vectors that this thread works with. */
static unsigned sve_bits(void)
{
    register uint64_t bytes __asm__("x0");
    __asm__(".inst 0x04bf5020" /* rdvl x0, #1, for assemblers that are not told of SVE */ : "=r"(bytes));
    return (unsigned)bytes * 8;
}

unsigned bnorm_cpu_detect(void)
{
    const unsigned cpu = BNORM_CPU_NEON; /* part of every AArch64 system */
    switch (has_sve() ? sve_bits() : 0) {
    case 128:
        return cpu | BNORM_CPU_SVE128;
    case 256:
        return cpu | BNORM_CPU_SVE256;
    case 512:
        return cpu | BNORM_CPU_SVE512;
    default:
        return cpu;
    }
}

#else

unsigned bnorm_cpu_detect(void)
{
    return 0;
}

#endif

/* Only the operating system knows. */
void bnorm_cpu_caches(size_t *core, size_t *shared)
{
    (void)core;
    (void)shared;
}

#endif
