/* SPDX-License-Identifier: MIT */
/* The C functions that PyTorch promises to keep (torch/csrc/stable/c/shim.h, since 2.10), and tensors over them.
 *
 * They are declared here and found at run time: one library serves every PyTorch, and none is needed to build it. An
 * operator reads its arguments from an array of 64-bit values, and stores its results there. A tensor is a pointer that
 * whoever holds it deletes; one that may be None is a pointer to such a value on the heap, or 0.
 */
#ifndef BNORM_LIBTORCH_H
#define BNORM_LIBTORCH_H

#include "calls.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

namespace libtorch
{

using bnorm_calls::Error;

// ---- libtorch ----

using Value = uint64_t;
using Kernel = void(Value *stack, uint64_t inputs, uint64_t outputs);
using Handle = struct TensorObject *;
using Library = struct LibraryObject *;
using List = struct ListObject *;

/* PyTorch 2.10, whose conventions later versions keep for us. */
constexpr uint64_t WRITTEN_FOR = UINT64_C(0x020a000000000000);

#define TORCH_FUNCTIONS(F) \
    F(int32_t, aoti_torch_dtype_float32, void) \
    F(int32_t, aoti_torch_dtype_bfloat16, void) \
    F(int32_t, aoti_torch_dtype_float16, void) \
    F(int32_t, aoti_torch_dtype_float64, void) \
    F(int32_t, aoti_torch_dtype_int64, void) \
    F(int32_t, aoti_torch_dtype_uint8, void) \
    F(int32_t, aoti_torch_device_type_cpu, void) \
    F(int32_t, aoti_torch_get_data_ptr, Handle, void **) \
    F(int32_t, aoti_torch_get_storage_size, Handle, int64_t *) \
    F(int32_t, aoti_torch_get_dim, Handle, int64_t *) \
    F(int32_t, aoti_torch_get_sizes, Handle, int64_t **) \
    F(int32_t, aoti_torch_get_strides, Handle, int64_t **) \
    F(int32_t, aoti_torch_get_dtype, Handle, int32_t *) \
    F(int32_t, aoti_torch_is_defined, Handle, bool *) \
    F(int32_t, aoti_torch_empty_strided, int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, \
      Handle *) \
    F(int32_t, aoti_torch__reinterpret_tensor, Handle, int64_t, const int64_t *, const int64_t *, int64_t, Handle *) \
    F(int32_t, aoti_torch_new_tensor_handle, Handle, Handle *) \
    F(int32_t, aoti_torch_copy_, Handle, Handle, int32_t) \
    F(int32_t, aoti_torch_new_uninitialized_tensor, Handle *) \
    F(int32_t, aoti_torch_delete_tensor_object, Handle) \
    F(int32_t, aoti_torch_library_init_def, const char *, const char *, uint32_t, Library *) \
    F(int32_t, aoti_torch_library_init_impl, const char *, const char *, const char *, uint32_t, Library *) \
    F(int32_t, aoti_torch_library_def, Library, const char *) \
    F(int32_t, torch_library_impl, Library, const char *, Kernel *, uint64_t) \
    F(int32_t, torch_call_dispatcher, const char *, const char *, Value *, uint64_t) \
    F(int32_t, torch_list_get_item, List, size_t, Value *) \
    F(int32_t, torch_delete_list, List) \
    F(int32_t, torch_get_num_threads, uint32_t *) \
    F(int32_t, torch_parallel_for, int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void *), void *)

#define TORCH_POINTER(result, name, ...) result (*name)(__VA_ARGS__);
struct Functions {
    TORCH_FUNCTIONS(TORCH_POINTER)
};
inline Functions torch;

