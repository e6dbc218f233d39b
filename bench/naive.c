/* SPDX-License-Identifier: MIT */
/* The textbook batch norm: see naive.h. A tensor is seen as planes (image, channel block) of rows of `lanes` floats. */
#include "naive.h"

#include <math.h>

enum { MAX_BLOCK = 16 };

struct job {
    const naive_batch_norm *norm;
    const float *x, *dy;
    float *y; /* or dx */
    size_t lanes, blocks; /* channels side by side, and planes of an image */
    size_t slices, count; /* what in_slices cuts into how many ranges */
    void (*range)(const struct job *job, size_t first, size_t last, size_t slice);
};

/* ---- The loops ------------------------------------------------------------------------------------------------- */

static inline void add_rows(float *restrict sum, const float *restrict x, size_t rows, size_t lanes)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < lanes; lane++)
            sum[lane] += x[row * lanes + lane];
}

static inline void add_squares(float *restrict sum, const float *restrict x, size_t rows, size_t lanes,
                               const float *restrict mean)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < lanes; lane++) {
            float d = x[row * lanes + lane] - mean[lane];
            sum[lane] += d * d;
        }
}

static inline void normalise_rows(float *restrict y, const float *restrict x, size_t rows, size_t lanes,
                                  const float *restrict mean, const float *restrict scale, const float *restrict beta)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < lanes; lane++)
            y[row * lanes + lane] = (x[row * lanes + lane] - mean[lane]) * scale[lane] + beta[lane];
}

/* Sums of dy and of dy times the normalised x. */
static inline void add_gradients(float *restrict sum, float *restrict product, const float *restrict x,
                                 const float *restrict dy, size_t rows, size_t lanes, const float *restrict mean,
                                 const float *restrict rstd)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < lanes; lane++) {
            float g = dy[row * lanes + lane];
            sum[lane] += g;
            product[lane] += g * ((x[row * lanes + lane] - mean[lane]) * rstd[lane]);
        }
}

static inline void gradient_rows(float *restrict dx, const float *restrict x, const float *restrict dy, size_t rows,
                                 size_t lanes, const float *restrict mean, const float *restrict rstd,
                                 const float *restrict gamma, const float *restrict dgamma, const float *restrict dbeta,
                                 float inverse)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t lane = 0; lane < lanes; lane++) {
            float h = (x[row * lanes + lane] - mean[lane]) * rstd[lane];
            float g = dy[row * lanes + lane] - dbeta[lane] * inverse - h * dgamma[lane] * inverse;
            dx[row * lanes + lane] = gamma[lane] * rstd[lane] * g;
        }
}

static void set_rstd(float *rstd, const naive_batch_norm *norm, size_t first, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        rstd[c] = 1.0f / sqrtf(norm->var[first + c] + norm->epsilon);
}

static void set_scale(float *scale, const naive_batch_norm *norm, size_t first, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        scale[c] = norm->gamma[first + c] / sqrtf(norm->var[first + c] + norm->epsilon);
}

/* ---- Channels apart: NCHW, nChw8c and nChw16c, threads take channels
 * --------------------------------------------------- */

/* Inlined with a constant number of lanes, so that the compiler can unroll and vectorise them. */
static inline void train_block(const struct job *job, size_t block, size_t lanes)
{
    const naive_batch_norm *norm = job->norm;
    size_t batch = norm->shape->batch, rows = norm->shape->points, first = block * lanes;
    size_t plane = rows * lanes, image = job->blocks * plane;
    const float *x = job->x + block * plane;
    float *y = job->y + block * plane;
    float count = (float)(batch * rows), sum[MAX_BLOCK] = { 0 }, sum_sq[MAX_BLOCK] = { 0 }, mean[MAX_BLOCK],
          scale[MAX_BLOCK];

    for (size_t n = 0; n < batch; n++)
        add_rows(sum, x + n * image, rows, lanes);
    for (size_t lane = 0; lane < lanes; lane++)
        norm->mean[first + lane] = mean[lane] = sum[lane] / count;
    for (size_t n = 0; n < batch; n++)
        add_squares(sum_sq, x + n * image, rows, lanes, mean);
    for (size_t lane = 0; lane < lanes; lane++)
        norm->var[first + lane] = sum_sq[lane] / count;
    set_scale(scale, norm, first, lanes);
    for (size_t n = 0; n < batch; n++)
        normalise_rows(y + n * image, x + n * image, rows, lanes, mean, scale, norm->beta + first);
}

