/* SPDX-License-Identifier: MIT */
#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

const bnorm_tuning usual_tuning = {
    .smallest_task = 16384, .strip_lanes = 32, .core_cache = 1 << 20, .shared_cache = 32 << 20
};
static const bnorm_tuning tiny = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 2048, .shared_cache = 1 << 20 };
static const bnorm_tuning cold = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 512, .shared_cache = 4096 };
static const bnorm_tuning roomy = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 512, .shared_cache = 32768 };
static const bnorm_tuning no_cache = { .smallest_task = 1, .strip_lanes = 8, .core_cache = 1, .shared_cache = 1 };
const bnorm_tuning *const tunings[TUNING_COUNT] = { &usual_tuning, &tiny, &cold, &roomy, &no_cache };

static size_t elements(const bnorm_shape *s)
{
    return s->batch * s->channels * s->points;
}

size_t job_elements(const job *j)
{
    return elements(&j->shape);
}

static float *floats(size_t count)
{
    return calloc(count + 1, sizeof(float));
}

static result result_new(const bnorm_shape *s)
{
    result r = { .y = floats(elements(s)) };
    for (int i = 0; i < STATISTICS; i++)
        r.statistics[i] = floats(s->channels);
    return r;
}

void result_free(result *r)
{
    free(r->y);
    for (int i = 0; i < STATISTICS; i++)
        free(r->statistics[i]);
}

job job_new(size_t batch, size_t channels, size_t points, size_t block, input_class class, uint64_t seed, bool training,
            bool with_parameters)
{
    random_state r = { seed + class };
    job j = { .shape = bnorm_blocked(batch, channels, points, block), .training = training, .epsilon = 1e-5f };
    j.with_parameters = with_parameters;
    j.x = floats(elements(&j.shape));
    input_fill(class, j.x, batch, channels, points, random_bits(&r));
    float **arrays[4] = { &j.gamma, &j.beta, &j.mean, &j.var };
    for (int i = 0; i < 4; i++) {
        *arrays[i] = floats(channels);
        for (size_t c = 0; c < channels; c++)
            (*arrays[i])[c] = i == 3 ? (float)random_uniform(&r) : (float)random_normal(&r);
    }
    return j;
}

void job_free(job *j)
{
    float *arrays[5] = { j->x, j->gamma, j->beta, j->mean, j->var };
    for (int i = 0; i < 5; i++)
        free(arrays[i]);
}

static bnorm_status call_infer(const job *j, const way *w, const bnorm_shape *shape, const float *x, float *y)
{
    bnorm_infer_params p = { .struct_size = sizeof(p), .mean = j->mean, .var = j->var, .epsilon = j->epsilon };
    p.hint = w->hint;
    p.gamma = j->with_parameters ? j->gamma : NULL;
    p.beta = j->with_parameters ? j->beta : NULL;
    return bnorm_infer_on(w->kernels, w->tuning, shape, &p, x, y, w->executor);
}

static bnorm_status call_train(const job *j, const way *w, const bnorm_shape *shape, const float *x, float *y,
                               result *r)
{
    bnorm_train_params p = { .struct_size = sizeof(p), .epsilon = j->epsilon, .momentum = 1.0f };
    size_t bytes = j->shape.channels * sizeof(float), workspace_size;
    p.running_variance = BNORM_BIASED;
    p.hint = w->hint;
    if (j->with_parameters) {
        p.momentum = 0.3f;
        p.gamma = j->gamma;
        p.beta = j->beta;
        if (elements(&j->shape) > j->shape.channels)
            p.running_variance = BNORM_UNBIASED;
    }
    memcpy(r->statistics[0], j->mean, bytes);
    memcpy(r->statistics[1], j->var, bytes);
    p.running_mean = r->statistics[0];
    p.running_var = r->statistics[1];
    p.saved_mean = r->statistics[2];
    p.saved_mean_low = r->statistics[3];
    p.saved_rstd = r->statistics[4];
    bnorm_status status = bnorm_workspace_size_on(w->tuning, shape, BNORM_TRAIN, w->executor, &workspace_size);
    buffer workspace = buffer_new(workspace_size, w->side);
    if (!status)
        status = bnorm_train_on(w->kernels, w->tuning, shape, &p, x, y, workspace.data, workspace_size, w->executor);
    buffer_free(&workspace);
    return status;
}

result perform(const job *j, const way *w)
{
    bnorm_shape shape = j->shape;
    result r = result_new(&shape);
    float *x_after = floats(elements(&shape));
    shape.in = layout_of(&shape, w->in);
    shape.out = layout_of(&shape, w->in_place ? w->in : w->out);
    tensor x = tensor_new(&shape, shape.in, w->side, j->x), y = { .data = x.data };
    if (!w->in_place)
        y = tensor_new(&shape, shape.out, w->side, NULL);
    bnorm_status status =
        j->training ? call_train(j, w, &shape, x.data, y.data, &r) : call_infer(j, w, &shape, x.data, y.data);
    check(status == BNORM_OK, bnorm_status_string(status));
    if (w->in_place) {
        check(tensor_read(&x, r.y, true), "something beside the elements was written");
    } else {
        check(tensor_read(&y, r.y, true), "something beside the elements was written, or padding is not zero");
        bool unchanged =
            tensor_read(&x, x_after, false) && memcmp(x_after, j->x, elements(&shape) * sizeof(float)) == 0;
        check(unchanged, "the input was written");
        tensor_free(&y);
    }
    tensor_free(&x);
    free(x_after);
    return r;
}
