/* SPDX-License-Identifier: MIT */
/*
 * How evenly the work of a call is cut: kernels that only count the elements they are given, on an executor that adds
 * them up for each task and hands the tasks, in their order, to whichever of `width` threads is free first.
 */
#include <string.h>

#include "check.h"
#include "dispatch/calls.h"
#include "job.h"

/* ---- Kernels that count ---- */

static size_t work; /* elements since the task began */

static void count_collect(const bnorm_walk *walk, const bnorm_sum_job *c)
{
    work += c->units * c->rows * walk->rows_per_super_row * walk->width;
}

static void count_planes(const bnorm_planes *planes)
{
    work += planes->images * planes->units * planes->lanes;
}

static void count_rows(const bnorm_rows *rows)
{
    work += rows->rows * rows->width;
}

static bnorm_kernels counting_kernels(void)
{
    bnorm_kernels k = *bnorm_kernels_at(bnorm_isa_count() - 1);
    k.sum_units = count_collect;
    k.map_planes = count_planes;
    k.map_rows = count_rows;
    return k;
}

/* ---- An executor that counts ---- */

enum { MOST_THREADS = 64 };

typedef struct schedule {
    size_t width;
    size_t sum, longest; /* of all rounds: work, and what the busiest thread of each round has of it */
} schedule;

static void run_counting(void *context, size_t tasks, bnorm_task *task, void *argument)
{
    schedule *s = context;
    size_t load[MOST_THREADS] = { 0 }, longest = 0;
    for (size_t i = 0; i < tasks; i++) {
        size_t idle = 0;
        for (size_t thread = 1; thread < s->width; thread++)
            if (load[thread] < load[idle])
                idle = thread;
        work = 0;
        task(argument, i);
        load[idle] += work;
        s->sum += work;
        longest = load[idle] > longest ? load[idle] : longest;
    }
    s->longest += longest;
    work = 0;
}

/* What a few threads must reach. Many have enough to do only in large tensors, so for them the table alone tells. */
static double least(size_t width)
{
    return width == 2 ? 0.8 : width == 8 ? 0.5 : 0;
}

static const char *const operations[] = { "infer", "train", "backward" };

enum { MOST_ELEMENTS = 32 * 256 * 3136 };

/* For all calls: hardly touched, so hardly there. */
static float *x, *dy, *y;

/* Of a call. */
typedef struct memory {
    buffers taken;
    float *channels[2];
    void *workspace;
    size_t size;
} memory;

static bnorm_status call(const bnorm_machine *machine, const bnorm_shape *shape, bnorm_operation op, const memory *m,
                         const bnorm_executor *executor)
{
    const bnorm_infer_params infer = {
        .struct_size = sizeof(infer), .mean = m->channels[0], .var = m->channels[1], .epsilon = 1e-5f
    };
    const bnorm_train_params train = { .struct_size = sizeof(train), .epsilon = 1e-5f };
    const bnorm_backward_params backward = { .struct_size = sizeof(backward),
                                             .mean = m->channels[0],
                                             .rstd = m->channels[1] };
    if (op == BNORM_OP_BACKWARD)
        return bnorm_backward_on(machine, shape, &backward, x, dy, y, m->workspace, m->size, executor);
    return op == BNORM_OP_TRAIN ? bnorm_train_on(machine, shape, &train, x, y, m->workspace, m->size, executor)
                                : bnorm_infer_on(machine, shape, &infer, x, y, executor);
}

/* The part of the threads' time in which they have work: 1 is perfect. */
static double balance(const bnorm_shape *shape, bnorm_operation op, size_t width)
{
    const bnorm_kernels kernels = counting_kernels();
    const bnorm_machine machine = { &kernels, usual_tuning };
    schedule s = { .width = width };
    const bnorm_executor executor = { run_counting, &s, width };
    const size_t lanes = (shape->channels + shape->block - 1) / shape->block * shape->block;
    memory m = { .size = 0 };
    check(shape->batch * lanes * shape->points <= MOST_ELEMENTS, "a shape is too large");
    for (int i = 0; i < 2; i++)
        m.channels[i] = take_zeros(&m.taken, shape->channels * sizeof(float));
    bnorm_workspace_size_on(&machine, shape, op, &executor, &m.size);
    m.workspace = take_zeros(&m.taken, m.size);
    work = 0;
    const bnorm_status status = call(&machine, shape, op, &m, &executor);
    check(status == BNORM_OK, bnorm_status_string(status));
    give_back(&m.taken);
    s.sum += work; /* what no task did was done by one thread */
    s.longest += work;
    return (double)s.sum / (double)width / (double)s.longest;
}

static const struct {
    const char *name;
    size_t batch, channels, points;
} shapes[] = { { "resnet50.conv1", 32, 64, 12544 },
               { "resnet50.stage1b", 32, 256, 3136 },
               { "resnet50.stage3b", 32, 1024, 196 },
               { "resnet50.stage4b", 32, 2048, 49 },
               { "resnet50.conv1_b1", 1, 64, 12544 },
               { "resnet50.stage4b_b1", 1, 2048, 49 },
               { "mobilenet_v2.head", 16, 1280, 49 },
               { "unet3d.level1", 2, 32, 262144 },
               { "tabular.bn1d_large", 65536, 256, 1 },
               { "odd.rgb", 8, 3, 50176 },
               { "odd.c257", 8, 257, 784 },
               { "odd.c1", 1, 1, 1000003 },
               { "one image, few channels", 1, 3, 65536 } };

static const size_t widths[] = { 2, 8, 64 };

static void check_balance(size_t i, bnorm_operation op, size_t block)
{
    const bnorm_shape shape = bnorm_blocked(shapes[i].batch, shapes[i].channels, shapes[i].points, block);
    double part[COUNT_OF(widths)];
    check_case("%s %s, block %zu", operations[op], shapes[i].name, block);
    for (size_t w = 0; w < COUNT_OF(widths); w++) {
        check_context("%zu threads", widths[w]);
        part[w] = balance(&shape, op, widths[w]);
        check(part[w] >= least(widths[w]), "threads wait for each other");
    }
    check_note("%.2f %.2f %.2f", part[0], part[1], part[2]);
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    check_note("the part of %zu, %zu and %zu threads' time in which they have work", widths[0], widths[1], widths[2]);
    buffers taken = { NULL };
    x = take_zeros(&taken, MOST_ELEMENTS * sizeof(*x));
    dy = take_zeros(&taken, MOST_ELEMENTS * sizeof(*dy));
    y = take_zeros(&taken, MOST_ELEMENTS * sizeof(*y));
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        const size_t blocks[] = { 1, shapes[i].channels, 16 };
        for (int op = BNORM_OP_INFER; op <= BNORM_OP_BACKWARD; op++)
            for (size_t b = 0; b < COUNT_OF(blocks); b++)
                check_balance(i, (bnorm_operation)op, blocks[b]);
    }
    give_back(&taken);
    return check_finish();
}