static void train_blocks(const struct job *job, size_t first, size_t last, size_t slice)
{
    (void)slice;
    for (size_t block = first; block < last; block++)
        if (job->lanes == 1)
            train_block(job, block, 1);
        else if (job->lanes == 8)
            train_block(job, block, 8);
        else
            train_block(job, block, MAX_BLOCK);
}

static inline void backward_block(const struct job *job, size_t block, size_t lanes)
{
    const naive_batch_norm *norm = job->norm;
    size_t batch = norm->shape->batch, rows = norm->shape->points, first = block * lanes;
    size_t plane = rows * lanes, image = job->blocks * plane, start = block * plane;
    float sum[MAX_BLOCK] = { 0 }, product[MAX_BLOCK] = { 0 }, rstd[MAX_BLOCK];
    set_rstd(rstd, norm, first, lanes);
    for (size_t n = 0; n < batch; n++)
        add_gradients(sum, product, job->x + start + n * image, job->dy + start + n * image, rows, lanes,
                      norm->mean + first, rstd);
    for (size_t lane = 0; lane < lanes; lane++) {
        norm->dbeta[first + lane] = sum[lane];
        norm->dgamma[first + lane] = product[lane];
    }
    for (size_t n = 0; n < batch; n++)
        gradient_rows(job->y + start + n * image, job->x + start + n * image, job->dy + start + n * image, rows, lanes,
                      norm->mean + first, rstd, norm->gamma + first, product, sum, 1.0f / (float)(batch * rows));
}

static void backward_blocks(const struct job *job, size_t first, size_t last, size_t slice)
{
    (void)slice;
    for (size_t block = first; block < last; block++)
        if (job->lanes == 1)
            backward_block(job, block, 1);
        else if (job->lanes == 8)
            backward_block(job, block, 8);
        else
            backward_block(job, block, MAX_BLOCK);
}

static inline void infer_plane(const struct job *job, size_t plane, size_t lanes)
{
    const naive_batch_norm *norm = job->norm;
    size_t rows = norm->shape->points, start = plane * rows * lanes, first = plane % job->blocks * lanes;
    float scale[MAX_BLOCK];
    set_scale(scale, norm, first, lanes);
    normalise_rows(job->y + start, job->x + start, rows, lanes, norm->mean + first, scale, norm->beta + first);
}

static void infer_planes(const struct job *job, size_t first, size_t last, size_t slice)
{
    (void)slice;
    for (size_t plane = first; plane < last; plane++)
        if (job->lanes == 1)
            infer_plane(job, plane, 1);
        else if (job->lanes == 8)
            infer_plane(job, plane, 8);
        else
            infer_plane(job, plane, MAX_BLOCK);
}

/* ---- Channels side by side: NHWC, threads take rows ------------------------------------------------------------ */

/* scratch: each slice's sums, then the scale. */
static float *slice_sum(const struct job *job, size_t slice)
{
    return job->norm->scratch + slice * job->lanes;
}

static void sum_rows(const struct job *job, size_t first, size_t last, size_t slice)
{
    float *sum = slice_sum(job, slice);
    for (size_t lane = 0; lane < job->lanes; lane++)
        sum[lane] = 0;
    add_rows(sum, job->x + first * job->lanes, last - first, job->lanes);
}

static void square_rows(const struct job *job, size_t first, size_t last, size_t slice)
{
    float *sum = slice_sum(job, slice);
    for (size_t lane = 0; lane < job->lanes; lane++)
        sum[lane] = 0;
    add_squares(sum, job->x + first * job->lanes, last - first, job->lanes, job->norm->mean);
}

static void map_rows(const struct job *job, size_t first, size_t last, size_t slice)
{
    const naive_batch_norm *norm = job->norm;
    size_t start = first * job->lanes;
    (void)slice;
    normalise_rows(job->y + start, job->x + start, last - first, job->lanes, norm->mean, slice_sum(job, job->slices),
                   norm->beta);
}

/* Sums of a slice: of dy, and of its products. */
static void reduce_rows(const struct job *job, size_t first, size_t last, size_t slice)
{
    float *sum = job->norm->scratch + 2 * slice * job->lanes, *product = sum + job->lanes;
    const float *rstd = job->norm->scratch + 2 * job->slices * job->lanes;
    size_t start = first * job->lanes;
    for (size_t lane = 0; lane < job->lanes; lane++)
        sum[lane] = product[lane] = 0;
    add_gradients(sum, product, job->x + start, job->dy + start, last - first, job->lanes, job->norm->mean, rstd);
}

