/* SPDX-License-Identifier: MIT */
/* What the library takes of PyTorch's tensors, and their threads. */
#ifndef BNORM_TENSORS_H
#define BNORM_TENSORS_H

#include "calls.h"
#include "libtorch.h"

namespace bnorm_torch
{

using namespace libtorch;
using namespace bnorm_calls;

/* Of a tensor that is read or written as an array. */
inline void require(const Tensor &tensor, size_t elements, int32_t type)
{
    if (tensor.elements() != elements || tensor.type() != type || !is_dense(tensor))
        throw Error("bnorm: a tensor is not what the operator's forward pass gave");
}

// ---- What the library takes ----

/* The stride of all axes of points as one, in whatever order they lie; false where they do not have one. */
inline bool point_stride(const Tensor &x, size_t &stride)
{
    std::vector<std::pair<int64_t, int64_t>> axes = axes_by_stride(x, 2);
    int64_t extent = axes.empty() ? 0 : axes.front().first;
    stride = static_cast<size_t>(extent);
    for (auto [step, size] : axes) {
        if (step == 0 || step != extent)
            return false;
        extent *= size;
    }
    return true;
}

inline bool has_dtype(const Tensor &x, bnorm_dtype &dtype)
{
    int32_t type = x.type();
    dtype = type == torch.aoti_torch_dtype_float32()    ? BNORM_DTYPE_F32
            : type == torch.aoti_torch_dtype_bfloat16() ? BNORM_DTYPE_BF16
                                                        : BNORM_DTYPE_F16;
    return dtype != BNORM_DTYPE_F16 || type == torch.aoti_torch_dtype_float16();
}

inline bool describe(const Tensor &x, bnorm_layout &layout)
{
    if (x.rank() < 2 || !has_dtype(x, layout.dtype) || !point_stride(x, layout.point_stride))
        return false;
    for (size_t i = 0; i < 2; i++)
        if (x.sizes()[i] > 1 && x.strides()[i] == 0)
            return false;
    layout.image_stride = x.sizes()[0] > 1 ? static_cast<size_t>(x.strides()[0]) : 0;
    layout.block_stride = x.sizes()[1] > 1 ? static_cast<size_t>(x.strides()[1]) : 0;
    return true;
}

/* Where channels are adjacent in both tensors, they are one block: NHWC. */
inline bool describe(const Tensor &x, const Tensor &y, bnorm_shape &shape)
{
    size_t size = 0;
    shape = bnorm_nchw(1, 1, 1);
    if (!describe(x, shape.in) || !describe(y, shape.out))
        return false;
    shape.batch = static_cast<size_t>(x.sizes()[0]);
    shape.channels = static_cast<size_t>(x.sizes()[1]);
    shape.points = shape.batch && shape.channels ? x.elements() / shape.batch / shape.channels : 0;
    if (shape.in.block_stride == 1 && shape.out.block_stride == 1) {
        shape.block = shape.channels;
        shape.in.block_stride = shape.out.block_stride = 0;
    }
    return bnorm_workspace_size(&shape, BNORM_OP_INFER, nullptr, &size) == BNORM_OK;
}

inline bnorm_shape shape_of(const Tensor &x, const Tensor &y)
{
    bnorm_shape shape;
    if (!describe(x, y, shape))
        throw Error("bnorm: not a tensor that the library takes");
    return shape;
}

inline bool is_described(const Tensor &x)
{
    bnorm_shape shape;
    return describe(x, x, shape);
}

/* x, or a copy that the library can take, and if asked for one without gaps between elements. */
inline Tensor described(const Tensor &x, bool without_gaps = false)
{
    if (is_described(x) && (!without_gaps || is_dense(x)))
        return x.again();
    Tensor filled = laid_out_as(x, empty_like(x));
    return is_described(filled) ? std::move(filled) : laid_out_as(x, empty_contiguous(x));
}

/* What a call gave for a copy of a tensor, laid out as PyTorch lays out a tensor like the one that was given. */
inline Value result_like(Tensor result, const Tensor &given)
{
    if (is_described(given))
        return result.release();
    Tensor right = empty_like(given);
    if (same_strides(right, result))
        return result.release();
    copy(right, result);
    return right.release();
}

// ---- Threads ----

struct Work {
    bnorm_task *task;
    void *argument;
};

inline void run_range(int64_t begin, int64_t end, void *context)
{
    const Work *work = static_cast<const Work *>(context);
    for (int64_t i = begin; i < end; i++)
        work->task(work->argument, static_cast<size_t>(i));
}

inline void run_on_torch(void *, size_t tasks, bnorm_task *task, void *argument)
{
    Work work = { task, argument };
    torch.torch_parallel_for(0, static_cast<int64_t>(tasks), 1, run_range, &work);
}

inline bnorm_executor pool()
{
    uint32_t threads = 1;
    check(torch.torch_get_num_threads(&threads));
    return { run_on_torch, nullptr, std::max<size_t>(threads, 1) };
}

/* One float per channel, of whatever a model keeps: 16-bit values are converted, and back. */
class PerChannel
{
    Tensor source, floats;

public:
    PerChannel(Tensor tensor, size_t channels) : source(std::move(tensor))
    {
        if (!source)
            return;
        if (source.elements() != channels)
            throw Error("bnorm: a parameter does not have one value per channel");
        int32_t f32 = torch.aoti_torch_dtype_float32();
        if (source.type() == f32 && is_dense(source)) {
            floats = source.again();
        } else {
            floats = empty({ channels }, f32);
            copy(floats, source);
        }
    }
    float *data() const
    {
        return floats.data<float>();
    }
    void store() const // what a call wrote
    {
        if (source && floats.get() != source.get())
            copy(source, floats);
    }
};

// ---- Masks and what is saved ----

inline size_t mask_size(const Tensor &x, const Tensor &y)
{
    const bnorm_shape shape = shape_of(x, y);
    size_t size = 0;
    check_status(bnorm_mask_size(&shape, &size));
    return size;
}

/* NULL where it is empty. */
inline void *mask_in(const Tensor &mask)
{
    return mask.elements() ? mask.data() : nullptr;
}

/* As one tensor [3][channels]. */
inline Saved saved_in(const Tensor &tensor, size_t channels)
{
    require(tensor, 3 * channels, torch.aoti_torch_dtype_float32());
    float *mean = tensor.data<float>();
    return { mean, mean + channels, mean + 2 * channels };
}

} // namespace bnorm_torch

#endif