/* Finds them all, or answers the name of one that is missing. */
inline const char *load(void *(*find)(const char *name))
{
#define TORCH_LOAD(result, name, ...) \
    void *name = find(#name); \
    if (!name) \
        return #name; \
    std::memcpy(&torch.name, &name, sizeof(name));
    TORCH_FUNCTIONS(TORCH_LOAD)
    return nullptr;
}

/* Each of libtorch's functions answers 0, or has written what went wrong to the standard error. */
inline void check(int32_t failed)
{
    if (failed)
        throw Error("bnorm: PyTorch failed, as it said on the standard error");
}

// ---- Tensors ----

/* Owns a tensor, or borrows one; of None and of an undefined tensor it holds nothing. */
class Tensor
{
    Handle handle = nullptr;
    bool owned = false;

    template <class T> T ask(int32_t (*question)(Handle, T *)) const
    {
        T answer{};
        check(question(handle, &answer));
        return answer;
    }

public:
    Tensor() = default;
    static Tensor own(Handle handle)
    {
        Tensor tensor;
        tensor.handle = handle;
        tensor.owned = true;
        return tensor;
    }
    static Tensor borrow(Handle handle)
    {
        Tensor tensor;
        tensor.handle = handle;
        if (handle && !tensor.ask(torch.aoti_torch_is_defined))
            tensor.handle = nullptr;
        return tensor;
    }
    Tensor(Tensor &&other) noexcept : handle(other.handle), owned(other.owned)
    {
        other.owned = false;
    }
    Tensor &operator=(Tensor &&other) noexcept
    {
        std::swap(handle, other.handle);
        std::swap(owned, other.owned);
        return *this;
    }
    ~Tensor()
    {
        if (owned)
            torch.aoti_torch_delete_tensor_object(handle);
    }

    explicit operator bool() const
    {
        return handle != nullptr;
    }
    Handle get() const
    {
        return handle;
    }
    Tensor again() const // which lives on if an owner does not
    {
        Handle more = nullptr;
        if (!owned)
            return borrow(handle);
        check(torch.aoti_torch_new_tensor_handle(handle, &more));
        return own(more);
    }
    Value release() // to whom a result goes
    {
        owned = false;
        return reinterpret_cast<Value>(handle);
    }

    template <class T = void> T *data() const
    {
        return handle ? static_cast<T *>(ask(torch.aoti_torch_get_data_ptr)) : nullptr;
    }
    size_t rank() const
    {
        return static_cast<size_t>(ask(torch.aoti_torch_get_dim));
    }
    const int64_t *sizes() const
    {
        return ask(torch.aoti_torch_get_sizes);
    }
    const int64_t *strides() const
    {
        return ask(torch.aoti_torch_get_strides);
    }
    int32_t type() const
    {
        return ask(torch.aoti_torch_get_dtype);
    }
    int64_t storage_size() const
    {
        return ask(torch.aoti_torch_get_storage_size);
    }
    size_t elements() const
    {
        size_t product = 1;
        for (size_t i = 0; i < rank(); i++)
            product *= static_cast<size_t>(sizes()[i]);
        return product;
    }
};

inline Tensor empty_strided(size_t rank, const int64_t *sizes, const int64_t *strides, int32_t type)
{
    Handle handle = nullptr;
    check(torch.aoti_torch_empty_strided(static_cast<int64_t>(rank), sizes, strides, type,
                                         torch.aoti_torch_device_type_cpu(), 0, &handle));
    return Tensor::own(handle);
}

/* Of one axis, or of two. */
inline Tensor empty(std::initializer_list<size_t> sizes, int32_t type)
{
    int64_t size[2] = { 0, 0 }, strides[2] = { 1, 1 };
    std::copy(sizes.begin(), sizes.end(), size);
    if (sizes.size() == 2)
        strides[0] = size[1];
    return empty_strided(sizes.size(), size, strides, type);
}

/* What stands for no tensor where a tensor must be given. */
inline Value undefined()
{
    Handle handle = nullptr;
    check(torch.aoti_torch_new_uninitialized_tensor(&handle));
    return reinterpret_cast<Value>(handle);
}

inline void copy(const Tensor &to, const Tensor &from)
{
    check(torch.aoti_torch_copy_(to.get(), from.get(), 0));
}

inline bool same_sizes(const Tensor &a, const Tensor &b)
{
    return a.rank() == b.rank() && std::equal(a.sizes(), a.sizes() + a.rank(), b.sizes());
}

inline bool same_strides(const Tensor &a, const Tensor &b)
{
    for (size_t i = 0; i < a.rank(); i++)
        if (a.sizes()[i] > 1 && a.strides()[i] != b.strides()[i])
            return false;
    return true;
}

/* The strides and sizes of axes from `first` on that step over something, the smallest stride first. */
inline std::vector<std::pair<int64_t, int64_t>> axes_by_stride(const Tensor &x, size_t first)
{
    std::vector<std::pair<int64_t, int64_t>> axes;
    for (size_t i = first; i < x.rank(); i++)
        if (x.sizes()[i] > 1)
            axes.emplace_back(x.strides()[i], x.sizes()[i]);
    std::sort(axes.begin(), axes.end());
    return axes;
}

/* Whether elements fill their memory, in whatever order of axes. */
inline bool is_dense(const Tensor &x)
{
    int64_t extent = 1;
    for (auto [stride, size] : axes_by_stride(x, 0)) {
        if (stride != extent)
            return false;
        extent *= size;
    }
    return true;
}

inline Tensor empty_contiguous(const Tensor &x)
{
    std::vector<int64_t> strides(x.rank(), 1);
    for (size_t i = x.rank(); i-- > 1;)
        strides[i - 1] = strides[i] * std::max<int64_t>(x.sizes()[i], 1);
    return empty_strided(x.rank(), x.sizes(), strides.data(), x.type());
}

inline Tensor empty_like(const Tensor &x)
{
    if (is_dense(x))
        return empty_strided(x.rank(), x.sizes(), x.strides(), x.type());
    Value stack[6] = {}; // whose other arguments are None
    Handle handle = nullptr;
    check(torch.aoti_torch_new_tensor_handle(x.get(), &handle));
    stack[0] = reinterpret_cast<Value>(handle);
    check(torch.torch_call_dispatcher("aten::empty_like", "", stack, WRITTEN_FOR));
    return Tensor::own(reinterpret_cast<Handle>(stack[0]));
}

/* x itself where it is laid out as another tensor, or a copy that is. */
inline Tensor laid_out_as(const Tensor &x, const Tensor &other)
{
    if (x && !same_sizes(x, other))
        throw Error("bnorm: tensors of different sizes");
    if (!x || (same_strides(x, other) && x.type() == other.type()))
        return x.again();
    Tensor moved = empty_strided(other.rank(), other.sizes(), other.strides(), other.type());
    copy(moved, x);
    return moved;
}

// ---- Arguments ----

/* An operator's arguments: by a letter each, a tensor (t), one that may be None (?), a list (l), or a number (.). */
class Arguments
{
    Value values[16];
    const char *kinds;
    bool kept = false;

    bool is_tensor(size_t i) const
    {
        return kinds[i] == 't' || (kinds[i] == '?' && values[i]);
    }
    Handle handle(size_t i) const
    {
        return reinterpret_cast<Handle>(kinds[i] == 't' ? values[i] : *reinterpret_cast<Value *>(values[i]));
    }

public:
    Arguments(const Value *stack, const char *letters) : kinds(letters)
    {
        std::copy(stack, stack + std::strlen(kinds), values);
    }
    ~Arguments()
    {
        for (size_t i = 0; kinds[i] && !kept; i++) {
            if (is_tensor(i))
                torch.aoti_torch_delete_tensor_object(handle(i));
            if (kinds[i] == '?')
                delete reinterpret_cast<Value *>(values[i]);
            else if (kinds[i] == 'l')
                torch.torch_delete_list(reinterpret_cast<List>(values[i]));
        }
    }
    Arguments(const Arguments &) = delete;
    Arguments &operator=(const Arguments &) = delete;

    Tensor tensor(size_t i) const
    {
        return is_tensor(i) ? Tensor::borrow(handle(i)) : Tensor();
    }
    template <class T> T number(size_t i) const // whose bytes come first in the value
    {
        T number;
        std::memcpy(&number, &values[i], sizeof(number));
        return number;
    }
    float real(size_t i) const
    {
        return static_cast<float>(number<double>(i));
    }
    bool flag(size_t i) const
    {
        return number<bool>(i);
    }
    bool flag(size_t i, size_t item) const // of a list
    {
        Value value = 0;
        check(torch.torch_list_get_item(reinterpret_cast<List>(values[i]), item, &value));
        return value & 1;
    }
    void keep()
    {
        kept = true;
    } // for an operator that is called with the same stack
};

} // namespace libtorch

#endif