static void gradients_of_rows(const struct job *job, size_t first, size_t last, size_t slice)
{
    const naive_batch_norm *norm = job->norm;
    const float *rstd = norm->scratch + 2 * job->slices * job->lanes;
    size_t start = first * job->lanes;
    (void)slice;
    gradient_rows(job->y + start, job->x + start, job->dy + start, last - first, job->lanes, norm->mean, rstd,
                  norm->gamma, norm->dgamma, norm->dbeta, 1.0f / (float)job->count);
}

static void merge_slices(const struct job *job, float *mean)
{
    for (size_t lane = 0; lane < job->lanes; lane++) {
        float sum = 0;
        for (size_t slice = 0; slice < job->slices; slice++)
            sum += slice_sum(job, slice)[lane];
        mean[lane] = sum / (float)job->count;
    }
}

/* ---- Threads and entry points ---------------------------------------------------------------------------------- */

static void run_slice(void *argument, size_t slice)
{
    const struct job *job = argument;
    job->range(job, job->count * slice / job->slices, job->count * (slice + 1) / job->slices, slice);
}

/* One contiguous range a thread, as a static OpenMP loop would cut it. */
static void in_slices(struct job *job, size_t count, void (*range)(const struct job *, size_t, size_t, size_t),
                      const bnorm_executor *executor)
{
    job->count = count;
    job->range = range;
    if (executor)
        executor->run(executor->context, job->slices, run_slice, job);
    else
        run_slice(job, 0);
}

static struct job make_job(const naive_batch_norm *norm, const float *x, float *y, const bnorm_executor *executor)
{
    size_t lanes = norm->shape->block;
    return (struct job){ .norm = norm,
                         .x = x,
                         .y = y,
                         .lanes = lanes,
                         .slices = executor ? executor->width : 1,
                         .blocks = (norm->shape->channels + lanes - 1) / lanes };
}

void naive_infer(const naive_batch_norm *norm, const float *x, float *y, const bnorm_executor *executor)
{
    struct job job = make_job(norm, x, y, executor);
    if (job.blocks > 1) {
        in_slices(&job, norm->shape->batch * job.blocks, infer_planes, executor);
    } else {
        set_scale(slice_sum(&job, job.slices), norm, 0, job.lanes);
        in_slices(&job, norm->shape->batch * norm->shape->points, map_rows, executor);
    }
}

void naive_train(const naive_batch_norm *norm, const float *x, float *y, const bnorm_executor *executor)
{
    struct job job = make_job(norm, x, y, executor);
    size_t rows = norm->shape->batch * norm->shape->points;
    if (job.blocks > 1) {
        in_slices(&job, job.blocks, train_blocks, executor);
        return;
    }
    in_slices(&job, rows, sum_rows, executor);
    merge_slices(&job, norm->mean);
    in_slices(&job, rows, square_rows, executor);
    merge_slices(&job, norm->var);
    set_scale(slice_sum(&job, job.slices), norm, 0, job.lanes);
    in_slices(&job, rows, map_rows, executor);
}

void naive_backward(const naive_batch_norm *norm, const float *x, const float *dy, float *dx,
                    const bnorm_executor *executor)
{
    struct job job = make_job(norm, x, dx, executor);
    size_t rows = norm->shape->batch * norm->shape->points, lanes = job.lanes;
    job.dy = dy;
    if (job.blocks > 1) {
        in_slices(&job, job.blocks, backward_blocks, executor);
        return;
    }
    set_rstd(norm->scratch + 2 * job.slices * lanes, norm, 0, lanes);
    in_slices(&job, rows, reduce_rows, executor);
    for (size_t lane = 0; lane < lanes; lane++) {
        norm->dbeta[lane] = norm->dgamma[lane] = 0;
        for (size_t slice = 0; slice < job.slices; slice++) {
            norm->dbeta[lane] += norm->scratch[2 * slice * lanes + lane];
            norm->dgamma[lane] += norm->scratch[(2 * slice + 1) * lanes + lane];
        }
    }
    in_slices(&job, rows, gradients_of_rows, executor);
}
