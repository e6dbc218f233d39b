// SPDX-License-Identifier: MIT
// The tensors that all rows share, and the pages they lie in.
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <new>
#include <string>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "bnorm/bnorm.h"
#include "kernels/element.h"

// About N(0, 1), the same everywhere for the same index: four 16-bit uniforms out of splitmix64, summed.
inline float noise(uint64_t index)
{
    uint64_t z = (index + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    const auto sum = static_cast<int32_t>((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48));
    return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f / 0x10000);
}

inline std::string type_name(bnorm_dtype type)
{
    return type == BNORM_DTYPE_F32 ? "f32" : type == BNORM_DTYPE_BF16 ? "bf16" : "f16";
}

// A value that all types have: of eight significant bits.
inline float coarse(float value)
{
    return std::nearbyint(value * 64) / 64;
}

// Small pages, of 4 KiB on most systems, are what malloc gives a program that asks for nothing else. Huge ones, of 2
// MiB, lie in the same way in the caches in every process, and cost fewer misses of the TLB.
enum class pages { small, huge };

// How many KiB of this process lie in huge pages, as the kernel tells; 0 where it does not.
inline size_t huge_kibibytes()
{
    std::ifstream rollup("/proc/self/smaps_rollup");
    for (std::string word; rollup >> word;)
        if (size_t size; word == "AnonHugePages:" && rollup >> size)
            return size;
    return 0;
}

// Allocated once: x and dy with values, y without.
class tensors
{
public:
    explicit tensors(size_t count, pages lie_in = pages::small)
        : count(count), lie_in(lie_in), x_memory(allocate(count)), dy_memory(allocate(count)), y_memory(allocate(count))
    {
        for (size_t i = 0; i < count; i++) {
            x_memory.get()[i] = 0.5f + coarse(noise(i));
            dy_memory.get()[i] = coarse(noise(~i));
            y_memory.get()[i] = 0; // its pages are there from now on
        }
    }

    const float *x() const
    {
        return x_memory.get();
    }
    float *x() // to give it other values
    {
        return x_memory.get();
    }
    const float *dy() const
    {
        return dy_memory.get();
    }
    float *y() const // or dx
    {
        return y_memory.get();
    }
    float *dresidual()
    {
        if (!dresidual_memory)
            dresidual_memory = allocate(count);
        return dresidual_memory.get();
    }

    // The same values as elements of a type.
    const void *x(bnorm_dtype type)
    {
        return type == BNORM_DTYPE_F32 ? x() : converted(x_halves, type, x());
    }
    const void *dy(bnorm_dtype type)
    {
        return type == BNORM_DTYPE_F32 ? dy() : converted(dy_halves, type, dy());
    }
    // An element of y, which is of that type.
    double y(bnorm_dtype type, size_t i) const
    {
        return bnorm_element(y(), type, i);
    }

private:
    struct release {
        void operator()(float *memory) const
        {
            std::free(memory);
        }
    };
    using memory = std::unique_ptr<float, release>;

    memory allocate(size_t count) const
    {
        constexpr size_t page = size_t{ 2 } << 20;
        const size_t size = (count * sizeof(float) / page + 1) * page;
        void *start = std::aligned_alloc(page, size);
        if (!start)
            throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        madvise(start, size, lie_in == pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#endif
        return memory(static_cast<float *>(start));
    }

    const void *converted(std::map<bnorm_dtype, memory> &kept, bnorm_dtype type, const float *from)
    {
        const auto [halves, is_new] = kept.try_emplace(type);
        if (is_new) {
            halves->second = allocate(count / 2 + 1);
            auto *to = reinterpret_cast<uint16_t *>(halves->second.get());
            for (size_t i = 0; i < count; i++)
                to[i] = type == BNORM_DTYPE_BF16 ? bnorm_to_bf16(from[i]) : bnorm_to_f16(from[i]);
        }
        return halves->second.get();
    }

    const size_t count;
    const pages lie_in;
    memory x_memory, dy_memory, y_memory, dresidual_memory;
    std::map<bnorm_dtype, memory> x_halves, dy_halves;
};

// Whether the kernel gives huge pages to who asks for them.
inline bool has_huge_pages()
{
    const size_t before = huge_kibibytes();
    const tensors probe(size_t{ 1 } << 20, pages::huge); // three times 4 MiB
    return huge_kibibytes() >= before + 3 * 4096;
}

#endif
