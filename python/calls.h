/* SPDX-License-Identifier: MIT */
/* The library's calls as engines of Python make them: on their threads, with scratch memory that is kept. */
#ifndef BNORM_CALLS_H
#define BNORM_CALLS_H

#include "../include/bnorm/bnorm.h"

#include <exception>
#include <vector>

namespace bnorm_calls
{

class Error : public std::exception
{
    const char *text;

public:
    explicit Error(const char *words) : text(words)
    {
    }
    const char *what() const noexcept override
    {
        return text;
    }
};

inline void check_status(bnorm_status status)
{
    if (status != BNORM_OK)
        throw Error(bnorm_status_string(status));
}

/* Scratch memory that a thread keeps: glibc gives large blocks back to the system, and fresh pages cost more than most
 * calls. */
struct Workspace {
    void *memory;
    size_t size;

    Workspace(const bnorm_shape &shape, bnorm_operation operation, const bnorm_executor &executor)
    {
        static thread_local std::vector<char> kept;
        check_status(bnorm_workspace_size(&shape, operation, &executor, &size));
        if (kept.size() < size)
            kept.resize(size);
        memory = kept.data();
    }
};

/* What training saves: the mean in two floats, and rstd. */
struct Saved {
    float *mean, *mean_low, *rstd;
};

/* What calls have in common. Running statistics are what inference normalises by. */
struct Norm {
    const float *gamma = nullptr, *beta = nullptr;
    float *running_mean = nullptr, *running_var = nullptr;
    float momentum = 0.0f;
    bnorm_variance running_variance = BNORM_VARIANCE_UNBIASED;
    float epsilon = 0.0f;
    const bnorm_epilogue *epilogue = nullptr;
};

template <class Params> Params with_norm(Params params, const Norm &norm)
{
    params.gamma = norm.gamma;
    params.beta = norm.beta;
    params.epsilon = norm.epsilon;
    params.epilogue = norm.epilogue;
    return params;
}

inline bnorm_train_params train_params(const Norm &norm, const Saved &saved)
{
    bnorm_train_params params = with_norm(bnorm_train_defaults(), norm);
    params.momentum = norm.momentum;
    params.running_variance = norm.running_variance;
    params.running_mean = norm.running_mean;
    params.running_var = norm.running_var;
    params.saved_mean = saved.mean;
    params.saved_mean_low = saved.mean_low;
    params.saved_rstd = saved.rstd;
    return params;
}

inline void train(const bnorm_shape &shape, const void *x, void *y, const Norm &norm, const Saved &saved,
                  const bnorm_executor &threads)
{
    const bnorm_train_params params = train_params(norm, saved);
    const Workspace workspace(shape, BNORM_OP_TRAIN, threads);
    check_status(bnorm_train(&shape, &params, x, y, workspace.memory, workspace.size, &threads));
}

inline void infer(const bnorm_shape &shape, const void *x, void *y, const Norm &norm, const bnorm_executor &threads)
{
    bnorm_infer_params params = with_norm(bnorm_infer_defaults(), norm);
    params.mean = norm.running_mean;
    params.var = norm.running_var;
    check_status(bnorm_infer(&shape, &params, x, y, &threads));
}

inline bnorm_backward_params backward_params(const Norm &norm, const Saved &saved)
{
    bnorm_backward_params params = with_norm(bnorm_backward_defaults(), norm);
    params.mean = saved.mean;
    params.mean_low = saved.mean_low;
    params.rstd = saved.rstd;
    return params;
}

/* The same of y that came from infer(). */
inline bnorm_backward_params frozen_params(const Norm &norm)
{
    bnorm_backward_params params = backward_params(norm, { norm.running_mean, nullptr, nullptr });
    params.statistics = BNORM_STATISTICS_FROZEN;
    params.var = norm.running_var;
    return params;
}

inline void differentiate(const bnorm_shape &shape, const void *x, const void *dy, void *dx,
                          const bnorm_backward_params &params, const bnorm_executor &threads)
{
    const Workspace workspace(shape, BNORM_OP_BACKWARD, threads);
    check_status(bnorm_backward(&shape, &params, x, dy, dx, workspace.memory, workspace.size, &threads));
}

} // namespace bnorm_calls

#endif
